/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/forward.h"

#include "relay/mailbox.h"
#include "relay/probe.h"
#include "relay/sendq.h"
#include "relay/shard.h"
#include "relay/spliced.h"
#include "relay/twinned.h"

void forward_count_drop(struct shard *s, enum drop_reason why, enum pkt_class class, uint32_t bytes)
{
	enum packet_kind kind = class == PKT_DISCO ? KIND_DISCO : KIND_OTHER;

	STAT_INC(&s->stats, packets_dropped[why][kind]);
	STAT_ADD(&s->stats, bytes_dropped[why][kind], bytes);
	PROBE_DROP(why, bytes, s->id);
}

static void count_from(struct conn *from, uint32_t payload)
{
	STAT_INC(&from->peer->facts, frames_in);
	STAT_ADD(&from->peer->facts, bytes_in, payload);
}

static enum pkt_class class_of(const uint8_t *payload, uint32_t n)
{
	return frame_is_disco(payload, n) ? PKT_DISCO : PKT_DATA;
}

/* Most senders talk to one peer at a time: ask the directory again only when it changed. */
static bool find_dest(struct conn *from, const struct key *dst, struct conn_id *ret)
{
	struct directory *d = from->shard->relay->directory;
	struct peer *p = from->peer;
	uint64_t version = directory_version(d);

	if (p->dst_version == version && key_equal(&p->dst, dst)) {
		*ret = p->dst_id;
		return true;
	}
	if (!directory_find(d, dst, key_hash(d, dst), ret))
		return false;
	p->dst = *dst;
	p->dst_id = *ret;
	p->dst_version = version;
	return true;
}

/* The sender asked for a peer that is not here: tell it, but not too often. */
static void tell_not_here(struct conn *from, const struct key *dst)
{
	struct shard *s = from->shard;
	uint8_t frame[FRAME_PEER_GONE_LEN];

	if (!bucket_take(&from->peer->not_here, 1, 3, s->now_ns)) {
		STAT_INC(&s->stats, gone_not_here_limited);
		return;
	}
	frame_peer_gone(frame, dst, DERP_GONE_NOT_HERE);
	if (sendq_control(from, frame, sizeof(frame)))
		STAT_INC(&s->stats, gone_not_here_frames);
}

/* The RecvPacket frame in d becomes a ForwardPacket. It grows: what it lies in can't be handed on. */
static void make_forward(struct delivery *d, uint8_t head[static FRAME_FORWARD_LEN], const struct key *src,
			 const struct key *dst)
{
	d->frame += DERP_HDR_LEN + DERP_KEY_LEN;
	d->len -= DERP_HDR_LEN + DERP_KEY_LEN;
	frame_forward(head, src, dst, d->len);
	d->head = head;
	d->rbuf = NULL;
	d->owned = NULL;
}

static bool is_forward(const struct delivery *d)
{
	return d->head || d->frame[0] == DERP_FORWARD_PACKET;
}

/* To a connection of this shard, which may have ended. Takes d->owned. */
static void deliver(struct shard *s, uint32_t slot, uint32_t gen, const struct delivery *d)
{
	struct conn *to = shard_conn(s, slot, gen);

	if (to && conn_is_relaying(to)) {
		if (to->peer->twinned)
			twinned_drain(to);
		sendq_packet(to, d);
		return;
	}
	forward_count_drop(s, is_forward(d) ? DROP_MESH_DOWN : DROP_GONE_DISCONNECTED, d->class, delivery_payload(d));
	if (d->owned)
		pkt_free(&s->mem, d->owned);
}

/* unknown: how to count it if the destination is not here; what another node forwarded goes to our own clients only. */
static void route(struct conn *from, const struct key *dst, struct delivery *d, enum drop_reason unknown)
{
	struct shard *s = from->shard;
	struct pkt *owned = d->owned;
	uint8_t head[FRAME_FORWARD_LEN];
	struct conn_id id;

	if (!find_dest(from, dst, &id) || (id.link && unknown == DROP_UNKNOWN_DEST_ON_FWD)) {
		forward_count_drop(s, unknown, d->class, delivery_payload(d));
		if (d->class == PKT_DISCO)
			tell_not_here(from, dst);
	} else {
		if (id.link)
			make_forward(d, head, &from->peer->key, dst);
		if (id.shard != s->id)
			mailbox_send_packet(s, id, d);
		else
			deliver(s, id.slot, id.gen, d);
		if (!id.link)
			return;
	}
	if (owned)
		pkt_free(&s->mem, owned);
}

