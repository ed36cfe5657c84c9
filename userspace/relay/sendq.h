/* SPDX-License-Identifier: BSD-3-Clause */
/* A peer's outgoing queues: control, disco, other. While the socket takes bytes, packets only pass
 * through (bounded by SENDQ_TURN per turn); once it is full each of the two packet queues holds the configured number of packets
 * and drops its oldest, as derper does. Packets kept beyond a turn own their bytes. */
#ifndef XDERP_SENDQ_H
#define XDERP_SENDQ_H

#include <sys/uio.h>

#include "relay/conn.h"

#define SENDQ_TURN	4096U		/* packets per queue while the socket is not known to be full */
#define SENDQ_IOV	256U		/* frames per gathered send */
#define SENDQ_SEAL	(128U * 1024)	/* bytes sealed ahead of the socket */
#define SENDQ_CTL_MAX	(1024U * 1024)	/* bytes of control frames a mesh watcher may have waiting */

/* A packet on its way to a peer or over a link: where its bytes are now. */
struct delivery {
	uint8_t *frame;			/* whole RecvPacket or ForwardPacket frame, or the payload behind head */
	uint32_t len;
	const uint8_t *head;		/* FRAME_FORWARD_LEN bytes that go in front; NULL: frame is all */
	enum pkt_class class;		/* PKT_DISCO or PKT_DATA */
	bool forwarded;			/* by another node: we need not know its source */
	uint64_t src_hash;
	uint32_t source;		/* spliced_source() of the sender */
	uint64_t queued_ns;
	struct rbuf *rbuf;		/* frame lies in it; or NULL */
	struct parcel *parcel;		/* frame was lent with it; or NULL */
	struct pkt *owned;		/* frame lies in it, taken over; or NULL: copied */
};

/* Payload bytes of a whole packet frame. */
static inline uint32_t packet_payload(const uint8_t *frame, uint32_t len)
{
	return len - DERP_HDR_LEN - (frame[0] == DERP_FORWARD_PACKET ? 2 : 1) * DERP_KEY_LEN;
}

static inline uint32_t delivery_payload(const struct delivery *d)
{
	return d->head ? d->len : packet_payload(d->frame, d->len);
}

static inline uint32_t delivery_size(const struct delivery *d)
{
	return d->len + (d->head ? FRAME_FORWARD_LEN : 0);
}

/* The whole frame; out has room for delivery_size(). */
static inline void delivery_copy(uint8_t *out, const struct delivery *d)
{
	if (d->head) {
		memcpy(out, d->head, FRAME_FORWARD_LEN);
		out += FRAME_FORWARD_LEN;
	}
	memcpy(out, d->frame, d->len);
}

/* Queue a packet for a relaying connection; counts a drop if it can't. */
void sendq_packet(struct conn *to, const struct delivery *d);
/* Queue one of the relay's own frames. False: no memory, or too many of them waiting. */
bool sendq_control(struct conn *to, const uint8_t *frame, uint32_t len);

bool sendq_empty(const struct peer *p);

/* Move waiting packets into the flight and point iov at their bytes; returns how many iovecs. */
unsigned int sendq_gather(struct conn *c, struct iovec *iov, unsigned int max);
/* Seal waiting packets into the connection's out buffer. -EPROTO: broken. */
int sendq_seal(struct conn *c);
/* The kernel took n bytes of the flight. */
void sendq_sent(struct conn *c, size_t n);
/* The socket is full: what is left waits, oldest dropped down to the limit, bytes owned. */
void sendq_block(struct conn *c);
/* Drop what no send has begun with. */
void sendq_drop_waiting(struct conn *c, enum drop_reason why);
/* The connection is closing: drop all. Packets the kernel may still read stay in the flight until sendq_release. */
void sendq_drop_all(struct conn *c, enum drop_reason why);
void sendq_release(struct conn *c);

#endif
