/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/arrival.h"

#include <arpa/inet.h>
#include <errno.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/log.h"
#include "net/listen.h"
#include "relay/probe.h"
#include "relay/shard.h"
#include "relay/sources.h"
#include "wire/proxyproto.h"

/* It costs no slot. */
void arrival_refuse(struct shard *s, int fd, enum close_reason why)
{
	STAT_INC(&s->stats, closed[why]);
	PROBE_CLOSE(why, UINT32_MAX, s->id);
	log_limited(LOG_LEVEL_WARN, "connection_refused", "reason=%s shard=%u", close_reason_name(why), s->id);
	close(fd);
}

bool arrival_admit(struct shard *s, int fd, bool main_port)
{
	const struct config *cfg = s->cfg;

	if (deny_holds_peer(&s->relay->deny, fd)) {
		arrival_refuse(s, fd, CLOSE_DENIED);
		return false;
	}
	/* derper limits the TLS listener only. */
	if (main_port && cfg->tls && cfg->accept_limit < 1e15 &&
	    !bucket_take(&s->accept, cfg->accept_limit / s->relay->nshards,
			 max_of(cfg->accept_burst / s->relay->nshards, 1.0), s->now_ns)) {
		arrival_refuse(s, fd, CLOSE_ACCEPT_LIMIT);
		return false;
	}
	if (s->stats.conns_unauth >= s->max_unauth) {
		arrival_refuse(s, fd, CLOSE_UNAUTH_LIMIT);
		return false;
	}
	return true;
}

static void refuse(struct conn *c, enum close_reason why)
{
	char from[LISTEN_TEXT_LEN];

	sockaddr_text(from, &c->src.sa);
	log_limited(LOG_LEVEL_WARN, "connection_refused", "reason=%s from=%s", close_reason_name(why), from);
	conn_close(c, why);
}

/* A proxy that speaks for itself is no source of connections. */
static bool is_limited(const struct conn *c, const uint8_t ip[static 16])
{
	const struct cidr_set *exempt = c->shard->cfg->exempt;

	return c->source != SOURCE_PROXY && !(exempt && cidr_set_holds(exempt, ip));
}

/* Does its source have too much already? */
static bool source_has_room(struct conn *c)
{
	struct shard *s = c->shard;
	uint8_t ip[16];
	uint16_t port;

	sockaddr_to_16(ip, &port, &c->src.sa);
	if (!is_limited(c, ip))
		return true;
	switch (sources_enter(s->relay->sources, ip, &s->cfg->per_source, &c->source_handle)) {
	case SOURCE_WELCOME:
		return true;
	case SOURCE_UNKNOWN:
		STAT_INC(&s->stats, sources_unknown);
		return true;
	case SOURCE_CONNS:
		refuse(c, CLOSE_SOURCE_CONNS);
		return false;
	case SOURCE_UNAUTH:
		refuse(c, CLOSE_SOURCE_UNAUTH);
		return false;
	}
	return false;
}

/* Its source is known now. */
static void begin(struct conn *c)
{
	struct shard *s = c->shard;

	if (c->source == SOURCE_PROXIED && deny_holds(&s->relay->deny, &c->src.sa))
		conn_close(c, CLOSE_DENIED);
	else if (c->main_port && s->cfg->tls && s->stats.conns_handshaking >= s->max_handshakes)
		refuse(c, CLOSE_HANDSHAKE_LIMIT);
	else if (source_has_room(c))
		conn_begin(c);
}

bool arrival_may_login(struct conn *c)
{
	struct shard *s = c->shard;

	if (!c->source_handle || sources_login(s->relay->sources, c->source_handle, &s->cfg->per_source, s->now_ns))
		return true;
	refuse(c, CLOSE_SOURCE_LOGINS);
	return false;
}

void arrival_begin(struct conn *c)
{
	uint8_t ip[16];
	uint16_t port;

	sockaddr_to_16(ip, &port, &c->src.sa);
	if (c->shard->cfg->proxies && cidr_set_holds(c->shard->cfg->proxies, ip)) {
		c->source = SOURCE_PROXY;
		conn_enter_proxy(c);
	} else {
		begin(c);
	}
}

static void bad_header(struct conn *c, int err)
{
	char from[LISTEN_TEXT_LEN];

	sockaddr_text(from, &c->src.sa);
	log_limited(LOG_LEVEL_WARN, "proxy_header", "from=%s error=%s", from,
		    err == -EMSGSIZE ? "too long" : "none or malformed, but --proxy-protocol-from says that there is one");
	conn_close(c, CLOSE_PROXY_HEADER);
}

/* In the form in which every address is understood, whatever it is that we listen on. */
static void take_source(struct conn *c, const struct proxyproto *h)
{
	c->source = SOURCE_PROXIED;
	c->src.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(h->port) };
	memcpy(&c->src.in6.sin6_addr, h->ip, sizeof(h->ip));
}

size_t arrival_header(struct conn *c, struct rbuf *b, size_t n)
{
	size_t before = c->in_len, more = min_of(n, PROXYPROTO_MAX - before), used;
	struct proxyproto h;
	int r;

	if (conn_stash(c, b->data, more)) {
		conn_close(c, CLOSE_NO_MEMORY);
		return 0;
	}
	r = proxyproto_parse(&h, c->in, c->in_len);
	if (r < 0)
		bad_header(c, r);
	if (r != 1)
		return 0;
	used = h.len - before;
	conn_unstash(c);
	STAT_INC(&c->shard->stats, proxy_headers);
	if (h.has_source)
		take_source(c, &h);
	begin(c);
	if (c->state == CONN_DEAD)
		return 0;
	/* Once in the life of a connection: what takes the stream wants it at the beginning of the buffer. */
	memmove(b->data, b->data + used, n - used);
	return n - used;
}
