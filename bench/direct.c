/* SPDX-License-Identifier: BSD-3-Clause */
#include "direct.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"

#define HANDSHAKE_NS	(10 * NS_PER_S)

/* Both ends are this process: a known key does for a certificate, which would cost more lines and no less per packet. */
static const uint8_t psk[32] = "xderp-bench direct, no secret";

static unsigned int psk_client(SSL *ssl, const char *hint, char *identity, unsigned int max_identity, uint8_t *key,
			       unsigned int max_key)
{
	(void)ssl;
	(void)hint;
	if (max_identity < 2 || max_key < sizeof(psk))
		return 0;
	memcpy(identity, "x", 2);
	memcpy(key, psk, sizeof(psk));
	return sizeof(psk);
}

static unsigned int psk_server(SSL *ssl, const char *identity, uint8_t *key, unsigned int max_key)
{
	(void)ssl;
	(void)identity;
	if (max_key < sizeof(psk))
		return 0;
	memcpy(key, psk, sizeof(psk));
	return sizeof(psk);
}

static int listen_here(struct net *net)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd == -1)
		return -errno;
	net->addr_len = sizeof(in);
	if (bind(fd, (struct sockaddr *)&in, sizeof(in)) == -1 || listen(fd, 1) == -1 ||
	    getsockname(fd, (struct sockaddr *)&net->addr, &net->addr_len) == -1) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static int connect_now(const struct net *net)
{
	int fd = socket(net->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd == -1)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&net->addr, net->addr_len) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* Takes fd. */
static int adopt(struct client *c, int fd, SSL_CTX *ctx, bool accepts)
{
	int one = 1;

	c->fd = fd;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) == -1)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (ctx) {
		c->ssl = SSL_new(ctx);
		if (!c->ssl || SSL_set_fd(c->ssl, fd) != 1)
			return -ENOMEM;
		if (accepts)
			SSL_set_accept_state(c->ssl);
		else
			SSL_set_connect_state(c->ssl);
	}
	return client_ready(c);
}

static int shake_hands(struct client *a, struct client *b)
{
	struct pollfd fds[] = { { .fd = a->fd, .events = POLLIN }, { .fd = b->fd, .events = POLLIN } };
	uint64_t end = clock_now_ns() + HANDSHAKE_NS;
	int ra, rb;

	while (clock_now_ns() < end) {
		ra = SSL_do_handshake(a->ssl);
		if (ra != 1 && SSL_get_error(a->ssl, ra) != SSL_ERROR_WANT_READ)
			break;
		rb = SSL_do_handshake(b->ssl);
		if (rb != 1 && SSL_get_error(b->ssl, rb) != SSL_ERROR_WANT_READ)
			break;
		if (ra == 1 && rb == 1)
			return 0;
		poll(fds, ARRAY_SIZE(fds), 10);
	}
	ERR_clear_error();
	return -EPROTO;
}

/* The floor joins connections in the order they come: the second begins when the first is there. */
static int join(struct net *net, int listener, SSL_CTX *ctx, struct client *a, struct client *b)
{
	int fd, err;

	fd = connect_now(net);
	if (fd < 0)
		return fd;
	err = adopt(a, fd, net->ctx, false);
	if (err)
		return err;
	fd = listener >= 0 ? accept(listener, NULL, NULL) : connect_now(net);
	if (fd < 0)
		return listener >= 0 ? -errno : fd;
	err = adopt(b, fd, ctx, true);
	return err || !ctx ? err : shake_hands(a, b);
}

int direct_run(struct net *net, struct client **client, unsigned int n)
{
	int listener = -1, err = 0;
	SSL_CTX *ctx = NULL;

	if (net->ctx) {
		ctx = SSL_CTX_new(TLS_server_method());
		if (!ctx)
			return -ENOMEM;
		SSL_CTX_set_mode(ctx, SSL_CTX_get_mode(net->ctx));
		SSL_CTX_set_read_ahead(ctx, 1);
		SSL_CTX_set_default_read_buffer_len(ctx, CLIENT_TLS_BUFFER);
		SSL_CTX_set_ciphersuites(ctx, CLIENT_TLS_SUITE);
		SSL_CTX_set_num_tickets(ctx, 0);
		SSL_CTX_set_psk_server_callback(ctx, psk_server);
		SSL_CTX_set_psk_client_callback(net->ctx, psk_client);
	}
	if (!net->o->server) {
		listener = listen_here(net);
		err = listener < 0 ? listener : 0;
	}
	for (unsigned int i = 0; !err && i < n / 2; i++)
		err = join(net, listener, ctx, client[i], client[n / 2 + i]);
	if (listener >= 0)
		close(listener);
	SSL_CTX_free(ctx);	/* each connection holds it */
	return err;
}
