/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/keylist.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/opener.h"

struct keylist {
	struct key *keys;	/* owned; sorted */
	size_t n, cap;
};

static const char prefix[] = "nodekey:";
#define PREFIX_LEN	(sizeof(prefix) - 1)
#define BLANK		" \t\r\n"

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, KEY_LEN);
}

static int add(struct keylist *l, const struct key *k)
{
	size_t cap = l->cap ? 2 * l->cap : 64;
	struct key *p;

	if (l->n == l->cap) {
		p = realloc(l->keys, cap * sizeof(*p));
		if (!p)
			return -ENOMEM;
		l->keys = p;
		l->cap = cap;
	}
	l->keys[l->n++] = *k;
	return 0;
}

/* 0 also if there is none on the line. */
static int parse_line(struct keylist *l, const char *line)
{
	struct key k;
	size_t n;

	line += strspn(line, BLANK);
	n = strcspn(line, BLANK);
	if (!n || *line == '#')
		return 0;
	if (strncmp(line, prefix, PREFIX_LEN) != 0 || key_from_hex(&k, line + PREFIX_LEN, n - PREFIX_LEN))
		return -EINVAL;
	return add(l, &k);
}

static int read_lines(struct keylist *l, FILE *f, unsigned int *at)
{
	char *line = NULL;
	size_t cap = 0;
	int err = 0;

	for (*at = 1; !err && getline(&line, &cap, f) >= 0; ++*at)
		err = parse_line(l, line);
	--*at;
	if (!err && ferror(f))
		err = -EIO;
	free(line);
	return err;
}

int keylist_read(struct keylist **ret, struct opener *opener, const char *path, char *err, size_t errlen)
{
	struct keylist *l;
	unsigned int at = 0;
	int e = -ENOMEM;
	int fd = opener_open(opener, path);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");

	if (!f) {
		if (fd >= 0)
			close(fd);
		else
			e = fd;
		snprintf(err, errlen, "can't read %s (--allow-keys): %s", path, strerror(-e));
		return e;
	}
	l = calloc(1, sizeof(*l));
	if (l)
		e = read_lines(l, f, &at);
	fclose(f);
	if (e) {
		if (e == -EINVAL)
			snprintf(err, errlen, "%s line %u (--allow-keys): allowed are nodekey: with 64 hex digits, and lines that begin with #",
				 path, at);
		else
			snprintf(err, errlen, "%s (--allow-keys): %s", path, strerror(-e));
		keylist_free(l);
		return e;
	}
	if (l->n)
		qsort(l->keys, l->n, sizeof(*l->keys), compare);
	*ret = l;
	return 0;
}

void keylist_free(struct keylist *l)
{
	if (!l)
		return;
	free(l->keys);
	free(l);
}

bool keylist_has(const struct keylist *l, const struct key *k)
{
	return l->n && bsearch(k, l->keys, l->n, sizeof(*l->keys), compare);
}

size_t keylist_len(const struct keylist *l)
{
	return l->n;
}
