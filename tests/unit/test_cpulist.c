/* SPDX-License-Identifier: BSD-3-Clause */
/* Lists of processors. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <cmocka.h>

#include "base/cpulist.h"
#include "base/util.h"

#define MAX	8

static const struct cpulist_case {
	const char *text;
	int n;
	uint16_t cpus[MAX];
} cases[] = {
	{ "0", 1, { 0 } },
	{ "8,0-3", 5, { 8, 0, 1, 2, 3 } },
	{ "1023", 1, { 1023 } },
	{ "4-4", 1, { 4 } },
	{ "0-7", 8, { 0, 1, 2, 3, 4, 5, 6, 7 } },
	{ "0-8", -E2BIG },
	{ "0,2,0", -EINVAL },
	{ "3-1", -EINVAL },
	{ "", -EINVAL },
	{ ",", -EINVAL },
	{ "1,", -EINVAL },
	{ "1-", -EINVAL },
	{ "-1", -EINVAL },
	{ " 1", -EINVAL },
	{ "1 ", -EINVAL },
	{ "+1", -EINVAL },
	{ "0x1", -EINVAL },
	{ "1024", -EINVAL },
	{ "18446744073709551616", -EINVAL },
};

static void run_case(void **state)
{
	const struct cpulist_case *c = *state;
	uint16_t got[MAX];

	assert_int_equal(cpulist_parse(got, MAX, c->text), c->n);
	for (int i = 0; i < c->n; i++)
		assert_int_equal(got[i], c->cpus[i]);
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(cases)];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		t[i] = (struct CMUnitTest){ cases[i].text, run_case, NULL, NULL, (void *)&cases[i] };
	return cmocka_run_group_tests(t, NULL, NULL);
}
