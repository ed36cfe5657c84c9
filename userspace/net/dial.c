/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"

#define RECV_SIZE	(16U * 1024)

int dial_split(char host[static DIAL_HOST_LEN], uint16_t *port, const char *text, size_t n, uint16_t default_port)
{
	const char *colon = memrchr(text, ':', n), *end = text + n;
	unsigned long v = default_port;
	char *stop;

	/* Several colons and no bracket: an IPv6 address without a port. */
	if (colon && colon[-(colon > text)] != ']' && memchr(text, ':', n) != colon)
		colon = NULL;
	if (colon) {
		char digits[8] = "";

		if (end - colon - 1 < 1 || end - colon - 1 > 5)
			return -EINVAL;
		memcpy(digits, colon + 1, (size_t)(end - colon - 1));
		v = strtoul(digits, &stop, 10);
		if (*stop || digits[0] < '0' || digits[0] > '9' || !v || v > UINT16_MAX)
			return -EINVAL;
		end = colon;
	}
	if (end - text >= 2 && text[0] == '[' && end[-1] == ']') {
		text++;
		end--;
	}
	if (end == text || end - text >= DIAL_HOST_LEN || memchr(text, '[', (size_t)(end - text)))
		return -EINVAL;
	memcpy(host, text, (size_t)(end - text));
	host[end - text] = '\0';
	*port = (uint16_t)v;
	return 0;
}

static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = fd, .events = events };
	uint64_t now = clock_now_ns();
	int r;

	do {
		if (now >= deadline_ns)
			return -ETIMEDOUT;
		r = poll(&p, 1, (int)min_of((deadline_ns - now) / NS_PER_MS + 1, 600000ULL));
		now = clock_now_ns();
	} while (r == 0 || (r == -1 && errno == EINTR));
	return r == 1 ? 0 : -errno;
}

/* A connected socket, or -errno. */
static int connect_to(const struct sockaddr *sa, socklen_t len, uint64_t deadline_ns)
{
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), e = 0;
	socklen_t elen = sizeof(e);

	if (fd == -1)
		return -errno;
	if (connect(fd, sa, len) == -1) {
		e = errno;
		if (e == EINPROGRESS) {
			e = -wait_for(fd, POLLOUT, deadline_ns);
			if (!e && getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &elen) == -1)
				e = errno;
		}
	}
	if (!e)
		return fd;
	close(fd);
	return -e;
}

int dial_tcp(const char *host, uint16_t port, uint64_t deadline_ns, char *err, size_t errlen)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG }, *list;
	char service[8];
	uint64_t now, share;
	unsigned int left = 0;
	int fd = -ENOENT, e;

	snprintf(service, sizeof(service), "%u", port);
	e = getaddrinfo(host, service, &hints, &list);
	if (e) {
		snprintf(err, errlen, "can't resolve %s: %s", host, gai_strerror(e));
		return -EHOSTUNREACH;
	}
	for (struct addrinfo *a = list; a; a = a->ai_next)
		left++;
	/* An address that swallows everything leaves its share of the time to the others. */
	for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next, left--) {
		now = clock_now_ns();
		share = now < deadline_ns ? (deadline_ns - now) / left : 0;
		fd = connect_to(a->ai_addr, a->ai_addrlen, now + share);
	}
	freeaddrinfo(list);
	if (fd < 0)
		snprintf(err, errlen, "can't connect to %s port %u: %s", host, port, strerror(-fd));
	return fd;
}

int dial_unix(const char *path, uint64_t deadline_ns, char *err, size_t errlen)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t size = strlen(path) + 1;
	int fd;

	if (size > sizeof(sa.sun_path)) {
		snprintf(err, errlen, "%s is too long for a socket's path", path);
		return -ENAMETOOLONG;
	}
	memcpy(sa.sun_path, path, size);
	fd = connect_to((struct sockaddr *)&sa, sizeof(sa), deadline_ns);
	if (fd < 0)
		snprintf(err, errlen, "can't connect to %s: %s", path, strerror(-fd));
	return fd;
}

/* --- an exchange under way */

struct line {
	int fd;
	struct tls *tls;
	uint64_t deadline_ns;
	struct tls_out out;
	uint8_t in[RECV_SIZE];		/* lent to tls */
};

