/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/cidr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

static bool parse_bits(unsigned long *ret, const char *text, unsigned long max)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	*ret = strtoul(text, &end, 10);
	return !*end && *ret <= max;
}

static void clear_host_bits(struct cidr *c)
{
	for (size_t i = 0; i < sizeof(c->net); i++)
		if (8 * (i + 1) > c->bits)
			c->net[i] &= (uint8_t)(8 * i >= c->bits ? 0 : 0xff << (8 * (i + 1) - c->bits));
}

bool cidr_parse(struct cidr *ret, const char *text, size_t n)
{
	char buf[64], *slash;
	unsigned long bits;
	bool v4;

	if (n >= sizeof(buf))
		return false;
	memcpy(buf, text, n);
	buf[n] = '\0';
	slash = strchr(buf, '/');
	if (slash)
		*slash = '\0';
	v4 = inet_pton(AF_INET, buf, ret->net + 12) == 1;
	if (v4)
		memcpy(ret->net, mapped, sizeof(mapped));
	else if (inet_pton(AF_INET6, buf, ret->net) != 1)
		return false;
	bits = v4 ? 32 : 128;
	if (slash && !parse_bits(&bits, slash + 1, bits))
		return false;
	ret->bits = (uint8_t)(bits + (v4 ? 96 : 0));
	clear_host_bits(ret);
	return true;
}

static bool is_v4(const struct cidr *c)
{
	return c->bits >= 96 && !memcmp(c->net, mapped, sizeof(mapped));
}

void cidr_text(char ret[static CIDR_TEXT_LEN], const struct cidr *c)
{
	bool v4 = is_v4(c);

	inet_ntop(v4 ? AF_INET : AF_INET6, c->net + (v4 ? 12 : 0), ret, CIDR_TEXT_LEN);
	snprintf(ret + strlen(ret), CIDR_TEXT_LEN - strlen(ret), "/%d", c->bits - (v4 ? 96 : 0));
}

bool cidr_holds(const struct cidr *c, const uint8_t ip[static 16])
{
	size_t bytes = c->bits / 8, rest = c->bits % 8;

	if (memcmp(ip, c->net, bytes))
		return false;
	return !rest || (ip[bytes] ^ c->net[bytes]) >> (8 - rest) == 0;
}

/* The item at *list without white space, its length in *n; *list moves to the next, NULL at the end. */
static const char *next_item(const char **list, size_t *n)
{
	const char *item = *list + strspn(*list, " \t");
	size_t len = strcspn(item, ",");

	*list = item[len] ? item + len + 1 : NULL;
	while (len && strchr(" \t", item[len - 1]))
		len--;
	*n = len;
	return item;
}

bool cidr_list_holds(const char *list, const uint8_t ip[static 16])
{
	struct cidr c;
	size_t n;

	while (list) {
		const char *item = next_item(&list, &n);

		if (cidr_parse(&c, item, n) && cidr_holds(&c, ip))
			return true;
	}
	return false;
}

const char *cidr_list_bad(const char *list, size_t *n)
{
	struct cidr c;

	while (list) {
		const char *item = next_item(&list, n);

		if (*n && !cidr_parse(&c, item, *n))
			return item;
	}
	return NULL;
}

size_t cidr_list_parse(struct cidr *ret, size_t max, const char *list)
{
	struct cidr c;
	size_t found = 0, n;

	while (list) {
		const char *item = next_item(&list, &n);

		if (!cidr_parse(&c, item, n))
			continue;
		if (found < max)
			ret[found] = c;
		found++;
	}
	return found;
}

/* Wider networks before the ones that lie in them. */
static int compare(const void *a, const void *b)
{
	const struct cidr *x = a, *y = b;
	int r = memcmp(x->net, y->net, sizeof(x->net));

	return r ? r : (int)x->bits - (int)y->bits;
}

struct cidr_set *cidr_set_new(const struct cidr *nets, size_t n)
{
	struct cidr_set *s = malloc(sizeof(*s) + n * sizeof(*nets));
	size_t kept = 0;

	if (!s)
		return NULL;
	if (n)
		memcpy(s->nets, nets, n * sizeof(*nets));
	qsort(s->nets, n, sizeof(*nets), compare);
	for (size_t i = 0; i < n; i++)
		if (!kept || !cidr_holds(&s->nets[kept - 1], s->nets[i].net))
			s->nets[kept++] = s->nets[i];
	s->n = kept;
	return s;
}

int cidr_set_of_list(struct cidr_set **ret, const char *list, const struct cidr *more, size_t n)
{
	size_t listed = cidr_list_parse(NULL, 0, list);
	struct cidr *all;

	*ret = NULL;
	if (!listed && !n)
		return 0;
	all = malloc((listed + n) * sizeof(*all));
	if (!all)
		return -ENOMEM;
	cidr_list_parse(all, listed, list);
	if (n)
		memcpy(all + listed, more, n * sizeof(*more));
	*ret = cidr_set_new(all, listed + n);
	free(all);
	return *ret ? 0 : -ENOMEM;
}

bool cidr_set_holds(const struct cidr_set *s, const uint8_t ip[static 16])
{
	size_t lo = 0, hi = s->n;

	/* The last network that begins at or before ip: they don't overlap, so no other can hold it. */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (memcmp(s->nets[mid].net, ip, sizeof(s->nets[mid].net)) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && cidr_holds(&s->nets[lo - 1], ip);
}
