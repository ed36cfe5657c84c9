/* SPDX-License-Identifier: BSD-3-Clause */
/* Bootstrap DNS: addresses of a few names for clients whose own resolver does not work, as JSON under /bootstrap-dns. Names
 * are looked up by a worker every 10 minutes; shards read the finished answers. */
#ifndef XDERP_BOOTSTRAP_H
#define XDERP_BOOTSTRAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/textbuf.h"
#include "base/util.h"

#define BOOTSTRAP_ASKED_MAX	500	/* different names of ?q= that are remembered, as in derper */

struct bootstrap;
struct config;
struct relay;

/* Main thread, which gets SIGUSR1 when there is something for bootstrap_take. -errno. */
int bootstrap_new(struct bootstrap **ret);
/* Takes NULL. */
void bootstrap_free(struct bootstrap *b);

/* Main thread, while shards run. Begin a look-up of the names of -bootstrap-dns-names and -unpublished-bootstrap-dns-names if
 * 10 minutes have passed since the last; use what came of it. */
void bootstrap_refresh(struct bootstrap *b, const struct config *cfg);
void bootstrap_take(struct bootstrap *b, struct relay *r);

/* What came of one request: all that apply. */
enum {
	BOOTSTRAP_REQUEST	  = 1U << 0,
	BOOTSTRAP_PUBLISHED_HIT	  = 1U << 1,
	BOOTSTRAP_UNPUBLISHED_HIT = 1U << 2,	/* the name is one of them, whoever asks */
	BOOTSTRAP_UNPUBLISHED_MISS = 1U << 3,	/* the name is known in no list */
	BOOTSTRAP_PERCENT_MISS	  = 1U << 4,	/* not for this address yet */
};

/* Any shard: append the answer to a client at ip (IPv4 as ::ffff:a.b.c.d) that asks for name, which may be empty. */
unsigned int bootstrap_answer(struct bootstrap *b, struct view name, const uint8_t ip[static 16], struct textbuf *out);

/* Any thread. */
struct bootstrap_stats {
	uint64_t asked;			/* different names of ?q=; starts anew above BOOTSTRAP_ASKED_MAX */
	uint64_t found, failed;		/* names looked up */
};
void bootstrap_stats(struct bootstrap *b, struct bootstrap_stats *ret);

/* The number in [0, 1) by which derper decides whether an address is among the first p percent. */
double bootstrap_rank(const uint8_t ip[static 16]);

#endif
