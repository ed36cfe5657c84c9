/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/traffic.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/textbuf.h"
#include "relay/shard.h"

#define ROUND_NS	(2 * NS_PER_S)
#define STEP_KEYS	256U		/* in one turn; the next is a tick later */
#define BACKLOG		65536U		/* a reader that is slower than this misses rounds, not lines of one */

struct traffic {
	uint32_t cursor;		/* in the directory; 0: a round begins */
	uint64_t round_ns;		/* when it began */
	uint64_t *seen;			/* owned: bytes both ways when last looked at, by node of the directory */
	uint32_t nseen;
};

static bool remember(struct traffic *t, uint32_t node)
{
	uint32_t n = t->nseen ? t->nseen : 1024;
	uint64_t *bigger;

	if (node < t->nseen)
		return true;
	while (n <= node)
		n *= 2;
	bigger = realloc(t->seen, n * sizeof(*bigger));
	if (!bigger)
		return false;
	memset(bigger + t->nseen, 0, (n - t->nseen) * sizeof(*bigger));
	t->seen = bigger;
	t->nseen = n;
	return true;
}

/* Sent and Recv are ours, as in derper, where they are bytes of the socket; here they are payload. */
static void line(struct textbuf *b, struct traffic *t, const struct directory_moved *m)
{
	char hex[KEY_HEX_LEN + 1];

	if (!remember(t, m->node) || t->seen[m->node] == m->sent + m->received)
		return;
	t->seen[m->node] = m->sent + m->received;
	key_to_hex(hex, &m->key);
	textbuf_printf(b, "{\"Sent\":%" PRIu64 ",\"Recv\":%" PRIu64 ",\"Key\":\"nodekey:%s\"}\n", m->sent, m->received, hex);
}

/* Returns when to go on. */
static uint64_t step(struct traffic *t, struct shard *s, struct textbuf *b)
{
	struct directory_moved m[STEP_KEYS];
	unsigned int n;

	if (!t->cursor)
		t->round_ns = s->now_ns;
	n = directory_moved(s->relay->directory, &t->cursor, m, STEP_KEYS);
	for (unsigned int i = 0; i < n; i++)
		line(b, t, &m[i]);
	if (n == STEP_KEYS)
		return s->now_ns + TIMER_TICK_NS;
	textbuf_puts(b, "\n");
	t->cursor = 0;
	return t->round_ns + ROUND_NS;
}

void traffic_tick(struct conn *c)
{
	struct shard *s = c->shard;
	struct textbuf b = { 0 };
	uint64_t next = s->now_ns + ROUND_NS;
	bool failed = false;

	if (outbuf_len(&c->out) < BACKLOG)
		next = step(c->traffic, s, &b);
	if (b.len)
		failed = b.failed || conn_write(c, b.p, b.len);
	textbuf_done(&b);
	if (failed)
		conn_close(c, CLOSE_NO_MEMORY);
	else
		conn_enter_http(c, next > s->now_ns ? next - s->now_ns : 1);
}

void traffic_begin(struct conn *c)
{
	c->traffic = calloc(1, sizeof(*c->traffic));
	if (!c->traffic) {
		conn_close(c, CLOSE_NO_MEMORY);
		return;
	}
	STAT_INC(&c->shard->stats, traffic_streams);
	traffic_tick(c);
}

void traffic_done(struct conn *c)
{
	if (!c->traffic)
		return;
	STAT_DEC(&c->shard->stats, traffic_streams);
	free(c->traffic->seen);
	free(c->traffic);
	c->traffic = NULL;
}