static inline void send_direct(struct conn *from, uint8_t *frame, uint32_t len, enum pkt_class class, uint32_t source, struct rbuf *rbuf,
			       struct pkt *owned)
{
	struct delivery d = {
		.frame = frame, .len = len, .class = class, .src_hash = from->peer->hash,
		.queued_ns = from->shard->now_ns, .rbuf = rbuf, .owned = owned, .source = source,
	};
	struct key dst;

	memcpy(dst.b, frame + DERP_HDR_LEN, KEY_LEN);
	frame_send_to_recv(frame, &from->peer->key);
	route(from, &dst, &d, DROP_UNKNOWN_DEST);
}

static enum pkt_class class_of_frame(const uint8_t *frame, uint32_t len)
{
	return class_of(frame + DERP_HDR_LEN + DERP_KEY_LEN, len - DERP_HDR_LEN - DERP_KEY_LEN);
}

void forward_direct(struct conn *from, uint8_t *frame, uint32_t len, struct rbuf *rbuf, struct pkt *owned)
{
	send_direct(from, frame, len, class_of_frame(frame, len), twinned_source(from), rbuf, owned);
}

/* Apart, so that those that have no twin pay one comparison for it. */
static __attribute__((noinline)) void send_by_twin(struct conn *from, uint8_t *frame, uint32_t len, struct rbuf *rbuf, struct pkt *owned)
{
	if (twinned_takes(from, len)) {
		twinned_write(from, frame, len, owned);
		return;
	}
	/* What waits for its twin came before. */
	twinned_flush(from);
	twinned_pass(from, len);
	forward_direct(from, frame, len, rbuf, owned);
	twinned_passed(from, len);
}

void forward_send_packet(struct conn *from, uint8_t *frame, uint32_t len, struct rbuf *rbuf, struct pkt *owned)
{
	struct shard_stats *st = &from->shard->stats;
	uint32_t n = len - DERP_HDR_LEN - DERP_KEY_LEN;
	enum pkt_class class = class_of_frame(frame, len);

	count_from(from, n);
	STAT_INC(st, packets_received);
	STAT_ADD(st, bytes_received, n);
	if (class == PKT_DISCO)
		STAT_INC(st, packets_received_disco);
	else
		STAT_INC(st, packets_received_other);
	if (from->peer->twinned)
		send_by_twin(from, frame, len, rbuf, owned);
	else
		send_direct(from, frame, len, class, spliced_source(from), rbuf, owned);
}

void forward_mesh_packet(struct conn *from, uint8_t *frame, uint32_t len, struct rbuf *rbuf, struct pkt *owned)
{
	struct shard_stats *st = &from->shard->stats;
	uint32_t n = len - DERP_HDR_LEN - 2 * DERP_KEY_LEN;
	struct delivery d = {
		.len = len - DERP_KEY_LEN, .queued_ns = from->shard->now_ns, .rbuf = rbuf, .owned = owned,
		.class = class_of(frame + len - n, n), .forwarded = true,
	};
	struct key src, dst;

	count_from(from, n);
	STAT_INC(st, packets_forwarded_in);
	STAT_ADD(st, bytes_forwarded_in, n);
	memcpy(src.b, frame + DERP_HDR_LEN, KEY_LEN);
	memcpy(dst.b, frame + DERP_HDR_LEN + KEY_LEN, KEY_LEN);
	d.src_hash = key_hash(from->shard->relay->directory, &src);
	d.frame = frame_forward_to_recv(frame, len - DERP_HDR_LEN);
	route(from, &dst, &d, DROP_UNKNOWN_DEST_ON_FWD);
}

void forward_from_shard(struct shard *s, uint32_t slot, uint32_t gen, const struct delivery *d)
{
	deliver(s, slot, gen, d);
}

void forward_refuse(struct conn *from, uint8_t type, uint32_t body_len)
{
	struct shard_stats *st = &from->shard->stats;
	uint32_t n = body_len - DERP_KEY_LEN;

	if (type == DERP_FORWARD_PACKET) {
		n -= DERP_KEY_LEN;
		STAT_INC(st, packets_forwarded_in);
		STAT_ADD(st, bytes_forwarded_in, n);
	} else {
		STAT_INC(st, packets_received);
		STAT_ADD(st, bytes_received, n);
		STAT_INC(st, packets_received_other);
	}
	count_from(from, n);
	forward_count_drop(from->shard, DROP_QUEUE_MEMORY, PKT_DATA, n);
}
