/* SPDX-License-Identifier: BSD-3-Clause */
/* The epoll engine: the same answers as io_uring where that is not to be had. Operations that end at
 * once (sends, cancellations) put their event into a queue that the next turn hands out. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "net/io_impl.h"

#define READY_MAX	256

/* What is armed on a descriptor: a bit per enum io_op. Reading and writing have one tag each. */
struct watch {
	uint8_t armed;
	uint8_t registered;
	struct io_tag read_tag, write_tag;
};

struct epoll {
	struct io io;
	int fd;
	struct watch *watches;		/* owned; index: descriptor */
	int nwatches;
	struct io_event *queue;		/* owned ring; cap is a power of two */
	uint32_t head, tail, cap;
};

#define BIT(op)		(1U << (op))
#define READING		(BIT(IO_ACCEPT) | BIT(IO_RECV) | BIT(IO_READABLE))

static struct epoll *epoll_of(struct io *io)
{
	return container_of(io, struct epoll, io);
}

/* Completions are owed: without memory for them nothing can go on. */
static void queue_event(struct epoll *e, const struct io_event *ev)
{
	struct io_event *bigger;

	if (e->tail - e->head == e->cap) {
		bigger = malloc(2 * e->cap * sizeof(*bigger));
		if (!bigger)
			abort();
		for (uint32_t i = 0; i < e->cap; i++)
			bigger[i] = e->queue[(e->head + i) & (e->cap - 1)];
		free(e->queue);
		e->queue = bigger;
		e->head = 0;
		e->tail = e->cap;
		e->cap *= 2;
	}
	e->queue[e->tail++ & (e->cap - 1)] = *ev;
}

static struct watch *watch_of(struct epoll *e, int fd)
{
	int n = e->nwatches;
	struct watch *w;

	if (fd < n)
		return &e->watches[fd];
	while (n <= fd)
		n = n ? 2 * n : 64;
	w = realloc(e->watches, (size_t)n * sizeof(*w));
	if (!w)
		abort();
	memset(w + e->nwatches, 0, (size_t)(n - e->nwatches) * sizeof(*w));
	e->watches = w;
	e->nwatches = n;
	return &w[fd];
}

static void update(struct epoll *e, int fd)
{
	struct watch *w = watch_of(e, fd);
	struct epoll_event ev = {
		.events = (w->armed & READING ? EPOLLIN : 0) | (w->armed & BIT(IO_WRITABLE) ? EPOLLOUT : 0),
		.data.fd = fd,
	};

	if (!w->armed && !w->registered)
		return;
	if (!w->armed)
		epoll_ctl(e->fd, EPOLL_CTL_DEL, fd, NULL);
	else
		epoll_ctl(e->fd, w->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev);
	w->registered = w->armed != 0;
}

static void arm(struct epoll *e, int fd, enum io_op op, struct io_tag tag)
{
	struct watch *w = watch_of(e, fd);

	w->armed |= (uint8_t)BIT(op);
	if (op == IO_WRITABLE)
		w->write_tag = tag;
	else
		w->read_tag = tag;
	update(e, fd);
}

static void disarm(struct epoll *e, int fd, enum io_op op)
{
	watch_of(e, fd)->armed &= (uint8_t)~BIT(op);
	update(e, fd);
}

static void epoll_accept(struct io *io, int fd, struct io_tag tag)
{
	arm(epoll_of(io), fd, IO_ACCEPT, tag);
}

static void epoll_recv(struct io *io, int fd, struct io_tag tag)
{
	arm(epoll_of(io), fd, IO_RECV, tag);
}

static void epoll_readable(struct io *io, int fd, struct io_tag tag)
{
	arm(epoll_of(io), fd, IO_READABLE, tag);
}

static void epoll_writable(struct io *io, int fd, struct io_tag tag)
{
	arm(epoll_of(io), fd, IO_WRITABLE, tag);
}

