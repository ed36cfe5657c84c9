/* SPDX-License-Identifier: BSD-3-Clause */
/* What the BPF map derp_peers shows of each peer, and when. Coming, going and a change of the active connection of a
 * key are written at once, by the directory; counters and the home flag are written about a second after they
 * changed, all at once for all peers of a shard that had traffic. An idle relay writes nothing. */
#ifndef XDERP_PUBLISH_H
#define XDERP_PUBLISH_H

#include "derp_maps.h"
#include "relay/conn.h"

struct shard;

/* The map's value for the active connection of a key that has so many more. Pure. */
void publish_entry(struct derp_peer *ret, const struct directory_member *m, uint32_t duplicates);

/* The functions below are for the shard's own thread. */
void publish_init(struct shard *s);

/* Something changed: tell the map soon. */
void publish_touch(struct conn *c);

/* The same if counters moved since the map was told. Once a turn and connection, not once a frame. */
void publish_note(struct conn *c);

#endif
