/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/bootstrap.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/worker.h"
#include "net/lookup.h"
#include "relay/relay.h"

#define EVERY_NS	(600 * NS_PER_S)

struct name {
	char *text;			/* owned, as all here */
	struct lookup_addresses at;
	int percent;			/* of addresses that are told; published ones: all */
};

struct names {
	struct name *row;		/* sorted, each once */
	size_t n;
};

/* What shards read: never changed once it is there. */
struct answers {
	struct names published, unpublished;
	struct textbuf all;		/* the published ones; empty: there is no such list */
};

struct bootstrap {
	struct answers *answers;	/* owned, atomic; NULL before the first look-up */
	pthread_t owner;		/* the main thread */
	uint64_t next_ns;		/* its own */
	bool busy;			/* a job is under way */
	struct workers *workers;
	struct inbox inbox;
	uint64_t found, failed;		/* atomic */
	pthread_mutex_t lock;		/* of all below */
	uint64_t asked[BOOTSTRAP_ASKED_MAX];	/* hashes */
	unsigned int nasked;		/* atomic for readers */
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
};

/* --- answers in JSON, as Go's encoder indents it */

static void put_ip(struct textbuf *out, const uint8_t ip[static 16])
{
	static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
	bool is_v4 = !memcmp(ip, v4, sizeof(v4));
	char text[INET6_ADDRSTRLEN];

	inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? ip + 12 : ip, text, sizeof(text));
	textbuf_puts(out, text);
}

static void put_name(struct textbuf *out, const struct name *n)
{
	textbuf_printf(out, "\t\"%s\": [\n", n->text);
	for (unsigned int i = 0; i < n->at.n; i++) {
		textbuf_puts(out, "\t\t\"");
		put_ip(out, n->at.ip[i]);
		textbuf_puts(out, i + 1 < n->at.n ? "\",\n" : "\"\n");
	}
	textbuf_puts(out, "\t]");
}

static void put_names(struct textbuf *out, const struct name *row, size_t n)
{
	if (!n) {
		textbuf_puts(out, "null");
		return;
	}
	textbuf_puts(out, "{\n");
	for (size_t i = 0; i < n; i++) {
		put_name(out, &row[i]);
		textbuf_puts(out, i + 1 < n ? ",\n" : "\n}");
	}
}

/* --- who is told what */

/* PCG-DXSM with 128 bits of state (O'Neill), seeded by the halves of the address: derper's rollout moves the same clients. */
double bootstrap_rank(const uint8_t ip[static 16])
{
	const unsigned __int128 multiplier = (unsigned __int128)2549297995355413924ULL << 64 | 4865540595714422341ULL;
	const unsigned __int128 increment = (unsigned __int128)6364136223846793005ULL << 64 | 1442695040888963407ULL;
	unsigned __int128 state;
	uint64_t hi, lo;

	memcpy(&hi, ip, sizeof(hi));
	memcpy(&lo, ip + 8, sizeof(lo));
	state = (unsigned __int128)le64toh(hi) << 64 | le64toh(lo);
	state = state * multiplier + increment;
	hi = (uint64_t)(state >> 64);
	lo = (uint64_t)state;
	hi ^= hi >> 32;
	hi *= 0xda942042e4dd58b5ULL;
	hi ^= hi >> 48;
	hi *= lo | 1;
	return (double)(hi << 11 >> 11) / (double)(1ULL << 53);
}

static bool is_loopback(const uint8_t ip[static 16])
{
	static const uint8_t v4[13] = { [10] = 0xff, [11] = 0xff, [12] = 127 }, v6[16] = { [15] = 1 };

	return !memcmp(ip, v4, sizeof(v4)) || !memcmp(ip, v6, sizeof(v6));
}

