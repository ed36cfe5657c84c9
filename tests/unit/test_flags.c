/* SPDX-License-Identifier: BSD-3-Clause */
/* The syntax of the command line and of values, over a table of our own. */
#include "lib/unit.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/flags.h"
#include "base/util.h"

#define MAX_ARGS	8

struct settings {
	const char *s;
	bool b;
	int i, choice;
	unsigned int u;
	uint16_t port;
	uint64_t d, size;
	double f;
};

static const char *const colours[] = { "red", "green", NULL };
static const char *const no[] = { "false", "0", NULL };

#define ROW(n, t, field, ...)	{ .name = n, .type = t, .offset = offsetof(struct settings, field), .help = "help of " n, __VA_ARGS__ }
static const struct flag table[] = {
	ROW("s", FLAG_STRING, s, .value = "default", .group = "First:"),
	ROW("b", FLAG_BOOL, b),
	ROW("number", FLAG_INT, i, .min = -1, .max = 65535),
	ROW("count", FLAG_UINT, u, .min = 0, .max = 64),
	ROW("port", FLAG_PORT, port, .min = 1, .max = 65535),
	ROW("time", FLAG_DURATION, d),
	ROW("short", FLAG_DURATION, d, .min = 0, .max = 0.001),
	ROW("long", FLAG_DURATION, d, .min = 1, .max = 5400),
	ROW("size", FLAG_SIZE, size, .min = 4096, .max = 1ULL << 40),
	ROW("limit", FLAG_FLOAT, f, .min = 0.5, .max = INFINITY),
	ROW("colour", FLAG_CHOICE, choice, .choices = colours),
	{ .name = "refused", .type = FLAG_REFUSED, .help = "because", .choices = no, .boolean = true },
	{ .name = "refused-text", .type = FLAG_REFUSED, .help = "because", .choices = no },
	{ .name = "ignored", .type = FLAG_REFUSED, .help = "because" },
};
static const struct flag_table all = { "xderpd", table, ARRAY_SIZE(table) };

static int parse(struct settings *s, const char *const *args, char **said)
{
	char *argv[MAX_ARGS + 1] = { (char *)"prog" };
	FILE *f;
	size_t n;
	int argc = 1, r;

	for (; argc <= MAX_ARGS && args[argc - 1]; argc++)
		argv[argc] = (char *)args[argc - 1];
	*said = NULL;
	f = open_memstream(said, &n);
	r = flags_parse(&all, s, argc, argv, NULL, f);
	fclose(f);
	return r;
}

