/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/conn.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <unistd.h>

#include "base/log.h"
#include "kern/splice.h"
#include "net/listen.h"
#include "relay/arrival.h"
#include "relay/conn_send.h"
#include "relay/meshlink.h"
#include "relay/probe.h"
#include "relay/publish.h"
#include "relay/rate.h"
#include "relay/sendq.h"
#include "relay/shard.h"
#include "relay/sources.h"
#include "relay/spliced.h"
#include "relay/traffic.h"
#include "relay/twinned.h"
#include "relay/websocket.h"

#define HANDSHAKE_NS	(10 * NS_PER_S)
#define FIRST_BYTE_NS	(10 * NS_PER_S)	/* a silent connection is nobody's */
#define LOGIN_NS	(10 * NS_PER_S)
#define VERDICT_NS	(15 * NS_PER_S)	/* longer than those who are asked have, waiting included */
#define KEEPALIVE_NS	(60 * NS_PER_S)
#define KEEPALIVE_JITTER_MS	5000

struct conn_id conn_id(const struct conn *c)
{
	return (struct conn_id){ .shard = c->shard->id, .slot = c->slot, .gen = c->gen };
}

static void arm_recv(struct conn *c)
{
	size_t max = transport_recv_max(&c->transport);

	if (!max)
		max = rate_recv_max(c);
	if (!max && spliced_receives_once(c))
		max = RBUF_SIZE;
	c->receiving = true;
	c->inflight++;
	if (max)
		io_recv_once(c->shard->io, c->fd, max, conn_tag(c));
	else
		io_recv(c->shard->io, c->fd, conn_tag(c));
}

void conn_rearm(struct conn *c)
{
	list_remove(&c->starved);
	if (c->state == CONN_DEAD || c->state == CONN_EXPECT_VERDICT || c->receiving || c->eof || c->held)
		return;
	spliced_attach(c);
	if (spliced_receives(c))
		arm_recv(c);
}

void conn_pause(struct conn *c)
{
	if (c->receiving)
		io_recv_stop(c->shard->io, c->fd, conn_tag(c));
}

void conn_hold(struct conn *c, bool hold)
{
	c->held = hold;
	if (hold)
		conn_pause(c);
	else
		conn_rearm(c);
}

static bool is_unauth(enum conn_state s)
{
	return s == CONN_EXPECT_PROXY || s == CONN_HANDSHAKE || s == CONN_HTTP || s == CONN_EXPECT_CLIENT_INFO ||
	       s == CONN_EXPECT_VERDICT;
}

static void enter(struct conn *c, enum conn_state next, uint64_t timeout_ns)
{
	struct shard *s = c->shard;

	if (is_unauth(c->state) && !is_unauth(next)) {
		STAT_DEC(&s->stats, conns_unauth);
		if (c->source_handle)
			sources_authenticated(s->relay->sources, c->source_handle);
	}
	if (!is_unauth(c->state) && is_unauth(next))
		STAT_INC(&s->stats, conns_unauth);
	if (c->state == CONN_HANDSHAKE)
		STAT_DEC(&s->stats, conns_handshaking);
	if (next == CONN_HANDSHAKE)
		STAT_INC(&s->stats, conns_handshaking);
	c->state = (uint8_t)next;
	if (timeout_ns)
		timer_arm(&s->wheel, &c->deadline, s->now_ns + timeout_ns);
	else
		timer_disarm(&s->wheel, &c->deadline);
}

void conn_enter_http(struct conn *c, uint64_t timeout_ns)
{
	enter(c, CONN_HTTP, timeout_ns);
}

void conn_enter_verdict(struct conn *c)
{
	enter(c, CONN_EXPECT_VERDICT, VERDICT_NS);
}

void conn_enter_link_login(struct conn *c)
{
	enter(c, CONN_LINK_LOGIN, LOGIN_NS);
}

/* The transport is ready for plaintext. */
static void established(struct conn *c)
{
	if (c->link)
		meshlink_established(c);
	else
		conn_enter_http(c, FIRST_BYTE_NS);
}

