/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/sources.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "relay/limit.h"

#define V4_BITS		128
#define V6_BITS		56
#define SCAN_STEP	4096U		/* rows looked at before others get the mutex */

struct entry {
	struct cidr net;
	uint32_t next;			/* of its hash chain; 0: none */
	uint32_t older, newer;		/* on the list of those without connections */
	uint32_t conns, unauth;
	uint64_t refused;
	struct bucket logins;
};

/* Entries are given out from the front and never back: memory that no source needed is never touched. Entry 0 is the head of the
 * list of those without connections: newer is the one longest gone. */
struct sources {
	pthread_mutex_t lock;
	struct entry *entries;		/* owned */
	uint32_t *chains;		/* owned */
	uint32_t max, used, connected, mask;
	uint8_t hash_key[crypto_shorthash_KEYBYTES];	/* sources choose their addresses */
};

int sources_new(struct sources **ret, uint32_t max)
{
	struct sources *t = calloc(1, sizeof(*t));
	uint32_t chains = 1;

	if (!t)
		return -ENOMEM;
	while (chains < max)
		chains *= 2;
	pthread_mutex_init(&t->lock, NULL);
	t->entries = calloc((size_t)max + 1, sizeof(*t->entries));
	t->chains = calloc(chains, sizeof(*t->chains));
	t->max = max;
	t->mask = chains - 1;
	crypto_shorthash_keygen(t->hash_key);
	if (!t->entries || !t->chains) {
		sources_free(t);
		return -ENOMEM;
	}
	*ret = t;
	return 0;
}

void sources_free(struct sources *t)
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	free(t->entries);
	free(t->chains);
	free(t);
}

static struct cidr network_of(const uint8_t ip[static 16])
{
	static const struct cidr mapped = { .net = { [10] = 0xff, [11] = 0xff }, .bits = 96 };
	struct cidr c = { .bits = cidr_holds(&mapped, ip) ? V4_BITS : V6_BITS };

	memcpy(c.net, ip, c.bits / 8);
	return c;
}

static uint32_t *chain_of(struct sources *t, const struct cidr *net)
{
	uint64_t hash;

	crypto_shorthash((uint8_t *)&hash, net->net, sizeof(net->net), t->hash_key);
	return &t->chains[hash & t->mask];
}

static void idle_remove(struct sources *t, uint32_t i)
{
	struct entry *e = &t->entries[i];

	t->entries[e->older].newer = e->newer;
	t->entries[e->newer].older = e->older;
}

static void idle_add(struct sources *t, uint32_t i)
{
	struct entry *e = &t->entries[i], *head = &t->entries[0];

	e->newer = 0;
	e->older = head->older;
	t->entries[head->older].newer = i;
	head->older = i;
}

static void unchain(struct sources *t, uint32_t i)
{
	uint32_t *p = chain_of(t, &t->entries[i].net);

	while (*p != i)
		p = &t->entries[*p].next;
	*p = t->entries[i].next;
}

/* An entry for nobody yet, on no list; 0: all have connections. */
static uint32_t take_entry(struct sources *t)
{
	uint32_t i;

	if (t->used < t->max)
		return ++t->used;
	i = t->entries[0].newer;
	if (i) {
		idle_remove(t, i);
		unchain(t, i);
	}
	return i;
}

/* The entry of a source, as one without connections; 0: there is no room. */
static uint32_t find_or_add(struct sources *t, const struct cidr *net)
{
	uint32_t *chain = chain_of(t, net), i;

	for (i = *chain; i; i = t->entries[i].next)
		if (cidr_equal(&t->entries[i].net, net))
			return i;
	i = take_entry(t);
	if (!i)
		return 0;
	t->entries[i] = (struct entry){ .net = *net, .next = *chain };
	*chain = i;
	idle_add(t, i);
	return i;
}

enum source_verdict sources_enter(struct sources *t, const uint8_t ip[static 16], const struct source_limits *l, uint32_t *handle)
{
	struct cidr net = network_of(ip);
	enum source_verdict v = SOURCE_UNKNOWN;
	struct entry *e;
	uint32_t i;

	pthread_mutex_lock(&t->lock);
	i = find_or_add(t, &net);
	e = &t->entries[i];
	if (!i) {
		;
	} else if (l->conns && e->conns >= l->conns) {
		v = SOURCE_CONNS;
		e->refused++;
	} else if (l->unauth && e->unauth >= l->unauth) {
		v = SOURCE_UNAUTH;
		e->refused++;
	} else {
		v = SOURCE_WELCOME;
		if (!e->conns++) {
			idle_remove(t, i);
			t->connected++;
		}
		e->unauth++;
		*handle = i;
	}
	pthread_mutex_unlock(&t->lock);
	return v;
}

bool sources_login(struct sources *t, uint32_t handle, const struct source_limits *l, uint64_t now_ns)
{
	struct entry *e = &t->entries[handle];
	bool may = true;

	if (!l->login_rate)
		return may;
	pthread_mutex_lock(&t->lock);
	may = bucket_take(&e->logins, l->login_rate, l->login_burst, now_ns);
	e->refused += !may;
	pthread_mutex_unlock(&t->lock);
	return may;
}

void sources_authenticated(struct sources *t, uint32_t handle)
{
	pthread_mutex_lock(&t->lock);
	t->entries[handle].unauth--;
	pthread_mutex_unlock(&t->lock);
}

void sources_leave(struct sources *t, uint32_t handle)
{
	pthread_mutex_lock(&t->lock);
	if (!--t->entries[handle].conns) {
		idle_add(t, handle);
		t->connected--;
	}
	pthread_mutex_unlock(&t->lock);
}

/* --- for people */

void sources_usage(struct sources *t, struct sources_usage *ret)
{
	pthread_mutex_lock(&t->lock);
	*ret = (struct sources_usage){ .known = t->used, .connected = t->connected };
	pthread_mutex_unlock(&t->lock);
}

/* Put r where it belongs among the n rows, of which there are never more than max. */
static unsigned int insert(struct source_row *rows, unsigned int n, unsigned int max, const struct source_row *r)
{
	unsigned int at = n;

	while (at && (rows[at - 1].conns < r->conns || (rows[at - 1].conns == r->conns && rows[at - 1].refused < r->refused)))
		at--;
	if (at == max)
		return n;
	n = min_of(n + 1, max);
	memmove(&rows[at + 1], &rows[at], (n - at - 1) * sizeof(*rows));
	rows[at] = *r;
	return n;
}

unsigned int sources_top(struct sources *t, struct source_row *ret, unsigned int max)
{
	unsigned int n = 0;
	bool more = true;

	for (uint32_t from = 1; more; from += SCAN_STEP) {
		pthread_mutex_lock(&t->lock);
		for (uint32_t i = from; i <= min_of(t->used, from + SCAN_STEP - 1); i++) {
			const struct entry *e = &t->entries[i];
			struct source_row r = { e->net, e->conns, e->unauth, e->refused };

			if (e->conns || e->refused)
				n = insert(ret, n, max, &r);
		}
		more = t->used >= from + SCAN_STEP;
		pthread_mutex_unlock(&t->lock);
	}
	return n;
}
