/* SPDX-License-Identifier: BSD-3-Clause */
/* epoll engine, for where io_uring is old or forbidden: the same answers from readiness, a little
 * later. What is known before the next turn (sends, cancellations, descriptors epoll refuses) waits
 * in a queue, so that the handler is never entered from inside io_send() or io_cancel(). */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "net/io_impl.h"

#define BATCH		128	/* ready descriptors asked for at a time */
#define ACCEPTS		32	/* connections taken per listener and turn */
#define WAKE		UINT64_MAX
#define FIRST_SIZE	64

/* Operations that stay armed; IO_SEND never does. */
static const enum io_op lasting[] = { IO_ACCEPT, IO_RECV, IO_WRITABLE, IO_READABLE, IO_HANGUP };

struct fd_state {
	uint32_t armed;			/* bit per enum io_op */
	uint32_t serial;		/* of the life of this descriptor number: stale events differ */
	uint32_t recv_max;		/* bytes of the one receive that was asked for; 0: many */
	struct io_tag tags[IO_OP_NR];
};

struct epoll {
	struct io io;
	int fd;
	bool no_pwait2;
	struct fd_state *fds;		/* by descriptor; owned */
	size_t nfds;
	struct io_event *queue;		/* ring, size a power of two; owned */
	size_t queue_size, queue_head, queue_tail;
};

struct round {
	unsigned int left;		/* events the caller still wants */
	io_handler handler;
	void *ctx;
};

static struct epoll *epoll_of(struct io *io)
{
	return container_of(io, struct epoll, io);
}

/* An event that could not be kept would break the contract for good: there is no way on. */
static void *grow(void *old, size_t n, size_t size)
{
	void *p = reallocarray(old, n, size);

	if (!p)
		abort();
	return p;
}

static void defer(struct epoll *e, enum io_op op, struct io_tag tag, int res)
{
	size_t size = e->queue_size, n = e->queue_tail - e->queue_head;

	if (n == size) {
		e->queue = grow(e->queue, size * 2, sizeof(*e->queue));
		/* Unroll: what had wrapped round goes behind. */
		e->queue_head &= size - 1;
		memcpy(e->queue + size, e->queue, e->queue_head * sizeof(*e->queue));
		e->queue_tail = e->queue_head + n;
		e->queue_size = size * 2;
	}
	e->queue[e->queue_tail++ & (e->queue_size - 1)] = (struct io_event){
		.op = op, .tag = tag, .res = res, .last = true,
	};
}

static struct fd_state *state_of(struct epoll *e, int fd)
{
	size_t n = e->nfds;

	assert(fd >= 0);
	if ((size_t)fd < n)
		return &e->fds[fd];
	while (n <= (size_t)fd)
		n *= 2;
	e->fds = grow(e->fds, n, sizeof(*e->fds));
	memset(e->fds + e->nfds, 0, (n - e->nfds) * sizeof(*e->fds));
	e->nfds = n;
	return &e->fds[fd];
}

static uint32_t interest(uint32_t armed)
{
	return (armed & ~(1U << IO_WRITABLE | 1U << IO_HANGUP) ? EPOLLIN : 0U) |
	       (armed & 1U << IO_WRITABLE ? EPOLLOUT : 0U) | (armed & 1U << IO_HANGUP ? EPOLLRDHUP : 0U);
}

/* Tell epoll what is armed on fd. A descriptor on which nothing is armed leaves the set: epoll would
 * report its hang-up for ever, and the caller may close it. */
static int set_armed(struct epoll *e, int fd, uint32_t armed)
{
	struct fd_state *s = &e->fds[fd];
	struct epoll_event ev = { .events = interest(armed) };
	int op = !s->armed ? EPOLL_CTL_ADD : armed ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;

	if (op == EPOLL_CTL_ADD)
		s->serial++;
	ev.data.u64 = (uint64_t)s->serial << 32 | (uint32_t)fd;
	if (interest(s->armed) != ev.events && epoll_ctl(e->fd, op, fd, &ev) == -1 &&
	    op != EPOLL_CTL_DEL)
		return -errno;
	s->armed = armed;
	return 0;
}

static void epoll_arm(struct io *io, enum io_op op, int fd, const struct msghdr *msg,
		      struct io_tag tag)
{
	struct epoll *e = epoll_of(io);
	struct fd_state *s;
	ssize_t n;
	int err;

