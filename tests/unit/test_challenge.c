/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "lib/certs.h"
#include "relay/challenge.h"

static char *dir;

static void put(const char *name, size_t n)
{
	char path[400];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	for (size_t i = 0; i < n; i++)
		fputc('a' + (int)(i % 26), f);
	fclose(f);
}

static int set_up(void **state)
{
	char path[400], target[400];

	(void)state;
	dir = t_dir_new();
	put("Token_-09", 87);
	put("most", 1024);
	put("more", 1025);
	put("empty", 0);
	put(".hidden", 10);
	put("dot.ted", 10);
	snprintf(target, sizeof(target), "%s/Token_-09", dir);
	snprintf(path, sizeof(path), "%s/link", dir);
	assert_int_equal(0, symlink(target, path));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(0, mkfifo(path, 0600));
	snprintf(path, sizeof(path), "%s/directory", dir);
	assert_int_equal(0, mkdir(path, 0700));
	return 0;
}

static int tear_down(void **state)
{
	char path[400];

	(void)state;
	snprintf(path, sizeof(path), "%s/directory", dir);
	rmdir(path);
	t_dir_free(dir);
	return 0;
}

static const struct challenge_case {
	const char *name, *token;
	size_t want;		/* bytes of the answer; 0: there is none */
} cases[] = {
	{ "answered", "Token_-09", 87 },
	{ "as long as it may be", "most", 1024 },
	{ "longer", "more", 0 },
	{ "empty file", "empty", 0 },
	{ "not there", "Token", 0 },
	{ "no name", "", 0 },
	{ "hidden", ".hidden", 0 },
	{ "other characters", "dot.ted", 0 },
	{ "up", "..", 0 },
	{ "path", "../Token_-09", 0 },
	{ "below", "directory/x", 0 },
	{ "symbolic link", "link", 0 },
	{ "FIFO", "fifo", 0 },
	{ "directory", "directory", 0 },
	{ "long", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0 },
};

static void run_case(void **state)
{
	const struct challenge_case *c = *state;
	struct view token = { (const uint8_t *)c->token, strlen(c->token) };
	struct textbuf out = { 0 };

	assert_int_equal(c->want > 0, challenge_answer(&out, dir, token));
	assert_int_equal(c->want, out.len);
	if (c->want)
		assert_int_equal('a' + (c->want - 1) % 26, out.p[c->want - 1]);
	textbuf_done(&out);
}

static void test_nul(void **state)
{
	struct view token = { (const uint8_t *)"most\0", 5 };
	struct textbuf out = { 0 };

	(void)state;
	assert_false(challenge_answer(&out, dir, token));
	token.n = 4;
	assert_false(challenge_answer(&out, "/nonexistent", token));
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(cases) + 1];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		t[i] = (struct CMUnitTest){ cases[i].name, run_case, NULL, NULL, (void *)&cases[i] };
	t[ARRAY_SIZE(cases)] = (struct CMUnitTest)cmocka_unit_test(test_nul);
	return cmocka_run_group_tests_name("challenge", t, set_up, tear_down);
}
