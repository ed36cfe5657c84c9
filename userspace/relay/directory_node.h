/* SPDX-License-Identifier: BSD-3-Clause */
/* How the directory keeps its nodes: for its own two files, directory.c and forwarders.c. */
#ifndef XDERP_DIRECTORY_NODE_H
#define XDERP_DIRECTORY_NODE_H

#include <pthread.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>

#include "relay/directory.h"

#define CHUNK_NODES	1024U
#define MAX_CHUNKS	4096U		/* 4 million keys */
#define NO_NODE		UINT32_MAX
#define MAX_TABLES	24		/* each twice the one before */

struct member {
	struct directory_member m;
	uint64_t spoke;			/* order in which members were heard; 0: not yet */
};

/* seq, key, active and chain are read without the lock: all access is atomic, and a reader believes
 * what it read only if seq was even and did not change. */
struct node {
	uint32_t seq;
	uint32_t chain;			/* next node of the bucket */
	uint64_t key[KEY_LEN / 8];
	uint64_t active;		/* packed conn_id; 0: node is free */
	uint32_t unheard;		/* the active one is not on record as having spoken */
	/* with the lock only */
	uint64_t hash;
	uint64_t last_spoke;
	struct member one;		/* the only member, unless many is set */
	struct member *many;		/* owned; all members if there is more than one */
	uint32_t nmembers, cap;		/* connections of ours: they win over forwarders */
	uint8_t nfwd, fwd[DIRECTORY_MAX_LINKS];	/* links by which it can be reached, oldest first */
};

struct table {
	uint32_t mask;
	uint32_t heads[];
};

struct directory {
	/* Tables grow by replacement; old ones are kept until the end because a reader may stand in one. They add up to
	 * less than the newest. */
	struct table *table;
	uint64_t version;
	struct node *chunks[MAX_CHUNKS];
	uint8_t hash_key[crypto_shorthash_KEYBYTES];

	pthread_mutex_t lock __attribute__((aligned(64)));
	struct table *tables[MAX_TABLES];
	unsigned int ntables;
	uint32_t nchunks, free_head;
	uint64_t nkeys, nforwarded;	/* nodes in use; those with forwarders */
	uint64_t links[DIRECTORY_MAX_LINKS];	/* packed conn_id each; 0: never up */
	struct relay_totals totals;
	struct peermap *peers;		/* borrowed; NULL: none */
};

#define PACKED_LINK	(1ULL << 63)

static inline uint64_t pack(struct conn_id id)
{
	/* + 1 on the shard keeps a packed id from ever being 0. */
	return (id.link ? PACKED_LINK : 0) | (uint64_t)(id.shard + 1U) << 56 | (uint64_t)(id.gen & 0xffffff) << 32 | id.slot;
}

static inline struct conn_id unpack(uint64_t v)
{
	return (struct conn_id){
		.shard = (uint16_t)((v >> 56 & 0x7f) - 1),
		.gen = (uint32_t)(v >> 32) & 0xffffff,
		.slot = (uint32_t)v,
		.link = v & PACKED_LINK,
	};
}

static inline struct node *node_at(const struct directory *d, uint32_t i)
{
	return &__atomic_load_n(&d->chunks[i / CHUNK_NODES], __ATOMIC_ACQUIRE)[i % CHUNK_NODES];
}

static inline bool node_used(const struct node *n)
{
	return n->nmembers || n->nfwd;
}

static inline enum directory_left left(const struct node *n)
{
	return n->nmembers ? DIRECTORY_HERE : n->nfwd ? DIRECTORY_REMOTE : DIRECTORY_GONE;
}

/* The version is odd while something changes. With the lock. */
static inline void change_begin(struct directory *d)
{
	__atomic_store_n(&d->version, d->version + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void change_end(struct directory *d)
{
	__atomic_store_n(&d->version, d->version + 1, __ATOMIC_RELEASE);
}

/* All of these with the lock. */

/* NO_NODE: nobody has that key. */
uint32_t node_lookup(const struct directory *d, const struct key *k, uint64_t hash);

/* A node for a key that has none; the caller gives it its first way to be reached: active. */
int node_new(struct directory *d, const struct key *k, uint64_t hash, uint64_t active, uint32_t *ret);

/* Nobody has its key any more: it is free, and keeps the key until it is used again. */
void node_unlink(struct directory *d, uint32_t i);

/* The active one left: the one heard last takes over; with one left, that one; with none, the oldest forwarder. */
void node_pick_active(const struct directory *d, struct node *n);

#endif
