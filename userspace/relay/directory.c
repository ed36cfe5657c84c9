/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/directory.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "kern/peermap.h"
#include "relay/directory_node.h"
#include "relay/publish.h"

#define FIRST_BUCKETS	1024U

static bool node_key_equal(const struct node *n, const struct key *k)
{
	uint64_t diff = 0, w;

	for (unsigned int i = 0; i < ARRAY_SIZE(n->key); i++) {
		memcpy(&w, k->b + 8 * i, 8);
		diff |= w ^ __atomic_load_n(&n->key[i], __ATOMIC_RELAXED);
	}
	return diff == 0;
}

uint64_t key_hash(const struct directory *d, const struct key *k)
{
	uint64_t h;

	crypto_shorthash((uint8_t *)&h, k->b, KEY_LEN, d->hash_key);
	return h ? h : 1;
}

uint64_t directory_version(const struct directory *d)
{
	return __atomic_load_n(&d->version, __ATOMIC_ACQUIRE);
}

/* A node under change, or one that moved to another chain, sends the reader back to the bucket's head.
 * Writers hold a node odd for a few stores only. */
bool directory_find(const struct directory *d, const struct key *k, uint64_t hash, struct conn_id *ret)
{
	const struct table *t;
	uint32_t i, seq;
	uint64_t active, version;
	struct node *n;
	bool same;

again:
	version = directory_version(d);
	t = __atomic_load_n(&d->table, __ATOMIC_ACQUIRE);
	i = __atomic_load_n(&t->heads[hash & t->mask], __ATOMIC_ACQUIRE);
	while (i != NO_NODE) {
		n = node_at(d, i);
		seq = __atomic_load_n(&n->seq, __ATOMIC_ACQUIRE);
		same = node_key_equal(n, k);
		active = __atomic_load_n(&n->active, __ATOMIC_RELAXED);
		i = __atomic_load_n(&n->chain, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if ((seq & 1) || __atomic_load_n(&n->seq, __ATOMIC_RELAXED) != seq)
			goto again;
		if (same && active) {
			*ret = unpack(active);
			return true;
		}
	}
	/* "Not here" may only be said of chains that held still: a node that leaves its chain leads a reader astray. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if ((version & 1) || version != __atomic_load_n(&d->version, __ATOMIC_RELAXED))
		goto again;
	return false;
}

static void node_begin(struct node *n)
{
	__atomic_store_n(&n->seq, n->seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void node_end(struct node *n)
{
	__atomic_store_n(&n->seq, n->seq + 1, __ATOMIC_RELEASE);
}

static void set_active(struct node *n, uint64_t active)
{
	node_begin(n);
	__atomic_store_n(&n->active, active, __ATOMIC_RELAXED);
	node_end(n);
}

static void node_link(struct directory *d, struct table *t, uint32_t i)
{
	struct node *n = node_at(d, i);
	uint32_t *head = &t->heads[n->hash & t->mask];

	node_begin(n);
	__atomic_store_n(&n->chain, *head, __ATOMIC_RELAXED);
	node_end(n);
	__atomic_store_n(head, i, __ATOMIC_RELEASE);
}

static int table_grow(struct directory *d, uint32_t buckets)
{
	struct table *t;

	if (d->ntables == MAX_TABLES)
		return -ENOMEM;
	t = malloc(sizeof(*t) + buckets * sizeof(t->heads[0]));
	if (!t)
		return -ENOMEM;
	t->mask = buckets - 1;
	for (uint32_t b = 0; b < buckets; b++)
		t->heads[b] = NO_NODE;
	d->tables[d->ntables++] = t;
	for (uint32_t i = 0; i < d->nchunks * CHUNK_NODES; i++)
		if (node_used(node_at(d, i)))
			node_link(d, t, i);
	__atomic_store_n(&d->table, t, __ATOMIC_RELEASE);
	return 0;
}

static int node_alloc(struct directory *d, uint32_t *ret)
{
	struct node *c;

	if (d->free_head == NO_NODE) {
		if (d->nchunks == MAX_CHUNKS)
			return -ENOMEM;
		c = calloc(CHUNK_NODES, sizeof(*c));
		if (!c)
			return -ENOMEM;
		for (uint32_t i = 0; i < CHUNK_NODES; i++)
			c[i].chain = i + 1 < CHUNK_NODES ? d->nchunks * CHUNK_NODES + i + 1 : NO_NODE;
		d->free_head = d->nchunks * CHUNK_NODES;
		__atomic_store_n(&d->chunks[d->nchunks], c, __ATOMIC_RELEASE);
		d->nchunks++;
	}
	*ret = d->free_head;
	d->free_head = node_at(d, *ret)->chain;
	return 0;
}

int directory_new(struct directory **ret, struct peermap *peers)
{
	struct directory *d = aligned_alloc(64, (sizeof(*d) + 63) / 64 * 64);
	int err;

	if (!d)
		return -ENOMEM;
	memset(d, 0, sizeof(*d));
	d->free_head = NO_NODE;
	d->peers = peers;
	randombytes_buf(d->hash_key, sizeof(d->hash_key));
	pthread_mutex_init(&d->lock, NULL);
	err = table_grow(d, FIRST_BUCKETS);
	if (err) {
		directory_free(d);
		return err;
	}
	*ret = d;
	return 0;
}

void directory_free(struct directory *d)
{
	if (!d)
		return;
	for (uint32_t i = 0; i < d->nchunks * CHUNK_NODES; i++)
		free(node_at(d, i)->many);
	for (uint32_t i = 0; i < d->nchunks; i++)
		free(d->chunks[i]);
	for (unsigned int i = 0; i < d->ntables; i++)
		free(d->tables[i]);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static struct member *members(struct node *n)
{
	return n->many ? n->many : &n->one;
}

uint32_t node_lookup(const struct directory *d, const struct key *k, uint64_t hash)
{
	uint32_t i = d->table->heads[hash & d->table->mask];

	while (i != NO_NODE && !node_key_equal(node_at(d, i), k))
		i = node_at(d, i)->chain;
	return i;
}

static const struct directory_member *active_member(struct node *n)
{
	struct member *v = members(n);

	for (uint32_t i = 0; i < n->nmembers; i++)
		if (pack(v[i].m.id) == n->active)
			return &v[i].m;
	return &v[0].m;
}

/* With the lock, which keeps the map in the order of changes: one entry a key, that of its active connection. */
static void show(struct directory *d, struct node *n)
{
	const struct directory_member *m;
	struct derp_peer_key k;
	struct derp_peer v;

	if (!d->peers)
		return;
	m = active_member(n);
	memcpy(k.pub, m->present.key.b, sizeof(k.pub));
	publish_entry(&v, m, n->nmembers - 1);
	peermap_put(d->peers, &k, &v);
}

static void unshow(struct directory *d, const struct node *n)
{
	struct derp_peer_key k;

	if (!d->peers)
		return;
	memcpy(k.pub, n->key, sizeof(k.pub));
	peermap_del(d->peers, &k);
}

int node_new(struct directory *d, const struct key *k, uint64_t hash, uint64_t active, uint32_t *ret)
{
	struct node *n;
	uint64_t w;
	int err;

	/* A table that can't grow still works, with longer chains. */
	if (d->nkeys > d->table->mask)
		table_grow(d, 2 * (d->table->mask + 1));
	err = node_alloc(d, ret);
	if (err)
		return err;
	n = node_at(d, *ret);
	node_begin(n);
	for (unsigned int i = 0; i < ARRAY_SIZE(n->key); i++) {
		memcpy(&w, k->b + 8 * i, 8);
		__atomic_store_n(&n->key[i], w, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&n->active, active, __ATOMIC_RELAXED);
	node_end(n);
	n->hash = hash;
	node_link(d, d->table, *ret);
	d->nkeys++;
	return 0;
}

static void add_first(struct directory *d, struct node *n, const struct directory_member *m)
{
	/* The first connection of a key counts as having spoken. */
	n->last_spoke = 1;
	n->one = (struct member){ .m = *m, .spoke = 1 };
	n->nmembers = 1;
	set_active(n, pack(m->id));
	d->totals.clients_local++;
	d->totals.clients_remote -= n->nfwd > 0;
}

static int add_duplicate(struct directory *d, struct node *n, const struct directory_member *m,
			 unsigned int max_members)
{
	struct member *v;

	if (n->nmembers >= max_members)
		return -EMLINK;
	if (!n->many || n->nmembers == n->cap) {
		v = realloc(n->many, 2 * n->nmembers * sizeof(*v));
		if (!v)
			return -ENOMEM;
		if (!n->many)
			v[0] = n->one;
		n->many = v;
		n->cap = 2 * n->nmembers;
	}
	if (n->nmembers == 1) {
		d->totals.dup_client_keys++;
		d->totals.dup_client_conns++;
	}
	/* The second connection is on record only when it speaks, later ones at once, as in derper. */
	n->many[n->nmembers] = (struct member){
		.m = *m,
		.spoke = n->nmembers >= 2 ? ++n->last_spoke : 0,
	};
	__atomic_store_n(&n->unheard, n->nmembers == 1, __ATOMIC_RELAXED);
	n->nmembers++;
	d->totals.dup_client_conns++;
	set_active(n, pack(m->id));
	return 0;
}

int directory_add(struct directory *d, const struct directory_member *m, uint64_t hash,
		  unsigned int max_members, uint32_t *node, bool *dup)
{
	uint32_t i;
	int err;

	pthread_mutex_lock(&d->lock);
	change_begin(d);
	i = node_lookup(d, &m->present.key, hash);
	err = i == NO_NODE ? node_new(d, &m->present.key, hash, pack(m->id), &i) : 0;
	if (!err && !node_at(d, i)->nmembers)
		add_first(d, node_at(d, i), m);
	else if (!err)
		err = add_duplicate(d, node_at(d, i), m, max_members);
	if (!err) {
		*node = i;
		*dup = node_at(d, i)->nmembers > 1;
		show(d, node_at(d, i));
	}
	change_end(d);
	pthread_mutex_unlock(&d->lock);
	return err;
}

void node_unlink(struct directory *d, uint32_t i)
{
	struct node *n = node_at(d, i), *prev;
	uint32_t *link = &d->table->heads[n->hash & d->table->mask];

	if (*link == i) {
		__atomic_store_n(link, n->chain, __ATOMIC_RELEASE);
	} else {
		for (prev = node_at(d, *link); prev->chain != i; )
			prev = node_at(d, prev->chain);
		node_begin(prev);
		__atomic_store_n(&prev->chain, n->chain, __ATOMIC_RELAXED);
		node_end(prev);
	}
	node_begin(n);
	__atomic_store_n(&n->active, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&n->chain, d->free_head, __ATOMIC_RELAXED);
	node_end(n);
	d->free_head = i;
	d->nkeys--;
}

void node_pick_active(const struct directory *d, struct node *n)
{
	struct member *v = members(n), *best = &v[0];

	if (!n->nmembers) {
		set_active(n, d->links[n->fwd[0]]);
		return;
	}
	for (uint32_t i = 1; i < n->nmembers; i++)
		if (v[i].spoke > best->spoke)
			best = &v[i];
	set_active(n, pack(best->m.id));
}

static void remove_member(struct directory *d, struct node *n, struct conn_id id)
{
	struct member *v = members(n);
	uint32_t i = 0;

	while (i < n->nmembers && !conn_id_equal(v[i].m.id, id))
		i++;
	if (i == n->nmembers)
		return;
	memmove(&v[i], &v[i + 1], (n->nmembers - i - 1) * sizeof(*v));
	n->nmembers--;
	d->totals.dup_client_conns--;
	if (n->nmembers == 1) {
		n->one = v[0];
		/* Alone again, it is what a first connection is. */
		n->one.spoke = n->last_spoke = 1;
		free(n->many);
		n->many = NULL;
		__atomic_store_n(&n->unheard, 0, __ATOMIC_RELAXED);
		d->totals.dup_client_keys--;
		d->totals.dup_client_conns--;
	}
	if (n->nmembers == 1 || n->active == pack(id)) {
		__atomic_store_n(&n->unheard, 0, __ATOMIC_RELAXED);
		node_pick_active(d, n);
	}
}

/* The only connection of its key. */
static void remove_last(struct directory *d, uint32_t i)
{
	struct node *n = node_at(d, i);

	n->nmembers = 0;
	__atomic_store_n(&n->unheard, 0, __ATOMIC_RELAXED);
	d->totals.clients_local--;
	d->totals.clients_remote += n->nfwd > 0;
	if (n->nfwd)
		node_pick_active(d, n);
	else
		node_unlink(d, i);
}

enum directory_left directory_remove(struct directory *d, uint32_t node, struct conn_id id)
{
	struct node *n = node_at(d, node);
	enum directory_left r;

	pthread_mutex_lock(&d->lock);
	change_begin(d);
	if (n->nmembers == 1) {
		unshow(d, n);
		remove_last(d, node);
	} else {
		remove_member(d, n, id);
		show(d, n);
	}
	r = left(n);
	change_end(d);
	pthread_mutex_unlock(&d->lock);
	return r;
}

void directory_note_activity(struct directory *d, uint32_t node, struct conn_id id)
{
	struct node *n = node_at(d, node);
	struct member *v;

	if (likely(__atomic_load_n(&n->active, __ATOMIC_RELAXED) == pack(id) &&
		   !__atomic_load_n(&n->unheard, __ATOMIC_RELAXED)))
		return;
	pthread_mutex_lock(&d->lock);
	change_begin(d);
	v = members(n);
	for (uint32_t i = 0; i < n->nmembers; i++) {
		if (!conn_id_equal(v[i].m.id, id))
			continue;
		v[i].spoke = ++n->last_spoke;
		__atomic_store_n(&n->unheard, 0, __ATOMIC_RELAXED);
		set_active(n, pack(id));
		show(d, n);
	}
	change_end(d);
	pthread_mutex_unlock(&d->lock);
}

void directory_refresh(struct directory *d, uint32_t node, struct conn_id id)
{
	struct node *n = node_at(d, node);

	pthread_mutex_lock(&d->lock);
	if (n->active == pack(id))
		show(d, n);
	pthread_mutex_unlock(&d->lock);
}

unsigned int directory_members(struct directory *d, const struct key *k, uint64_t hash,
			       struct conn_id *ret, unsigned int max)
{
	unsigned int n = 0;
	struct member *v;
	uint32_t i;

	pthread_mutex_lock(&d->lock);
	i = node_lookup(d, k, hash);
	if (i != NO_NODE) {
		n = node_at(d, i)->nmembers;
		v = members(node_at(d, i));
		for (unsigned int j = 0; j < n && j < max; j++)
			ret[j] = v[j].m.id;
	}
	pthread_mutex_unlock(&d->lock);
	return n;
}

unsigned int directory_walk(struct directory *d, uint32_t *cursor, struct frame_present *ret,
			    unsigned int max)
{
	unsigned int n = 0;

	pthread_mutex_lock(&d->lock);
	for (; *cursor < d->nchunks * CHUNK_NODES && n < max; ++*cursor)
		if (node_at(d, *cursor)->nmembers)
			ret[n++] = active_member(node_at(d, *cursor))->present;
	pthread_mutex_unlock(&d->lock);
	return n;
}

unsigned int directory_moved(struct directory *d, uint32_t *cursor, struct directory_moved *ret, unsigned int max)
{
	const struct directory_member *m;
	unsigned int n = 0;

	pthread_mutex_lock(&d->lock);
	for (; *cursor < d->nchunks * CHUNK_NODES && n < max; ++*cursor) {
		if (!node_at(d, *cursor)->nmembers)
			continue;
		m = active_member(node_at(d, *cursor));
		ret[n++] = (struct directory_moved){
			.node = *cursor, .key = m->present.key,
			.sent = __atomic_load_n(&m->facts->bytes_out, __ATOMIC_RELAXED),
			.received = __atomic_load_n(&m->facts->bytes_in, __ATOMIC_RELAXED),
		};
	}
	pthread_mutex_unlock(&d->lock);
	return n;
}

void directory_totals(struct directory *d, struct relay_totals *ret)
{
	pthread_mutex_lock(&d->lock);
	*ret = d->totals;
	pthread_mutex_unlock(&d->lock);
}
