/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory for keys, and OpenSSL made to use it. */
#include "lib/unit.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/keymem.h"
#include "base/poison.h"
#include "net/keyscope.h"

static const uint8_t zeros[KEYMEM_MAX];

static void sizes(void **state)
{
	static const size_t ask[] = { 1, 64, 65, 192, 193, 1088, 1089, 4096, 4097, KEYMEM_MAX };
	static const size_t get[] = { 64, 64, 128, 192, 256, 1088, 2048, 4096, 8192, 8192 };
	int here;

	(void)state;
	for (int pool = 0; pool < KEYMEM_POOL_NR; pool++) {
		for (size_t i = 0; i < sizeof(ask) / sizeof(*ask); i++) {
			uint8_t *p = keymem_alloc((enum keymem_pool)pool, ask[i]);

			assert_non_null(p);
			assert_true(keymem_owns(p) && (uintptr_t)p % 64 == 0);
			assert_int_equal(get[i], keymem_size(p));
			assert_memory_equal(zeros, p, get[i]);
			keymem_free(p);
		}
	}
	assert_null(keymem_alloc(KEYMEM_KEYS, KEYMEM_MAX + 1));
	assert_false(keymem_owns(&here));
	assert_false(keymem_owns(NULL));
	keymem_free(NULL);
}

/* More than a chunk of each; none overlaps another, and each comes back empty. */
static void wiped(void **state)
{
	enum { N = 3000 };
	static uint8_t *p[N];

	(void)state;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < N; i++) {
			p[i] = keymem_alloc(KEYMEM_KEYS, 100);
			assert_non_null(p[i]);
			assert_memory_equal(zeros, p[i], 128);
			memset(p[i], 1 + i % 255, 128);
		}
		for (int i = 0; i < N; i++) {
			assert_true(p[i][0] == 1 + i % 255 && p[i][127] == 1 + i % 255);
			keymem_free(p[i]);
		}
	}
}

static void *give_back(void *p)
{
	void *again;

	keymem_free(p);
	again = keymem_alloc(KEYMEM_KEYS, 500);
	assert_ptr_equal(p, again);
	assert_memory_equal(zeros, again, 500);
	keymem_free(again);
	return NULL;
}

static void another_thread(void **state)
{
	uint8_t *p = keymem_alloc(KEYMEM_KEYS, 500);
	pthread_t t;

	(void)state;
	memset(p, 7, 500);
	assert_int_equal(0, pthread_create(&t, NULL, give_back, p));
	assert_int_equal(0, pthread_join(t, NULL));
}

static void fork_sees_zeros(void **state)
{
	uint8_t *p = keymem_alloc(KEYMEM_KEYS, 192);
	int status;
	pid_t child;

	(void)state;
	memset(p, 7, 192);
	child = fork();
	if (!child)
		_exit(memcmp(p, zeros, 192) ? 1 : 0);
	assert_int_equal(child, waitpid(child, &status, 0));
	assert_int_equal(0, status);
	keymem_free(p);
}

/* The flags the kernel has for the area p lies in: dd no dump, wf wiped on fork, lo locked. */
static bool area_has(const void *p, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long from, to, at = (unsigned long)p;
	bool inside = false, found = false;
	char line[512];

	assert_non_null(f);
	while (!found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = at >= from && at < to;
		found = inside && !strncmp(line, "VmFlags:", 8) && strstr(line, flag);
	}
	fclose(f);
	return found;
}

static void flags(void **state)
{
	uint8_t *k = keymem_alloc(KEYMEM_KEYS, 192), *w = keymem_alloc(KEYMEM_WORK, 192);
	struct keymem_usage u;

	(void)state;
	keymem_usage(&u);
	assert_true(area_has(k, " dd") && area_has(k, " wf"));
	assert_true(area_has(w, " dd") && area_has(w, " wf"));
	assert_true(u.locked + u.unlocked > 0 && u.work > 0);
#ifndef POISON_ON	/* AddressSanitizer makes mlock() do nothing */
	assert_true(u.unlocked || area_has(k, " lo"));
#endif
	assert_false(area_has(w, " lo"));
	keymem_free(k);
	keymem_free(w);
}

static void openssl(void **state)
{
	int outer = keyscope_enter(KEYMEM_WORK), inner;
	uint8_t *p = OPENSSL_malloc(100), *q, *big, *heap;

	(void)state;
	assert_true(keymem_owns(p));
	memset(p, 7, 100);
	inner = keyscope_enter(KEYMEM_KEYS);
	q = OPENSSL_malloc(100);
	keyscope_leave(inner);
	assert_true(keymem_owns(q));
	big = OPENSSL_malloc(KEYMEM_MAX + 1);
	assert_true(big && !keymem_owns(big));
	keyscope_leave(outer);

	heap = OPENSSL_malloc(100);
	assert_false(keymem_owns(heap));
	heap = OPENSSL_realloc(heap, 200);
	assert_false(keymem_owns(heap));
	assert_ptr_equal(p, OPENSSL_realloc(p, 120));
	p = OPENSSL_realloc(p, 300);
	assert_true(p[0] == 7 && p[99] == 7);
	OPENSSL_free(p);
	OPENSSL_free(q);
	OPENSSL_free(big);
	OPENSSL_free(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(wiped),
		cmocka_unit_test(another_thread),
		cmocka_unit_test(fork_sees_zeros),
		cmocka_unit_test(flags),
		cmocka_unit_test(openssl),
	};

	keyscope_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