void conn_enter_client_info(struct conn *c)
{
	enter(c, CONN_EXPECT_CLIENT_INFO, LOGIN_NS);
}

static uint64_t keepalive_ns(void)
{
	return KEEPALIVE_NS + randombytes_uniform(KEEPALIVE_JITTER_MS) * NS_PER_MS;
}

void conn_enter_relaying(struct conn *c, struct peer *p)
{
	c->peer = p;
	enter(c, CONN_RELAYING, keepalive_ns());
}

/* Sampled with the KeepAlive: nothing wakes up for it. */
static void note_rtt(struct conn *c)
{
	struct tcp_info ti;
	socklen_t len = sizeof(ti);

	if (!c->shard->cfg->no_rtt && !getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &ti, &len))
		stats_note_rtt(&c->shard->stats, ti.tcpi_rtt);
}

static void on_deadline(struct timer *t, void *ctx)
{
	struct conn *c = container_of(t, struct conn, deadline);
	uint8_t frame[FRAME_KEEP_ALIVE_LEN];

	(void)ctx;
	switch (c->state) {
	case CONN_EXPECT_PROXY:
		conn_close(c, CLOSE_PROXY_HEADER);
		break;
	case CONN_HANDSHAKE:
		conn_close(c, CLOSE_HANDSHAKE_TIMEOUT);
		break;
	case CONN_HTTP:
		if (c->traffic)
			traffic_tick(c);
		else
			conn_close(c, CLOSE_HTTP_TIMEOUT);
		break;
	case CONN_EXPECT_CLIENT_INFO:
	case CONN_LINK_LOGIN:
		conn_close(c, CLOSE_LOGIN_TIMEOUT);
		break;
	case CONN_EXPECT_VERDICT:
		login_late(c);
		break;
	case CONN_RELAYING:
		if (c->link) {
			meshlink_check(c);
			break;
		}
		if (spliced_check(c)) {
			conn_close(c, CLOSE_RESET);
			break;
		}
		note_rtt(c);
		frame_keep_alive(frame);
		if (sendq_control(c, frame, sizeof(frame)))
			STAT_INC(&c->shard->stats, keep_alives);
		timer_arm(&c->shard->wheel, &c->deadline, c->shard->now_ns + keepalive_ns());
		break;
	case CONN_CLOSING:
		conn_close(c, c->finish_reason);
		break;
	}
}

static void setup(struct conn *c, int fd, bool main_port)
{
	struct shard *s = c->shard;
	socklen_t len = sizeof(c->src);

	c->fd = fd;
	c->main_port = main_port;
	if (getpeername(fd, &c->src.sa, &len))
		memset(&c->src, 0, sizeof(c->src));
	list_init(&c->dirty);
	list_init(&c->starved);
	timer_init(&c->deadline, on_deadline);
	timer_init(&c->write_timer, conn_on_write_timeout);
	outbuf_init(&c->out, &s->out);
	STAT_INC(&s->stats, conns);
}

void conn_accept(struct shard *s, int fd, bool main_port)
{
	struct conn *c;

	STAT_INC(&s->stats, tcp_accepted);
	if (s->draining) {
		close(fd);
		return;
	}
	if (!arrival_admit(s, fd, main_port))
		return;
	c = shard_conn_new(s);
	if (!c) {
		arrival_refuse(s, fd, CLOSE_CONN_LIMIT);
		return;
	}
	setup(c, fd, main_port);
	arrival_begin(c);
	if (c->state != CONN_DEAD)
		arm_recv(c);
}

void conn_enter_proxy(struct conn *c)
{
	enter(c, CONN_EXPECT_PROXY, FIRST_BYTE_NS);
}

void conn_begin(struct conn *c)
{
	struct shard *s = c->shard;
	struct transport_opts o = {
		.ctx = c->main_port ? __atomic_load_n(&s->relay->tls, __ATOMIC_ACQUIRE) : NULL,
		.own_records = s->cfg->own_records,
		.ktls = s->relay->path.ktls ? &s->relay->path.kernel : NULL,
	};

	if (o.ctx)
		enter(c, CONN_HANDSHAKE, HANDSHAKE_NS);
	else
		enter(c, CONN_HTTP, FIRST_BYTE_NS);
	if (transport_init(&c->transport, c->fd, &o))
		conn_close(c, CLOSE_NO_MEMORY);
}

