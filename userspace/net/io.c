/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/io.h"

#include <assert.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "net/io_impl.h"

#define DEFAULT_ENTRIES		512
#define DEFAULT_RBUFS_START	64
#define DEFAULT_RBUFS_MAX	1024
#define MAX_RBUFS		32768	/* size limit of io_uring's buffer ring */

static bool is_power_of_two(unsigned int n)
{
	return n && !(n & (n - 1));
}

int io_open(struct io **ret, const struct io_opts *opts, const char **why)
{
	struct io_opts o = *opts;
	int err;

	*why = "";
	if (!o.entries)
		o.entries = DEFAULT_ENTRIES;
	if (!o.rbufs_max)
		o.rbufs_max = DEFAULT_RBUFS_MAX;
	if (!o.rbufs_start)
		o.rbufs_start = DEFAULT_RBUFS_START;
	if (!is_power_of_two(o.entries) || !is_power_of_two(o.rbufs_max) ||
	    o.rbufs_max > MAX_RBUFS)
		return -EINVAL;

	if (o.engine != IO_ENGINE_EPOLL) {
		err = uring_open(ret, &o, why);
		if (!err || o.engine == IO_ENGINE_URING)
			return err;
	}
	return epoll_open(ret, &o);
}

int io_init(struct io *io, const struct io_engine_ops *ops, const struct io_opts *opts)
{
	io->ops = ops;
	io->busy_poll_ns = opts->busy_poll_us * NS_PER_US;
	io->busy_poll_missing = "";
	io->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (io->wake_fd == -1)
		return -errno;
	return rbuf_pool_init(&io->rbufs, opts->rbufs_max);
}

void io_busy_poll(struct io *io)
{
	unsigned int us = (unsigned int)(io->busy_poll_ns / NS_PER_US);

	if (us && io->ops->busy_poll(io, us))
		io->busy_poll_missing = io->ops->no_busy_poll;
}

void io_done(struct io *io)
{
	rbuf_pool_done(&io->rbufs);
	if (io->wake_fd != -1)
		close(io->wake_fd);
}

void io_close(struct io *io)
{
	if (io)
		io->ops->close(io);
}

const char *io_name(const struct io *io)
{
	return io->ops->name;
}

struct rbuf_pool *io_rbufs(struct io *io)
{
	return &io->rbufs;
}

uint64_t io_rbufs_starved(const struct io *io)
{
	return io->starved;
}

const struct io_busy_polls *io_busy_polls(const struct io *io)
{
	return &io->busy_polls;
}

const char *io_busy_poll_missing(const struct io *io)
{
	return io->busy_poll_missing;
}

void io_accept(struct io *io, int fd, struct io_tag tag)
{
	io->ops->arm(io, IO_ACCEPT, fd, NULL, tag);
}

void io_recv(struct io *io, int fd, struct io_tag tag)
{
	io->ops->recv(io, fd, 0, tag);
}

void io_recv_once(struct io *io, int fd, size_t max, struct io_tag tag)
{
	assert(max > 0 && max <= RBUF_SIZE);
	io->ops->recv(io, fd, max, tag);
}

void io_readable(struct io *io, int fd, struct io_tag tag)
{
	io->ops->arm(io, IO_READABLE, fd, NULL, tag);
}

void io_send(struct io *io, int fd, const struct msghdr *msg, struct io_tag tag)
{
	io->ops->arm(io, IO_SEND, fd, msg, tag);
}

void io_writable(struct io *io, int fd, struct io_tag tag)
{
	io->ops->arm(io, IO_WRITABLE, fd, NULL, tag);
}

void io_hangup(struct io *io, int fd, struct io_tag tag)
{
	io->ops->arm(io, IO_HANGUP, fd, NULL, tag);
}

/* The operations on fd carry tags of their own, perhaps of an older generation. */
void io_cancel(struct io *io, int fd, struct io_tag tag)
{
	(void)tag;
	io->ops->cancel(io, fd);
}

void io_recv_stop(struct io *io, int fd, struct io_tag tag)
{
	io->ops->recv_stop(io, fd, tag);
}

struct io_round {
	unsigned int max;
	io_handler handler;
	void *ctx;
};

static int engine_turn(struct io *io, uint64_t timeout_ns, const struct io_pace *pace, const struct io_round *r)
{
	return io->ops->turn(io, timeout_ns, pace, r->max, r->handler, r->ctx);
}

/* Turns without waiting, until one brought something or the time is over. Whether there is more to wait for. */
static bool busy_poll(struct io *io, uint64_t timeout_ns, const struct io_round *r, int *ret)
{
	uint64_t begin = clock_now_ns(), patience = min_of(timeout_ns, io->busy_poll_ns);

	io->busy_polls.tried++;
	io->woken = false;
	do {
		*ret = engine_turn(io, 0, NULL, r);
		if (*ret || io->woken) {
			io->busy_polls.found++;
			return false;
		}
	} while (clock_now_ns() - begin < patience);
	return timeout_ns > patience;
}

static int busy_turn(struct io *io, uint64_t timeout_ns, const struct io_round *r)
{
	uint64_t begin = clock_now_ns();
	int n;

	if (io->brisk && !busy_poll(io, timeout_ns, r, &n))
		return n;
	n = engine_turn(io, timeout_ns, NULL, r);
	io->brisk = clock_now_ns() - begin < 2 * io->busy_poll_ns;
	return n;
}

int io_turn(struct io *io, uint64_t timeout_ns, const struct io_pace *pace, unsigned int max,
	    io_handler handler, void *ctx)
{
	const struct io_round r = { .max = max, .handler = handler, .ctx = ctx };

	assert(max > 0);
	if (io->busy_poll_ns && timeout_ns && !(pace && pace->ns))
		return busy_turn(io, timeout_ns, &r);
	return engine_turn(io, timeout_ns, pace, &r);
}

void io_wake(struct io *io)
{
	const uint64_t one = 1;
	ssize_t n = write(io->wake_fd, &one, sizeof(one));

	/* Fails only if the counter is full, and then the thread is being woken already. */
	(void)n;
}
