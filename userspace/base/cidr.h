/* SPDX-License-Identifier: BSD-3-Clause */
/* Networks as operators write them: "10.0.0.0/8, 2001:db8::/32, 192.0.2.7". Addresses are 16 bytes, IPv4 as
 * ::ffff:a.b.c.d. */
#ifndef XDERP_CIDR_H
#define XDERP_CIDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cidr {
	uint8_t net[16];	/* host bits are zero */
	uint8_t bits;		/* 0 to 128 */
};

/* One network or address, n characters. */
bool cidr_parse(struct cidr *ret, const char *text, size_t n);
/* "10.0.0.0/8", "2001:db8::/32" */
#define CIDR_TEXT_LEN	64
void cidr_text(char ret[static CIDR_TEXT_LEN], const struct cidr *c);
bool cidr_holds(const struct cidr *c, const uint8_t ip[static 16]);
static inline bool cidr_equal(const struct cidr *a, const struct cidr *b)
{
	return a->bits == b->bits && !__builtin_memcmp(a->net, b->net, sizeof(a->net));
}

/* Is ip in one of the networks? Items that are no network hold nothing. */
bool cidr_list_holds(const char *list, const uint8_t ip[static 16]);

/* The first item that is no network, its length in *n; NULL if there is none. Empty items are let pass. */
const char *cidr_list_bad(const char *list, size_t *n);

/* The networks of a list, at most max; returns how many the list has. */
size_t cidr_list_parse(struct cidr *ret, size_t max, const char *list);

/* Many networks, asked often: sorted, the ones that lie in others left out, so that a question takes log n steps. */
struct cidr_set {
	size_t n;
	struct cidr nets[];
};

struct cidr_set *cidr_set_new(const struct cidr *nets, size_t n);	/* NULL: out of memory; free() it */
/* The networks of a list and n more; *ret is NULL if that is none. -ENOMEM. */
int cidr_set_of_list(struct cidr_set **ret, const char *list, const struct cidr *more, size_t n);
bool cidr_set_holds(const struct cidr_set *s, const uint8_t ip[static 16]);

#endif
