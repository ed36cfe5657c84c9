/* SPDX-License-Identifier: BSD-3-Clause */
/* One frame on its way out, and FIFO queues of them. A packet either borrows its bytes, from a receive buffer or from
 * another shard's parcel (one reference held), or owns them, right behind the struct. */
#ifndef XDERP_PKT_H
#define XDERP_PKT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/key.h"
#include "base/slab.h"
#include "net/rbuf.h"
#include "relay/parcel.h"

enum pkt_class {
	PKT_CTL,	/* the relay's own frames: pong, peer gone, keepalive ... */
	PKT_DISCO,
	PKT_DATA,
	PKT_CLASS_NR
};

struct pkt {
	struct pkt *next;
	uint8_t *data;		/* the whole wire frame */
	struct rbuf *rbuf;	/* what data borrows from, this or the next; both NULL: data is this block's own */
	struct parcel *parcel;
	uint64_t src_hash;	/* key_hash() of the source; 0 for PKT_CTL */
	uint64_t queued_ns;
	uint32_t len;		/* of the wire frame */
	uint8_t class;		/* enum pkt_class */
	bool forwarded;		/* as in struct delivery */
	uint8_t slab_class;
};

/* A packet with room for len bytes of its own, or NULL: memory limit. */
static inline struct pkt *pkt_new(struct slab *mem, uint32_t len, uint8_t class)
{
	uint8_t cls;
	struct pkt *p = slab_alloc(mem, sizeof(*p) + len, &cls);

	if (!p)
		return NULL;
	*p = (struct pkt){ .data = (uint8_t *)(p + 1), .len = len, .class = class, .slab_class = cls };
	return p;
}

/* A packet that borrows len bytes at data, inside rbuf or else inside parcel. Takes a reference. NULL: memory limit. */
static inline struct pkt *pkt_borrow(struct slab *mem, struct rbuf *rbuf, struct parcel *parcel, uint8_t *data,
				     uint32_t len)
{
	struct pkt *p = pkt_new(mem, 0, PKT_DATA);

	if (!p)
		return NULL;
	p->data = data;
	p->len = len;
	if (rbuf)
		p->rbuf = rbuf_ref(rbuf);
	else
		p->parcel = parcel_ref(parcel);
	return p;
}

static inline bool pkt_borrows(const struct pkt *p)
{
	return p->rbuf || p->parcel;
}

static inline void pkt_free(struct slab *mem, struct pkt *p)
{
	if (p->rbuf)
		rbuf_unref(p->rbuf);
	else if (p->parcel)
		parcel_unref(p->parcel);
	slab_free(mem, p, p->slab_class);
}

struct pktq {
	struct pkt *head, *tail;
	uint32_t n;
};

static inline void pktq_push(struct pktq *q, struct pkt *p)
{
	p->next = NULL;
	if (q->tail)
		q->tail->next = p;
	else
		q->head = p;
	q->tail = p;
	q->n++;
}

static inline struct pkt *pktq_pop(struct pktq *q)
{
	struct pkt *p = q->head;

	if (!p)
		return NULL;
	q->head = p->next;
	if (!q->head)
		q->tail = NULL;
	q->n--;
	return p;
}

/* All of front, in order, before all of q; front is empty afterwards. */
static inline void pktq_prepend(struct pktq *q, struct pktq *front)
{
	if (!front->head)
		return;
	front->tail->next = q->head;
	q->head = front->head;
	if (!q->tail)
		q->tail = front->tail;
	q->n += front->n;
	*front = (struct pktq){ 0 };
}

#endif