static const struct line_case {
	const char *name;
	const char *args[MAX_ARGS];
	int want;
	const char *says;		/* all of it; ~ stands for the program's name and a colon */
	struct settings settings;
} lines[] = {
	{ "nothing",              { NULL }, 0, "", { 0 } },
	{ "one dash",             { "-s", "v" }, 0, "", { .s = "v" } },
	{ "two dashes",           { "--s", "v" }, 0, "", { .s = "v" } },
	{ "equals sign",          { "-s=v" }, 0, "", { .s = "v" } },
	{ "two, equals sign",     { "--s=v=w" }, 0, "", { .s = "v=w" } },
	{ "empty value",          { "-s=" }, 0, "", { .s = "" } },
	{ "empty argument",       { "-s", "" }, 0, "", { .s = "" } },
	{ "value with a dash",    { "-s", "-b" }, 0, "", { .s = "-b" } },
	{ "value of two dashes",  { "-s", "--" }, 0, "", { .s = "--" } },
	{ "the last one counts",  { "-s=v", "-s=w" }, 0, "", { .s = "w" } },
	{ "boolean",              { "-b" }, 0, "", { .b = true } },
	{ "boolean, then flag",   { "-b", "-s=v" }, 0, "", { .b = true, .s = "v" } },
	{ "boolean off",          { "-b", "-b=false" }, 0, "", { .b = false } },
	{ "end of flags",         { "-b", "--" }, 0, "", { .b = true } },
	{ "help",                 { "-s=v", "-help" }, 1, "", { .s = "v" } },
	{ "help, two dashes",     { "--help" }, 1, "", { 0 } },
	{ "short help",           { "-h" }, 1, "", { 0 } },
	{ "short, two dashes",    { "--h" }, 1, "", { 0 } },
	{ "help as a value",      { "-s", "-help" }, 0, "", { .s = "-help" } },
	{ "help behind --",       { "--", "-help" }, -EINVAL,
	  "~ \"-help\" is left over: all settings are flags (-help lists them)\n", { 0 } },
	{ "no value",             { "-s" }, -EINVAL, "~ -s needs a value\n", { 0 } },
	{ "leftover",             { "x" }, -EINVAL, "~ \"x\" is left over: all settings are flags (-help lists them)\n", { 0 } },
	{ "leftover dash",        { "-" }, -EINVAL, "~ \"-\" is left over: all settings are flags (-help lists them)\n", { 0 } },
	{ "leftover behind value", { "-s", "b", "x" }, -EINVAL,
	  "~ \"x\" is left over: all settings are flags (-help lists them)\n", { .s = "b" } },
	{ "leftover flags",       { "x", "-b" }, -EINVAL,
	  "~ \"x\" is left over: all settings are flags (-help lists them)\n"
	  "~ \"-b\" is left over: all settings are flags (-help lists them)\n", { 0 } },
	{ "boolean, value apart", { "-b", "false" }, -EINVAL,
	  "~ \"false\" is left over: all settings are flags (-help lists them); did you mean -b=false?\n", { .b = true } },
	{ "unknown",              { "-frobnicate" }, -EINVAL, "~ there is no flag -frobnicate (-help lists all)\n", { 0 } },
	{ "unknown, near",        { "--coulor=red" }, -EINVAL,
	  "~ there is no flag -coulor; did you mean -colour? (-help lists all)\n", { 0 } },
	{ "unknown, one letter",  { "-x" }, -EINVAL, "~ there is no flag -x (-help lists all)\n", { 0 } },
	{ "unknown, value apart", { "-frobnicate", "x", "-b" }, -EINVAL,
	  "~ there is no flag -frobnicate (-help lists all)\n", { .b = true } },
	{ "unknown, then flag",   { "-frobnicate", "-b" }, -EINVAL,
	  "~ there is no flag -frobnicate (-help lists all)\n", { .b = true } },
	{ "three dashes",         { "---b" }, -EINVAL, "~ there is no flag --b; did you mean -b? (-help lists all)\n", { 0 } },
	{ "no name",              { "-=x" }, -EINVAL, "~ there is no flag - (-help lists all)\n", { 0 } },
	{ "longer than a flag",   { "-bb" }, -EINVAL, "~ there is no flag -bb; did you mean -b? (-help lists all)\n", { 0 } },
	{ "every fault",          { "-b=x", "-port=0", "-s=v", "-refused" }, -EINVAL,
	  "~ -b: \"x\" is wrong; allowed: true or false\n"
	  "~ -port: \"0\" is wrong; allowed: a port number from 1 to 65535\n"
	  "~ -refused=true is not supported: because\n", { .s = "v" } },
	{ "refused, its default", { "-refused=false", "-refused=0", "-refused-text", "false" }, 0, "", { 0 } },
	{ "refused",              { "-refused-text", "x" }, -EINVAL, "~ -refused-text=x is not supported: because\n", { 0 } },
	{ "ignored",              { "-ignored", "x", "-b" }, 0, "", { .b = true } },
	{ "range of a time",      { "-long=2h" }, -EINVAL,
	  "~ -long: \"2h\" is wrong; allowed: a duration such as 2s, 1m30s or 100ms from 1s to 90m\n", { .d = 0 } },
	{ "range of a short time", { "-short=1s" }, -EINVAL,
	  "~ -short: \"1s\" is wrong; allowed: a duration such as 2s, 1m30s or 100ms from 0 to 1ms\n", { .d = 0 } },
	{ "range of a size",      { "-size=1" }, -EINVAL,
	  "~ -size: \"1\" is wrong; allowed: a size such as 65536, 64KiB or 256MiB from 4KiB to 1024GiB\n", { .size = 0 } },
	{ "range of a number",    { "-number=-2" }, -EINVAL,
	  "~ -number: \"-2\" is wrong; allowed: a whole number from -1 to 65535\n", { 0 } },
	{ "choice",               { "-colour=blue" }, -EINVAL, "~ -colour: \"blue\" is wrong; allowed: one of red, green\n", { 0 } },
	{ "float",                { "-limit=0.1" }, -EINVAL, "~ -limit: \"0.1\" is wrong; allowed: a number or +Inf from 0.5 to inf\n", { 0 } },
};

/* says with ~ written out. */
static char *spell(const char *says)
{
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	for (; *says; says++)
		if (*says == '~')
			fputs("xderpd:", f);
		else
			putc(*says, f);
	fclose(f);
	return text;
}

static void line_case(void **state)
{
	const struct line_case *c = *state;
	struct settings got = { 0 };
	char *said, *want = spell(c->says);

	assert_int_equal(c->want, parse(&got, c->args, &said));
	assert_string_equal(want, said);
	if (c->settings.s)
		assert_string_equal(c->settings.s, got.s);
	else
		assert_null(got.s);
	assert_int_equal(c->settings.b, got.b);
	assert_int_equal(0, got.i);
	assert_int_equal(0, got.port);
	free(said);
	free(want);
}

