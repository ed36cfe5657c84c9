/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/gone.h"

#include <errno.h>
#include <stdlib.h>

struct pair {
	struct list of_receiver;
	struct pair *next;		/* bucket chain, by source */
	struct gone_receiver *receiver;
	uint64_t src_hash;
	struct key src;
	bool told;
	uint8_t slab_class;
};

struct gone_table {
	struct slab *mem;
	struct pair **buckets;		/* owned */
	uint64_t mask, n;
};

/* Pairs of one source spread over SPREAD buckets by receiver, so that a source with thousands of
 * receivers does not make one long chain; an announcement looks into all of them. */
#define SPREAD	16U
#define FIRST_BUCKETS	1024U

static uint64_t bucket_of(const struct gone_table *t, uint64_t src_hash, const struct gone_receiver *r)
{
	return (src_hash + (((uintptr_t)r >> 6) * 0x9e3779b1U >> 8) % SPREAD * 0x9e3779b97f4a7c15ULL) & t->mask;
}

static uint64_t bucket_nr(const struct gone_table *t, uint64_t src_hash, unsigned int i)
{
	return (src_hash + i * 0x9e3779b97f4a7c15ULL) & t->mask;
}

int gone_table_new(struct gone_table **ret, struct slab *mem)
{
	struct gone_table *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->mem = mem;
	t->mask = FIRST_BUCKETS - 1;
	t->buckets = calloc(FIRST_BUCKETS, sizeof(struct pair *));
	if (!t->buckets) {
		free(t);
		return -ENOMEM;
	}
	*ret = t;
	return 0;
}

/* Pairs belong to receivers, which are gone by now. */
void gone_table_free(struct gone_table *t)
{
	if (!t)
		return;
	free(t->buckets);
	free(t);
}

uint64_t gone_count(const struct gone_table *t)
{
	return t->n;
}

void gone_receiver_init(struct gone_receiver *r)
{
	list_init(&r->pairs);
	r->n = 0;
	r->last_hash = 0;
}

/* Without memory for a bigger table the chains just get longer. */
static void table_grow(struct gone_table *t)
{
	uint64_t old = t->mask + 1;
	struct pair **was = t->buckets, *p, *next, **to;
	struct pair **now = calloc(4 * old, sizeof(struct pair *));

	if (!now)
		return;
	t->buckets = now;
	t->mask = 4 * old - 1;
	for (uint64_t i = 0; i < old; i++) {
		for (p = was[i]; p; p = next) {
			next = p->next;
			to = &now[bucket_of(t, p->src_hash, p->receiver)];
			p->next = *to;
			*to = p;
		}
	}
	free(was);
}

static bool known(struct gone_table *t, struct gone_receiver *r, const uint8_t *src_key, uint64_t src_hash)
{
	for (struct pair *p = t->buckets[bucket_of(t, src_hash, r)]; p; p = p->next)
		if (p->receiver == r && p->src_hash == src_hash && !memcmp(p->src.b, src_key, KEY_LEN))
			return true;
	return false;
}

int gone_subscribe(struct gone_table *t, struct gone_receiver *r, const uint8_t *src_key, uint64_t src_hash)
{
	struct pair *p, **to;
	uint8_t cls;

	if (r->last_hash == src_hash)
		return 0;
	if (known(t, r, src_key, src_hash)) {
		r->last_hash = src_hash;
		return 0;
	}
	if (r->n >= GONE_MAX_PER_CONN)
		return -ENOSPC;
	p = slab_alloc(t->mem, sizeof(*p), &cls);
	if (!p)
		return -ENOMEM;
	if (t->n > 2 * t->mask)
		table_grow(t);
	*p = (struct pair){ .receiver = r, .src_hash = src_hash, .slab_class = cls };
	memcpy(p->src.b, src_key, KEY_LEN);
	list_init(&p->of_receiver);
	list_push_back(&r->pairs, &p->of_receiver);
	to = &t->buckets[bucket_of(t, src_hash, r)];
	p->next = *to;
	*to = p;
	t->n++;
	r->n++;
	r->last_hash = src_hash;
	return 1;
}

void gone_unsubscribe_all(struct gone_table *t, struct gone_receiver *r)
{
	struct list *node;
	struct pair *p, **link;

	while ((node = list_pop_front(&r->pairs))) {
		p = list_entry(node, struct pair, of_receiver);
		for (link = &t->buckets[bucket_of(t, p->src_hash, r)]; *link != p; )
			link = &(*link)->next;
		*link = p->next;
		slab_free(t->mem, p, p->slab_class);
		t->n--;
	}
	r->n = 0;
}

void gone_announce(struct gone_table *t, const struct key *src, uint64_t src_hash,
		   void (*tell)(struct gone_receiver *r, const struct key *src, void *ctx), void *ctx)
{
	for (unsigned int i = 0; i < SPREAD; i++) {
		for (struct pair *p = t->buckets[bucket_nr(t, src_hash, i)]; p; p = p->next) {
			if (p->told || p->src_hash != src_hash || !key_equal(&p->src, src))
				continue;
			p->told = true;
			tell(p->receiver, src, ctx);
		}
	}
}