	tag.gen &= 0xffffff;
	if (op == IO_SEND) {
		n = sendmsg(fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		defer(e, IO_SEND, tag, n == -1 ? -errno : (int)n);
		return;
	}
	if (fd < 0) {
		defer(e, op, tag, -EBADF);
		return;
	}
	s = state_of(e, fd);
	assert(!(s->armed & 1U << op));
	s->tags[op] = tag;
	err = set_armed(e, fd, s->armed | 1U << op);
	if (err)
		defer(e, op, tag, err);
}

static void epoll_recv(struct io *io, int fd, size_t max, struct io_tag tag)
{
	if (fd >= 0)
		state_of(epoll_of(io), fd)->recv_max = (uint32_t)max;
	epoll_arm(io, IO_RECV, fd, NULL, tag);
}

static void epoll_cancel(struct io *io, int fd)
{
	struct epoll *e = epoll_of(io);
	uint32_t armed;

	if (fd < 0 || (size_t)fd >= e->nfds || !e->fds[fd].armed)
		return;
	armed = e->fds[fd].armed;
	set_armed(e, fd, 0);
	for (size_t i = 0; i < ARRAY_SIZE(lasting); i++)
		if (armed & 1U << lasting[i])
			defer(e, lasting[i], e->fds[fd].tags[lasting[i]], -ECANCELED);
}

static void epoll_recv_stop(struct io *io, int fd, struct io_tag tag)
{
	struct epoll *e = epoll_of(io);

	if (fd < 0 || (size_t)fd >= e->nfds || !(e->fds[fd].armed & 1U << IO_RECV))
		return;
	set_armed(e, fd, e->fds[fd].armed & ~(1U << IO_RECV));
	defer(e, IO_RECV, tag, -ECANCELED);
}

/* --- readiness to events */

/* The operation is disarmed before the handler runs: it may arm it again. */
static void emit(struct epoll *e, struct round *r, int fd, struct io_event ev)
{
	ev.tag = e->fds[fd].tags[ev.op];
	if (ev.last)
		set_armed(e, fd, e->fds[fd].armed & ~(1U << ev.op));
	r->left--;
	r->handler(r->ctx, &ev);
}

static void do_recv(struct epoll *e, struct round *r, int fd)
{
	struct io_event ev = { .op = IO_RECV };
	struct rbuf *b = rbuf_take(&e->io.rbufs);
	uint32_t max = e->fds[fd].recv_max;
	ssize_t n;

	if (!b) {
		e->io.starved++;
		ev.res = -ENOBUFS;
		ev.last = true;
		emit(e, r, fd, ev);
		return;
	}
	n = recv(fd, b->data, max ? max : RBUF_SIZE, MSG_DONTWAIT);
	ev.res = n == -1 ? -errno : (int)n;
	ev.last = n <= 0 || max;
	if (n > 0)
		ev.buf = rbuf_ref(b);
	else
		rbuf_put(b);
	if (ev.res != -EAGAIN && ev.res != -EINTR)
		emit(e, r, fd, ev);
}

static void do_accept(struct epoll *e, struct round *r, int fd, uint32_t serial)
{
	const struct fd_state *s;

	for (unsigned int i = 0; i < ACCEPTS && r->left; i++) {
		struct io_event ev = { .op = IO_ACCEPT };
		int res = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		ev.res = res == -1 ? -errno : res;
		ev.last = res == -1;
		if (ev.res == -EAGAIN || ev.res == -EINTR)
			return;
		emit(e, r, fd, ev);
		s = &e->fds[fd];	/* the table may have moved */
		if (s->serial != serial || !(s->armed & 1U << IO_ACCEPT))
			return;
	}
}

/* epoll's bits are poll's. An error or hang-up answers whatever is armed. */
static void fd_ready(struct epoll *e, struct round *r, const struct epoll_event *ready)
{
	int fd = (int)(uint32_t)ready->data.u64;
	uint32_t serial = (uint32_t)(ready->data.u64 >> 32);
	uint32_t in = ready->events & (EPOLLIN | EPOLLERR | EPOLLHUP);
	uint32_t up = ready->events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP);
	uint32_t out = ready->events & (EPOLLOUT | EPOLLERR | EPOLLHUP);

	for (size_t i = 0; i < ARRAY_SIZE(lasting) && r->left; i++) {
		enum io_op op = lasting[i];
		const struct fd_state *s = &e->fds[fd];

		if (s->serial != serial || !(s->armed & 1U << op))
			continue;
		if (op == IO_WRITABLE && out)
			emit(e, r, fd, (struct io_event){ .op = op, .res = (int)out, .last = true });
		else if (op == IO_HANGUP && up)
			emit(e, r, fd, (struct io_event){ .op = op, .res = (int)up, .last = true });
		else if (op == IO_READABLE && in)
			emit(e, r, fd, (struct io_event){ .op = op, .res = (int)in });
		else if (op == IO_RECV && in)
			do_recv(e, r, fd);
		else if (op == IO_ACCEPT && in)
			do_accept(e, r, fd, serial);
	}
}

static void run_queue(struct epoll *e, struct round *r)
{
	size_t end = e->queue_tail;

	/* What handlers add waits for the next turn, as with io_uring. The queue may move and its
	 * cursors be rebased meanwhile, so count instead of comparing. */
	for (size_t n = end - e->queue_head; n && r->left; n--) {
		struct io_event ev = e->queue[e->queue_head++ & (e->queue_size - 1)];

		r->left--;
		r->handler(r->ctx, &ev);
	}
}