struct conn *conn_dialled(struct shard *s, int fd, struct meshlink *link, const char *host)
{
	unsigned int user_timeout_ms = (unsigned int)(s->cfg->user_timeout_ns / NS_PER_MS);
	struct conn *c = shard_conn_new(s);
	struct tls_ctx *tls = s->relay->client_tls;
	struct accepted_opts o = shard_accepted_opts(s->cfg);
	struct transport_opts plain = { 0 };

	if (!c) {
		close(fd);
		return NULL;
	}
	setup(c, fd, false);
	accepted_setup(fd, &o);
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
	enter(c, CONN_HANDSHAKE, HANDSHAKE_NS);
	if (tls ? transport_init_client(&c->transport, fd, tls, host, &c->out) : transport_init(&c->transport, fd, &plain)) {
		conn_close(c, CLOSE_NO_MEMORY);
		return NULL;
	}
	c->link = link;
	if (c->transport.ready)
		established(c);
	if (c->state == CONN_DEAD)
		return NULL;
	conn_mark_dirty(c);
	arm_recv(c);
	return c;
}

/* --- input */

int conn_stash(struct conn *c, const uint8_t *p, size_t n)
{
	struct slab *mem = &c->shard->out;
	uint8_t cls, *bigger;

	if (c->in_len + n > c->in_cap) {
		bigger = slab_alloc(mem, c->in_len + n, &cls);
		if (!bigger)
			return -ENOMEM;
		if (c->in) {
			memcpy(bigger, c->in, c->in_len);
			slab_free(mem, c->in, c->in_class);
		}
		c->in = bigger;
		c->in_class = cls;
		c->in_cap = (uint32_t)slab_class_size(cls);
	}
	memcpy(c->in + c->in_len, p, n);
	c->in_len += (uint32_t)n;
	return 0;
}

void conn_unstash(struct conn *c)
{
	if (c->in)
		slab_free(&c->shard->out, c->in, c->in_class);
	c->in = NULL;
	c->in_len = c->in_cap = 0;
	c->scanned = 0;
}

bool conn_takes_input(const struct conn *c)
{
	return c->state != CONN_DEAD && c->state != CONN_CLOSING;
}

/* Bytes of the stream through the states, until they are used up, or what follows is wrapped in other ways. */
static size_t stream_input(struct conn *c, struct rbuf *b, uint8_t *p, size_t n)
{
	const struct websocket *ws = c->ws;
	size_t used = 0;

	while (used < n && conn_takes_input(c) && c->ws == ws) {
		switch (c->state) {
		case CONN_HTTP:
			used += http_input(c, b, p + used, n - used);
			break;
		case CONN_EXPECT_CLIENT_INFO:
			used += login_input(c, b, p + used, n - used);
			break;
		case CONN_EXPECT_VERDICT:
			used += login_hold(c, b, p + used, n - used);
			break;
		case CONN_LINK_LOGIN:
			used += meshlink_input(c, b, p + used, n - used);
			break;
		default:
			used += peer_input(c, b, p + used, n - used);
			break;
		}
	}
	if (c->peer && c->peer->twinned)
		twinned_flush(c);
	return used;
}

/* The sink of the transport: plaintext, in order. */
static bool conn_input(void *ctx, struct rbuf *b, uint8_t *p, size_t n)
{
	struct conn *c = ctx;
	size_t used = 0;

	if (c->state == CONN_HANDSHAKE)
		established(c);
	if (!c->ws)
		used = stream_input(c, b, p, n);
	if (c->ws)
		websocket_input(c, p + used, n - used);
	return c->state != CONN_DEAD;
}

void conn_replay(struct conn *c, uint8_t *p, size_t n)
{
	stream_input(c, NULL, p, n);	/* out of its messages by then */
}

