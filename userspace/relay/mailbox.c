/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/mailbox.h"

#include <assert.h>
#include <stdlib.h>

#include "relay/forward.h"
#include "relay/mesh.h"
#include "relay/shard.h"

#define MSG_BYTES	(offsetof(struct parcel, msg) + sizeof(struct msg))

_Static_assert(RELAY_MAX_SHARDS <= 64, "a bit per shard");
_Static_assert(MAILBOX_PACKETS > PARCEL_ITEMS, "the oldest packet is never in the parcel being filled");

struct mail_slot *mailbox_new(unsigned int n)
{
	size_t bytes = (size_t)n * n * sizeof(struct mail_slot);
	struct mail_slot *slots = aligned_alloc(alignof(struct mail_slot), bytes);

	return slots ? memset(slots, 0, bytes) : NULL;
}

static struct mail_slot *slot_of(const struct relay *r, unsigned int from, unsigned int to)
{
	return &r->mail[from * r->nshards + to];
}

static struct parcel *take(struct parcel **chain)
{
	return __atomic_exchange_n(chain, NULL, __ATOMIC_ACQUIRE);
}

static unsigned int pop_bit(uint64_t *mask)
{
	unsigned int i = (unsigned int)__builtin_ctzll(*mask);

	*mask &= *mask - 1;
	return i;
}

/* --- the sender's end */

static void let_go(struct shard *s, const struct parcel_item *it)
{
	if (it->owned)
		pkt_free(&s->mem, it->lent);
	else
		rbuf_return(it->lent);
}

static void parcel_free(struct shard *s, struct parcel *p)
{
	slab_free(&s->mail_mem, p, p->slab_class);
}

static void drop_oldest(struct shard *s, struct mail_out *o)
{
	struct parcel *p;
	struct parcel_item *it;

	while (!(*o->oldest)->n)
		o->oldest = &(*o->oldest)->next;
	p = *o->oldest;
	assert(p != o->tail);
	it = &p->items[p->first++];
	s->mail_sent[o - s->mail]--;
	forward_count_drop(s, DROP_CROSS_FULL, it->class, packet_payload(it->frame, it->len));
	let_go(s, it);
	o->packets--;
	if (p->first < p->n)
		return;
	*o->oldest = p->next;
	parcel_free(s, p);
}

static void append(struct mail_out *o, struct parcel *p)
{
	p->next = NULL;
	if (o->head)
		o->tail->next = p;
	else
		o->head = p;
	o->tail = p;
}

/* bytes: of the part that will be used. */
static struct parcel *add_parcel(struct shard *s, unsigned int to, size_t bytes)
{
	uint8_t cls;
	struct parcel *p = slab_alloc(&s->mail_mem, bytes, &cls);

	if (!p)
		return NULL;
	p->n = p->first = 0;
	p->home = (uint8_t)s->id;
	p->slab_class = cls;
	append(&s->mail[to], p);
	s->mail_to |= 1ULL << to;
	return p;
}

static struct parcel_item *add_item(struct shard *s, unsigned int to)
{
	struct mail_out *o = &s->mail[to];
	struct parcel *p = o->head ? o->tail : NULL;

	if (!p || !p->n || p->n == PARCEL_ITEMS)
		p = add_parcel(s, to, sizeof(*p));
	if (!p)
		return NULL;
	if (o->packets == MAILBOX_PACKETS)
		drop_oldest(s, o);
	o->packets++;
	s->mail_sent[to]++;
	return &p->items[p->n++];
}

/* Where the other shard can read the frame for as long as it likes. */
static bool lend(struct shard *s, const struct delivery *d, struct parcel_item *it)
{
	struct pkt *copy;

	it->frame = d->frame;
	it->len = d->len;
	it->owned = true;
	it->lent = d->owned;
	if (d->owned)
		return true;
	if (d->rbuf && rbuf_lend(d->rbuf)) {
		it->owned = false;
		it->lent = d->rbuf;
		return true;
	}
	STAT_INC(&s->stats, packets_cross_copied);
	copy = pkt_new(&s->mem, delivery_size(d), (uint8_t)d->class);
	if (!copy)
		return false;
	delivery_copy(copy->data, d);
	it->frame = copy->data;
	it->len = copy->len;
	it->lent = copy;
	return true;
}

void mailbox_send_packet(struct shard *s, struct conn_id to, const struct delivery *d)
{
	struct parcel_item it = {
		.slot = to.slot, .gen = to.gen, .class = (uint8_t)d->class, .forwarded = d->forwarded, .src_hash = d->src_hash,
		.queued_ns = d->queued_ns, .source = d->source,
	};
	struct parcel_item *place;

	if (!lend(s, d, &it)) {
		forward_count_drop(s, DROP_QUEUE_MEMORY, d->class, delivery_payload(d));
		return;
	}
	place = add_item(s, to.shard);
	if (!place) {
		forward_count_drop(s, DROP_QUEUE_MEMORY, d->class, delivery_payload(d));
		let_go(s, &it);
		return;
	}
	*place = it;
	STAT_INC(&s->stats, packets_cross_out);
}

void mailbox_send(struct shard *s, uint16_t shard, const struct msg *m)
{
	struct parcel *p = add_parcel(s, shard, MSG_BYTES);

	/* That slab has no limit, and losing a PeerGone would be worse. */
	if (!p)
		abort();
	p->msg = *m;
	s->mail_sent[shard]++;
}

void mailbox_broadcast(struct shard *s, const struct msg *m)
{
	for (uint16_t i = 0; i < s->relay->nshards; i++)
		if (i != s->id)
			mailbox_send(s, i, m);
}

