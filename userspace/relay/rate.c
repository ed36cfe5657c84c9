/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/rate.h"

#include "relay/admission.h"
#include "relay/shard.h"

/* Zero: at any rate. */
static const struct rate *rate_of(const struct conn *c)
{
	static const struct rate any;

	if (c->peer->mesh)
		return &any;
	return c->peer->caps.has_rate ? &c->peer->caps.rate : &c->shard->cfg->rate;
}

/* One that is not logged in yet may become a limited peer in mid-receive. */
bool rate_is_limited(const struct conn *c)
{
	const struct shard *s = c->shard;

	if (c->peer)
		return rate_of(c)->bytes_per_s;
	return s->cfg->rate.bytes_per_s || admission_has_caps(__atomic_load_n(&s->relay->admission, __ATOMIC_ACQUIRE));
}

size_t rate_recv_max(const struct conn *c)
{
	return rate_is_limited(c) ? RBUF_SIZE : 0;
}

void rate_charge(struct conn *c, uint32_t len)
{
	const struct rate *r = rate_of(c);

	if (!r->bytes_per_s)
		return;
	/* What is in our buffer already is taken on credit, and so is a frame of unknown type that is longer than the burst. */
	c->peer->hold_ns = bucket_charge(&c->peer->rate, (double)r->bytes_per_s, (double)r->burst, len, c->shard->now_ns);
}

static void on_release(struct timer *t, void *ctx)
{
	struct peer *p = container_of(t, struct peer, hold);

	(void)ctx;
	conn_hold(p->conn, false);
}

void rate_hold(struct conn *c)
{
	struct peer *p = c->peer;

	if (!p->hold_ns)
		return;
	if (!c->held) {
		STAT_INC(&c->shard->stats, rate_waits);
		timer_init(&p->hold, on_release);
		conn_hold(c, true);
	}
	timer_arm(&c->shard->wheel, &p->hold, c->shard->now_ns + p->hold_ns);
	p->hold_ns = 0;
}

void rate_release(struct conn *c)
{
	if (c->held)
		timer_disarm(&c->shard->wheel, &c->peer->hold);
}
