/* SPDX-License-Identifier: BSD-3-Clause */
/* The I/O engine of a shard: operations go in, completions come out. Two engines give the same
 * answers: io_uring (net/uring.c) and epoll (net/epoll.c); io_open() picks. One thread only, except io_wake().
 *
 * Every armed operation ends in exactly one event with last=true, cancelled ones too, so a caller that
 * counts armed operations per slot knows when the slot (and memory it lent) is free. Events of
 * a generation that is over still arrive: the caller compares and recycles. */
#ifndef XDERP_IO_H
#define XDERP_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "net/rbuf.h"

enum io_op {
	IO_ACCEPT,	/* many events: res = a connected, non-blocking, close-on-exec socket or -errno */
	IO_RECV,	/* many, or one: res = bytes in buf, 0 end of stream, -errno; -ENOBUFS: pool empty, arm again later */
	IO_SEND,	/* one: res = bytes the kernel took (may be short), -EAGAIN, -errno */
	IO_WRITABLE,	/* one: res = poll events */
	IO_READABLE,	/* many: res = poll events (used for UDP sockets) */
	IO_HANGUP,	/* one: res = poll events: the other side sends nothing more, or the socket is broken */
	IO_OP_NR
};

struct io_tag {
	uint32_t slot;
	uint32_t gen;		/* 24 bits used */
};

struct io_event {
	enum io_op op;
	struct io_tag tag;
	int res;
	struct rbuf *buf;	/* IO_RECV with res > 0: the handler owns one reference */
	bool last;		/* the operation is over (arm again if wanted) */
};

typedef void (*io_handler)(void *ctx, const struct io_event *ev);

struct io;

enum io_engine { IO_ENGINE_AUTO, IO_ENGINE_URING, IO_ENGINE_EPOLL };

struct io_opts {
	enum io_engine engine;
	unsigned int entries;		/* submission queue size, power of two; 0: default */
	unsigned int rbufs_start;	/* receive buffers armed at first; 0: default 64 */
	unsigned int rbufs_max;		/* power of two up to 32768; 0: default 1024 */
	unsigned int busy_poll_us;	/* see io_busy_polls; 0: off */
};

/* Call on the thread that will use it. On success *why (static text or "") says why a better engine was
 * not taken. -errno otherwise. */
int io_open(struct io **ret, const struct io_opts *opts, const char **why);
void io_close(struct io *io);
const char *io_name(const struct io *io);		/* "io_uring" or "epoll" */
struct rbuf_pool *io_rbufs(struct io *io);
uint64_t io_rbufs_starved(const struct io *io);		/* times a receive found no buffer */

/* Busy polling: a wait without a pace first looks for events again and again, for busy_poll_us at most, if the last such wait was
 * over within twice that time; then the kernel asks the network cards of the sockets for as long before it sleeps. */
struct io_busy_polls {
	uint64_t tried, found;	/* waits that began so, and those that needed no sleep */
};
const struct io_busy_polls *io_busy_polls(const struct io *io);
/* Why the kernel does not do its part (static text), or "". */
const char *io_busy_poll_missing(const struct io *io);

void io_accept(struct io *io, int fd, struct io_tag tag);
void io_recv(struct io *io, int fd, struct io_tag tag);
/* One IO_RECV event of at most max bytes (1 to RBUF_SIZE): what comes behind them stays in the socket. */
void io_recv_once(struct io *io, int fd, size_t max, struct io_tag tag);
void io_readable(struct io *io, int fd, struct io_tag tag);
/* msg, its iovec and the bytes must stay valid until the event. Never waits for space (MSG_DONTWAIT). */
void io_send(struct io *io, int fd, const struct msghdr *msg, struct io_tag tag);
void io_writable(struct io *io, int fd, struct io_tag tag);
/* Data that comes wakes nobody up. */
void io_hangup(struct io *io, int fd, struct io_tag tag);
/* End all that is armed on this fd; each op's last event comes as usual, with -ECANCELED or a result. */
void io_cancel(struct io *io, int fd, struct io_tag tag);
/* Stop only IO_RECV on this fd (back-pressure); its last event comes. */
void io_recv_stop(struct io *io, int fd, struct io_tag tag);

/* A moderated wait: that long, unless so many events are there earlier. ns 0: the first event ends the wait. */
struct io_pace {
	uint64_t ns;
	unsigned int events;	/* at least 1; epoll collects for the whole time */
};

/* Submit what was prepared, wait at most timeout_ns (0: don't wait; UINT64_MAX: no limit) for an event or a wake, then give
 * at most max events to handler. Returns how many; 0 on timeout, wake or signal; -errno only if the engine is broken.
 * A pace makes the wait no longer than timeout_ns. */
int io_turn(struct io *io, uint64_t timeout_ns, const struct io_pace *pace, unsigned int max,
	    io_handler handler, void *ctx);

/* From any thread: make io_turn return. Safe to call any time between io_open and io_close. */
void io_wake(struct io *io);

#endif
