/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/sendq.h"

#include <errno.h>

#include "relay/forward.h"
#include "relay/mesh.h"
#include "relay/publish.h"
#include "relay/shard.h"
#include "relay/spliced.h"
#include "relay/twinned.h"
#include "relay/websocket.h"

static void left_control(struct peer *peer, const struct pkt *p)
{
	peer->ctl_bytes -= p->len;
	if (p->data[0] == DERP_PONG)
		peer->pong_waiting = false;
}

static void left_queue(struct conn *c, const struct pkt *p)
{
	STAT_DEC(&c->shard->stats, packets_queued);
	shard_note_queue_time(c->shard, p->queued_ns);
}

/* A packet for c. */
static void count_drop(struct conn *c, enum drop_reason why, enum pkt_class class, uint32_t bytes)
{
	STAT_INC(&c->peer->facts, drops);
	publish_note(c);
	forward_count_drop(c->shard, why, class, bytes);
}

static void drop(struct conn *c, struct pkt *p, enum drop_reason why)
{
	if (p->class == PKT_CTL) {
		left_control(c->peer, p);
	} else {
		left_queue(c, p);
		count_drop(c, why, p->class, packet_payload(p->data, p->len));
	}
	pkt_free(&c->shard->mem, p);
}

static uint32_t depth(const struct conn *c)
{
	const struct config *cfg = c->shard->cfg;

	/* The kernel may still have so much to write first: that is no slow client yet. */
	if (c->waits_kernel)
		return max_of(cfg->queue_depth, cfg->splice_queue);
	return c->link ? cfg->mesh_queue_depth : cfg->queue_depth;
}

/* A packet was handed over whole: to the kernel, or sealed. */
static void count_sent(struct conn *c, const struct pkt *p)
{
	struct shard *s = c->shard;
	uint32_t n = packet_payload(p->data, p->len);

	left_queue(c, p);
	STAT_INC(&c->peer->facts, frames_out);
	STAT_ADD(&c->peer->facts, bytes_out, n);
	if (c->link) {
		STAT_INC(&s->stats, packets_forwarded_out);
		STAT_ADD(&s->stats, bytes_forwarded_out, n);
		return;
	}
	STAT_INC(&s->stats, packets_sent);
	STAT_ADD(&s->stats, bytes_sent, n);
	if (!mesh_subscribe(c, p->data + DERP_HDR_LEN, p->src_hash, p->forwarded))
		STAT_INC(&s->stats, gone_subscriptions_refused);
}

static void sent(struct conn *c, struct pkt *p)
{
	if (p->class != PKT_CTL)
		count_sent(c, p);
	else
		left_control(c->peer, p);
	pkt_free(&c->shard->mem, p);
}

static void limit_queue(struct conn *c, enum pkt_class class, uint32_t max)
{
	struct pktq *q = &c->peer->q[class];

	while (q->n > max)
		drop(c, pktq_pop(q), DROP_QUEUE_HEAD);
}

/* A packet that waits longer than its turn must not hold bytes of others. */
static struct pkt *own(struct conn *c, struct pkt *p)
{
	struct slab *mem = &c->shard->mem;
	struct pkt *n;

	if (!pkt_borrows(p))
		return p;
	n = pkt_new(mem, p->len, p->class);
	if (!n) {
		drop(c, p, DROP_QUEUE_MEMORY);
		return NULL;
	}
	memcpy(n->data, p->data, p->len);
	n->forwarded = p->forwarded;
	n->src_hash = p->src_hash;
	n->queued_ns = p->queued_ns;
	pkt_free(mem, p);
	return n;
}

static struct pkt *delivery_pkt(struct conn *to, const struct delivery *d)
{
	struct slab *mem = &to->shard->mem;
	struct pkt *p = d->owned;

	if (p) {
		p->data = d->frame;
		p->len = d->len;
	} else if ((d->rbuf || d->parcel) && !to->blocked) {
		p = pkt_borrow(mem, d->rbuf, d->parcel, d->frame, d->len);
	} else {
		p = pkt_new(mem, delivery_size(d), PKT_DATA);
		if (p)
			delivery_copy(p->data, d);
	}
	if (!p)
		return NULL;
	p->class = (uint8_t)d->class;
	p->forwarded = d->forwarded;
	p->src_hash = d->src_hash;
	p->queued_ns = d->queued_ns;
	return p;
}

void sendq_packet(struct conn *to, const struct delivery *d)
{
	struct shard *s = to->shard;
	struct pktq *q = &to->peer->q[d->class];
	struct pkt *p;

	spliced_queueing(to);
	limit_queue(to, d->class, (to->blocked ? depth(to) : SENDQ_TURN) - 1);
	p = delivery_pkt(to, d);
	if (!p) {
		count_drop(to, DROP_QUEUE_MEMORY, d->class, delivery_payload(d));
		return;
	}
	pktq_push(q, p);
	STAT_INC(&s->stats, packets_queued);
	if (d->source) {
		spliced_open_flow(to, d);
		twinned_open_flow(to, d);
	}
	if (!to->blocked)
		conn_mark_dirty(to);
}