/* A value of one flag: what is stored, as a double. */
static const struct value_case {
	const char *flag, *value;
	bool ok;
	double want;
} values[] = {
	{ "b", "1", true, 1 }, { "b", "t", true, 1 }, { "b", "T", true, 1 }, { "b", "true", true, 1 },
	{ "b", "TRUE", true, 1 }, { "b", "True", true, 1 }, { "b", "0", true, 0 }, { "b", "f", true, 0 },
	{ "b", "F", true, 0 }, { "b", "false", true, 0 }, { "b", "FALSE", true, 0 }, { "b", "False", true, 0 },
	{ "b", "", false, 0 }, { "b", "yes", false, 0 }, { "b", "tRUE", false, 0 }, { "b", "2", false, 0 },
	{ "number", "80", true, 80 }, { "number", "-1", true, -1 }, { "number", "+5", true, 5 },
	{ "number", "0x50", true, 80 }, { "number", "010", true, 8 }, { "number", "65536", false, 0 },
	{ "number", "", false, 0 }, { "number", " 1", false, 0 }, { "number", "1 ", false, 0 },
	{ "number", "1.0", false, 0 }, { "number", "1e3", false, 0 }, { "number", "0x", false, 0 },
	{ "number", "09", false, 0 }, { "number", "99999999999999999999", false, 0 }, { "number", "\v1", false, 0 },
	{ "count", "64", true, 64 }, { "count", "65", false, 0 }, { "count", "-1", false, 0 },
	{ "port", "65535", true, 65535 }, { "port", "0", false, 0 }, { "port", "http", false, 0 },
	{ "time", "0", true, 0 }, { "time", "+0", true, 0 }, { "time", "0s", true, 0 }, { "time", "1ns", true, 1 },
	{ "time", "1us", true, 1e3 }, { "time", "1\xc2\xb5s", true, 1e3 }, { "time", "1\xce\xbcs", true, 1e3 },
	{ "time", "100ms", true, 1e8 }, { "time", "15s", true, 15e9 }, { "time", "10m", true, 600e9 },
	{ "time", "1h2m3.5s", true, 3723.5e9 }, { "time", "+1.5h", true, 5400e9 }, { "time", ".5s", true, 5e8 },
	{ "time", "1.s", true, 1e9 }, { "time", "1s1s", true, 2e9 }, { "time", "0.3s", true, 3e8 },
	{ "time", "200000h", true, 7.2e17 }, { "time", "3000000h", false, 0 }, { "time", "", false, 0 },
	{ "time", "+", false, 0 }, { "time", "1", false, 0 }, { "time", "-1s", false, 0 }, { "time", "1 s", false, 0 },
	{ "time", " 1s", false, 0 }, { "time", "s", false, 0 }, { "time", ".s", false, 0 }, { "time", "1d", false, 0 },
	{ "time", "1S", false, 0 }, { "time", "1e3s", false, 0 }, { "time", "0x1s", false, 0 }, { "time", "infs", false, 0 },
	{ "time", "1s2", false, 0 }, { "time", "1..5s", false, 0 }, { "time", "1s-1s", false, 0 }, { "time", "1sm", false, 0 },
	{ "size", "4096", true, 4096 }, { "size", "4096B", true, 4096 }, { "size", "64KiB", true, 65536 },
	{ "size", "64K", true, 65536 }, { "size", "1.5MiB", true, 1572864 }, { "size", "256M", true, 268435456 },
	{ "size", "2GiB", true, 2147483648.0 }, { "size", "1024G", true, 1099511627776.0 }, { "size", "1025G", false, 0 },
	{ "size", "4095", false, 0 }, { "size", "", false, 0 }, { "size", "-4096", false, 0 }, { "size", "64KB", false, 0 },
	{ "size", "64 KiB", false, 0 }, { "size", "1e6", false, 0 }, { "size", "0x1000", false, 0 }, { "size", "inf", false, 0 },
	{ "size", "99999999999999999999999999999999GiB", false, 0 },
	{ "limit", "1", true, 1 }, { "limit", "0.5", true, 0.5 }, { "limit", "1e3", true, 1000 },
	{ "limit", "+Inf", true, INFINITY }, { "limit", "inf", true, INFINITY }, { "limit", "-Inf", false, 0 },
	{ "limit", "NaN", false, 0 }, { "limit", "", false, 0 }, { "limit", " 1", false, 0 }, { "limit", "1x", false, 0 },
	{ "colour", "red", true, 0 }, { "colour", "green", true, 1 }, { "colour", "", false, 0 }, { "colour", "Red", false, 0 },
};

