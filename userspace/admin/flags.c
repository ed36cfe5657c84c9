/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/flags.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

	errno = 0;
	*ret = strtod(v, &end);
	return !*v || *end || strchr(" \t\n", *v) || isnan(*ret) ? -EINVAL : 0;
}

static int parse_whole(double *ret, const char *v)
{
	return parse_number(ret, v) || *ret != floor(*ret) || isinf(*ret) || strpbrk(v, ".eExX") ? -EINVAL : 0;
}

/* A sum of numbers with units, as Go's time.ParseDuration; "0" needs none. Negative ones mean nothing here. */
static int parse_duration(uint64_t *ret, const char *v)
{
	static const struct { const char *unit; double ns; } units[] = {
		{ "ns", 1 }, { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 }, { "m", 60e9 }, { "h", 3600e9 },
	};
	double sum = 0, x;
	char *end;
	size_t n, i;

	if (!strcmp(v, "0")) {
		*ret = 0;
		return 0;
	}
	if (!*v)
		return -EINVAL;
	for (; *v; v = end + n) {
		if (!strchr("0123456789.", *v))
			return -EINVAL;
		x = strtod(v, &end);
		n = strspn(end, "nusmh");
		for (i = 0; i < ARRAY_SIZE(units); i++)
			if (strlen(units[i].unit) == n && !memcmp(units[i].unit, end, n))
				break;
		if (end == v || i == ARRAY_SIZE(units))
			return -EINVAL;
		sum += x * units[i].ns;
	}
	if (sum > 9e18)
		return -EINVAL;
	*ret = (uint64_t)sum;
	return 0;
}

static int parse_size(uint64_t *ret, const char *v)
{
	static const struct { const char *unit; double bytes; } units[] = {
		{ "", 1 }, { "B", 1 }, { "KiB", 1024 }, { "K", 1024 }, { "MiB", 1048576 }, { "M", 1048576 },
		{ "GiB", 1073741824 }, { "G", 1073741824 },
	};
	char *end;
	double x;

	if (*v < '0' || *v > '9')
		return -EINVAL;
	x = strtod(v, &end);
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (!strcmp(end, units[i].unit)) {
			*ret = (uint64_t)(x * units[i].bytes);
			return 0;
		}
	}
	return -EINVAL;
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
		err = parse_size(p, v);
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
	if (f->min != 0 || f->max != 0)
		fprintf(err, " from %.10g to %.10g%s", f->min, f->max, f->type == FLAG_DURATION ? " seconds" : "");
}

int flags_set(const struct flag *f, void *settings, const char *name, const char *value, FILE *err)
{
	if (f->type == FLAG_REFUSED) {
		for (int i = 0; f->choices && f->choices[i]; i++)
			if (!strcmp(value, f->choices[i]))
				return 0;
		fprintf(err, "xderpd: %s=%s is not supported: %s\n", name, value, f->help);
		return -EINVAL;
	}
	if (!store(f, settings, value))
		return 0;
	fprintf(err, "xderpd: %s: \"%s\" is wrong; allowed: ", name, value);
	put_allowed(f, err);
	fprintf(err, "\n");
	return -EINVAL;
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

static void unknown(const struct flag *table, size_t n, const char *name, size_t len, FILE *err)
{
	unsigned int best = 4, d;
	const char *nearest = NULL;

	for (size_t i = 0; i < n; i++) {
		d = distance(name, len, table[i].name);
		if (d < best) {
			best = d;
			nearest = table[i].name;
		}
	}
	fprintf(err, "xderpd: there is no flag -%.*s", (int)len, name);
	if (nearest)
		fprintf(err, "; did you mean -%s?", nearest);
	fprintf(err, " (-help lists all)\n");
}

static bool is_boolean(const struct flag *f)
{
	return f->type == FLAG_BOOL || (f->type == FLAG_REFUSED && f->boolean);
}

/* One flag at argv[*i]; moves *i past its value. */
static int parse_one(const struct flag *table, size_t n, void *settings, int argc, char **argv, int *i, bool *seen,
		     FILE *err)
{
	const char *arg = argv[*i] + 1, *eq, *value;
	char name[80];
	size_t len, f;

	arg += *arg == '-';
	eq = strchr(arg, '=');
	len = eq ? (size_t)(eq - arg) : strlen(arg);
	for (f = 0; f < n; f++)
		if (strlen(table[f].name) == len && !memcmp(table[f].name, arg, len))
			break;
	if (f == n) {
		unknown(table, n, arg, len, err);
		return -EINVAL;
	}
	snprintf(name, sizeof(name), "-%s", table[f].name);
	if (eq) {
		value = eq + 1;
	} else if (is_boolean(&table[f])) {
		value = "true";
	} else if (*i + 1 < argc) {
		value = argv[++*i];
	} else {
		fprintf(err, "xderpd: %s needs a value\n", name);
		return -EINVAL;
	}
	seen[f] = true;
	return flags_set(&table[f], settings, name, value, err);
}

int flags_parse(const struct flag *table, size_t n, void *settings, int argc, char **argv, bool *seen, FILE *err)
{
	int bad = 0, i;

	for (i = 1; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
		if (!strcmp(argv[i], "--")) {
			i++;
			break;
		}
		if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "-help") || !strcmp(argv[i], "--help"))
			return 1;
		if (parse_one(table, n, settings, argc, argv, &i, seen, err))
			bad = -EINVAL;
	}
	for (; i < argc; i++) {
		fprintf(err, "xderpd: \"%s\" is left over: all settings are flags (-help lists them)\n", argv[i]);
		bad = -EINVAL;
	}
	return bad;
}

void flags_help(const struct flag *table, size_t n, FILE *out)
{
	for (size_t i = 0; i < n; i++) {
		const struct flag *f = &table[i];

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
