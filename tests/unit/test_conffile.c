/* SPDX-License-Identifier: BSD-3-Clause */
/* Configuration files: what they set, and what is said of wrong ones. */
#include "lib/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/conffile.h"
#include "base/util.h"

struct settings {
	const char *s, *hostname;
	int n;
	bool b, cli;
};

static const char *const no[] = { "false", NULL };
static const struct flag flags[] = {
	{ "s", FLAG_STRING, offsetof(struct settings, s) },
	{ "hostname", FLAG_STRING, offsetof(struct settings, hostname) },
	{ "n", FLAG_INT, offsetof(struct settings, n), .min = 1, .max = 9 },
	{ "b", FLAG_BOOL, offsetof(struct settings, b) },
	{ "clionly", FLAG_BOOL, offsetof(struct settings, cli), .cli_only = true },
	{ "refused", FLAG_REFUSED, .help = "because", .choices = no },
};
static const struct flag_table table = { "prog", flags, ARRAY_SIZE(flags) };

static char path[] = "/tmp/conf-XXXXXX";

static int load(struct conffile **f, struct settings *s, const char *text, size_t n, char **said)
{
	FILE *err, *out = fopen(path, "w");
	size_t len;
	int r;

	assert_non_null(out);
	assert_int_equal(n, fwrite(text, 1, n, out));
	fclose(out);
	*said = NULL;
	err = open_memstream(said, &len);
	*s = (struct settings){ .s = "default", .hostname = "default" };
	*f = NULL;
	r = conffile_load(f, &table, s, NULL, path, err);
	fclose(err);
	return r;
}

static const struct good {
	const char *name, *text, *s;
	int n;
	bool b;
} goods[] = {
	{ "empty", "", "default" },
	{ "without headings", "s = x\nn=3\nb =true\n", "x", 3, true },
	{ "colon", "s: x", "x" },
	{ "headings", "[one]\ns = x\n[two words]\nn = 3", "x", 3 },
	{ "comments", "; c\n# n = 2\n  # indented\ns = x ; behind\n", "x" },
	{ "a hash is no comment behind a value", "s = x # y", "x # y" },
	{ "a semicolon without space neither", "s = x;y", "x;y" },
	{ "empty value", "s =\n", "" },
	{ "byte order mark", "\xef\xbb\xbfs = x\n", "x" },
	{ "carriage returns", "s = x\r\nn = 3\r\n", "x", 3 },
	{ "continued", "s = a,\n  b,\n\tc\nn = 3", "a,b,c", 3 },
	{ "continued over a comment", "s = a,\n; not b\n  c\n", "a,c" },
	{ "indented behind a heading", "s = x\n[h]\n  n = 3\n", "x", 3 },
	{ "refused one with its default", "refused = false\n", "default" },
	{ "equals signs in values", "s = a=b\n", "a=b" },
};

static void good(void **state)
{
	const struct good *c = *state;
	struct settings s;
	struct conffile *f;
	char *said;

	assert_int_equal(0, load(&f, &s, c->text, strlen(c->text), &said));
	assert_string_equal("", said);
	assert_string_equal(c->s, s.s);
	assert_int_equal(c->n, s.n);
	assert_int_equal(c->b, s.b);
	conffile_free(f);
	free(said);
	/* Every beginning of it ends well or with a word, and reads no byte too far. */
	for (size_t n = 0; n < strlen(c->text); n++) {
		int r = load(&f, &s, c->text, n, &said);

		assert_true(r == 0 || (r == -EINVAL && strstr(said, path)));
		conffile_free(f);
		free(said);
	}
}

