/* SPDX-License-Identifier: BSD-3-Clause */
/* Who must hear that a peer left: PeerGone(disconnected) goes to every connection that was sent a
 * packet of that peer, once per pair (docs/protocol.md section 7.1). One table per shard, of its own
 * connections. A pair is remembered until the receiver's connection closes, told or not. */
#ifndef XDERP_GONE_H
#define XDERP_GONE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/key.h"
#include "base/list.h"
#include "base/slab.h"

#define GONE_MAX_PER_CONN	8192	/* sources one connection is subscribed to */

/* The receiver's side: the pairs of one connection. */
struct gone_receiver {
	struct list pairs;
	uint32_t n;
	uint64_t last_hash;	/* source of the packet before: almost always the same again */
};

struct gone_table;

int gone_table_new(struct gone_table **ret, struct slab *mem);
void gone_table_free(struct gone_table *t);
uint64_t gone_count(const struct gone_table *t);

void gone_receiver_init(struct gone_receiver *r);
/* A packet of src was written to r. 1: the first one; 0; -ENOSPC or -ENOMEM: refused. */
int gone_subscribe(struct gone_table *t, struct gone_receiver *r, const uint8_t *src_key, uint64_t src_hash);
/* The receiver closes: forget its pairs. */
void gone_unsubscribe_all(struct gone_table *t, struct gone_receiver *r);
/* src left: tell() each receiver that was not told before; it may not change the table. */
void gone_announce(struct gone_table *t, const struct key *src, uint64_t src_hash,
		   void (*tell)(struct gone_receiver *r, const struct key *src, void *ctx), void *ctx);

#endif
