/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/cidr.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

struct cidr {
	uint8_t net[16];
	unsigned long bits;
};

static bool parse_bits(unsigned long *ret, const char *text, unsigned long max)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	*ret = strtoul(text, &end, 10);
	return !*end && *ret <= max;
}

static bool parse(struct cidr *ret, const char *text, size_t n)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	char buf[64], *slash;
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
	ret->bits = v4 ? 32 : 128;
	if (slash && !parse_bits(&ret->bits, slash + 1, ret->bits))
		return false;
	ret->bits += v4 ? 96 : 0;
	return true;
}

static bool holds(const struct cidr *c, const uint8_t ip[static 16])
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

		if (parse(&c, item, n) && holds(&c, ip))
			return true;
	}
	return false;
}

const char *cidr_list_bad(const char *list, size_t *n)
{
	struct cidr c;

	while (list) {
		const char *item = next_item(&list, n);

		if (*n && !parse(&c, item, *n))
			return item;
	}
	return NULL;
}
