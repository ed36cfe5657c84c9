/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/keylist.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/opener.h"
#include "base/units.h"
#include "base/util.h"

struct entry {
	struct key key;		/* first: compare() */
	struct key_caps caps;
};

struct keylist {
	struct entry *entries;	/* owned; sorted */
	size_t n, cap;
	bool has_others, has_caps;
	struct key_caps others;	/* of the line with * */
};

static const char prefix[] = "nodekey:";
#define PREFIX_LEN	(sizeof(prefix) - 1)
#define BLANK		" \t\r\n"
#define CONNS_MAX	1024	/* as --max-connections-per-key */

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, KEY_LEN);
}

static int add(struct keylist *l, const struct entry *e)
{
	size_t cap = l->cap ? 2 * l->cap : 64;
	struct entry *p;

	if (l->n == l->cap) {
		p = realloc(l->entries, cap * sizeof(*p));
		if (!p)
			return -ENOMEM;
		l->entries = p;
		l->cap = cap;
	}
	l->entries[l->n++] = *e;
	return 0;
}

static bool take_number(unsigned int *ret, const char *v)
{
	size_t n = strspn(v, "0123456789");

	*ret = (unsigned int)strtoul(v, NULL, 10);
	return n && n < 5 && !v[n] && *ret && *ret <= CONNS_MAX;
}

/* A word with an equals sign. */
static bool take_cap(struct key_caps *c, const char *word)
{
	if (!strncmp(word, "rate=", 5) && !c->has_rate) {
		c->has_rate = true;
		return !units_size(&c->rate.bytes_per_s, word + 5);
	}
	if (!strncmp(word, "burst=", 6) && !c->rate.burst)
		return !units_size(&c->rate.burst, word + 6) && c->rate.burst >= RATE_MIN_BURST;
	return !strncmp(word, "conns=", 6) && !c->conns && take_number(&c->conns, word + 6);
}

/* What stands behind the key; says what is wrong there. */
static int take_caps(struct key_caps *c, char *rest, char *why, size_t whylen)
{
	char *word;

	while ((word = strsep(&rest, BLANK)) && *word != '#') {
		if (strchr(word, '=') && !take_cap(c, word)) {
			snprintf(why, whylen, "\"%.40s\" is wrong; allowed are, once each: rate= bytes per second such as 500K or 2M (0: any), "
				 "burst= bytes from %d, conns= 1 to %d", word, RATE_MIN_BURST, CONNS_MAX);
			return -EINVAL;
		}
	}
	if (c->rate.burst && !c->has_rate) {
		snprintf(why, whylen, "burst= means nothing without rate=");
		return -EINVAL;
	}
	c->rate.burst = max_of(c->rate.burst, (uint64_t)RATE_MIN_BURST);
	return 0;
}

/* 0 also if there is nothing on the line. */
static int parse_line(struct keylist *l, char *line, char *why, size_t whylen)
{
	struct entry e = { 0 };
	bool others;
	size_t n;
	int err;

	line += strspn(line, BLANK);
	n = strcspn(line, BLANK);
	if (!n || *line == '#')
		return 0;
	others = n == 1 && *line == '*';
	if (!others && (strncmp(line, prefix, PREFIX_LEN) != 0 || key_from_hex(&e.key, line + PREFIX_LEN, n - PREFIX_LEN))) {
		snprintf(why, whylen, "allowed are nodekey: with 64 hex digits, or *, then caps and remarks, and lines that begin with #");
		return -EINVAL;
	}
	err = take_caps(&e.caps, line + n, why, whylen);
	if (err)
		return err;
	l->has_caps |= e.caps.has_rate || e.caps.conns;
	if (!others)
		return add(l, &e);
	if (l->has_others) {
		snprintf(why, whylen, "* stands twice");
		return -EINVAL;
	}
	l->has_others = true;
	l->others = e.caps;
	return 0;
}

static bool same_caps(const struct key_caps *a, const struct key_caps *b)
{
	return a->has_rate == b->has_rate && a->rate.bytes_per_s == b->rate.bytes_per_s && a->rate.burst == b->rate.burst &&
	       a->conns == b->conns;
}

/* A key may stand twice, but what it may have must be clear. */
static int sort(struct keylist *l, char *err, size_t errlen, const char *path)
{
	char hex[KEY_HEX_LEN + 1];

	if (l->n)
		qsort(l->entries, l->n, sizeof(*l->entries), compare);
	for (size_t i = 1; i < l->n; i++) {
		if (compare(&l->entries[i - 1], &l->entries[i]) || same_caps(&l->entries[i - 1].caps, &l->entries[i].caps))
			continue;
		key_to_hex(hex, &l->entries[i].key);
		snprintf(err, errlen, "%s (--allow-keys): nodekey:%s stands twice, with different caps", path, hex);
		return -EINVAL;
	}
	return 0;
}

static int read_lines(struct keylist *l, FILE *f, unsigned int *at, char *why, size_t whylen)
{
	char *line = NULL;
	size_t cap = 0;
	int err = 0;

	for (*at = 1; !err && getline(&line, &cap, f) >= 0; ++*at)
		err = parse_line(l, line, why, whylen);
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
	char why[300];
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
		e = read_lines(l, f, &at, why, sizeof(why));
	fclose(f);
	if (e == -EINVAL)
		snprintf(err, errlen, "%s line %u (--allow-keys): %s", path, at, why);
	else if (e)
		snprintf(err, errlen, "%s (--allow-keys): %s", path, strerror(-e));
	else
		e = sort(l, err, errlen, path);
	if (e) {
		keylist_free(l);
		return e;
	}
	*ret = l;
	return 0;
}

void keylist_free(struct keylist *l)
{
	if (!l)
		return;
	free(l->entries);
	free(l);
}

const struct key_caps *keylist_find(const struct keylist *l, const struct key *k)
{
	const struct entry *e = l->n ? bsearch(k, l->entries, l->n, sizeof(*l->entries), compare) : NULL;

	return e ? &e->caps : l->has_others ? &l->others : NULL;
}

bool keylist_has_caps(const struct keylist *l)
{
	return l->has_caps;
}

size_t keylist_len(const struct keylist *l)
{
	return l->n;
}
