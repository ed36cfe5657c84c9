/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/unit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "relay/bootstrap.h"
#include "wire/form.h"

static const struct rank_case {
	const char *ip;
	double want;		/* what Go's math/rand/v2 says */
} ranks[] = {
	{ "::ffff:192.0.2.1", 0.94124442561074861 },
	{ "::ffff:198.51.100.77", 0.23123373544677184 },
	{ "2001:db8::1", 0.17365074425987426 },
	{ "::", 0.99992758248028335 },
	{ "::ffff:255.255.255.255", 0.86873743164431994 },
	{ "2a01:4f8:c17:abcd:1234:5678:9abc:def0", 0.7135008147860249 },
	{ "::ffff:8.8.8.8", 0.35032690643351905 },
};

static void test_rank(void **state)
{
	uint8_t ip[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ranks); i++) {
		assert_int_equal(1, inet_pton(AF_INET6, ranks[i].ip, ip));
		assert_true(bootstrap_rank(ip) == ranks[i].want);
	}
}

static struct view text(const char *s)
{
	return (struct view){ (const uint8_t *)s, strlen(s) };
}

/* Nothing is known yet; names that were asked for are counted, each once, and from 0 again above the limit. */
static void test_asked(void **state)
{
	const uint8_t ip[16] = { 1 };
	struct bootstrap_stats st;
	struct textbuf out = { 0 };
	struct bootstrap *b;
	char name[32];

	(void)state;
	assert_int_equal(0, bootstrap_new(&b));
	assert_int_equal(BOOTSTRAP_REQUEST, bootstrap_answer(b, text(""), ip, &out));
	for (int round = 0; round < 2; round++) {
		for (unsigned int i = 0; i < BOOTSTRAP_ASKED_MAX; i++) {
			snprintf(name, sizeof(name), "%u.example.com", i);
			assert_int_equal(BOOTSTRAP_REQUEST | BOOTSTRAP_UNPUBLISHED_MISS, bootstrap_answer(b, text(name), ip, &out));
		}
		bootstrap_stats(b, &st);
		assert_int_equal(BOOTSTRAP_ASKED_MAX, st.asked);
	}
	bootstrap_answer(b, text("one more"), ip, &out);
	bootstrap_stats(b, &st);
	assert_int_equal(0, st.asked);
	assert_int_equal(0, out.len);
	bootstrap_free(b);
}

static const struct form_case {
	const char *query, *want;
} forms[] = {
	{ "", "" },
	{ "q", "" },
	{ "q=", "" },
	{ "q=a.b", "a.b" },
	{ "x=1&q=a&q=b", "a" },
	{ "q=%zz&q=b", "b" },
	{ "q=a;b&q=c", "c" },
	{ "qq=a&Q=b&%71=c", "c" },
	{ "q=a+b%2Bc", "a b+c" },
	{ "q=a=b", "a=b" },
	{ "q=%4", "" },
	{ "q=%", "" },
};

static void test_form(void **state)
{
	uint8_t value[FORM_MAX];
	char longest[2 * FORM_MAX] = "q=";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		size_t n = strlen(forms[i].query), got;
		uint8_t *block = malloc(n ? n : 1);	/* not a byte behind it */

		memcpy(block, forms[i].query, n);
		got = form_value(value, (struct view){ block, n }, "q");
		assert_int_equal(strlen(forms[i].want), got);
		assert_memory_equal(forms[i].want, value, got);
		free(block);
	}
	memset(longest + 2, 'a', FORM_MAX);
	assert_int_equal(FORM_MAX, form_value(value, text(longest), "q"));
	longest[FORM_MAX + 2] = 'a';
	assert_int_equal(0, form_value(value, text(longest), "q"));
}

int main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test(test_rank),
		cmocka_unit_test(test_asked),
		cmocka_unit_test(test_form),
	};

	return cmocka_run_group_tests_name("bootstrap", t, NULL, NULL);
}
