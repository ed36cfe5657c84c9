/* SPDX-License-Identifier: BSD-3-Clause */
/* Presence: who watches, and what they and ordinary receivers are told when peers come and go.
 * docs/protocol.md sections 7.1 and 9. What we know of other nodes' peers comes from meshlink.c. */
#ifndef XDERP_MESH_H
#define XDERP_MESH_H

#include "relay/conn.h"

/* Who must hear that a key is gone. */
enum mesh_gone {
	MESH_GONE_HERE	 = 1,	/* its last connection of ours closed: watchers */
	MESH_GONE_REGION = 2,	/* nobody has it any more: those it sent to */
};

/* A connection logged in / a key is gone, as this shard found out: tell all shards. */
void mesh_announce_present(struct shard *s, const struct frame_present *p);
void mesh_announce_gone(struct shard *s, const struct key *k, uint64_t hash, unsigned int what);

/* The same, on every shard that hears of it. */
void mesh_peer_present(struct shard *s, const struct frame_present *p);
void mesh_peer_gone(struct shard *s, const struct key *k, uint64_t hash, unsigned int what);

/* A packet of src goes to c, which must hear when src is gone. forwarded: another node sent it, and only that one knows src.
 * False: the limit or memory refused it. */
bool mesh_subscribe(struct conn *c, const uint8_t *src, uint64_t hash, bool forwarded);

/* WatchConns: flood what is here, then keep it up to date. */
void mesh_watch(struct conn *c);
void mesh_unwatch(struct conn *c);
/* Continue the floods of watchers that have room for more; called once per turn. */
void mesh_walk(struct shard *s);

/* ClosePeer. */
void mesh_close_peer(struct shard *s, const struct key *k);

#endif
