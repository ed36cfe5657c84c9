/* SPDX-License-Identifier: BSD-3-Clause */
#include "client.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "derp_proto.h"
#include "wire/frame.h"

#define RX_HEAD		(128 * 1024)	/* holds the torn frame in front of what is read next */
#define RX_LEN		(256 * 1024)
#define MAX_FRAME	(DERP_HDR_LEN + DERP_MAX_SEND_BODY + 1024)

/* A port range is good for 28,000 connections from one address; 127/8 has more addresses. */
#define CONNS_PER_SOURCE	20000

static int resolve(struct net *net, const char *server)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
	const char *colon = strrchr(server, ':');
	size_t n = (size_t)(colon - server);

	if (*server == '[' && n > 2) {	/* [::1]:3340 */
		server++;
		n -= 2;
	}
	if (n >= sizeof(net->host))
		return -EINVAL;
	memcpy(net->host, server, n);
	net->host[n] = '\0';
	if (getaddrinfo(net->host, colon + 1, &hints, &list))
		return -EADDRNOTAVAIL;
	memcpy(&net->addr, list->ai_addr, list->ai_addrlen);
	net->addr_len = list->ai_addrlen;
	freeaddrinfo(list);
	return 0;
}

static int tls_context(struct net *net, bool lean)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx)
		return -ENOMEM;
	net->ctx = ctx;
	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_ciphersuites(ctx, CLIENT_TLS_SUITE);
	SSL_CTX_set1_groups_list(ctx, "X25519");
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (lean) {
		SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	} else {
		SSL_CTX_set_read_ahead(ctx, 1);
		SSL_CTX_set_default_read_buffer_len(ctx, CLIENT_TLS_BUFFER);
	}
	if (!net->o->verify)
		return 0;
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return SSL_CTX_set_default_verify_paths(ctx) == 1 ? 0 : -EIO;
}

int net_open(struct net *ret, const struct options *o, bool lean)
{
	struct net net = { .o = o, .epoll = -1 };
	int err = 0;

	if (o->server)
		err = resolve(&net, o->server);
	if (!err && o->tls)
		err = tls_context(&net, lean);
	if (err)
		goto fail;
	net.rx = malloc(RX_HEAD + RX_LEN);
	net.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!net.rx || net.epoll == -1) {
		err = -ENOMEM;
		goto fail;
	}
	*ret = net;
	return 0;
fail:
	net_close(&net);
	return err;
}

void net_close(struct net *net)
{
	if (net->epoll >= 0)
		close(net->epoll);
	free(net->rx);
	SSL_CTX_free(net->ctx);
	*net = (struct net){ .epoll = -1 };
}

void client_init(struct client *c, struct net *net)
{
	*c = (struct client){ .net = net, .fd = -1 };
	crypto_box_keypair(c->pub.b, c->priv.b);
}

void client_close(struct client *c)
{
	SSL_free(c->ssl);
	if (c->fd >= 0)
		close(c->fd);
	free(c->part);
	free(c->out);
	c->ssl = NULL;
	c->fd = -1;
	c->part = c->out = NULL;
	c->part_len = c->part_cap = c->out_off = c->out_len = c->out_cap = 0;
	c->want_out = false;
	c->state = CLIENT_CLOSED;
}

/* --- bytes */

static ssize_t tls_result(struct client *c, int r)
{
	int why = SSL_get_error(c->ssl, r);

	if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	if (why == SSL_ERROR_ZERO_RETURN)
		return 0;
	ERR_clear_error();
	return why == SSL_ERROR_SYSCALL && errno ? -errno : -EPROTO;
}

/* Bytes read, 0 at the end, or a negative errno. */
static ssize_t get_bytes(struct client *c, uint8_t *buf, size_t n)
{
	ssize_t r;

	if (c->ssl) {
		errno = 0;
		r = SSL_read(c->ssl, buf, (int)n);
		return r > 0 ? r : tls_result(c, (int)r);
	}
	r = recv(c->fd, buf, n, 0);
	return r == -1 ? -errno : r;
}