static int grow(struct tls_out *o, size_t need)
{
	size_t cap = max_of(2 * o->cap, o->len + need);
	uint8_t *p = realloc(o->p, cap);

	if (!p)
		return -ENOMEM;
	o->p = p;
	o->cap = cap;
	return 0;
}

static int send_all(struct line *l, const uint8_t *p, size_t n)
{
	ssize_t k;
	int r;

	while (n) {
		k = send(l->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (k < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (k < 0) {
			r = wait_for(l->fd, POLLOUT, l->deadline_ns);
			if (r)
				return r;
			continue;
		}
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

static int flush(struct line *l)
{
	int r = send_all(l, l->out.p, l->out.len);

	l->out.len = 0;
	return r;
}

static ssize_t receive(struct line *l, uint8_t *p, size_t n)
{
	ssize_t k;
	int r;

	while ((k = recv(l->fd, p, n, MSG_DONTWAIT)) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		r = wait_for(l->fd, POLLIN, l->deadline_ns);
		if (r)
			return r;
	}
	return k;
}

/* More ciphertext for tls. 0: the stream ended. */
static ssize_t feed(struct line *l)
{
	ssize_t n = receive(l, l->in, sizeof(l->in));

	if (n > 0)
		tls_feed(l->tls, l->in, (size_t)n);
	return n;
}

static int handshake(struct line *l)
{
	ssize_t n;
	int r, e;

	while ((r = tls_handshake(l->tls, &l->out)) != 1) {
		e = flush(l);
		if (r != -EAGAIN || e)
			return r != -EAGAIN ? r : e;
		n = feed(l);
		if (n <= 0)
			return n ? (int)n : -ECONNRESET;
	}
	return flush(l);
}

/* Plaintext; 0: the end. */
static ssize_t get(struct line *l, uint8_t *p, size_t cap)
{
	ssize_t n;

	if (!l->tls)
		return receive(l, p, cap);
	while ((n = tls_read(l->tls, p, cap, &l->out)) == -EAGAIN) {
		n = feed(l);
		if (n <= 0)
			return n;
	}
	return n;
}

static int put(struct line *l, const void *p, size_t n)
{
	int r;

	if (!l->tls)
		return send_all(l, p, n);
	r = handshake(l);
	if (!r)
		r = tls_write(l->tls, p, n, &l->out);
	return r ? r : flush(l);
}

static void explain(const struct line *l, int e, char *err, size_t errlen)
{
	if (e == -EPROTO && l->tls && *tls_error(l->tls))
		snprintf(err, errlen, "TLS failed: %s", tls_error(l->tls));
	else if (e == -ETIMEDOUT)
		snprintf(err, errlen, "no answer in time");
	else if (e == -EMSGSIZE)
		snprintf(err, errlen, "the answer is too long");
	else if (e == -EPROTO)
		snprintf(err, errlen, "the answer is not HTTP/1.1, or was cut short");
	else
		snprintf(err, errlen, "%s", strerror(-e));
}

static ssize_t collect(struct line *l, uint8_t *buf, size_t cap, int (*whole)(void *ctx, uint8_t *buf, size_t n, int ended),
		       void *ctx)
{
	size_t have = 0;
	ssize_t n;
	int r;

	do {
		if (have == cap)
			return -EMSGSIZE;
		n = get(l, buf + have, cap - have);
		if (n < 0)
			return n;
		have += (size_t)n;
		r = whole(ctx, buf, have, n == 0);
	} while (!r && n);
	return r < 0 ? r : r ? (ssize_t)have : -EPROTO;
}

ssize_t dial_exchange(int fd, struct tls *tls, const void *req, size_t reqlen, uint8_t *buf, size_t cap, uint64_t deadline_ns,
		      int (*whole)(void *ctx, uint8_t *buf, size_t n, int ended), void *ctx, char *err, size_t errlen)
{
	struct line *l = calloc(1, sizeof(*l));
	ssize_t n;
	int r;

	if (!l) {
		snprintf(err, errlen, "out of memory");
		return -ENOMEM;
	}
	l->fd = fd;
	l->tls = tls;
	l->deadline_ns = deadline_ns;
	l->out.grow = grow;
	r = put(l, req, reqlen);
	n = r ? r : collect(l, buf, cap, whole, ctx);
	if (n < 0)
		explain(l, (int)n, err, errlen);
	free(l->out.p);
	free(l);
	return n;
}