static int wait_ready(struct epoll *e, struct epoll_event *ready, int max, uint64_t timeout_ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(timeout_ns / 1000000000),
		.tv_nsec = (long)(timeout_ns % 1000000000),
	};
	uint64_t ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
	int n;

	if (!e->no_pwait2) {
		n = epoll_pwait2(e->fd, ready, max, timeout_ns == UINT64_MAX ? NULL : &ts, NULL);
		if (n != -1 || errno == EINTR)
			return max_of(n, 0);
		if (errno != ENOSYS && errno != EPERM)
			return -errno;
		e->no_pwait2 = true;	/* Linux 5.11, or a filter that does not know it */
	}
	n = epoll_wait(e->fd, ready, max, timeout_ns == UINT64_MAX ? -1 : (int)min_of(ms, 1U << 30));
	return n == -1 && errno != EINTR ? -errno : max_of(n, 0);
}

static int epoll_turn(struct io *io, uint64_t timeout_ns, const struct io_pace *pace, unsigned int max,
		      io_handler handler, void *ctx)
{
	struct epoll *e = epoll_of(io);
	struct round r = { .left = max, .handler = handler, .ctx = ctx };
	struct epoll_event ready[BATCH];
	int n;

	if (e->queue_head != e->queue_tail)
		timeout_ns = 0;
	if (timeout_ns && pace && pace->ns) {
		struct timespec ts = { .tv_nsec = (long)min_of(min_of(pace->ns, timeout_ns), NS_PER_MS) };

		nanosleep(&ts, NULL);
		timeout_ns = 0;
	}
	run_queue(e, &r);
	if (!r.left)
		return (int)max;
	n = wait_ready(e, ready, (int)min_of(r.left, (unsigned int)BATCH), timeout_ns);
	if (n < 0)
		return n;
	/* What is cut off by max is reported again: the descriptors stay ready. */
	for (int i = 0; i < n && r.left; i++)
		if (ready[i].data.u64 == WAKE)
			e->io.woken = true;
		else
			fd_ready(e, &r, &ready[i]);
	return (int)(max - r.left);
}

/* --- set-up */

static void epoll_close(struct io *io)
{
	struct epoll *e = epoll_of(io);

	if (e->fd != -1)
		close(e->fd);
	free(e->fds);
	free(e->queue);
	io_done(io);
	free(e);
}

/* Younger than the headers. */
struct poll_params {
	uint32_t busy_poll_usecs;
	uint16_t busy_poll_budget;
	uint8_t prefer_busy_poll;
	uint8_t pad;
};
#define SET_POLL_PARAMS	_IOW(0x8a, 1, struct poll_params)
#define POLL_BUDGET	8	/* packets taken from a card at a time; io_uring's, too */

static int epoll_busy_poll(struct io *io, unsigned int us)
{
	const struct poll_params p = { .busy_poll_usecs = us, .busy_poll_budget = POLL_BUDGET };

	return ioctl(epoll_of(io)->fd, SET_POLL_PARAMS, &p) ? -errno : 0;
}

static const struct io_engine_ops epoll_ops = {
	.name = "epoll",
	.no_busy_poll = "the kernel has no EPIOCSPARAMS (Linux 6.9)",
	.busy_poll = epoll_busy_poll,
	.close = epoll_close,
	.arm = epoll_arm,
	.recv = epoll_recv,
	.cancel = epoll_cancel,
	.recv_stop = epoll_recv_stop,
	.turn = epoll_turn,
};

int epoll_open(struct io **ret, const struct io_opts *opts)
{
	struct epoll *e = calloc(1, sizeof(*e));
	/* Edge-triggered and never read: each wake is an edge, and the counter has 2^64 of them. */
	struct epoll_event wake = { .events = EPOLLIN | EPOLLET, .data.u64 = WAKE };
	int err;

	if (!e)
		return -ENOMEM;
	e->fd = -1;
	err = io_init(&e->io, &epoll_ops, opts);
	if (err)
		goto fail;
	err = -ENOMEM;
	e->nfds = e->queue_size = FIRST_SIZE;
	e->fds = calloc(e->nfds, sizeof(*e->fds));
	e->queue = calloc(e->queue_size, sizeof(*e->queue));
	if (!e->fds || !e->queue)
		goto fail;
	e->fd = epoll_create1(EPOLL_CLOEXEC);
	if (e->fd == -1 || epoll_ctl(e->fd, EPOLL_CTL_ADD, e->io.wake_fd, &wake) == -1) {
		err = -errno;
		goto fail;
	}

	io_busy_poll(&e->io);
	*ret = &e->io;
	return 0;
fail:
	epoll_close(&e->io);
	return err;
}
