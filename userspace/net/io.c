/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/io.h"

#include <sys/eventfd.h>

#include "net/io_impl.h"

int io_open(struct io **ret, const struct io_opts *opts, const char **why)
{
	struct io_opts o = *opts;
	int err;

	*why = "";
	if (!o.entries)
		o.entries = 1024;
	if (!o.rbufs_start)
		o.rbufs_start = 64;
	if (!o.rbufs_max)
		o.rbufs_max = 1024;
	if (o.engine == IO_ENGINE_EPOLL)
		return epoll_open(ret, &o);
	err = uring_open(ret, &o, why);
	if (!err || o.engine == IO_ENGINE_URING)
		return err;
	return epoll_open(ret, &o);
}

void io_close(struct io *io)
{
	io->ops->close(io);
}

const char *io_name(const struct io *io)
{
	return io->ops->name;
}

struct rbuf_pool *io_rbufs(struct io *io)
{
	return &io->pool;
}

uint64_t io_rbufs_starved(const struct io *io)
{
	return io->pool.starved;
}

void io_accept(struct io *io, int fd, struct io_tag tag)
{
	io->ops->accept(io, fd, tag);
}

void io_recv(struct io *io, int fd, struct io_tag tag)
{
	io->ops->recv(io, fd, tag);
}

void io_readable(struct io *io, int fd, struct io_tag tag)
{
	io->ops->readable(io, fd, tag);
}

void io_send(struct io *io, int fd, const struct msghdr *msg, struct io_tag tag)
{
	io->ops->send(io, fd, msg, tag);
}

void io_writable(struct io *io, int fd, struct io_tag tag)
{
	io->ops->writable(io, fd, tag);
}

void io_cancel(struct io *io, int fd, struct io_tag tag)
{
	io->ops->cancel(io, fd, tag);
}

void io_recv_stop(struct io *io, int fd, struct io_tag tag)
{
	io->ops->recv_stop(io, fd, tag);
}

int io_turn(struct io *io, uint64_t timeout_ns, uint64_t min_wait_ns, unsigned int max,
	    io_handler handler, void *ctx)
{
	return io->ops->turn(io, timeout_ns, min_wait_ns, max, handler, ctx);
}

void io_wake(struct io *io)
{
	/* Fails only when the counter is full: a wake is pending then. */
	eventfd_write(io->wake_fd, 1);
}
