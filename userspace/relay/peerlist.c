/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/peerlist.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "relay/relay.h"
#include "relay/shard.h"

#define SPARE	256U	/* rows for those who log in while the list is made */

/* Each shard has its part of the rows: nobody waits for memory or for another. */
struct listing {
	struct part {
		struct peer_row *rows;
		size_t n, max;
		uint32_t cursor;
	} parts[RELAY_MAX_SHARDS];
};

const char *transport_label(enum derp_transport t)
{
	static const char *const labels[] = { [DERP_PLAIN] = "plain", [DERP_TLS] = "tls", [DERP_KTLS] = "ktls" };

	return (size_t)t < ARRAY_SIZE(labels) && labels[t] ? labels[t] : "unknown";
}

static void add(struct conn *c, void *ctx)
{
	struct part *part = ctx;
	const struct peer *p = c->peer;
	struct peer_row *row;

	if (!p || p->hidden || part->n == part->max)
		return;
	row = &part->rows[part->n++];
	*row = (struct peer_row){
		.key = p->key, .facts = p->facts, .shard = c->shard->id, .queued = p->q[PKT_DISCO].n + p->q[PKT_DATA].n,
		.mesh = p->mesh, .prober = p->prober, .not_ideal = p->not_ideal, .watching = !list_empty(&p->watcher), .caps = p->caps,
	};
	sockaddr_text(row->address, &c->src.sa);
}

static bool list_step(struct shard *s, void *ctx)
{
	struct listing *l = ctx;
	struct part *part = &l->parts[s->id];

	return ask_walk(s, &part->cursor, add, part);
}

int peerlist_take(struct relay *r, struct peer_row **ret, size_t *n)
{
	struct listing l = { 0 };
	struct shard_stats st;
	struct peer_row *rows;
	size_t max = 0;

	for (unsigned int i = 0; i < r->nshards; i++) {
		relay_shard_stats(r, i, &st);
		l.parts[i].max = st.derp_conns + SPARE;
		max += l.parts[i].max;
	}
	rows = malloc(max * sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	max = 0;
	for (unsigned int i = 0; i < r->nshards; i++) {
		l.parts[i].rows = rows + max;
		max += l.parts[i].max;
	}
	ask_all(r, list_step, &l);
	*n = 0;
	for (unsigned int i = 0; i < r->nshards; i++) {
		memmove(rows + *n, l.parts[i].rows, l.parts[i].n * sizeof(*rows));
		*n += l.parts[i].n;
	}
	*ret = rows;
	return 0;
}
