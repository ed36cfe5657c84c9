/* SPDX-License-Identifier: BSD-3-Clause */
/* What shards send each other. Packets are not copied: the receiving shard sends them from where the other one received
 * them, and gives the buffers back in its own turn. Per ordered pair of shards there is one cache line with a chain of
 * parcels (parcel.h) on its way there, and one of those on their way back; each is exchanged as a whole, once per turn, which
 * is all that two shards ever write to both. Packets and messages keep their order.
 *
 * What the other shard has not taken yet can be taken back: that is how MAILBOX_PACKETS is kept by dropping the
 * oldest packets (cross_full), as a peer's own queue does. Messages are never dropped. */
#ifndef XDERP_MAILBOX_H
#define XDERP_MAILBOX_H

#include <stdalign.h>

#include "relay/directory.h"
#include "relay/parcel.h"
#include "relay/sendq.h"

#define MAILBOX_PACKETS	4096U		/* waiting per ordered pair of shards */
#define MAILBOX_TURN	4096U		/* taken per turn, or all that one shard has sent */

/* From one shard to another. */
struct mail_slot {
	alignas(64) struct parcel *out;	/* atomic: stored by the sender, taken by either; oldest first */
	struct parcel *back;		/* atomic: stored by the receiver, taken by the sender */
	uint64_t received;		/* atomic: packets and messages that the receiver is through with; the receiver writes it */
};
_Static_assert(sizeof(struct mail_slot) == 64, "no line is shared with another pair");

/* The sender's end: the chain of parcels that is being filled, and what the last one in the slot was. */
struct mail_out {
	struct parcel *head, *tail;
	struct parcel **oldest;		/* no packet lies before this link */
	uint32_t packets;
	struct parcel *published_tail;
	uint32_t published;		/* packets */
};

/* Empty slots for all pairs of n shards, or NULL. free() them. */
struct mail_slot *mailbox_new(unsigned int n);

/* Takes d->owned. */
void mailbox_send_packet(struct shard *s, struct conn_id to, const struct delivery *d);
/* To one shard, or to all shards but this one. */
void mailbox_send(struct shard *s, uint16_t shard, const struct msg *m);
void mailbox_broadcast(struct shard *s, const struct msg *m);

/* Take what arrived, and what came back. */
void mailbox_receive(struct shard *s);
/* Make this turn's packets and messages visible and wake who sleeps; give back what has been sent on. */
void mailbox_publish(struct shard *s);
bool mailbox_pending(const struct shard *s);
/* Is the other shard through with all that was sent to it? Then a packet is in its destination's queue, or dropped. */
bool mailbox_received(const struct shard *s, uint16_t by);

#endif
