/* SPDX-License-Identifier: BSD-3-Clause */
/* Does the kernel do what the splice needs? Asked with real frames over loopback, not by its version. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "kern/splice.h"

#define PATIENCE_MS	2000
#define PAYLOAD		100U
#define FRAME_LEN	(DERP_HDR_LEN + DERP_KEY_LEN + PAYLOAD)

/* One peer: its own end of the connection, and the relay's. */
struct end {
	int client, server;
	uint8_t key[DERP_KEY_LEN];
	uint32_t place;
	uint64_t base;
	struct derp_conn *conn;		/* NULL: has not joined */
	bool noticed;
};

static int connect_ends(struct end *e)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(a);

	e->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || e->client < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&a, &len) || connect(e->client, (struct sockaddr *)&a, sizeof(a))) {
		int err = -errno;

		if (listener >= 0)
			close(listener);
		return err;
	}
	e->server = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	close(listener);
	return e->server < 0 ? -errno : 0;
}

static void fill(uint8_t *frame, uint8_t type, const uint8_t *key, uint8_t with)
{
	const uint8_t head[DERP_HDR_LEN] = { type, 0, 0, 0, FRAME_LEN - DERP_HDR_LEN };

	memcpy(frame, head, sizeof(head));
	memcpy(frame + sizeof(head), key, DERP_KEY_LEN);
	memset(frame + sizeof(head) + DERP_KEY_LEN, with, PAYLOAD);
}

/* The frame that comes out of fd is this one. */
static int expect(int fd, const uint8_t *want)
{
	uint8_t got[FRAME_LEN];
	size_t n = 0;

	while (n < sizeof(got)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t r;

		if (poll(&p, 1, PATIENCE_MS) != 1)
			return -ETIMEDOUT;
		r = recv(fd, got + n, sizeof(got) - n, MSG_DONTWAIT);
		if (r == 0 || (r < 0 && errno != EAGAIN))
			return r ? -errno : -EPIPE;
		n += r > 0 ? (size_t)r : 0;
	}
	return memcmp(got, want, sizeof(got)) ? -EBADMSG : 0;
}

static int send_all(int fd, const uint8_t *p, size_t n)
{
	ssize_t r = send(fd, p, n, MSG_NOSIGNAL);

	return r < 0 ? -errno : (size_t)r == n ? 0 : -EIO;
}

/* By the kernel: two packets in one buffer, rewritten, written to b. */
static int try_redirect(struct end *a, struct end *b)
{
	uint8_t sent[2 * FRAME_LEN], want[FRAME_LEN];
	int err;

	fill(sent, DERP_SEND_PACKET, b->key, 1);
	fill(sent + FRAME_LEN, DERP_SEND_PACKET, b->key, 2);
	err = send_all(a->client, sent, sizeof(sent));
	for (uint8_t i = 1; !err && i <= 2; i++) {
		fill(want, DERP_RECV_PACKET, a->key, i);
		err = expect(b->client, want);
	}
	return err;
}

static void note(void *ctx, const struct derp_conn *c)
{
	struct end *e = ctx;

	e->noticed |= c == e->conn;
}

static int await_notice(struct splicer *s, struct end *e)
{
	struct pollfd p = { .fd = splice_notice_fd(s, 0), .events = POLLIN };

	if (poll(&p, 1, PATIENCE_MS) == 1)
		splice_notices(s, 0, note, e);
	return e->noticed ? 0 : -ETIMEDOUT;
}

/* By the shard: the stream taken back, the next frame comes to us, and what we write comes behind what the kernel wrote. */
static int try_pass(struct splicer *s, struct end *a, struct end *b)
{
	uint8_t sent[FRAME_LEN];
	int err;

	splice_take(b->conn);
	if (!splice_drained(b->conn, b->server, b->base))
		return -EBUSY;
	fill(sent, DERP_SEND_PACKET, b->key, 3);
	err = send_all(a->client, sent, sizeof(sent));
	if (!err)
		err = await_notice(s, a);
	if (!err)
		err = expect(a->server, sent);
	if (!err)
		err = send_all(b->server, sent, sizeof(sent));
	return err ? err : expect(b->client, sent);
}

static int exchange(struct splicer *s, struct end *a, struct end *b)
{
	int err = connect_ends(a);

	if (!err)
		err = connect_ends(b);
	if (!err)
		a->conn = splice_join(s, &(struct splice_conn){ .fd = a->server, .key = a->key }, &a->place, &err);
	if (!err)
		b->conn = splice_join(s, &(struct splice_conn){ .fd = b->server, .key = b->key }, &b->place, &err);
	if (!err)
		err = splice_attach(s, a->place, a->server);
	if (!err)
		err = splice_open_flow(s, a->place, b->place);
	if (!err)
		err = splice_give(b->conn, b->server, &b->base);
	if (!err)
		err = try_redirect(a, b);
	return err ? err : try_pass(s, a, b);
}

static void leave(struct splicer *s, struct end *e)
{
	if (e->conn)
		splice_leave(s, e->place);
	if (e->client >= 0)
		close(e->client);
	if (e->server >= 0)
		close(e->server);
}

int splice_trial(struct splicer *s, char *why, size_t len)
{
	struct end a = { .client = -1, .server = -1, .key = { 'a' } }, b = { .client = -1, .server = -1, .key = { 'b' } };
	int err = exchange(s, &a, &b);

	leave(s, &a);
	leave(s, &b);
	if (err)
		snprintf(why, len, "frames of a trial over loopback did not come through the kernel's sockmap: %s", strerror(-err));
	return err;
}