static void count_tls(struct conn *c)
{
	struct shard_stats *st = &c->shard->stats;

	STAT_INC(st, tls_handshakes);
	c->tls_minor = c->transport.tls_minor;
	if (c->tls_minor == 3)
		STAT_INC(st, tls13_active);
	else
		STAT_INC(st, tls12_active);
}

/* It is known who seals from here on. */
static void count_ktls(struct conn *c)
{
	struct shard_stats *st = &c->shard->stats;
	enum ktls_state k = c->transport.ktls;

	c->ktls = k == KTLS_ON;
	if (c->ktls) {
		STAT_INC(st, ktls_installs);
		STAT_INC(st, ktls_active);
	} else {
		STAT_INC(st, ktls_fallbacks[k - KTLS_ON - 1]);
	}
	/* One that sent its login in the flight of its Finished is a peer by now. */
	if (c->ktls && c->peer) {
		STAT_SET(&c->peer->facts, transport, DERP_KTLS);
		publish_touch(c);
	}
	PROBE_KTLS(k, c->slot, c->shard->id);
}

static void tls_failed(struct conn *c)
{
	if (c->link)
		meshlink_failed(c->link, transport_error(&c->transport));
	if (!c->transport.ready && tls_got_http(c->transport.tls)) {
		http_answer_on_tls_port(c);
		conn_finish(c, CLOSE_TLS_HTTP);
		return;
	}
	log_limited(LOG_LEVEL_DEBUG, "tls_error", "error=%s", transport_error(&c->transport));
	conn_finish(c, CLOSE_TLS_ERROR);
}

/* The peer will send nothing more. An HTTP answer may still be wanted; a DERP client is gone, as in derper. */
static void ended(struct conn *c)
{
	if (c->state == CONN_HTTP)
		conn_finish(c, CLOSE_EOF);
	else
		conn_close(c, CLOSE_EOF);
}

/* A close_notify is answered (RFC 8446 section 6.1); packets are of no use any more to who says it. */
static void said_goodbye(struct conn *c)
{
	if (c->peer && c->state != CONN_CLOSING)
		sendq_drop_waiting(c, DROP_GONE_DISCONNECTED);
	conn_finish(c, CLOSE_EOF);
}

/* What the transport said to the last bytes, other than that all is well. */
static void input_ended(struct conn *c, int r)
{
	if (r == -EPROTO)
		tls_failed(c);
	else if (r == -ENOMEM)
		conn_close(c, CLOSE_NO_MEMORY);
	else if (r == -EKEYEXPIRED)
		conn_finish(c, CLOSE_KTLS_REKEY);
	else if (r == 1)
		said_goodbye(c);
}

static void received(struct conn *c, struct rbuf *b, size_t n)
{
	bool was_ready = c->transport.ready, was_pending = c->transport.ktls == KTLS_PENDING;
	uint64_t packets = c->peer ? c->peer->facts.frames_in : 0;
	int r;

	if (c->link)
		c->link->heard_ns = c->shard->now_ns;
	if (c->state == CONN_EXPECT_PROXY) {
		n = arrival_header(c, b, n);
		if (!n)
			return;
		was_ready = c->transport.ready;
		was_pending = c->transport.ktls == KTLS_PENDING;
	}
	r = transport_input(&c->transport, b, n, &c->out, conn_input, c);
	if (c->state == CONN_DEAD)
		return;
	if (!was_ready && c->transport.ready && c->state == CONN_HANDSHAKE)
		established(c);
	if (!was_ready && c->transport.ready && !c->link)
		count_tls(c);
	if (was_pending && c->transport.ktls != KTLS_PENDING)
		count_ktls(c);
	if (outbuf_len(&c->out))
		conn_mark_dirty(c);
	if (c->peer) {
		spliced_received(c, n, c->peer->facts.frames_in - packets);
		publish_note(c);
		rate_hold(c);
	}
	if (r)
		input_ended(c, r);
}

/* The receive is over; that the error may have been a record the kernel would not take for data is the transport's business. */
static void receive_failed(struct conn *c, int err)
{
	int r = transport_input_error(&c->transport, err);

	if (!r) {
		conn_rearm(c);
	} else if (r == err) {
		c->eof = true;
		conn_close(c, CLOSE_RESET);
	} else {
		/* Only an orderly end is one; after an alert of ours the other side still has to see it. */
		c->eof = r == 1;
		input_ended(c, r);
	}
}

