/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/dirs.h"
#include "base/log.h"
#include "base/util.h"

#define TIMEOUT_NS	(5 * NS_PER_S)
#define MODE		0660

enum state { ASKING, ANSWERED, LEAVING };

struct client {
	int fd;				/* -1: free */
	enum state state;
	char *in;			/* of CONTROL_MAX_REQUEST */
	size_t in_len, sent;
	struct control_reply reply;
	uint64_t deadline_ns;
};

struct control {
	struct control_opts o;
	struct sockaddr_un addr;
	int fd;
	bool end;
	struct client clients[CONTROL_MAX_CONNS];
};

/* --- the socket */

static int bind_at(int fd, const struct sockaddr_un *addr)
{
	/* The mode of the socket's inode: what umask leaves of it holds from the first moment, the rest is given after. */
	if (fchmod(fd, MODE) || bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) || chmod(addr->sun_path, MODE))
		return -errno;
	return listen(fd, CONTROL_MAX_CONNS) ? -errno : 0;
}

/* Does somebody answer there? -ENOTSOCK: it is something else. */
static int probe(const struct sockaddr_un *addr)
{
	struct stat st;
	int fd, err;

	if (lstat(addr->sun_path, &st))
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1)
		return -errno;
	err = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) ? -errno : 0;
	close(fd);
	return err;
}

static int bind_or_replace(int fd, const struct sockaddr_un *addr)
{
	int err = bind_at(fd, addr);

	if (err != -EADDRINUSE)
		return err;
	err = probe(addr);
	if (err == -ENOTSOCK)
		return err;
	if (err != -ECONNREFUSED)
		return -EADDRINUSE;
	if (unlink(addr->sun_path))
		return -errno;
	return bind_at(fd, addr);
}

static int open_socket(struct control *c, char *err, size_t errlen)
{
	const char *path = c->o.path;
	int e;

	if (strlen(path) >= sizeof(c->addr.sun_path)) {
		snprintf(err, errlen, "the path of a socket may have at most %zu bytes: %s", sizeof(c->addr.sun_path) - 1, path);
		return -ENAMETOOLONG;
	}
	c->addr.sun_family = AF_UNIX;
	memcpy(c->addr.sun_path, path, strlen(path) + 1);
	e = dirs_make_for(path);
	c->fd = e ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd == -1 && !e)
		e = -errno;
	if (!e)
		e = bind_or_replace(c->fd, &c->addr);
	if (e == -EADDRINUSE)
		snprintf(err, errlen, "another relay answers at %s: stop it, or choose another path with --control-socket", path);
	else if (e == -ENOTSOCK)
		snprintf(err, errlen, "%s is there and is no socket: remove it, or choose another path with --control-socket", path);
	else if (e)
		snprintf(err, errlen, "can't make %s: %s; choose another path with --control-socket", path, strerror(-e));
	return e;
}

int control_open(struct control **ret, const struct control_opts *o, char *err, size_t errlen)
{
	struct control *c = calloc(1, sizeof(*c));
	int e;

	if (!c) {
		snprintf(err, errlen, "out of memory");
		return -ENOMEM;
	}
	c->o = *o;
	if (!c->o.timeout_ns)
		c->o.timeout_ns = TIMEOUT_NS;
	for (unsigned int i = 0; i < CONTROL_MAX_CONNS; i++)
		c->clients[i].fd = -1;
	e = open_socket(c, err, errlen);
	if (e) {
		if (c->fd != -1)
			close(c->fd);
		free(c);
		return e;
	}
	*ret = c;
	return 0;
}

void control_give(struct control *c, const char *dir, uid_t uid, gid_t gid)
{
	if (chown(c->addr.sun_path, uid, gid) || (dir && chown(dir, uid, gid)))
		log_event(LOG_LEVEL_WARN, "control_socket_stays", "path=%s error=%s", c->addr.sun_path, strerror(errno));
}

/* --- clients */

static void drop(struct client *cl)
{
	if (cl->fd == -1)
		return;
	close(cl->fd);
	free(cl->in);
	textbuf_done(&cl->reply.out);
	if (cl->reply.done)
		cl->reply.done(cl->reply.state);
	*cl = (struct client){ .fd = -1 };
}

void control_close(struct control *c)
{
	if (!c)
		return;
	for (unsigned int i = 0; i < CONTROL_MAX_CONNS; i++)
		drop(&c->clients[i]);
	unlink(c->addr.sun_path);
	close(c->fd);
	free(c);
}

/* Write what there is; at its end our side closes, unless the client waits for our end. */
static void answer(struct control *c, struct client *cl)
{
	struct textbuf *out = &cl->reply.out;
	ssize_t n;

	for (;;) {
		while (cl->sent < out->len) {
			n = send(cl->fd, out->p + cl->sent, out->len - cl->sent, MSG_NOSIGNAL);
			if (n == -1 && errno == EAGAIN)
				return;
			if (n == -1) {
				drop(cl);
				return;
			}
			cl->sent += (size_t)n;
			cl->deadline_ns = clock_now_ns() + c->o.timeout_ns;
		}
		textbuf_done(out);
		cl->sent = 0;
		if (!cl->reply.more || !cl->reply.more(out, cl->reply.state))
			break;
	}
	if (cl->reply.end) {
		cl->deadline_ns = UINT64_MAX;
		c->end = true;
		return;
	}
	/* Closing with something unread would look like a fault to the client: let it finish and close first. */
	shutdown(cl->fd, SHUT_WR);
	cl->state = LEAVING;
}