static ssize_t put_bytes(struct client *c, const uint8_t *buf, size_t n)
{
	ssize_t r;

	if (c->ssl) {
		errno = 0;
		r = SSL_write(c->ssl, buf, (int)n);
		return r > 0 ? r : tls_result(c, (int)r);
	}
	r = send(c->fd, buf, n, MSG_NOSIGNAL);
	return r == -1 ? -errno : r;
}

static int watch(struct client *c, int op, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = c };

	return epoll_ctl(c->net->epoll, op, c->fd, &ev) == -1 ? -errno : 0;
}

static void *grow(uint8_t **buf, size_t *cap, size_t need)
{
	size_t n = max_of(need, 2 * *cap);
	uint8_t *p;

	if (need <= *cap)
		return *buf;
	p = realloc(*buf, n);
	if (!p)
		abort();	/* a generator out of memory measures nothing */
	*buf = p;
	*cap = n;
	return p;
}

uint8_t *client_append(struct client *c, size_t n)
{
	uint8_t *p;

	if (c->out_off == c->out_len)
		c->out_off = c->out_len = 0;
	grow(&c->out, &c->out_cap, c->out_len + n);
	p = c->out + c->out_len;
	c->out_len += n;
	return p;
}

int client_flush(struct client *c)
{
	ssize_t r = 0;

	while (client_unsent(c)) {
		r = put_bytes(c, c->out + c->out_off, client_unsent(c));
		if (r <= 0)
			break;
		c->out_off += (size_t)r;
	}
	if (r < 0 && r != -EAGAIN)
		return (int)r;
	if (c->want_out == !!client_unsent(c))
		return 0;
	c->want_out = !c->want_out;
	return watch(c, EPOLL_CTL_MOD, c->want_out ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* --- frames */

/* Hand out the whole frames of p[0..n); returns how many bytes they are, or a negative errno. */
static ssize_t hand_out(struct client *c, const uint8_t *p, size_t n, client_frame_fn *fn)
{
	uint64_t now = clock_now_ns();
	size_t at = 0;
	uint32_t len;

	while (n - at >= DERP_HDR_LEN) {
		len = get_be32(p + at + 1);
		if (len > MAX_FRAME - DERP_HDR_LEN)
			return -EPROTO;
		if (n - at - DERP_HDR_LEN < len)
			break;
		fn(c, p[at], p + at + DERP_HDR_LEN, len, now);
		at += DERP_HDR_LEN + len;
	}
	return (ssize_t)at;
}

/* Fill buf[0..n) with what can be had without waiting. Level-triggered epoll reports what a plain socket still
 * holds, but not what OpenSSL has taken from it: so TLS is read until it is empty or the buffer full. */
static ssize_t fill(struct client *c, uint8_t *buf, size_t n)
{
	size_t have = 0;
	ssize_t r;

	do {
		r = get_bytes(c, buf + have, n - have);
		if (r <= 0)
			break;
		have += (size_t)r;
	} while (c->ssl && have < n && SSL_has_pending(c->ssl));
	if (have)
		return (ssize_t)have;
	return r ? r : -ECONNRESET;
}

int client_read(struct client *c, size_t budget, client_frame_fn *fn)
{
	uint8_t *in = c->net->rx + RX_HEAD, *p;
	size_t n = budget ? min_of(budget, (size_t)RX_LEN) : RX_LEN;
	ssize_t got, used;

	do {
		got = fill(c, in, n);
		if (got < 0)
			return got == -EAGAIN ? 0 : (int)got;
		p = in - c->part_len;
		if (c->part_len)
			memcpy(p, c->part, c->part_len);
		got += (ssize_t)c->part_len;
		used = hand_out(c, p, (size_t)got, fn);
		if (used < 0)
			return (int)used;
		c->part_len = (size_t)(got - used);
		if (c->part_len)
			memcpy(grow(&c->part, &c->part_cap, c->part_len), p + used, c->part_len);
	} while (!budget && c->ssl && SSL_has_pending(c->ssl));
	return 0;
}

/* --- login */

static bool is_loopback(const struct net *net)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&net->addr;

	return in->sin_family == AF_INET && ntohl(in->sin_addr.s_addr) >> 24 == 127;
}

static int bind_source(struct client *c)
{
	struct sockaddr_in src = { .sin_family = AF_INET };
	int one = 1;

	if (!is_loopback(c->net))
		return 0;
	src.sin_addr.s_addr = htonl(INADDR_LOOPBACK + c->net->spread++ / CONNS_PER_SOURCE);
	if (setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) == -1)
		return -errno;
	return bind(c->fd, (struct sockaddr *)&src, sizeof(src)) == -1 ? -errno : 0;
}

