/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/unit.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mappings.h"
#include "base/util.h"

static size_t page;
static int fd;		/* of a file of one page */

static int set_up(void **state)
{
	char name[] = "/tmp/mappings-XXXXXX";

	(void)state;
	page = (size_t)sysconf(_SC_PAGESIZE);
	fd = mkstemp(name);
	unlink(name);
	assert_int_equal(0, ftruncate(fd, (off_t)page));
	assert_int_equal(5, pwrite(fd, "hello", 5, 0));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return close(fd);
}

static bool is_mapped(const void *p)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	assert_int_equal(sizeof(entry), pread(pagemap, &entry, sizeof(entry), (off_t)((uintptr_t)p / page * sizeof(entry))));
	close(pagemap);
	return entry >> 63;
}

/* written: while it was writable, as a debugger does it. */
static const struct mapping_case {
	const char *name;
	int prot, flags;
	bool written, stays;
} cases[] = {
	{ "constants", PROT_READ, MAP_PRIVATE, false, false },
	{ "code", PROT_READ | PROT_EXEC, MAP_PRIVATE, false, false },
	{ "code with a breakpoint", PROT_READ | PROT_EXEC, MAP_PRIVATE, true, true },
	{ "relocated", PROT_READ, MAP_PRIVATE, true, true },
	{ "data", PROT_READ | PROT_WRITE, MAP_PRIVATE, false, true },
	{ "data that was written", PROT_READ | PROT_WRITE, MAP_PRIVATE, true, true },
	{ "shared", PROT_READ, MAP_SHARED, false, true },
	{ "no file", PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, true, true },
};

static void test_release(void **state)
{
	const struct mapping_case *c = *state;
	bool file = !(c->flags & MAP_ANONYMOUS);
	volatile char *p = mmap(NULL, page, c->prot, c->flags, file ? fd : -1, 0);

	assert_ptr_not_equal(MAP_FAILED, p);
	if (c->written) {
		assert_int_equal(0, mprotect((void *)p, page, PROT_READ | PROT_WRITE));
		p[0] = 'j';
		assert_int_equal(0, mprotect((void *)p, page, c->prot));
	}
	assert_int_equal(c->written ? 'j' : 'h', p[0]);
	assert_true(is_mapped((void *)p));
	mappings_release();
	assert_int_equal(c->stays, is_mapped((void *)p));
	assert_int_equal(c->written ? 'j' : 'h', p[0]);
	munmap((void *)p, page);
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(cases)];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		t[i] = (struct CMUnitTest){ cases[i].name, test_release, NULL, NULL, (void *)&cases[i] };
	return cmocka_run_group_tests(t, set_up, tear_down);
}