/* On this machine somebody tries it out: each time anew. */
static bool is_told(const struct name *n, const uint8_t ip[static 16])
{
	if (n->percent == 0 || n->percent == 100)
		return n->percent == 100;
	if (is_loopback(ip))
		return randombytes_uniform(2);
	return n->percent / 100.0 > bootstrap_rank(ip);
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

static const struct name *find(const struct names *l, struct view name)
{
	for (size_t i = 0; i < l->n; i++)
		if (strlen(l->row[i].text) == name.n && !memcmp(l->row[i].text, name.p, name.n))
			return &l->row[i];
	return NULL;
}

/* For a number in the metrics no shard waits for another: then one is left out. */
static void note_asked(struct bootstrap *b, struct view name)
{
	uint64_t hash;
	unsigned int i;

	crypto_shorthash((uint8_t *)&hash, name.p, name.n, b->hash_key);
	if (pthread_mutex_trylock(&b->lock))
		return;
	for (i = 0; i < b->nasked && b->asked[i] != hash; i++)
		;
	if (i == BOOTSTRAP_ASKED_MAX)
		__atomic_store_n(&b->nasked, 0, __ATOMIC_RELAXED);
	else if (i == b->nasked) {
		b->asked[i] = hash;
		__atomic_store_n(&b->nasked, i + 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&b->lock);
}

unsigned int bootstrap_answer(struct bootstrap *b, struct view name, const uint8_t ip[static 16], struct textbuf *out)
{
	static const struct answers none;
	const struct answers *a = __atomic_load_n(&b->answers, __ATOMIC_ACQUIRE);
	const struct name *n;
	unsigned int what = BOOTSTRAP_REQUEST;

	if (!a)
		a = &none;
	if (name.n) {
		note_asked(b, name);
		n = find(&a->unpublished, name);
		if (n) {
			what |= BOOTSTRAP_UNPUBLISHED_HIT;
			if (is_told(n, ip)) {
				put_names(out, n, 1);
				return what;
			}
			what |= BOOTSTRAP_PERCENT_MISS;
		}
		what |= find(&a->published, name) ? BOOTSTRAP_PUBLISHED_HIT : BOOTSTRAP_UNPUBLISHED_MISS;
	}
	if (a->all.len)
		textbuf_put(out, a->all.p, a->all.len);
	return what;
}

void bootstrap_stats(struct bootstrap *b, struct bootstrap_stats *ret)
{
	ret->asked = __atomic_load_n(&b->nasked, __ATOMIC_RELAXED);
	ret->found = __atomic_load_n(&b->found, __ATOMIC_RELAXED);
	ret->failed = __atomic_load_n(&b->failed, __ATOMIC_RELAXED);
}

/* --- looking names up */

struct refresh {
	struct job job;
	char *published, *unpublished;	/* the settings; copies, as the job may outlive them */
	struct answers *answers;
	uint64_t found, failed;
};

static void free_name(struct name *n)
{
	free(n->text);
	free(n->at.ip);
}

static void free_names(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free_name(&l->row[i]);
	free(l->row);
}

static void free_answers(struct answers *a)
{
	if (!a)
		return;
	free_names(&a->published);
	free_names(&a->unpublished);
	textbuf_done(&a->all);
	free(a);
}

/* What stands in a TXT record: the last that is a whole number from 0 to 100 counts. */
static void take_percent(const char *text, void *ctx)
{
	size_t sign = *text == '+' || *text == '-';
	long v = strtol(text, NULL, 10);

	if (text[sign] && strspn(text + sign, "0123456789") == strlen(text + sign) && v >= 0 && v <= 100)
		*(int *)ctx = (int)v;
}

/* Nothing else is a name, and JSON takes it as it is. */
static bool is_name(const char *text)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:";

	return *text && strspn(text, allowed) == strlen(text);
}

static void add(struct refresh *j, struct names *to, char *text)
{
	char *txt = strchr(text, '/');
	struct name n = { .percent = 100 };
	const char *why;

	if (txt)
		*txt++ = '\0';
	why = is_name(text) ? lookup_addresses(&n.at, text) : "this is no name";
	if (!why && txt && *txt) {
		n.percent = 0;
		why = lookup_txt(txt, take_percent, &n.percent);
	}
	if (why)
		log_event(LOG_LEVEL_WARN, "bootstrap_lookup_failed", "name=%s error=%s", n.at.n ? txt : text, why);
	j->found += !why;
	j->failed += !!why;
	if (!n.at.n)
		return;
	n.text = strdup(text);
	if (n.text)
		to->row[to->n++] = n;
	else
		free_name(&n);
}

/* Of two rows with one name the later counts. */
static void sort(struct names *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		bool again = false;

		for (size_t k = i + 1; k < l->n && !again; k++)
			again = !compare(&l->row[i], &l->row[k]);
		if (again)
			free_name(&l->row[i]);
		else
			l->row[n++] = l->row[i];
	}
	l->n = n;
	if (n)
		qsort(l->row, n, sizeof(l->row[0]), compare);
}

