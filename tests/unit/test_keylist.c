/* SPDX-License-Identifier: BSD-3-Clause */
/* The file of --allow-keys: what is a line, what is said of one that is none. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "lib/unit.h"
#include "relay/keylist.h"

#define A "0101010101010101010101010101010101010101010101010101010101010101"
#define B "FfFf000000000000000000000000000000000000000000000000000000000000"

static char path[] = "/tmp/xderp-test-keys-XXXXXX";

static int write_file(const char *text, size_t n)
{
	FILE *f = fopen(path, "w");

	return !f || fwrite(text, 1, n, f) != n || fclose(f);
}

static const struct list_case {
	const char *name, *text;
	int keys;		/* -1: refused */
	const char *says;
} cases[] = {
	{ "empty", "", 0 },
	{ "one", "nodekey:" A "\n", 1 },
	{ "no line end", "nodekey:" A, 1 },
	{ "upper case, CR LF", "nodekey:" B "\r\n", 1 },
	{ "comments and space", "# people\n\n  \t\n  nodekey:" A "  alice's laptop\n\tnodekey:" B "\tbob\n#nodekey:x\n", 2 },
	{ "twice", "nodekey:" A "\nnodekey:" A "\n", 2 },
	{ "too short", "nodekey:" A "\nnodekey:0101\n", -1, "line 2" },
	{ "too long", "nodekey:" A "0\n", -1, "line 1" },
	{ "not hex", "\n\nnodekey:g" A "\n", -1, "line 3" },
	{ "no prefix", A "\n", -1, "allowed are nodekey: with 64 hex digits" },
	{ "caps", "nodekey:" A " rate=1M burst=128KiB conns=2\nnodekey:" B " conns=1024 # two\n", 2 },
	{ "caps among remarks", "nodekey:" A " alice rate=0 laptop\n", 1 },
	{ "remark behind #", "nodekey:" A " # rate=x burst=y z=1\n", 1 },
	{ "twice with the same caps", "nodekey:" A " conns=2\nnodekey:" A " conns=2 again\n", 2 },
	{ "twice with different caps", "nodekey:" A " conns=2\nnodekey:" A "\n", -1, "nodekey:" A " stands twice" },
	{ "unknown cap", "nodekey:" B "\nnodekey:" A " speed=1M\n", -1, "line 2 (--allow-keys): \"speed=1M\" is wrong" },
	{ "no rate", "nodekey:" A " rate=\n", -1, "\"rate=\" is wrong" },
	{ "rate is no size", "nodekey:" A " rate=1Mbit\n", -1, "\"rate=1Mbit\" is wrong; allowed are" },
	{ "rate twice", "nodekey:" A " rate=1 rate=1\n", -1, "\"rate=1\" is wrong" },
	{ "burst below a frame", "nodekey:" A " rate=1M burst=65567\n", -1, "burst= bytes from 65568" },
	{ "burst alone", "nodekey:" A " burst=1M\n", -1, "burst= means nothing without rate=" },
	{ "no connection", "nodekey:" A " conns=0\n", -1, "conns= 1 to 1024" },
	{ "too many connections", "nodekey:" A " conns=1025\n", -1, "conns= 1 to 1024" },
	{ "connections are no number", "nodekey:" A " conns=2x\n", -1, "conns=2x" },
	{ "others twice", "*\n* conns=1\n", -1, "line 2 (--allow-keys): * stands twice" },
	{ "others and more", "** conns=1\n", -1, "line 1" },
	{ "another kind of key", "mkey:" A "\n", -1, "line 1" },
};

static void run_case(void **state)
{
	const struct list_case *c = *state;
	struct keylist *l = NULL;
	struct key k;
	char err[300] = "";
	int r;

	assert_int_equal(0, write_file(c->text, strlen(c->text)));
	r = keylist_read(&l, NULL, path, err, sizeof(err));
	if (c->keys < 0) {
		assert_int_equal(-EINVAL, r);
		assert_null(l);
		if (!strstr(err, c->says) || !strstr(err, path) || !strstr(err, "--allow-keys"))
			fail_msg("said: %s", err);
		return;
	}
	assert_int_equal(0, r);
	assert_int_equal(c->keys, keylist_len(l));
	assert_int_equal(0, key_from_hex(&k, A, 64));
	assert_int_equal(strstr(c->text, A) != NULL, keylist_find(l, &k) != NULL);
	k.b[31] ^= 1;
	assert_null(keylist_find(l, &k));
	keylist_free(l);
}

static void test_many(void **state)
{
	enum { N = 5000 };
	static char text[N * 80];
	struct keylist *l;
	struct key k = { { 0 } };
	char err[300], hex[KEY_HEX_LEN + 1];
	size_t n = 0;

	(void)state;
	for (unsigned int i = 0; i < N; i++) {
		k.b[i % 32] = (uint8_t)(k.b[i % 32] * 5 + i);
		key_to_hex(hex, &k);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "nodekey:%s\n", hex);
	}
	assert_int_equal(0, write_file(text, n));
	assert_int_equal(0, keylist_read(&l, NULL, path, err, sizeof(err)));
	memset(&k, 0, sizeof(k));
	for (unsigned int i = 0; i < N; i++) {
		k.b[i % 32] = (uint8_t)(k.b[i % 32] * 5 + i);
		assert_non_null(keylist_find(l, &k));
	}
	keylist_free(l);
}

static void test_caps(void **state)
{
	static const char text[] = "nodekey:" A " bob rate=2K burst=128KiB conns=3\n* conns=5\nnodekey:" B "\n";
	const struct key_caps *c;
	struct keylist *l;
	struct key k;
	char err[300];

	(void)state;
	assert_int_equal(0, write_file(text, strlen(text)));
	assert_int_equal(0, keylist_read(&l, NULL, path, err, sizeof(err)));
	assert_true(keylist_has_caps(l));
	key_from_hex(&k, A, 64);
	c = keylist_find(l, &k);
	assert_true(c->has_rate && c->rate.bytes_per_s == 2048 && c->rate.burst == 131072 && c->conns == 3);
	key_from_hex(&k, B, 64);
	c = keylist_find(l, &k);
	assert_true(!c->has_rate && !c->conns);
	k.b[0] ^= 1;
	c = keylist_find(l, &k);
	assert_true(!c->has_rate && c->conns == 5);
	assert_int_equal(2, keylist_len(l));
	keylist_free(l);
	assert_int_equal(0, write_file("*\n", 2));
	assert_int_equal(0, keylist_read(&l, NULL, path, err, sizeof(err)));
	assert_false(keylist_has_caps(l));
	assert_non_null(keylist_find(l, &k));
	keylist_free(l);
}

static void test_no_file(void **state)
{
	struct keylist *l;
	char err[300];

	(void)state;
	assert_int_equal(-ENOENT, keylist_read(&l, NULL, "/nowhere/keys", err, sizeof(err)));
	assert_string_equal("can't read /nowhere/keys (--allow-keys): No such file or directory", err);
	assert_int_equal(-EIO, -abs(keylist_read(&l, NULL, "/tmp", err, sizeof(err))));
	keylist_free(NULL);
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(cases) + 3] = {
		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_no_file),
	};
	int fd = mkstemp(path), failed;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		t[3 + i] = (struct CMUnitTest){ cases[i].name, run_case, NULL, NULL, (void *)&cases[i] };
	failed = cmocka_run_group_tests(t, NULL, NULL);
	close(fd);
	unlink(path);
	return failed;
}
