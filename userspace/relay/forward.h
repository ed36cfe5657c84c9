/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a packet goes: a connection of this shard, another shard, another node, nobody. Every packet that comes in
 * is counted once on the way in and once on the way out: sent, or dropped with a reason. */
#ifndef XDERP_FORWARD_H
#define XDERP_FORWARD_H

#include "relay/conn.h"

struct delivery;

/* A whole SendPacket or ForwardPacket frame from a connection that may send it. rbuf: the frame lies in it; owned: it
 * is this packet, taken over. One of them is NULL. The frame is rewritten in place. */
void forward_send_packet(struct conn *from, uint8_t *frame, uint32_t len, struct rbuf *rbuf, struct pkt *owned);
void forward_mesh_packet(struct conn *from, uint8_t *frame, uint32_t len, struct rbuf *rbuf, struct pkt *owned);

/* The same for a SendPacket that is counted already, and that no twin is to take. rbuf and owned may both be NULL: it is copied. */
void forward_direct(struct conn *from, uint8_t *frame, uint32_t len, struct rbuf *rbuf, struct pkt *owned);

/* A packet from another shard, lent with d->parcel. */
void forward_from_shard(struct shard *s, uint32_t slot, uint32_t gen, const struct delivery *d);

/* class: PKT_DISCO or PKT_DATA; bytes: of the payload. */
void forward_count_drop(struct shard *s, enum drop_reason why, enum pkt_class class, uint32_t bytes);

/* A SendPacket or ForwardPacket whose body can't be taken in: counted as received and dropped. */
void forward_refuse(struct conn *from, uint8_t type, uint32_t body_len);

#endif