/* What is still in the slot goes in front again. A few packets a turn must not pile up as a parcel each. */
static void join(struct shard *s, struct mail_out *o, struct parcel *old)
{
	struct parcel *last = o->published_tail, *p = o->head;

	if (last->n && p->n && last->n + p->n <= PARCEL_ITEMS) {
		memcpy(&last->items[last->n], p->items, p->n * sizeof(*p->items));
		last->n += p->n;
		o->head = p->next;
		if (!o->head)
			o->tail = last;
		parcel_free(s, p);
	}
	last->next = o->head;
	o->head = old;
	o->packets += o->published;
	o->oldest = &o->head;
	while (o->packets > MAILBOX_PACKETS)
		drop_oldest(s, o);
}

static void publish(struct shard *s, unsigned int to)
{
	struct mail_slot *slot = slot_of(s->relay, s->id, to);
	struct mail_out *o = &s->mail[to];
	struct parcel *old = take(&slot->out);

	if (old)
		join(s, o, old);
	__atomic_store_n(&slot->out, o->head, __ATOMIC_RELEASE);
	*o = (struct mail_out){ .oldest = &o->head, .published_tail = o->tail, .published = o->packets };
}

static void wake_shard(struct shard *s, struct shard *to)
{
	/* Pairs with shard_run: it says "asleep" first and looks for mail after. */
	__atomic_fetch_or(&to->mail_from, 1ULL << s->id, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&to->asleep, __ATOMIC_SEQ_CST) && __atomic_exchange_n(&to->asleep, 0, __ATOMIC_ACQ_REL)) {
		io_wake(to->io);
		STAT_INC(&s->stats, wakes_sent);
	}
}

/* --- the receiver's end */

static void receive_packets(struct shard *s, struct parcel *p)
{
	for (unsigned int i = p->first; i < p->n; i++) {
		struct parcel_item *it = &p->items[i];
		struct delivery d = {
			.frame = it->frame, .len = it->len, .class = it->class, .forwarded = it->forwarded, .src_hash = it->src_hash,
			.queued_ns = it->queued_ns, .parcel = p, .source = it->source,
		};

		forward_from_shard(s, it->slot, it->gen, &d);
	}
	STAT_ADD(&s->stats, packets_cross_in, p->n - p->first);
}

static void receive_msg(struct shard *s, const struct msg *m)
{
	struct conn *c;

	switch (m->type) {
	case MSG_GONE:
		mesh_peer_gone(s, &m->present.key, m->hash, m->what);
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

/* Returns how many packets and messages there were. */
static unsigned int receive(struct shard *s, struct parcel *p)
{
	struct parcel *next;
	unsigned int n = 0;

	for (; p; p = next) {
		next = p->next;
		p->done = &s->mail_done;
		p->live = 1;
		if (p->n)
			receive_packets(s, p);
		else
			receive_msg(s, &p->msg);
		n += p->n ? p->n : 1;
		parcel_unref(p);
	}
	return n;
}

static unsigned int receive_from(struct shard *s, struct mail_slot *slot)
{
	unsigned int n = receive(s, take(&slot->out));

	__atomic_store_n(&slot->received, slot->received + n, __ATOMIC_RELEASE);
	return n;
}

/* Buffers and memory that other shards need no more. */
static void take_back(struct shard *s, struct parcel *p)
{
	struct parcel *next;

	for (; p; p = next) {
		next = p->next;
		for (unsigned int i = p->first; i < p->n; i++)
			let_go(s, &p->items[i]);
		parcel_free(s, p);
	}
}

void mailbox_receive(struct shard *s)
{
	uint64_t from;

	if (__atomic_load_n(&s->mail_back_from, __ATOMIC_RELAXED)) {
		from = __atomic_exchange_n(&s->mail_back_from, 0, __ATOMIC_SEQ_CST);
		while (from)
			take_back(s, take(&slot_of(s->relay, s->id, pop_bit(&from))->back));
	}
	/* Not before those left over from the last turn are through: else low numbers would always come first. */
	if (!s->mail_waiting && __atomic_load_n(&s->mail_from, __ATOMIC_RELAXED))
		s->mail_waiting = __atomic_exchange_n(&s->mail_from, 0, __ATOMIC_SEQ_CST);
	for (unsigned int n = 0; s->mail_waiting && n < MAILBOX_TURN; )
		n += receive_from(s, slot_of(s->relay, pop_bit(&s->mail_waiting), s->id));
}

/* Parcels of one home in a row go together. */
static void give_back(struct shard *s)
{
	struct parcel *p = s->mail_done, *last;

	for (; p; p = s->mail_done) {
		const unsigned int home = p->home;	/* p is theirs once it is in the slot */
		struct mail_slot *slot = slot_of(s->relay, home, s->id);

		for (last = p; last->next && last->next->home == home; )
			last = last->next;
		s->mail_done = last->next;
		last->next = take(&slot->back);
		__atomic_store_n(&slot->back, p, __ATOMIC_RELEASE);
		__atomic_fetch_or(&s->relay->shards[home]->mail_back_from, 1ULL << s->id, __ATOMIC_SEQ_CST);
	}
}

void mailbox_publish(struct shard *s)
{
	give_back(s);
	while (s->mail_to) {
		unsigned int to = pop_bit(&s->mail_to);

		publish(s, to);
		wake_shard(s, s->relay->shards[to]);
	}
}

bool mailbox_pending(const struct shard *s)
{
	return s->mail_waiting || __atomic_load_n(&s->mail_from, __ATOMIC_RELAXED);
}

bool mailbox_received(const struct shard *s, uint16_t by)
{
	return s->mail_sent[by] == __atomic_load_n(&slot_of(s->relay, s->id, by)->received, __ATOMIC_ACQUIRE);
}
