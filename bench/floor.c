/* SPDX-License-Identifier: BSD-3-Clause */
/* The floor under every relay: a thread that receives and sends the same bytes, without DERP. Connections are joined two by
 * two in the order they come. With "aead" each TLS record is opened and sealed on its way, by the code xderpd uses; both with
 * one key and nonce, so that the bytes are what they were and the ends keep their own TLS through it.
 *
 *     build/bench-floor 127.0.0.1:3340 [aead]	# then: build/xderp-bench --direct --server 127.0.0.1:3340 [--tls]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "net/aead.h"

#define ROOM		(64U * 1024)
#define RECORD_HEAD	5U
#define RECORD_DATA	23

struct end {
	int fd;
	struct end *other;	/* NULL: not here yet */
	size_t have;
	uint8_t buf[ROOM];	/* a torn record, then what is read */
};

static struct aead_key *key;	/* NULL: bytes are passed on unseen */

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int listen_at(char *where)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	char *colon = strrchr(where, ':');
	int fd, one = 1;

	if (!colon)
		return -1;
	*colon = '\0';
	in.sin_port = htons((uint16_t)atoi(colon + 1));
	if (inet_pton(AF_INET, where, &in.sin_addr) != 1)
		return -1;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&in, sizeof(in)) == -1 || listen(fd, 1024) == -1)
		die(where);
	return fd;
}

/* The tag is the sender's; the floor's own would not fit. */
static void open_and_seal(uint8_t *record, size_t len)
{
	struct aead_input in = { .aad = record, .aad_len = RECORD_HEAD };
	uint8_t *p = record + RECORD_HEAD, tag[AEAD_TAG_LEN];
	size_t n = len - RECORD_HEAD - AEAD_TAG_LEN;

	memcpy(tag, p + n, sizeof(tag));
	aead_open(key, &in, p, n);
	if (aead_seal(key, &in, p, n))
		die("aead_seal");
	memcpy(p + n, tag, sizeof(tag));
}

/* Whole records of e->buf; returns how many bytes they are. */
static size_t records(struct end *e)
{
	size_t at = 0, len;

	while (e->have - at >= RECORD_HEAD) {
		len = RECORD_HEAD + get_be16(e->buf + at + 3);
		if (e->have - at < len)
			break;
		if (e->buf[at] == RECORD_DATA && len >= RECORD_HEAD + AEAD_TAG_LEN)
			open_and_seal(e->buf + at, len);
		at += len;
	}
	return at;
}

/* False: the other end has left. Its reader never waits for us, so waiting for it is no deadlock. */
static bool send_all(int fd, const uint8_t *p, size_t n)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };
	ssize_t r;

	for (; n; p += r, n -= (size_t)r) {
		r = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (r == -1 && errno != EAGAIN)
			return false;
		if (r == -1) {
			poll(&pfd, 1, -1);
			r = 0;
		}
	}
	return true;
}

static void end_pair(struct end *e)
{
	shutdown(e->fd, SHUT_RDWR);
	if (e->other)
		shutdown(e->other->fd, SHUT_RDWR);
	close(e->fd);		/* the memory is kept: an event of this turn may still name it */
	e->fd = -1;
}

static void pass_on(struct end *e)
{
	ssize_t r = recv(e->fd, e->buf + e->have, sizeof(e->buf) - e->have, MSG_DONTWAIT);
	size_t n;

	if (r == -1 && errno == EAGAIN)
		return;
	if (r <= 0 || !e->other || e->other->fd == -1) {
		end_pair(e);
		return;
	}
	e->have += (size_t)r;
	n = key ? records(e) : e->have;
	if (!send_all(e->other->fd, e->buf, n)) {
		end_pair(e);
		return;
	}
	e->have -= n;
	memmove(e->buf, e->buf + n, e->have);
}

static void take_in(int listener, int epoll, struct end **waiting)
{
	struct end *e = malloc(sizeof(*e));
	struct epoll_event ev = { .events = EPOLLIN };
	int one = 1;

	if (!e)
		die("malloc");
	e->have = 0;
	e->fd = accept(listener, NULL, NULL);
	if (e->fd == -1)
		die("accept");
	setsockopt(e->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	e->other = *waiting;
	*waiting = e->other ? NULL : e;
	ev.data.ptr = e;
	if (!e->other)		/* watched once there is somebody to send to */
		return;
	e->other->other = e;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, e->fd, &ev) == -1)
		die("epoll_ctl");
	ev.data.ptr = e->other;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, e->other->fd, &ev) == -1)
		die("epoll_ctl");
}

int main(int argc, char **argv)
{
	static const uint8_t zero[AEAD_KEY_MAX];
	int listener = argc > 1 ? listen_at(argv[1]) : -1, epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev[64] = { { .events = EPOLLIN } };
	struct end *waiting = NULL;
	struct rlimit files;
	int n;

	if (listener == -1 || (argc > 2 && strcmp(argv[2], "aead"))) {
		fprintf(stderr, "bench-floor ADDRESS:PORT [aead]\n");
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (argc > 2 && (aead_key_new(&key, AEAD_AES_128_GCM, AEAD_AUTO) || aead_key_set(key, zero)))
		die("aead_key");
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, ev) == -1)
		die("epoll_ctl");
	for (;;) {
		n = epoll_wait(epoll, ev, ARRAY_SIZE(ev), -1);
		for (int i = 0; i < n; i++)
			if (!ev[i].data.ptr)
				take_in(listener, epoll, &waiting);
			else if (((struct end *)ev[i].data.ptr)->fd >= 0)
				pass_on(ev[i].data.ptr);
	}
}