static void look_up(struct refresh *j, struct names *to, char *list)
{
	size_t n = 1;
	char *next;

	for (const char *p = list; *p; p++)
		n += *p == ',';
	to->row = calloc(n, sizeof(to->row[0]));
	for (; to->row && list; list = next) {
		next = strchr(list, ',');
		if (next)
			*next++ = '\0';
		add(j, to, list);
	}
	sort(to);
}

/* So that clients that take the first don't all take the same. */
static void shuffle(struct lookup_addresses *at)
{
	uint8_t swap[16];

	for (uint32_t i = at->n; i > 1; i--) {
		uint32_t k = randombytes_uniform(i);

		memcpy(swap, at->ip[i - 1], sizeof(swap));
		memmove(at->ip[i - 1], at->ip[k], sizeof(swap));
		memcpy(at->ip[k], swap, sizeof(swap));
	}
}

static void run(struct job *job)
{
	struct refresh *j = container_of(job, struct refresh, job);
	struct answers *a = j->answers;

	if (*j->published) {
		look_up(j, &a->published, j->published);
		for (size_t i = 0; i < a->published.n; i++)
			shuffle(&a->published.row[i].at);
		put_names(&a->all, a->published.row, a->published.n);
	}
	if (*j->unpublished)
		look_up(j, &a->unpublished, j->unpublished);
}

static void free_refresh(struct job *job)
{
	struct refresh *j = container_of(job, struct refresh, job);

	free_answers(j->answers);
	free(j->published);
	free(j->unpublished);
	free(j);
}

static void count(uint64_t *to, uint64_t n)
{
	__atomic_store_n(to, *to + n, __ATOMIC_RELAXED);
}

static void done(struct job *job, void *owner)
{
	struct refresh *j = container_of(job, struct refresh, job);
	struct relay *r = owner;
	struct bootstrap *b = r->bootstrap;
	struct answers *before = b->answers;

	b->busy = false;
	count(&b->found, j->found);
	count(&b->failed, j->failed);
	if (!j->answers->all.failed) {
		__atomic_store_n(&b->answers, j->answers, __ATOMIC_RELEASE);
		j->answers = before;
		ask_nothing(r);
	}
	free_refresh(job);
}

void bootstrap_refresh(struct bootstrap *b, const struct config *cfg)
{
	uint64_t now = clock_now_ns();
	struct refresh *j;

	if (b->busy || now < b->next_ns || (!*cfg->bootstrap_names && !*cfg->unpublished_names))
		return;
	j = calloc(1, sizeof(*j));
	if (!j)
		return;
	j->job = (struct job){ .to = &b->inbox, .run = run, .done = done, .free = free_refresh };
	j->published = strdup(cfg->bootstrap_names);
	j->unpublished = strdup(cfg->unpublished_names);
	j->answers = calloc(1, sizeof(*j->answers));
	if (!j->published || !j->unpublished || !j->answers || !workers_submit(b->workers, &j->job)) {
		free_refresh(&j->job);
		return;
	}
	b->busy = true;
	b->next_ns = now + EVERY_NS;
}

void bootstrap_take(struct bootstrap *b, struct relay *r)
{
	inbox_take(&b->inbox, r);
}

static void wake(void *ctx)
{
	const struct bootstrap *b = ctx;

	pthread_kill(b->owner, SIGUSR1);
}

int bootstrap_new(struct bootstrap **ret)
{
	struct bootstrap *b = calloc(1, sizeof(*b));
	int e = b ? workers_new(&b->workers, 1, 1) : -ENOMEM;

	if (e) {
		free(b);
		return e;
	}
	b->owner = pthread_self();
	inbox_init(&b->inbox, wake, b);
	pthread_mutex_init(&b->lock, NULL);
	randombytes_buf(b->hash_key, sizeof(b->hash_key));
	*ret = b;
	return 0;
}

void bootstrap_free(struct bootstrap *b)
{
	if (!b)
		return;
	workers_stop(b->workers);
	inbox_done(&b->inbox);
	free_answers(b->answers);
	pthread_mutex_destroy(&b->lock);
	free(b);
}
