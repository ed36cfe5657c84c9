/* SPDX-License-Identifier: BSD-3-Clause */
/* How much of the relay one source has: an IPv4 address, or an IPv6 /56, which is what one customer gets. One table for all
 * shards, because the kernel spreads the connections of a source over them. Any thread; a mutex is taken when a connection comes,
 * logs in and goes, never for a packet. */
#ifndef XDERP_SOURCES_H
#define XDERP_SOURCES_H

#include <stdbool.h>
#include <stdint.h>

#include "admin/config.h"
#include "base/cidr.h"

struct sources;

enum source_verdict {
	SOURCE_WELCOME,
	SOURCE_UNKNOWN,			/* no place to remember it: let it in, uncounted */
	SOURCE_CONNS, SOURCE_UNAUTH,	/* over that limit */
};

/* max: sources remembered. The ones without connections make room, the one longest gone first. -ENOMEM. */
int sources_new(struct sources **ret, uint32_t max);
void sources_free(struct sources *t);	/* takes NULL */

/* A connection comes, not logged in yet, from ip (IPv4 as ::ffff:a.b.c.d). SOURCE_WELCOME: *handle, never 0, is for the calls
 * below. */
enum source_verdict sources_enter(struct sources *t, const uint8_t ip[static 16], const struct source_limits *l, uint32_t *handle);
/* May it log in now? Takes a token. */
bool sources_login(struct sources *t, uint32_t handle, const struct source_limits *l, uint64_t now_ns);
/* It is logged in, or about to end: not counted among those that are not. */
void sources_authenticated(struct sources *t, uint32_t handle);
/* It ends, after sources_authenticated. */
void sources_leave(struct sources *t, uint32_t handle);

/* For people. */
struct source_row {
	struct cidr net;
	uint32_t conns, unauth;
	uint64_t refused;		/* connections and logins, since it was last forgotten */
};
struct sources_usage {
	uint32_t known;			/* sources remembered */
	uint32_t connected;		/* of them with connections */
};
void sources_usage(struct sources *t, struct sources_usage *ret);
/* The max sources with most connections, most first; returns how many there are. */
unsigned int sources_top(struct sources *t, struct source_row *ret, unsigned int max);

#endif