bool sendq_control(struct conn *to, const uint8_t *frame, uint32_t len)
{
	struct peer *peer = to->peer;
	struct pkt *p;

	if (peer->ctl_bytes + len > SENDQ_CTL_MAX)
		return false;
	p = pkt_new(&to->shard->mem, len, PKT_CTL);
	if (!p)
		return false;
	memcpy(p->data, frame, len);
	p->queued_ns = to->shard->now_ns;
	spliced_queueing(to);
	peer->ctl_bytes += len;
	pktq_push(&peer->q[PKT_CTL], p);
	if (!to->blocked)
		conn_mark_dirty(to);
	return true;
}

bool sendq_empty(const struct peer *p)
{
	return !p->flight.n && !p->q[PKT_CTL].n && !p->q[PKT_DISCO].n && !p->q[PKT_DATA].n;
}

static struct pkt *next_waiting(struct peer *p)
{
	static const enum pkt_class order[] = { PKT_DISCO, PKT_DATA, PKT_CTL };

	/* A peer's last packet goes before the news that it left; but old news goes before new packets. */
	if (p->q[PKT_CTL].n && p->q[PKT_CTL].head->queued_ns < p->conn->shard->turn_ns)
		return pktq_pop(&p->q[PKT_CTL]);
	for (int i = 0; i < PKT_CLASS_NR; i++)
		if (p->q[order[i]].n)
			return pktq_pop(&p->q[order[i]]);
	return NULL;
}

unsigned int sendq_gather(struct conn *c, struct iovec *iov, unsigned int max)
{
	struct peer *peer = c->peer;
	struct pkt *p;
	unsigned int n = 0;

	for (p = peer->flight.head; p && n < max; p = p->next)
		iov[n++] = (struct iovec){ p->data, p->len };
	while (n < max && (p = next_waiting(peer))) {
		pktq_push(&peer->flight, p);
		iov[n++] = (struct iovec){ p->data, p->len };
	}
	if (n) {
		stats_note_flush(&c->shard->stats, n);
		iov[0].iov_base = (uint8_t *)iov[0].iov_base + peer->head_off;
		iov[0].iov_len -= peer->head_off;
	}
	return n;
}

/* What a batch may add to out is bounded before it is popped, so nothing popped is left unsealed. */
int sendq_seal(struct conn *c)
{
	struct peer *peer = c->peer;
	struct iovec iov[WEBSOCKET_IOV];
	struct pktq batch = { 0 };
	struct pkt *p;
	unsigned int frames = 0;
	int err = 0;

	while (!err && outbuf_len(&c->out) < SENDQ_SEAL) {
		size_t bytes = 0;

		while (batch.n < ARRAY_SIZE(iov) && bytes < SENDQ_SEAL / 2 && (p = next_waiting(peer))) {
			iov[batch.n] = (struct iovec){ p->data, p->len };
			bytes += p->len;
			pktq_push(&batch, p);
		}
		if (!batch.n)
			break;
		frames += batch.n;
		err = conn_seal(c, iov, batch.n);
		while ((p = pktq_pop(&batch)))
			err ? drop(c, p, DROP_WRITE_ERROR) : sent(c, p);
	}
	if (frames)
		stats_note_flush(&c->shard->stats, frames);
	publish_note(c);
	return err;
}

void sendq_sent(struct conn *c, size_t n)
{
	struct peer *peer = c->peer;

	n += peer->head_off;
	while (peer->flight.head && n >= peer->flight.head->len) {
		n -= peer->flight.head->len;
		sent(c, pktq_pop(&peer->flight));
	}
	peer->head_off = (uint32_t)n;
	publish_note(c);
}

void sendq_block(struct conn *c)
{
	struct peer *peer = c->peer;
	struct pktq back[PKT_CLASS_NR] = { 0 }, kept;
	struct pkt *p, *head = NULL;

	if (peer->head_off)
		head = pktq_pop(&peer->flight);
	while ((p = pktq_pop(&peer->flight)))
		pktq_push(&back[p->class], p);
	for (int i = 0; i < PKT_CLASS_NR; i++) {
		pktq_prepend(&peer->q[i], &back[i]);
		if (i != PKT_CTL)
			limit_queue(c, i, depth(c));
		kept = peer->q[i];
		peer->q[i] = (struct pktq){ 0 };
		while ((p = pktq_pop(&kept)))
			if ((p = own(c, p)))
				pktq_push(&peer->q[i], p);
	}
	if (!head)
		return;
	/* Half of this frame is in the stream: without the rest the stream is lost. */
	p = own(c, head);
	if (p)
		pktq_push(&peer->flight, p);
	else
		conn_close(c, CLOSE_NO_MEMORY);
}

void sendq_drop_waiting(struct conn *c, enum drop_reason why)
{
	struct pkt *p;

	for (int i = 0; i < PKT_CLASS_NR; i++)
		while ((p = pktq_pop(&c->peer->q[i])))
			drop(c, p, why);
}

void sendq_drop_all(struct conn *c, enum drop_reason why)
{
	struct pkt *p;

	sendq_drop_waiting(c, why);
	/* Count now, free later: the kernel may be reading. */
	for (p = c->peer->flight.head; p; p = p->next) {
		if (p->class == PKT_CTL)
			continue;
		left_queue(c, p);
		forward_count_drop(c->shard, why, p->class, packet_payload(p->data, p->len));
	}
}

void sendq_release(struct conn *c)
{
	struct pkt *p;

	while ((p = pktq_pop(&c->peer->flight)))
		pkt_free(&c->shard->mem, p);
}
