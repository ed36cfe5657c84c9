/* SPDX-License-Identifier: BSD-3-Clause */
/* Names to addresses and texts, by the system's resolver. Blocks, up to what /etc/resolv.conf says: for worker threads. */
#ifndef XDERP_LOOKUP_H
#define XDERP_LOOKUP_H

#include <stddef.h>
#include <stdint.h>

struct lookup_addresses {
	uint8_t (*ip)[16];		/* owned, free(); IPv4 as ::ffff:a.b.c.d */
	unsigned int n;			/* at least 1 */
};

/* All addresses, in the resolver's order. NULL, or what went wrong. */
const char *lookup_addresses(struct lookup_addresses *ret, const char *name);

/* Calls fn for each TXT record, its strings put together (up to 255 bytes of them, with a NUL). NULL, or what went wrong. */
const char *lookup_txt(const char *name, void (*fn)(const char *text, void *ctx), void *ctx);

#endif
