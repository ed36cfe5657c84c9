/* SPDX-License-Identifier: BSD-3-Clause */
/* Who can be reached: key -> the connection that gets its packets, one of ours, or else the link to another node of the mesh. One table for the whole relay, because a
 * login must be visible to every shard before its ServerInfo leaves, and because a copy per shard costs
 * memory times shards. Mutations (login, logout, change of the active duplicate) take one mutex; none of
 * them is on the packet path. Lookups take no lock and write nothing: each node is a sequence lock, nodes
 * are never unmapped.
 *
 * Duplicates (docs/protocol.md section 8): all connections of a key are members of its node, one is active. */
#ifndef XDERP_DIRECTORY_H
#define XDERP_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/key.h"
#include "derp_maps.h"
#include "relay/stats.h"
#include "wire/frame.h"

/* Names a connection from any thread; a stale one is recognised by its generation. */
struct conn_id {
	uint16_t shard;
	uint32_t slot;
	uint32_t gen;		/* 24 bits */
	bool link;		/* it leads to another node: packets go as ForwardPacket */
};

static inline bool conn_id_equal(struct conn_id a, struct conn_id b)
{
	return a.shard == b.shard && a.slot == b.slot && a.gen == b.gen;
}

struct directory;
struct peermap;

/* peers: the BPF map that follows every change; borrowed, NULL: none. */
int directory_new(struct directory **ret, struct peermap *peers);
void directory_free(struct directory *d);

/* Keyed hash of a public key, the same on every shard, secret to clients (they choose their keys). Never 0. */
uint64_t key_hash(const struct directory *d, const struct key *k);

/* Lock-free. false: nobody here has that key. */
bool directory_find(const struct directory *d, const struct key *k, uint64_t hash, struct conn_id *ret);

/* Changes with every mutation: a caller may keep an answer of directory_find while it stays the same. */
uint64_t directory_version(const struct directory *d);

/* What a connection's shard says of it for everybody to read: words written by that shard only (STAT_*). */
struct peer_facts {
	uint64_t connected_at;		/* Unix time, seconds */
	uint64_t home_since;		/* the same; 0: this relay is not its home */
	uint64_t frames_in, bytes_in;	/* packets it sent, and their payload */
	uint64_t frames_out, bytes_out;	/* packets handed to its transport */
	uint64_t drops;			/* packets for it that were dropped */
	enum derp_transport transport;
};

struct directory_member {
	struct conn_id id;
	const struct peer_facts *facts;	/* borrowed until directory_remove; not needed without a peer map */
	struct frame_present present;	/* what watchers are told of this connection */
};

/* The new member becomes the active one. *node is its handle for the two calls below. -EMLINK: max_members are
 * there already; -ENOMEM. *dup: the key was here before. */
int directory_add(struct directory *d, const struct directory_member *m, uint64_t hash,
		  unsigned int max_members, uint32_t *node, bool *dup);

/* Who has a key now that one way to it ended. */
enum directory_left {
	DIRECTORY_HERE,		/* connections of ours */
	DIRECTORY_REMOTE,	/* none of ours, but another node */
	DIRECTORY_GONE,		/* nobody */
};
enum directory_left directory_remove(struct directory *d, uint32_t node, struct conn_id id);

/* A frame came from id: if it is a duplicate that is not active, make it so. The common case reads one
 * word and returns. */
void directory_note_activity(struct directory *d, uint32_t node, struct conn_id id);

/* The facts of this connection have changed: show them in the BPF map if it is the active one. */
void directory_refresh(struct directory *d, uint32_t node, struct conn_id id);

/* All connections of a key, at most max; returns how many there are. */
unsigned int directory_members(struct directory *d, const struct key *k, uint64_t hash,
			       struct conn_id *ret, unsigned int max);

/* --- forwarders: links to other nodes, by number. A key with several keeps to the oldest. */

#define DIRECTORY_MAX_LINKS	16

/* Its packets go there from now on. */
void directory_link_up(struct directory *d, unsigned int link, struct conn_id id);
/* The node at the other end has this key. 1: that was news; 0: known; -ENOSPC: max_remote keys are known through links already;
 * -ENOMEM. */
int directory_add_forwarder(struct directory *d, const struct key *k, uint64_t hash, unsigned int link,
			    unsigned int max_remote);
/* It has it no more. *left: who has. False: it was not known to have it. */
bool directory_remove_forwarder(struct directory *d, const struct key *k, uint64_t hash, unsigned int link,
				enum directory_left *left);
/* The link broke: forget its keys, a bounded step at a time. *cursor is 0 at first. Up to DIRECTORY_STEP keys that nobody has any more are
 * put into gone, *ngone tells how many. False: that was the last step. No forwarder may be added meanwhile. */
#define DIRECTORY_STEP	256
bool directory_drop_link(struct directory *d, unsigned int link, uint32_t *cursor, struct key *gone, unsigned int *ngone);

/* Walk all keys that have an active client of ours, in unspecified order, in steps: *cursor is 0 at first; returns how many were filled,
 * 0 at the end. Keys added or removed meanwhile may be missed or not. */
unsigned int directory_walk(struct directory *d, uint32_t *cursor, struct frame_present *ret,
			    unsigned int max);

/* The same walk, for the bytes their connections have moved since they came. A node is one key's until nobody has it. */
struct directory_moved {
	uint32_t node;
	struct key key;
	uint64_t sent, received;	/* by us: payload of packets */
};
unsigned int directory_moved(struct directory *d, uint32_t *cursor, struct directory_moved *ret, unsigned int max);

void directory_totals(struct directory *d, struct relay_totals *ret);

#endif
