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
		arrival_refuse(s, fd, CLOSE_HANDSHAKE_LIMIT);
		return false;
	}
	return true;
}

/* Its source is known now. */
static void begin(struct conn *c)
{
	if (c->source == SOURCE_PROXIED && deny_holds(&c->shard->relay->deny, &c->src.sa))
		conn_close(c, CLOSE_DENIED);
	else
		conn_begin(c);
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