static const struct bad {
	const char *name, *text, *says[3];
} bads[] = {
	{ "misspelt", "\nhostnme = x\n", { ":2: there is no setting \"hostnme\"; did you mean hostname?" } },
	{ "nothing like it", "frobnicate = x\n", { ":1: there is no setting \"frobnicate\"\n" } },
	{ "dashes", "--hostname = x\n", { "did you mean hostname?" } },
	{ "value", "n = 99\n", { ":1: n: \"99\" is wrong; allowed: a whole number from 1 to 9" } },
	{ "boolean", "b = maybe\n", { ":1: b: \"maybe\" is wrong; allowed: true or false" } },
	{ "twice", "s = x\nn = 3\ns = y\n", { ":3: s is set already, in line 1" } },
	{ "twice under headings", "[a]\nn = 1\n[b]\nn = 1\n", { ":4: n is set already, in line 2" } },
	{ "quotes", "s = \"x y\"\n", { ":1: s: values stand without quotes; write s = x y" } },
	{ "command line only", "clionly = true\n", { ":1: clionly is for the command line only" } },
	{ "nearest is for the command line only", "clionyl = true\n", { "no setting \"clionyl\"\n" } },
	{ "refused", "refused = true\n", { ":1: refused=true is not supported: because" } },
	{ "no equals sign", "s = x\nhostname\n", { ":2: neither \"name = value\" nor a heading" } },
	{ "open bracket", "[s\n", { ":1: neither" } },
	{ "no name", "= x\n", { ":1: there is no setting \"\"" } },
	{ "indented setting", "s = x\n  n = 3\n", { ":2: white space in front makes this a continuation of line 1; remove it to set n" } },
	{ "all of them", "n = 99\nhostnme = x\nb = 2\n", { ":1: n:", ":2: there", ":3: b:" } },
};

static void bad(void **state)
{
	const struct bad *c = *state;
	struct settings s;
	struct conffile *f;
	char *said;

	assert_int_equal(-EINVAL, load(&f, &s, c->text, strlen(c->text), &said));
	for (size_t i = 0; i < ARRAY_SIZE(c->says) && c->says[i]; i++)
		if (!strstr(said, c->says[i]))
			fail_msg("said: %s", said);
	conffile_free(f);
	free(said);
}

static void longest_line(void **state)
{
	char text[256], *said;
	struct settings s;
	struct conffile *f;

	(void)state;
	for (int n = 198; n <= 199; n++) {
		snprintf(text, sizeof(text), "s = %0*d\nn = 3\n", n - 4, 1);
		assert_int_equal(n == 198 ? 0 : -EINVAL, load(&f, &s, text, strlen(text), &said));
		assert_int_equal(3, s.n);
		if (n == 198)
			assert_int_equal(194, strlen(s.s));
		else
			assert_non_null(strstr(said, ":1: a line may have at most 198 bytes"));
		conffile_free(f);
		free(said);
	}
}

static void zero_byte(void **state)
{
	static const char text[] = "n = 3\ns = a\0b\n";
	struct settings s;
	struct conffile *f;
	char *said;

	(void)state;
	assert_int_equal(-EINVAL, load(&f, &s, text, sizeof(text) - 1, &said));
	assert_non_null(strstr(said, ":2: a zero byte"));
	conffile_free(f);
	free(said);
}

/* Directories, pipes nobody writes to, what is not there: a word, and no waiting. */
static void no_file(void **state)
{
	struct conffile *f = NULL;
	struct settings s;
	char *said, fifo[sizeof(path) + 5];
	FILE *err;
	size_t n;

	(void)state;
	snprintf(fifo, sizeof(fifo), "%s.pipe", path);
	assert_int_equal(0, mkfifo(fifo, 0600));
	err = open_memstream(&said, &n);
	assert_int_equal(-ENOTSUP, conffile_load(&f, &table, &s, NULL, fifo, err));
	conffile_free(f);
	assert_int_equal(-ENOTSUP, conffile_load(&f, &table, &s, NULL, "/", err));
	conffile_free(f);
	assert_int_equal(-ENOENT, conffile_load(&f, &table, &s, NULL, "/nonexistent", err));
	conffile_free(f);
	fclose(err);
	assert_non_null(strstr(said, "prog: /nonexistent: can't read the configuration: No such file"));
	assert_non_null(strstr(said, "must be a file of at most 1048576 bytes"));
	free(said);
	unlink(fifo);
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(goods) + ARRAY_SIZE(bads) + 3];
	size_t n = 0;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(goods); i++)
		t[n++] = (struct CMUnitTest){ goods[i].name, good, NULL, NULL, (void *)&goods[i] };
	for (size_t i = 0; i < ARRAY_SIZE(bads); i++)
		t[n++] = (struct CMUnitTest){ bads[i].name, bad, NULL, NULL, (void *)&bads[i] };
	t[n++] = (struct CMUnitTest)cmocka_unit_test(longest_line);
	t[n++] = (struct CMUnitTest)cmocka_unit_test(zero_byte);
	t[n++] = (struct CMUnitTest)cmocka_unit_test(no_file);
	close(mkstemp(path));
	r = cmocka_run_group_tests(t, NULL, NULL);
	unlink(path);
	return r;
}