static void refuse(struct client *cl, const char *why)
{
	textbuf_printf(&cl->reply.out, "{\"error\": \"%s\"}\n", why);
	cl->state = ANSWERED;
}

static void receive(struct control *c, struct client *cl)
{
	ssize_t n = recv(cl->fd, cl->in + cl->in_len, CONTROL_MAX_REQUEST - cl->in_len, 0);
	char *end;

	if (n == -1 && errno == EAGAIN)
		return;
	if (n <= 0) {
		drop(cl);
		return;
	}
	end = memchr(cl->in + cl->in_len, '\n', (size_t)n);
	cl->in_len += (size_t)n;
	if (end) {
		cl->state = ANSWERED;
		c->o.handle(cl->in, (size_t)(end - cl->in), &cl->reply, c->o.ctx);
	} else if (cl->in_len == CONTROL_MAX_REQUEST) {
		refuse(cl, "the request is too long");
	}
	if (cl->state == ANSWERED)
		answer(c, cl);
}

/* What comes behind a request means nothing. */
static void discard(struct client *cl)
{
	char buf[4096];
	ssize_t n = recv(cl->fd, buf, sizeof(buf), 0);

	if (n == 0 || (n == -1 && errno != EAGAIN))
		drop(cl);
}

/* File permissions can be changed by mistake; what the kernel says about the other end can't. */
static bool is_trusted(int fd, uid_t *uid)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len))
		return false;
	*uid = who.uid;
	return who.uid == 0 || who.uid == geteuid();
}

static void accept_client(struct control *c)
{
	int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *cl = NULL;
	uid_t uid = (uid_t)-1;

	if (fd == -1)
		return;
	for (unsigned int i = 0; i < CONTROL_MAX_CONNS && !cl; i++)
		if (c->clients[i].fd == -1)
			cl = &c->clients[i];
	if (!cl || !(cl->in = malloc(CONTROL_MAX_REQUEST))) {
		close(fd);
		return;
	}
	cl->fd = fd;
	cl->deadline_ns = clock_now_ns() + c->o.timeout_ns;
	if (is_trusted(fd, &uid))
		return;
	log_limited(LOG_LEVEL_WARN, "control_refused", "uid=%u", (unsigned int)uid);
	refuse(cl, "only root and the user the relay runs as may ask");
	answer(c, cl);
}

static bool is_full(const struct control *c)
{
	for (unsigned int i = 0; i < CONTROL_MAX_CONNS; i++)
		if (c->clients[i].fd == -1)
			return false;
	return true;
}

/* Milliseconds up to the first deadline. -1: there is none. */
static int patience_ms(const struct control *c)
{
	uint64_t now = clock_now_ns(), first = UINT64_MAX;

	for (unsigned int i = 0; i < CONTROL_MAX_CONNS; i++)
		if (c->clients[i].fd != -1)
			first = min_of(first, c->clients[i].deadline_ns);
	if (first == UINT64_MAX)
		return -1;
	return first > now ? (int)((first - now) / NS_PER_MS + 1) : 0;
}

static void expire(struct control *c)
{
	uint64_t now = clock_now_ns();

	for (unsigned int i = 0; i < CONTROL_MAX_CONNS; i++)
		if (c->clients[i].deadline_ns <= now)
			drop(&c->clients[i]);
}

/* Wait once. True: sigfd is readable. More clients than we have places for wait in the backlog. */
static bool serve_once(struct control *c, int sigfd)
{
	struct pollfd p[2 + CONTROL_MAX_CONNS] = { { sigfd, POLLIN, 0 }, { -1, POLLIN, 0 } };

	p[1].fd = is_full(c) ? -1 : c->fd;
	for (unsigned int i = 0; i < CONTROL_MAX_CONNS; i++) {
		p[2 + i].fd = c->clients[i].fd;
		p[2 + i].events = c->clients[i].state == ANSWERED ? POLLOUT : POLLIN;
	}
	if (poll(p, ARRAY_SIZE(p), patience_ms(c)) == -1)
		return false;
	for (unsigned int i = 0; i < CONTROL_MAX_CONNS; i++) {
		struct client *cl = &c->clients[i];

		if (!p[2 + i].revents)
			continue;
		if (cl->state == ANSWERED)
			answer(c, cl);
		else if (cl->state == ASKING)
			receive(c, cl);
		else
			discard(cl);
	}
	/* Whoever is ready was served first: it is not their fault if we are late. */
	expire(c);
	if (p[1].revents)
		accept_client(c);
	return p[0].revents;
}

bool control_serve(struct control *c, int sigfd)
{
	struct pollfd p = { sigfd, POLLIN, 0 };

	if (!c) {
		while (poll(&p, 1, -1) != 1)
			;
		return true;
	}
	while (!c->end)
		if (serve_once(c, sigfd))
			return true;
	return false;
}