void conn_on_recv(struct conn *c, const struct io_event *ev)
{
	if (ev->last)
		c->receiving = false;
	if (ev->res > 0) {
		if (c->state != CONN_CLOSING)
			received(c, ev->buf, (size_t)ev->res);
		if (ev->last && c->state != CONN_DEAD)
			conn_rearm(c);
		return;
	}
	if (ev->res == -ENOBUFS) {
		STAT_INC(&c->shard->stats, starved);
		if (list_empty(&c->starved))
			list_push_back(&c->shard->starved, &c->starved);
		return;
	}
	/* EAGAIN: io_uring's patience with a source of the splice, where much that arrives is not for us, has an end. */
	if (ev->res == -ECANCELED || ev->res == -EINTR || ev->res == -EAGAIN) {
		conn_rearm(c);
		return;
	}
	if (c->state == CONN_CLOSING) {
		c->eof = true;
		if (ev->res < 0 || (c->shut && conn_nothing_to_send(c)))
			conn_close(c, c->finish_reason);
	} else if (ev->res < 0) {
		receive_failed(c, ev->res);
	} else {
		c->eof = true;
		ended(c);
	}
}

/* --- the end */

static void release(struct conn *c)
{
	struct shard *s = c->shard;

	conn_send_free(c);
	if (c->peer)
		peer_free(c);
	outbuf_done(&c->out);
	if (c->was_source)
		splice_discard(c->fd);
	close(c->fd);
	STAT_DEC(&s->stats, conns);
	shard_conn_free(s, c);
}

void conn_reap(struct conn *c)
{
	if (!c->inflight)
		release(c);
}

static void count_close(struct conn *c, enum close_reason why)
{
	struct shard_stats *st = &c->shard->stats;

	STAT_INC(st, closed[why]);
	if (c->tls_minor == 3)
		STAT_DEC(st, tls13_active);
	else if (c->tls_minor == 2)
		STAT_DEC(st, tls12_active);
	if (c->ktls)
		STAT_DEC(st, ktls_active);
	PROBE_CLOSE(why, c->slot, c->shard->id);
}

void conn_close(struct conn *c, enum close_reason why)
{
	struct shard *s = c->shard;

	if (c->state == CONN_DEAD)
		return;
	count_close(c, why);
	if (c->peer) {
		peer_leave(c, c->link ? DROP_MESH_DOWN : DROP_GONE_DISCONNECTED);
		spliced_leave(c);
		twinned_leave(c);
	}
	if (c->link)
		meshlink_closed(c, why);
	if (c->waiting)
		login_forget(c);
	enter(c, CONN_DEAD, 0);
	if (c->source_handle)
		sources_leave(s->relay->sources, c->source_handle);
	timer_disarm(&s->wheel, &c->write_timer);
	rate_release(c);
	list_remove(&c->dirty);
	list_remove(&c->starved);
	conn_unstash(c);
	websocket_done(c);
	traffic_done(c);
	if (c->assembling)
		pkt_free(&s->mem, c->assembling);
	c->assembling = NULL;
	transport_done(&c->transport);
	/* Whoever still names this generation is told it is over. */
	c->gen = (c->gen + 1) & 0xffffff;
	if (c->inflight)
		io_cancel(s->io, c->fd, (struct io_tag){ .slot = c->slot, .gen = c->gen });
	else
		list_push_back(&s->dead, &c->dirty);
}

void conn_finish(struct conn *c, enum close_reason why)
{
	if (c->state == CONN_DEAD || c->state == CONN_CLOSING)
		return;
	c->finish_reason = (uint8_t)why;
	if (c->peer)
		peer_hide(c);
	enter(c, CONN_CLOSING, c->eof ? LINGER_NS : c->shard->draining ? c->shard->cfg->drain_timeout_ns : 2 * LINGER_NS);
	conn_mark_dirty(c);
}
