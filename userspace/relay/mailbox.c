/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/mailbox.h"

#include <stdlib.h>

#include "base/msgring.h"
#include "relay/forward.h"
#include "relay/mesh.h"
#include "relay/shard.h"

#define MSG_HEAD	offsetof(struct msg, frame)
#define SMALL_LEN	(MSG_HEAD + sizeof(struct frame_present))
/* Kept free of packets, so that a flood of them does not push the others into the overflow list. */
#define HEADROOM	(64U * 1024)

struct overflow {
	struct overflow *next;
	struct msg *m;		/* first SMALL_LEN bytes */
};

static struct msgring *ring_to(struct shard *s, uint16_t shard)
{
	return s->relay->rings[s->id][shard];
}

void mailbox_send_packet(struct shard *s, struct conn_id to, const struct delivery *d)
{
	uint32_t len = delivery_size(d);
	struct msg *m = msgring_reserve(ring_to(s, to.shard), (uint32_t)MSG_HEAD + len, HEADROOM);

	if (!m) {
		forward_count_drop(s, DROP_CROSS_FULL, d->class, delivery_payload(d));
		return;
	}
	m->type = MSG_PACKET;
	m->class = (uint8_t)d->class;
	m->slot = to.slot;
	m->gen = to.gen;
	m->len = len;
	m->hash = d->src_hash;
	m->queued_ns = d->queued_ns;
	delivery_copy(m->frame, d);
	msgring_commit(ring_to(s, to.shard), (uint32_t)MSG_HEAD + len);
	s->mail_to |= 1ULL << to.shard;
	STAT_INC(&s->stats, packets_cross_out);
}

static bool put(struct shard *s, uint16_t shard, const struct msg *m)
{
	void *p = msgring_reserve(ring_to(s, shard), SMALL_LEN, 0);

	if (!p)
		return false;
	memcpy(p, m, SMALL_LEN);
	msgring_commit(ring_to(s, shard), SMALL_LEN);
	s->mail_to |= 1ULL << shard;
	return true;
}

void mailbox_send(struct shard *s, uint16_t shard, const struct msg *m)
{
	struct overflow *o, **last;

	if (!s->overflow[shard] && put(s, shard, m))
		return;
	/* Rare: the other shard stands still. Losing a PeerGone would be worse than an allocation. */
	o = malloc(sizeof(*o) + SMALL_LEN);
	if (!o)
		abort();
	o->next = NULL;
	o->m = memcpy(o + 1, m, SMALL_LEN);
	for (last = &s->overflow[shard]; *last; )
		last = &(*last)->next;
	*last = o;
}

void mailbox_broadcast(struct shard *s, const struct msg *m)
{
	for (uint16_t i = 0; i < s->relay->nshards; i++)
		if (i != s->id)
			mailbox_send(s, i, m);
}

static void retry_overflow(struct shard *s, uint16_t shard)
{
	struct overflow *o;

	while ((o = s->overflow[shard]) && put(s, shard, o->m)) {
		s->overflow[shard] = o->next;
		free(o);
	}
}

void mailbox_publish(struct shard *s)
{
	struct shard *to;

	for (uint16_t i = 0; i < s->relay->nshards; i++) {
		if (s->overflow[i])
			retry_overflow(s, i);
		if (!(s->mail_to >> i & 1) || !msgring_publish(ring_to(s, i)))
			continue;
		to = s->relay->shards[i];
		/* Pairs with shard_run: it says "asleep" first and looks into its rings after. */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (__atomic_load_n(&to->asleep, __ATOMIC_RELAXED) &&
		    __atomic_exchange_n(&to->asleep, 0, __ATOMIC_ACQ_REL)) {
			io_wake(to->io);
			STAT_INC(&s->stats, wakes_sent);
		}
	}
	s->mail_to = 0;
}

static void receive_packet(struct shard *s, struct msg *m)
{
	struct delivery d = {
		.frame = m->frame, .len = m->len, .class = m->class, .src_hash = m->hash, .queued_ns = m->queued_ns,
	};

	STAT_INC(&s->stats, packets_cross_in);
	forward_from_shard(s, m->slot, m->gen, &d);
}

static void receive(struct shard *s, struct msg *m)
{
	struct conn *c;

	switch (m->type) {
	case MSG_PACKET:
		receive_packet(s, m);
		break;
	case MSG_GONE:
		mesh_peer_gone(s, &m->present.key, m->hash, m->class);
		break;
	case MSG_PRESENT:
		mesh_peer_present(s, &m->present);
		break;
	case MSG_CLOSE:
		c = shard_conn(s, m->slot, m->gen);
		if (c)
			conn_finish(c, CLOSE_CLOSE_PEER);
		break;
	}
}

bool mailbox_receive(struct shard *s)
{
	struct msgring *r;
	struct msg *m;
	uint32_t len;
	bool more = false;

	for (uint16_t i = 0; i < s->relay->nshards; i++) {
		if (i == s->id)
			continue;
		r = s->relay->rings[i][s->id];
		for (unsigned int n = 0; n < MAILBOX_TURN && (m = msgring_peek(r, &len)); n++) {
			receive(s, m);
			msgring_pop(r);
		}
		msgring_release(r);
		more |= !msgring_empty(r);
	}
	return more;
}

bool mailbox_pending(struct shard *s)
{
	for (uint16_t i = 0; i < s->relay->nshards; i++)
		if (s->overflow[i] || (i != s->id && !msgring_empty(s->relay->rings[i][s->id])))
			return true;
	return false;
}