static double stored(const struct flag *f, const struct settings *s)
{
	switch (f->type) {
	case FLAG_BOOL:
		return s->b;
	case FLAG_INT:
		return s->i;
	case FLAG_UINT:
		return s->u;
	case FLAG_PORT:
		return s->port;
	case FLAG_DURATION:
		return (double)s->d;
	case FLAG_SIZE:
		return (double)s->size;
	case FLAG_CHOICE:
		return s->choice;
	default:
		return s->f;
	}
}

static void value_case(void **state)
{
	const struct value_case *c = *state;
	struct settings s = { .choice = 9, .b = c->ok && !c->want };
	const struct flag *f = table;
	char *said, *block = strdup(c->value);
	size_t n;
	FILE *err = open_memstream(&said, &n);

	while (strcmp(f->name, c->flag))
		f++;
	assert_int_equal(c->ok ? 0 : -EINVAL, flags_set(f, &s, "xderpd", "name", block, err));
	fclose(err);
	assert_int_equal(c->ok, !*said);
	if (c->ok)
		assert_true(stored(f, &s) == c->want);
	else
		assert_non_null(strstr(said, "xderpd: name: \""));
	free(said);
	for (size_t cut = 0; cut < strlen(c->value); cut++) {
		char *prefix = strndup(c->value, cut);

		err = open_memstream(&said, &n);
		flags_set(f, &s, "xderpd", "name", prefix, err);
		fclose(err);
		free(said);
		free(prefix);
	}
	free(block);
}

static void help(void **state)
{
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	(void)state;
	flags_help(&all, f);
	fclose(f);
	assert_non_null(strstr(text, "\nFirst:\n  -s [default]\n      help of s\n"));
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		assert_non_null(strstr(text, table[i].help));
	assert_non_null(strstr(text, "-colour (red, green)\n"));
	free(text);
}

/* What is printed is read as the same value. */
static void print_and_parse(void **state)
{
	static const struct { const char *name, *value, *want; } rows[] = {
		{ "s", "x y", "x y" }, { "b", "T", "true" }, { "b", "F", "false" }, { "number", "-1", "-1" }, { "count", "0x10", "16" },
		{ "port", "65535", "65535" }, { "time", "0", "0" }, { "time", "90m", "90m" }, { "time", "2h", "2h" },
		{ "time", "1m30s", "90s" }, { "time", "1.5ms", "1500us" }, { "time", "7ns", "7ns" }, { "size", "65536", "64KiB" },
		{ "size", "4097", "4097" }, { "size", "3G", "3GiB" }, { "limit", "+Inf", "+Inf" }, { "limit", "0.75", "0.75" },
		{ "limit", "5", "5" }, { "colour", "green", "green" }, { "refused", "0", "" },
	};
	struct settings a = { 0 }, b = { 0 };
	char *text;
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct flag *f = flags_find(&all, rows[i].name, strlen(rows[i].name));
		FILE *out = open_memstream(&text, &n);

		assert_int_equal(0, flags_set(f, &a, "", f->name, rows[i].value, stderr));
		flags_print(f, &a, out);
		fclose(out);
		assert_string_equal(rows[i].want, text);
		if (f->type != FLAG_REFUSED)
			assert_int_equal(0, flags_set(f, &b, "", f->name, text, stderr));
		assert_true(flags_equal(f, &a, &b));
		if (f->type == FLAG_STRING)
			b.s = a.s;
		free(text);
	}
}

static void equal_or_not(void **state)
{
	struct settings a = { .s = "x", .u = 1 }, b = { .s = NULL, .u = 2 };

	(void)state;
	assert_false(flags_equal(&table[0], &a, &b));
	assert_false(flags_equal(flags_find(&all, "count", 5), &a, &b));
	assert_true(flags_equal(flags_find(&all, "port", 4), &a, &b));
	assert_true(flags_equal(flags_find(&all, "refused", 7), &a, &b));
	a.s = NULL;
	assert_true(flags_equal(&table[0], &a, &b));
}

int main(void)
{
	static struct CMUnitTest t[ARRAY_SIZE(lines) + ARRAY_SIZE(values) + 3];
	static char names[ARRAY_SIZE(values)][64];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		t[n++] = (struct CMUnitTest){ lines[i].name, line_case, NULL, NULL, (void *)&lines[i] };
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		snprintf(names[i], sizeof(names[i]), "-%s=%s", values[i].flag, values[i].value);
		t[n++] = (struct CMUnitTest){ names[i], value_case, NULL, NULL, (void *)&values[i] };
	}
	t[n++] = (struct CMUnitTest)cmocka_unit_test(help);
	t[n++] = (struct CMUnitTest)cmocka_unit_test(print_and_parse);
	t[n++] = (struct CMUnitTest)cmocka_unit_test(equal_or_not);
	return cmocka_run_group_tests(t, NULL, NULL);
}
