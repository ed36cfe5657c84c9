/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/unit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cidr.h"
#include "base/util.h"

static const struct cidr_case {
	const char *list, *ip;
	bool want;
} cases[] = {
	{ "", "::ffff:1.2.3.4", false },
	{ "", "::", false },
	{ "1.2.3.4", "::ffff:1.2.3.4", true },
	{ "1.2.3.4", "::ffff:1.2.3.5", false },
	{ "1.2.3.4", "::1.2.3.4", false },
	{ "10.0.0.0/8", "::ffff:10.255.0.1", true },
	{ "10.0.0.0/8", "::ffff:11.0.0.1", false },
	{ "10.9.9.9/8", "::ffff:10.1.1.1", true },
	{ "0.0.0.0/0", "::ffff:255.0.0.1", true },
	{ "0.0.0.0/0", "2001:db8::1", false },
	{ "::/0", "2001:db8::1", true },
	{ "::/0", "::ffff:1.2.3.4", true },
	{ "2001:db8::/127", "2001:db8::1", true },
	{ "2001:db8::/127", "2001:db8::2", false },
	{ "100.64.0.0/10", "::ffff:100.127.255.255", true },
	{ "100.64.0.0/10", "::ffff:100.128.0.0", false },
	{ "::ffff:1.2.3.0/120", "::ffff:1.2.3.200", true },
	{ "1.1.1.1,\t2.2.2.2 ,3.3.3.3", "::ffff:2.2.2.2", true },
	{ "1.1.1.1,,3.3.3.3,", "::ffff:3.3.3.3", true },
	{ "garbage,1.1.1.1/x,1.1.1.1", "::ffff:1.1.1.1", true },
};

static const struct bad_case {
	const char *list, *bad;		/* NULL: none */
} bads[] = {
	{ "", NULL },
	{ " , ,", NULL },
	{ "1.2.3.4, ::/0 ,10.0.0.0/8", NULL },
	{ "1.2.3.4/33", "1.2.3.4/33" },
	{ "::/129", "::/129" },
	{ "1.2.3.4/", "1.2.3.4/" },
	{ "1.2.3.4/+8", "1.2.3.4/+8" },
	{ "1.2.3.4/8x", "1.2.3.4/8x" },
	{ "1.2.3.4/99999999999999999999999", "1.2.3.4/99999999999999999999999" },
	{ "1.2.3.4, 5.6.7 ,8.8.8.8", "5.6.7" },
	{ "localhost", "localhost" },
	{ "1.2.3.4 5.6.7.8", "1.2.3.4 5.6.7.8" },
	{ "[::1]", "[::1]" },
	{ "/8", "/8" },
	{ "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000/1",
	  "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000/1" },
};

/* A list in a heap block of exactly its size. */
static char *block(const char *s, size_t n)
{
	char *p = malloc(n + 1);

	memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

static void holds(void **state)
{
	const struct cidr_case *c = *state;
	char *list = block(c->list, strlen(c->list));
	uint8_t ip[16];

	assert_int_equal(1, inet_pton(AF_INET6, c->ip, ip));
	assert_int_equal(c->want, cidr_list_holds(list, ip));
	free(list);
	for (size_t n = 0; n < strlen(c->list); n++) {
		list = block(c->list, n);
		cidr_list_holds(list, ip);
		free(list);
	}
}

static void bad(void **state)
{
	const struct bad_case *c = *state;
	size_t n = 0;
	const char *got = cidr_list_bad(c->list, &n);

	if (!c->bad) {
		assert_null(got);
		return;
	}
	assert_non_null(got);
	assert_int_equal(strlen(c->bad), n);
	assert_memory_equal(c->bad, got, n);
}

static const struct text_case {
	const char *in, *out;
} texts[] = {
	{ "10.1.2.3/8", "10.0.0.0/8" }, { "192.0.2.7", "192.0.2.7/32" }, { "0.0.0.0/0", "0.0.0.0/0" },
	{ "1.2.3.255/31", "1.2.3.254/31" }, { "2001:db8::ffff/33", "2001:db8::/33" }, { "::/0", "::/0" },
	{ "::1", "::1/128" }, { "::ffff:10.0.0.0/104", "10.0.0.0/8" }, { "::ffff:0:0/95", "::fffe:0:0/95" },
};

static void text(void **state)
{
	const struct text_case *c = *state;
	char got[CIDR_TEXT_LEN];
	struct cidr n, again;

	assert_true(cidr_parse(&n, c->in, strlen(c->in)));
	cidr_text(got, &n);
	assert_string_equal(c->out, got);
	assert_true(cidr_parse(&again, got, strlen(got)));
	assert_true(cidr_equal(&n, &again));
}

/* Random networks and addresses, few enough bits for many hits, against asking each network. */
static void set_is_all_its_networks(void **state)
{
	struct cidr nets[40], c;
	struct cidr_set *set;
	char item[64];
	unsigned int held = 0;

	(void)state;
	srand(1);
	for (int round = 0; round < 200; round++) {
		size_t n = (size_t)(rand() % (int)ARRAY_SIZE(nets));

		for (size_t i = 0; i < n; i++) {
			snprintf(item, sizeof(item), "10.%d.0.%d/%d", rand() % 4, rand() % 256, 12 + rand() % 21);
			assert_true(cidr_parse(&nets[i], item, strlen(item)));
		}
		set = cidr_set_new(nets, n);
		assert_non_null(set);
		for (int k = 0; k < 500; k++) {
			bool want = false;

			snprintf(item, sizeof(item), "10.%d.0.%d", rand() % 5, rand() % 256);
			cidr_parse(&c, item, strlen(item));
			for (size_t i = 0; i < n; i++)
				want |= cidr_holds(&nets[i], c.net);
			assert_int_equal(want, cidr_set_holds(set, c.net));
			held += want;
		}
		free(set);
	}
	assert_in_range(held, 10000, 90000);
}

static void list_parse_counts_all(void **state)
{
	struct cidr v[2];

	(void)state;
	assert_int_equal(3, cidr_list_parse(v, 2, "1.1.1.1, nonsense,2.0.0.0/8,,::1"));
	assert_int_equal(96 + 8, v[1].bits);
	assert_int_equal(0, cidr_list_parse(NULL, 0, ""));
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(cases) + ARRAY_SIZE(bads) + ARRAY_SIZE(texts) + 2];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		t[n++] = (struct CMUnitTest){ cases[i].list, holds, NULL, NULL, (void *)&cases[i] };
	for (size_t i = 0; i < ARRAY_SIZE(bads); i++)
		t[n++] = (struct CMUnitTest){ bads[i].list, bad, NULL, NULL, (void *)&bads[i] };
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		t[n++] = (struct CMUnitTest){ texts[i].in, text, NULL, NULL, (void *)&texts[i] };
	t[n++] = (struct CMUnitTest)cmocka_unit_test(set_is_all_its_networks);
	t[n++] = (struct CMUnitTest)cmocka_unit_test(list_parse_counts_all);
	return cmocka_run_group_tests(t, NULL, NULL);
}