int client_start(struct client *c)
{
	int one = 1, rcvbuf = (int)c->rcvbuf, err;

	c->began_ns = clock_now_ns();
	c->fd = socket(c->net->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd == -1)
		return -errno;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (rcvbuf)
		setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
	err = bind_source(c);
	if (err)
		return err;
	if (connect(c->fd, (struct sockaddr *)&c->net->addr, c->net->addr_len) == -1 && errno != EINPROGRESS)
		return -errno;
	c->state = CLIENT_CONNECTING;
	c->want_out = true;
	return watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

int client_ready(struct client *c)
{
	c->state = CLIENT_READY;
	c->want_out = false;
	return watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

static bool is_name(const char *host)
{
	return !strchr(host, ':') && host[strspn(host, "0123456789.")] != '\0';
}

static int start_tls(struct client *c)
{
	const char *sni = c->net->o->sni;

	if (!sni && is_name(c->net->host))
		sni = c->net->host;
	c->ssl = SSL_new(c->net->ctx);
	if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
		return -ENOMEM;
	if (sni && SSL_set_tlsext_host_name(c->ssl, sni) != 1)
		return -EINVAL;
	if (c->net->o->verify && SSL_set1_host(c->ssl, sni ? sni : c->net->host) != 1)
		return -EINVAL;
	c->state = CLIENT_TLS;
	c->want_out = false;	/* a hello always fits into an empty socket */
	return watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static int ask_upgrade(struct client *c)
{
	const struct options *o = c->net->o;
	char head[1024];
	int n;

	n = snprintf(head, sizeof(head), "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n%s\r\n",
		     o->path, c->net->host, o->fast_start ? "Derp-Fast-Start: 1\r\n" : "");
	if (n >= (int)sizeof(head))
		return -EINVAL;
	memcpy(client_append(c, (size_t)n), head, (size_t)n);
	c->state = o->fast_start ? CLIENT_EXPECT_SERVER_KEY : CLIENT_UPGRADING;
	return client_flush(c);
}

static int connected(struct client *c)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1)
		return -errno;
	if (err)
		return -err;
	return c->net->ctx ? start_tls(c) : ask_upgrade(c);
}

static int shake_hands(struct client *c)
{
	ssize_t r;

	errno = 0;
	r = SSL_connect(c->ssl);
	if (r == 1)
		return ask_upgrade(c);
	r = tls_result(c, (int)r);
	return r == -EAGAIN ? 0 : r ? (int)r : -ECONNRESET;
}

static int send_client_info(struct client *c, const uint8_t *server)
{
	static const char text[] = "{\"version\":2,\"CanAckPings\":true}";
	const size_t text_len = sizeof(text) - 1;
	const uint32_t len = DERP_MIN_CLIENT_INFO + DERP_BOX_MAC_LEN + (uint32_t)text_len;
	uint8_t *p, *nonce;

	if (crypto_box_beforenm(c->shared, server, c->priv.b))
		return -EPROTO;
	p = client_append(c, DERP_HDR_LEN + len);
	frame_put_head(p, DERP_CLIENT_INFO, len);
	memcpy(p + DERP_HDR_LEN, c->pub.b, KEY_LEN);
	nonce = p + DERP_HDR_LEN + KEY_LEN;
	randombytes_buf(nonce, DERP_NONCE_LEN);
	crypto_box_easy_afternm(nonce + DERP_NONCE_LEN, (const uint8_t *)text, text_len, nonce, c->shared);
	c->state = CLIENT_EXPECT_SERVER_INFO;
	return client_flush(c);
}

static int open_server_info(struct client *c, const uint8_t *body, size_t n)
{
	uint8_t text[256];

	if (n < DERP_NONCE_LEN + DERP_BOX_MAC_LEN || n > sizeof(text))
		return -EPROTO;
	if (crypto_box_open_easy_afternm(text, body + DERP_NONCE_LEN, n - DERP_NONCE_LEN, body, c->shared))
		return -EPROTO;
	c->state = CLIENT_READY;
	return 0;
}

/* One step of the dialogue in p[0..n): bytes used, 0 if more are needed, or a negative errno. */
static ssize_t login_step(struct client *c, const uint8_t *p, size_t n)
{
	const uint8_t *end, *body = p + DERP_HDR_LEN;
	size_t len;
	int err = -EPROTO;

	if (c->state == CLIENT_UPGRADING) {
		end = memmem(p, n, "\r\n\r\n", 4);
		if (!end)
			return n < 4096 ? 0 : -EPROTO;
		if (strncmp((const char *)p, "HTTP/1.1 101 ", 13))
			return -ECONNREFUSED;
		c->state = CLIENT_EXPECT_SERVER_KEY;
		return end + 4 - p;
	}
	if (n < DERP_HDR_LEN)
		return 0;
	len = get_be32(p + 1);
	if (len > 1024)
		return -EPROTO;
	if (n < DERP_HDR_LEN + len)
		return 0;
	if (c->state == CLIENT_EXPECT_SERVER_KEY && p[0] == DERP_SERVER_KEY &&
	    len >= DERP_MAGIC_LEN + DERP_KEY_LEN && !memcmp(body, DERP_MAGIC, DERP_MAGIC_LEN))
		err = send_client_info(c, body + DERP_MAGIC_LEN);
	else if (c->state == CLIENT_EXPECT_SERVER_INFO && p[0] == DERP_SERVER_INFO)
		err = open_server_info(c, body, len);
	return err ? err : (ssize_t)(DERP_HDR_LEN + len);
}

static int talk(struct client *c)
{
	uint8_t *p = grow(&c->part, &c->part_cap, 8192);
	ssize_t r;

	do {
		r = get_bytes(c, p + c->part_len, c->part_cap - c->part_len);
		if (r <= 0)
			return r == -EAGAIN ? 0 : r ? (int)r : -ECONNRESET;
		c->part_len += (size_t)r;
		do {
			r = login_step(c, p, c->part_len);
			if (r < 0)
				return (int)r;
			c->part_len -= (size_t)r;
			memmove(p, p + r, c->part_len);
		} while (r && c->state != CLIENT_READY);
	} while (c->ssl && c->state != CLIENT_READY && SSL_has_pending(c->ssl));
	if (c->state != CLIENT_READY)
		return 0;
	if (!c->part_len) {	/* thousands of idle clients need no buffer */
		free(c->part);
		c->part = NULL;
		c->part_cap = 0;
	}
	return 1;
}

int client_login(struct client *c)
{
	int err = 0;

	if (c->state == CLIENT_CONNECTING)
		err = connected(c);
	else if (c->want_out && c->state != CLIENT_TLS)
		err = client_flush(c);
	if (!err && c->state == CLIENT_TLS)
		err = shake_hands(c);
	if (err || c->state < CLIENT_UPGRADING)
		return err;
	return talk(c);
}
