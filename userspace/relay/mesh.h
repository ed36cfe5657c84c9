/* SPDX-License-Identifier: BSD-3-Clause */
/* Presence: who watches, and what they and ordinary receivers are told when peers come and go.
 * docs/protocol.md sections 7.1 and 9. The dialling side of the mesh is not here yet. */
#ifndef XDERP_MESH_H
#define XDERP_MESH_H

#include "relay/conn.h"

/* A connection logged in / the last connection of a key closed, on this shard: tell all shards. */
void mesh_announce_present(struct shard *s, const struct frame_present *p);
void mesh_announce_gone(struct shard *s, const struct key *k, uint64_t hash);

/* The same, on every shard that hears of it. */
void mesh_peer_present(struct shard *s, const struct frame_present *p);
void mesh_peer_gone(struct shard *s, const struct key *k, uint64_t hash);

/* WatchConns: flood what is here, then keep it up to date. */
void mesh_watch(struct conn *c);
void mesh_unwatch(struct conn *c);
/* Continue the floods of watchers that have room for more; called once per turn. */
void mesh_walk(struct shard *s);

/* ClosePeer. */
void mesh_close_peer(struct shard *s, const struct key *k);

#endif
