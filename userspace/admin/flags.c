/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/flags.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "base/util.h"

static int parse_bool(bool *ret, const char *v)
{
	static const char *const yes[] = { "1", "t", "T", "true", "TRUE", "True" };
	static const char *const no[] = { "0", "f", "F", "false", "FALSE", "False" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (!strcmp(v, yes[i]) || !strcmp(v, no[i])) {
			*ret = !strcmp(v, yes[i]);
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_number(double *ret, const char *v)
{
	char *end;

	*ret = strtod(v, &end);
	return end == v || *end || strchr(" \t\n\v\f\r", *v) || isnan(*ret) ? -EINVAL : 0;
}

/* As Go reads whole numbers: 0x and 0 in front change the base. */
static int parse_whole(double *ret, const char *v)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(v, &end, 0);
	*ret = (double)n;
	return end == v || *end || errno || strchr(" \t\n\v\f\r", *v) ? -EINVAL : 0;
}

/* A sum of numbers with units, as Go's time.ParseDuration; "0" needs none. Negative ones mean nothing here. */
static int parse_duration(uint64_t *ret, const char *v)
{
	static const struct { const char *unit; double ns; } units[] = {
		{ "ns", 1 }, { "us", 1e3 }, { "\xc2\xb5s", 1e3 }, { "\xce\xbcs", 1e3 }, { "ms", 1e6 }, { "s", 1e9 },
		{ "m", 60e9 }, { "h", 3600e9 },
	};
	double sum = 0, x;
	size_t n, i;

	v += *v == '+';
	if (!strcmp(v, "0")) {
		*ret = 0;
		return 0;
	}
	if (!*v)
		return -EINVAL;
	for (; *v; v += n) {
		n = units_decimal(&x, v);
		if (!n)
			return -EINVAL;
		v += n;
		n = strcspn(v, "0123456789.");
		for (i = 0; i < ARRAY_SIZE(units); i++)
			if (strlen(units[i].unit) == n && !memcmp(units[i].unit, v, n))
				break;
		if (i == ARRAY_SIZE(units))
			return -EINVAL;
		sum += x * units[i].ns;
	}
	if (sum > 9.2e18)		/* Go's limit, 292 years */
		return -EINVAL;
	*ret = (uint64_t)(sum + 0.5);
	return 0;
}

static int parse_choice(int *ret, const struct flag *f, const char *v)
{
	for (int i = 0; f->choices[i]; i++) {
		if (!strcmp(v, f->choices[i])) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

static bool in_range(const struct flag *f, double v)
{
	return (f->min == 0 && f->max == 0) || (v >= f->min && v <= f->max);
}

static int store(const struct flag *f, void *settings, const char *v)
{
	void *p = (char *)settings + f->offset;
	double x = 0;
	int err;

	switch (f->type) {
	case FLAG_STRING:
		*(const char **)p = v;
		return 0;
	case FLAG_BOOL:
		return parse_bool(p, v);
	case FLAG_CHOICE:
		return parse_choice(p, f, v);
	case FLAG_DURATION:
		err = parse_duration(p, v);
		return err ? err : in_range(f, (double)*(uint64_t *)p / 1e9) ? 0 : -ERANGE;
	case FLAG_SIZE:
		err = units_size(p, v);
		return err ? err : in_range(f, (double)*(uint64_t *)p) ? 0 : -ERANGE;
	case FLAG_FLOAT:
		err = parse_number(&x, v);
		break;
	default:
		err = parse_whole(&x, v);
		break;
	}
	if (err || !in_range(f, x))
		return err ? err : -ERANGE;
	if (f->type == FLAG_FLOAT)
		*(double *)p = x;
	else if (f->type == FLAG_INT)
		*(int *)p = (int)x;
	else if (f->type == FLAG_UINT)
		*(unsigned int *)p = (unsigned int)x;
	else
		*(uint16_t *)p = (uint16_t)x;
	return 0;
}

static void put_choices(const struct flag *f, FILE *out)
{
	for (int i = 0; f->choices[i]; i++)
		fprintf(out, "%s%s", i ? ", " : "", f->choices[i]);
}

/* A limit the way one would type it. */
static void put_limit(enum flag_type type, double v, FILE *out)
{
	static const struct { enum flag_type type; double of; const char *name; } units[] = {
		{ FLAG_DURATION, 3600, "h" }, { FLAG_DURATION, 60, "m" }, { FLAG_DURATION, 1, "s" },
		{ FLAG_DURATION, 1e-3, "ms" }, { FLAG_SIZE, 1073741824, "GiB" }, { FLAG_SIZE, 1048576, "MiB" },
		{ FLAG_SIZE, 1024, "KiB" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		double n = v / units[i].of;

		if (units[i].type == type && n >= 1 && n == floor(n)) {
			fprintf(out, "%.0f%s", n, units[i].name);
			return;
		}
	}
	fprintf(out, "%.10g", v);
}

/* What would have been right. */
static void put_allowed(const struct flag *f, FILE *err)
{
	static const char *const kinds[] = {
		[FLAG_BOOL] = "true or false", [FLAG_INT] = "a whole number", [FLAG_UINT] = "a whole number",
		[FLAG_PORT] = "a port number", [FLAG_DURATION] = "a duration such as 2s, 1m30s or 100ms",
		[FLAG_SIZE] = "a size such as 65536, 64KiB or 256MiB", [FLAG_FLOAT] = "a number or +Inf",
	};

	if (f->type == FLAG_CHOICE) {
		fprintf(err, "one of ");
		put_choices(f, err);
	} else {
		fprintf(err, "%s", kinds[f->type]);
	}
	if (f->min != 0 || f->max != 0) {
		fprintf(err, " from ");
		put_limit(f->type, f->min, err);
		fprintf(err, " to ");
		put_limit(f->type, f->max, err);
	}
}

int flags_set(const struct flag *f, void *settings, const char *where, const char *name, const char *value, FILE *err)
{
	if (f->type == FLAG_REFUSED) {
		if (!f->choices)
			return 0;
		for (int i = 0; f->choices[i]; i++)
			if (!strcmp(value, f->choices[i]))
				return 0;
		fprintf(err, "%s: %s=%s is not supported: %s\n", where, name, value, f->help);
		return -EINVAL;
	}
	if (!store(f, settings, value))
		return 0;
	fprintf(err, "%s: %s: \"%s\" is wrong; allowed: ", where, name, value);
	put_allowed(f, err);
	fprintf(err, "\n");
	return -EINVAL;
}

/* In the largest unit of which it is a whole number. */
static void print_units(enum flag_type type, uint64_t v, FILE *out)
{
	static const struct { enum flag_type type; uint64_t of; const char *name; } units[] = {
		{ FLAG_DURATION, 3600000000000, "h" }, { FLAG_DURATION, 60000000000, "m" }, { FLAG_DURATION, 1000000000, "s" },
		{ FLAG_DURATION, 1000000, "ms" }, { FLAG_DURATION, 1000, "us" }, { FLAG_DURATION, 1, "ns" },
		{ FLAG_SIZE, 1073741824, "GiB" }, { FLAG_SIZE, 1048576, "MiB" }, { FLAG_SIZE, 1024, "KiB" }, { FLAG_SIZE, 1, "" },
	};

	for (size_t i = 0; v && i < ARRAY_SIZE(units); i++) {
		if (units[i].type == type && v % units[i].of == 0) {
			fprintf(out, "%" PRIu64 "%s", v / units[i].of, units[i].name);
			return;
		}
	}
	fprintf(out, "0");
}

void flags_print(const struct flag *f, const void *settings, FILE *out)
{
	const void *p = (const char *)settings + f->offset;

	switch (f->type) {
	case FLAG_STRING:
		fprintf(out, "%s", *(const char *const *)p ? *(const char *const *)p : "");
		break;
	case FLAG_BOOL:
		fprintf(out, "%s", *(const bool *)p ? "true" : "false");
		break;
	case FLAG_INT:
		fprintf(out, "%d", *(const int *)p);
		break;
	case FLAG_UINT:
		fprintf(out, "%u", *(const unsigned int *)p);
		break;
	case FLAG_PORT:
		fprintf(out, "%u", *(const uint16_t *)p);
		break;
	case FLAG_DURATION:
	case FLAG_SIZE:
		print_units(f->type, *(const uint64_t *)p, out);
		break;
	case FLAG_FLOAT:
		fprintf(out, isinf(*(const double *)p) ? "+Inf" : "%.17g", *(const double *)p);
		break;
	case FLAG_CHOICE:
		fprintf(out, "%s", f->choices[*(const int *)p]);
		break;
	case FLAG_REFUSED:
		break;
	}
}

bool flags_equal(const struct flag *f, const void *a, const void *b)
{
	static const size_t size[] = {
		[FLAG_BOOL] = sizeof(bool), [FLAG_INT] = sizeof(int), [FLAG_UINT] = sizeof(unsigned int),
		[FLAG_PORT] = sizeof(uint16_t), [FLAG_DURATION] = sizeof(uint64_t), [FLAG_SIZE] = sizeof(uint64_t),
		[FLAG_FLOAT] = sizeof(double), [FLAG_CHOICE] = sizeof(int),
	};
	const void *x = (const char *)a + f->offset, *y = (const char *)b + f->offset;
	const char *s, *t;

	if (f->type == FLAG_REFUSED)
		return true;
	if (f->type != FLAG_STRING)
		return !memcmp(x, y, size[f->type]);
	s = *(const char *const *)x;
	t = *(const char *const *)y;
	return s && t ? !strcmp(s, t) : s == t;
}

static unsigned int distance(const char *a, size_t n, const char *b)
{
	unsigned int row[64], diag, up;
	size_t m = strlen(b);

	if (m >= ARRAY_SIZE(row))
		return 99;
	for (size_t j = 0; j <= m; j++)
		row[j] = (unsigned int)j;
	for (size_t i = 1; i <= n; i++) {
		diag = row[0];
		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= m; j++) {
			up = row[j];
			row[j] = min_of(min_of(row[j], row[j - 1]) + 1, diag + (a[i - 1] != b[j - 1]));
			diag = up;
		}
	}
	return row[m];
}

const struct flag *flags_nearest(const struct flag_table *t, const char *name, size_t len)
{
	unsigned int best = 4, d;
	const struct flag *nearest = NULL;

	for (size_t i = 0; i < t->n; i++) {
		d = distance(name, len, t->flags[i].name);
		if (d < best && 2 * d <= len) {		/* half of it typed right at least */
			best = d;
			nearest = &t->flags[i];
		}
	}
	return nearest;
}

const struct flag *flags_find(const struct flag_table *t, const char *name, size_t len)
{
	for (size_t i = 0; i < t->n; i++)
		if (strlen(t->flags[i].name) == len && !memcmp(t->flags[i].name, name, len))
			return &t->flags[i];
	return NULL;
}

/* A command line under way. */
struct parse {
	const struct flag_table *t;
	void *settings;
	int argc, i;		/* i: the argument looked at */
	char **argv;
	FILE *err;
};

static void unknown(const struct parse *p, const char *name, size_t len)
{
	const struct flag *nearest = flags_nearest(p->t, name, len);

	fprintf(p->err, "%s: there is no flag -%.*s", p->t->program, (int)len, name);
	if (nearest)
		fprintf(p->err, "; did you mean -%s?", nearest->name);
	fprintf(p->err, " (-help lists all)\n");
}

static bool is_boolean(const struct flag *f)
{
	return f->type == FLAG_BOOL || (f->type == FLAG_REFUSED && f->boolean);
}

/* "-x" or "--x" without its dashes. */
static const char *bare(const char *arg)
{
	return arg + (arg[1] == '-' ? 2 : 1);
}

/* The flag at argv[i]; moves i to its value, if that is an argument of its own. */
static int parse_one(struct parse *p)
{
	const char *arg = bare(p->argv[p->i]), *eq = strchr(arg, '='), *value;
	size_t len = eq ? (size_t)(eq - arg) : strlen(arg);
	const struct flag *f = flags_find(p->t, arg, len);
	bool more = p->i + 1 < p->argc;
	char name[80];

	if (!f) {
		unknown(p, arg, len);
		/* What follows looks like its value: go on behind it, to say what else is wrong. */
		p->i += !eq && more && p->argv[p->i + 1][0] != '-';
		return -EINVAL;
	}
	snprintf(name, sizeof(name), "-%s", f->name);
	if (eq) {
		value = eq + 1;
	} else if (is_boolean(f)) {
		value = "true";
	} else if (more) {
		value = p->argv[++p->i];
	} else {
		fprintf(p->err, "%s: %s needs a value\n", p->t->program, name);
		return -EINVAL;
	}
	return flags_set(f, p->settings, p->t->program, name, value, p->err);
}

/* Arguments that are no flags. last: the last one that was, NULL if there was none. */
static int refuse_leftovers(struct parse *p, const char *last)
{
	const struct flag *f = last ? flags_find(p->t, bare(last), strlen(bare(last))) : NULL;
	int bad = 0;

	for (; p->i < p->argc; p->i++, f = NULL) {
		fprintf(p->err, "%s: \"%s\" is left over: all settings are flags (-help lists them)", p->t->program,
			p->argv[p->i]);
		if (f && is_boolean(f))
			fprintf(p->err, "; did you mean -%s=%s?", f->name, p->argv[p->i]);
		fprintf(p->err, "\n");
		bad = -EINVAL;
	}
	return bad;
}

int flags_parse(const struct flag_table *t, void *settings, int argc, char **argv, int *rest, FILE *err)
{
	struct parse p = { .t = t, .settings = settings, .argc = argc, .i = 1, .argv = argv, .err = err };
	const char *last = NULL;
	int bad = 0;

	for (; p.i < argc && argv[p.i][0] == '-' && argv[p.i][1]; p.i++) {
		last = argv[p.i];
		if (!strcmp(last, "--")) {
			p.i++;
			break;
		}
		if (!strcmp(bare(last), "h") || !strcmp(bare(last), "help"))
			return 1;
		if (parse_one(&p))
			bad = -EINVAL;
	}
	if (rest)
		*rest = p.i;
	else if (refuse_leftovers(&p, last))
		bad = -EINVAL;
	return bad;
}

void flags_help(const struct flag_table *t, FILE *out)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct flag *f = &t->flags[i];

		if (f->group)
			fprintf(out, "\n%s\n", f->group);
		fprintf(out, "  -%s", f->name);
		if (f->type == FLAG_CHOICE) {
			fprintf(out, " (");
			put_choices(f, out);
			fprintf(out, ")");
		}
		if (f->type != FLAG_REFUSED && f->value && *f->value)
			fprintf(out, " [%s]", f->value);
		fprintf(out, "\n      %s\n", f->help);
	}
}
