/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection that speaks HTTP: heads in, answers out, until it upgrades or closes. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "relay/bootstrap.h"
#include "relay/frontdoor.h"
#include "relay/shard.h"
#include "relay/traffic.h"
#include "relay/websocket.h"
#include "wire/frame.h"

#define READ_NS	(30 * NS_PER_S)		/* a whole request, and idle between two */

static bool put(struct conn *c, struct textbuf *out)
{
	bool ok = !out->failed && (!out->len || !conn_write(c, out->p, out->len));

	textbuf_done(out);
	if (!ok)
		conn_close(c, CLOSE_NO_MEMORY);
	return ok;
}

static void start_derp(struct conn *c, const struct frontdoor_result *r)
{
	struct shard *s = c->shard;
	uint8_t frame[FRAME_SERVER_KEY_LEN];

	if (r->next == FRONTDOOR_WEBSOCKET && !websocket_begin(c, r->subprotocol))
		return;
	STAT_INC(&s->stats, accepts);
	if (r->fast_start)
		STAT_INC(&s->stats, fast_starts);
	c->not_ideal = r->not_ideal;
	frame_server_key(frame, &s->cfg->public_key);
	if (conn_write(c, frame, sizeof(frame)))
		conn_close(c, CLOSE_NO_MEMORY);
	else
		conn_enter_client_info(c);
}

static void count_bootstrap(struct shard_stats *st, unsigned int what)
{
	if (!what)
		return;
	STAT_INC(st, bootstrap_dns_requests);
	STAT_ADD(st, bootstrap_dns_published_hits, !!(what & BOOTSTRAP_PUBLISHED_HIT));
	STAT_ADD(st, bootstrap_dns_unpublished_hits, !!(what & BOOTSTRAP_UNPUBLISHED_HIT));
	STAT_ADD(st, bootstrap_dns_unpublished_misses, !!(what & BOOTSTRAP_UNPUBLISHED_MISS));
	STAT_ADD(st, bootstrap_dns_unpublished_percent_misses, !!(what & BOOTSTRAP_PERCENT_MISS));
}

static void answer(struct conn *c, const struct http1_request *req)
{
	struct shard *s = c->shard;
	struct frontdoor_env env = {
		.cfg = s->cfg, .main_port = c->main_port, .source = c->source, .page = s->relay->page, .ctx = s->relay, .bootstrap = s->relay->bootstrap, .now = time(NULL),
		.may_stream = s->stats.traffic_streams < TRAFFIC_STREAMS,
	};
	struct frontdoor_result r;
	struct textbuf out = { 0 };

	frontdoor_handle(&r, &env, req, &c->src.sa, &out);
	STAT_INC(&s->stats, http_requests);
	if (c->tls_minor == 3)
		STAT_INC(&s->stats, tls13);
	else if (c->tls_minor == 2)
		STAT_INC(&s->stats, tls12);
	count_bootstrap(&s->stats, r.bootstrap);
	if (r.challenge && r.status == 200)
		STAT_INC(&s->stats, acme_challenges);
	else if (r.challenge)
		STAT_INC(&s->stats, acme_challenges_unknown);
	if (!put(c, &out))
		return;
	if (r.next == FRONTDOOR_DERP || r.next == FRONTDOOR_WEBSOCKET) {
		start_derp(c, &r);
	} else if (r.next == FRONTDOOR_TRAFFIC) {
		traffic_begin(c);
	} else if (r.next == FRONTDOOR_CLOSE) {
		conn_finish(c, CLOSE_DONE);
	} else {
		c->skip = r.discard;
		c->skip_chunked = r.discard_chunked;
		c->chunked = (struct http1_chunked){ 0 };
		conn_enter_http(c, READ_NS);
	}
}

static void bad(struct conn *c, int status)
{
	struct textbuf out = { 0 };

	frontdoor_bad_request(status, &out);
	if (put(c, &out))
		conn_finish(c, CLOSE_HTTP_ERROR);
}

/* Heads are parsed where they lie; only one that is torn is kept. */
size_t http_input(struct conn *c, struct rbuf *b, uint8_t *p, size_t n)
{
	struct http1_request req;
	size_t old = c->in_len, take;
	int r;

	(void)b;
	if (c->traffic)
		return n;
	if (c->skip) {
		take = min_of(n, c->skip);
		c->skip -= take;
		return take;
	}
	if (c->skip_chunked) {
		r = http1_skip_chunked(&c->chunked, p, n, &take);
		c->skip_chunked = r == 0;
		if (r < 0)
			conn_finish(c, CLOSE_HTTP_ERROR);
		return take;
	}
	if (!old) {
		r = http1_parse(&req, p, n, &c->scanned);
	} else {
		if (conn_stash(c, p, min_of(n, HTTP1_MAX_HEAD + 1 - old))) {
			conn_close(c, CLOSE_NO_MEMORY);
			return n;
		}
		r = http1_parse(&req, c->in, c->in_len, &c->scanned);
	}
	if (r < 0) {
		bad(c, -r);
		return n;
	}
	if (r == 0) {
		/* The clock of a whole request starts with its first byte. */
		if (!old) {
			conn_enter_http(c, READ_NS);
			if (conn_stash(c, p, n))
				conn_close(c, CLOSE_NO_MEMORY);
		}
		return n;
	}
	take = req.head_len - old;
	c->scanned = 0;
	answer(c, &req);
	conn_unstash(c);
	return take;
}

void http_answer_on_tls_port(struct conn *c)
{
	if (outbuf_put(&c->out, frontdoor_http_on_tls, strlen(frontdoor_http_on_tls)))
		conn_close(c, CLOSE_NO_MEMORY);
}
