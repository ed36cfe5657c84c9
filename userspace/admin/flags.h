/* SPDX-License-Identifier: BSD-3-Clause */
/* Go-style command-line flags from a table: -x v, -x=v, --x; booleans need the equals sign. */
#ifndef XDERP_FLAGS_H
#define XDERP_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum flag_type {
	FLAG_STRING,	/* const char * */
	FLAG_BOOL,	/* bool */
	FLAG_INT,	/* int */
	FLAG_UINT,	/* unsigned int */
	FLAG_PORT,	/* uint16_t */
	FLAG_DURATION,	/* uint64_t, nanoseconds; Go syntax: 1h2m3.5s, 100ms, 0 */
	FLAG_SIZE,	/* uint64_t, bytes; 64KiB, 256MiB, plain numbers */
	FLAG_FLOAT,	/* double, +Inf included */
	FLAG_CHOICE,	/* int (an enum): index into choices */
	FLAG_REFUSED,	/* known, not supported: accepted only with one of the values in choices; with any if that is NULL */
};

struct flag {
	const char *name;
	enum flag_type type;
	size_t offset;			/* in the settings struct; not for FLAG_REFUSED */
	const char *value;		/* default, as text, for the help */
	const char *help;		/* FLAG_REFUSED: what to do instead */
	double min, max;		/* numbers; 0, 0: no limits */
	const char *const *choices;	/* NULL-terminated */
	bool boolean;			/* FLAG_REFUSED: takes no separate value */
	const char *group;		/* a heading in the help starts here */
	bool cli_only;			/* not in a configuration file */
	bool fixed;			/* can't change while the program runs */
};

struct flag_table {
	const char *program;		/* in front of each sentence */
	const struct flag *flags;
	size_t n;
};

/* Parse argv into settings. Every fault is a sentence on err. rest: where to put the index of the first argument that
 * is no flag; NULL: there may be none. Returns 0, or -EINVAL if there was a fault; 1: help was asked for. */
int flags_parse(const struct flag_table *t, void *settings, int argc, char **argv, int *rest, FILE *err);
/* One value, as if given on the command line; says what is wrong on err, with where and name in front. */
int flags_set(const struct flag *f, void *settings, const char *where, const char *name, const char *value, FILE *err);
/* Its value as one would type it; "" for FLAG_REFUSED and strings that are NULL. */
void flags_print(const struct flag *f, const void *settings, FILE *out);
/* Has the flag the same value in both? */
bool flags_equal(const struct flag *f, const void *a, const void *b);
const struct flag *flags_find(const struct flag_table *t, const char *name, size_t len);
/* What may have been meant by a name that is not there; NULL: nothing is near. */
const struct flag *flags_nearest(const struct flag_table *t, const char *name, size_t len);
void flags_help(const struct flag_table *t, FILE *out);

#endif
