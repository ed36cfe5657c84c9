/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages between shards: one single-producer ring per ordered pair, published and woken once per
 * turn. Packets that find the ring full are dropped by name (cross_full); everything else waits in the sender's
 * overflow list and is never lost. */
#ifndef XDERP_MAILBOX_H
#define XDERP_MAILBOX_H

#include "relay/directory.h"
#include "relay/sendq.h"

#define MAILBOX_RING	(2U * 1024 * 1024)	/* bytes per ordered pair of shards */
#define MAILBOX_TURN	512U			/* messages taken per ring and turn */

enum msg_type { MSG_PACKET, MSG_GONE, MSG_PRESENT, MSG_CLOSE };	/* MSG_GONE: class is enum mesh_gone */

/* Frames are copied in and out: the ring is the only memory two shards share. */
struct msg {
	uint8_t type;
	uint8_t class;			/* MSG_PACKET, MSG_GONE */
	uint32_t slot, gen;		/* MSG_PACKET, MSG_CLOSE: which connection */
	uint32_t len;			/* MSG_PACKET: of frame */
	uint64_t hash;			/* of the source, or of present.key */
	uint64_t queued_ns;
	union {
		struct frame_present present;	/* MSG_PRESENT; MSG_GONE uses its key */
		uint8_t frame[DERP_HDR_LEN + DERP_MAX_FWD_BODY];
	};
};

void mailbox_send_packet(struct shard *s, struct conn_id to, const struct delivery *d);
/* To one shard, or to all shards but this one. */
void mailbox_send(struct shard *s, uint16_t shard, const struct msg *m);
void mailbox_broadcast(struct shard *s, const struct msg *m);

/* Take what arrived, at most MAILBOX_TURN per ring. True: something was left for the next turn. */
bool mailbox_receive(struct shard *s);
/* Make this turn's messages visible and wake who sleeps. */
void mailbox_publish(struct shard *s);
bool mailbox_pending(struct shard *s);

#endif
