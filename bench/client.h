/* SPDX-License-Identifier: BSD-3-Clause */
/* One DERP client: connect, TLS, HTTP upgrade, login, frames in and out; never blocks. A client and
 * its struct net belong to one thread. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/key.h"
#include "options.h"

/* What the clients of one thread share. */
struct net {
	const struct options *o;
	struct sockaddr_storage addr;
	socklen_t addr_len;
	char host[256];
	int epoll;
	SSL_CTX *ctx;		/* NULL: plain */
	uint8_t *rx;		/* room for a torn frame, then RX_LEN bytes */
	uint32_t spread;	/* loopback only: next source address */
};

/* lean: thousands of clients that hardly speak; their TLS keeps no buffers. Negative errno on failure. */
int net_open(struct net *ret, const struct options *o, bool lean);
void net_close(struct net *net);

enum client_state {
	CLIENT_CLOSED,
	CLIENT_CONNECTING,
	CLIENT_TLS,
	CLIENT_UPGRADING,
	CLIENT_EXPECT_SERVER_KEY,
	CLIENT_EXPECT_SERVER_INFO,
	CLIENT_READY,
};

struct client {
	struct net *net;	/* borrowed */
	int fd;
	enum client_state state;
	bool want_out;		/* EPOLLOUT is armed: out did not go through */
	uint32_t rcvbuf;	/* SO_RCVBUF; 0: the system's choice */
	SSL *ssl;
	struct key pub, priv;
	uint8_t shared[32];	/* box key between us and the server */
	uint64_t began_ns;
	uint8_t *part;		/* torn frame, or login bytes */
	size_t part_len, part_cap;
	uint8_t *out;		/* bytes to send: out[out_off..out_len) */
	size_t out_off, out_len, out_cap;
};

/* What both ends of a TLS connection of ours agree on. */
#define CLIENT_TLS_SUITE	"TLS_AES_128_GCM_SHA256"
#define CLIENT_TLS_BUFFER	(128 * 1024)

/* New key pair, no connection. */
void client_init(struct client *c, struct net *net);
/* Begin to connect; client_login() goes on at every event of the client. */
int client_start(struct client *c);
/* Returns 1 once logged in, 0 if it takes longer, or a negative errno. */
int client_login(struct client *c);
/* Logged in by other means (fd and ssl are set): from now on its events are told. */
int client_ready(struct client *c);
/* Closes, frees, may be started again. */
void client_close(struct client *c);

/* Called for each whole frame after login; now_ns is when its bytes were read. */
typedef void client_frame_fn(struct client *c, uint8_t type, const uint8_t *body, uint32_t len,
			     uint64_t now_ns);

/* Read what is there, at most about budget bytes (0: no limit), and hand out its frames. 0, or a negative
 * errno once the connection is of no more use (-ECONNRESET also for an orderly end: nobody should leave). */
int client_read(struct client *c, size_t budget, client_frame_fn *fn);

static inline size_t client_unsent(const struct client *c)
{
	return c->out_len - c->out_off;
}

/* Room for n more bytes behind those not yet sent; the caller fills them, then calls client_flush. */
uint8_t *client_append(struct client *c, size_t n);
/* One write of all there is. 0 also if some is left: then the client is flushed again when EPOLLOUT comes. */
int client_flush(struct client *c);

#endif