static void epoll_send(struct io *io, int fd, const struct msghdr *msg, struct io_tag tag)
{
	ssize_t n = sendmsg(fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	struct io_event ev = { .op = IO_SEND, .tag = tag, .res = n < 0 ? -errno : (int)n, .last = true };

	queue_event(epoll_of(io), &ev);
}

static void cancel_ops(struct io *io, int fd, unsigned int ops)
{
	struct epoll *e = epoll_of(io);
	struct watch *w = watch_of(e, fd);

	for (unsigned int op = 0; op < IO_OP_NR; op++) {
		struct io_event ev = {
			.op = (enum io_op)op, .tag = op == IO_WRITABLE ? w->write_tag : w->read_tag,
			.res = -ECANCELED, .last = true,
		};

		if (w->armed & ops & BIT(op))
			queue_event(e, &ev);
	}
	w->armed &= (uint8_t)~ops;
	update(e, fd);
}

static void epoll_cancel(struct io *io, int fd, struct io_tag tag)
{
	(void)tag;
	cancel_ops(io, fd, ~0U);
}

static void epoll_recv_stop(struct io *io, int fd, struct io_tag tag)
{
	(void)tag;
	cancel_ops(io, fd, BIT(IO_RECV));
}

static void do_recv(struct epoll *e, int fd, struct io_event *ev)
{
	ssize_t n;

	ev->buf = rbuf_get(&e->io.pool);
	if (!ev->buf) {
		rbuf_pool_grow(&e->io.pool);
		ev->res = -ENOBUFS;
		ev->last = true;
		return;
	}
	n = recv(fd, ev->buf->data, RBUF_SIZE, MSG_DONTWAIT);
	ev->res = n < 0 ? -errno : (int)n;
	ev->last = n == 0 || (n < 0 && ev->res != -EAGAIN && ev->res != -EINTR);
	if (n <= 0) {
		rbuf_unref(ev->buf);
		ev->buf = NULL;
	}
}

static bool read_side(struct epoll *e, int fd, uint32_t events, struct io_event *ev)
{
	struct watch *w = watch_of(e, fd);

	ev->tag = w->read_tag;
	if (w->armed & BIT(IO_ACCEPT)) {
		ev->op = IO_ACCEPT;
		ev->res = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (ev->res < 0)
			ev->res = -errno;
		ev->last = ev->res < 0 && ev->res != -EAGAIN;
	} else if (w->armed & BIT(IO_RECV)) {
		ev->op = IO_RECV;
		do_recv(e, fd, ev);
	} else {
		ev->op = IO_READABLE;
		ev->res = (int)(events & (EPOLLIN | EPOLLERR | EPOLLHUP));
	}
	if (ev->res == -EAGAIN || ev->res == -EINTR)
		return false;
	if (ev->last)
		disarm(e, fd, ev->op);
	return true;
}

static unsigned int ready(struct epoll *e, const struct epoll_event *ee, io_handler handler, void *ctx)
{
	struct io_event ev = { 0 };
	unsigned int n = 0;
	int fd = ee->data.fd;

	if (fd == e->io.wake_fd) {
		uint64_t v;

		while (read(fd, &v, sizeof(v)) > 0)
			;
		return 0;
	}
	if ((ee->events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) && (watch_of(e, fd)->armed & BIT(IO_WRITABLE))) {
		ev = (struct io_event){
			.op = IO_WRITABLE, .tag = watch_of(e, fd)->write_tag, .res = (int)ee->events, .last = true,
		};
		disarm(e, fd, IO_WRITABLE);
		handler(ctx, &ev);
		n++;
	}
	ev = (struct io_event){ 0 };
	if ((ee->events & (EPOLLIN | EPOLLERR | EPOLLHUP)) && (watch_of(e, fd)->armed & READING) &&
	    read_side(e, fd, ee->events, &ev)) {
		handler(ctx, &ev);
		n++;
	}
	return n;
}

static int epoll_turn(struct io *io, uint64_t timeout_ns, uint64_t min_wait_ns, unsigned int max,
		      io_handler handler, void *ctx)
{
	struct epoll *e = epoll_of(io);
	struct epoll_event evs[READY_MAX];
	uint32_t queued = e->tail - e->head;
	unsigned int n = 0;
	int ms, got;

	for (; queued && n < max; queued--, n++) {
		struct io_event ev = e->queue[e->head++ & (e->cap - 1)];

		handler(ctx, &ev);
	}
	ms = n || e->tail != e->head || !timeout_ns ? 0 :
	     timeout_ns == UINT64_MAX ? -1 : (int)min_of((timeout_ns + NS_PER_MS - 1) / NS_PER_MS, 3600000ULL);
	if (n >= max)
		return (int)n;
	if (ms && min_wait_ns) {
		struct timespec ts = { .tv_nsec = (long)min_of(min_wait_ns, min_of(timeout_ns, NS_PER_MS)) };

		nanosleep(&ts, NULL);
		ms = 0;
	}
	got = epoll_wait(e->fd, evs, (int)min_of(max - n, (unsigned int)READY_MAX), ms);
	if (got < 0)
		return errno == EINTR ? (int)n : -errno;
	for (int i = 0; i < got; i++)
		n += ready(e, &evs[i], handler, ctx);
	return (int)n;
}

static void epoll_close(struct io *io)
{
	struct epoll *e = epoll_of(io);

	close(e->fd);
	close(e->io.wake_fd);
	rbuf_pool_done(&e->io.pool);
	free(e->watches);
	free(e->queue);
	free(e);
}

static const struct io_ops ops = {
	.name = "epoll",
	.close = epoll_close,
	.accept = epoll_accept,
	.recv = epoll_recv,
	.readable = epoll_readable,
	.send = epoll_send,
	.writable = epoll_writable,
	.cancel = epoll_cancel,
	.recv_stop = epoll_recv_stop,
	.turn = epoll_turn,
};

int epoll_open(struct io **ret, const struct io_opts *opts)
{
	struct epoll *e = calloc(1, sizeof(*e));
	struct epoll_event ev = { .events = EPOLLIN };

	if (!e)
		return -ENOMEM;
	e->io.ops = &ops;
	e->cap = 256;
	e->queue = malloc(e->cap * sizeof(*e->queue));
	e->fd = epoll_create1(EPOLL_CLOEXEC);
	e->io.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ev.data.fd = e->io.wake_fd;
	if (!e->queue || e->fd < 0 || e->io.wake_fd < 0 || rbuf_pool_init(&e->io.pool, opts->rbufs_max) ||
	    epoll_ctl(e->fd, EPOLL_CTL_ADD, e->io.wake_fd, &ev)) {
		epoll_close(&e->io);
		return -ENOMEM;
	}
	*ret = &e->io;
	return 0;
}
