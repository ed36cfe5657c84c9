/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two engines share, private to net/. An engine's own struct begins with a struct io. */
#ifndef XDERP_IO_IMPL_H
#define XDERP_IO_IMPL_H

#include <stddef.h>
#include <stdint.h>

#include "net/io.h"
#include "net/rbuf.h"

/* The data memory is one reservation; a buffer costs memory from its first use on. Free buffers are
 * handed out last-in first-out, so that few of them stay warm. */
struct rbuf_pool {
	struct rbuf *bufs;	/* max of them; owned, as are spare and data */
	uint16_t *spare;	/* stack of free ones that were used before */
	uint8_t *data;
	uint32_t max;
	uint32_t nspare;
	uint32_t nfresh;	/* never used: the last nfresh of bufs */
	uint32_t reserve;	/* kept for rbuf_get: receives can't take the last ones */
	uint32_t may_lend;	/* so many more */
};

int rbuf_pool_init(struct rbuf_pool *p, uint32_t max);
void rbuf_pool_done(struct rbuf_pool *p);
/* A buffer to receive into, with no reference yet, or NULL. It comes back by rbuf_put or by
 * rbuf_ref and rbuf_unref. */
struct rbuf *rbuf_take(struct rbuf_pool *p);
void rbuf_put(struct rbuf *b);

struct io_engine_ops {
	const char *name;
	const char *no_busy_poll;	/* what the kernel lacks if busy_poll fails */
	/* Network cards are asked before the kernel sleeps. 0, or -errno. */
	int (*busy_poll)(struct io *io, unsigned int us);
	void (*close)(struct io *io);
	/* msg: IO_SEND only. */
	void (*arm)(struct io *io, enum io_op op, int fd, const struct msghdr *msg,
		    struct io_tag tag);
	/* IO_RECV; max 0: many events, else one of at most so many bytes. */
	void (*recv)(struct io *io, int fd, size_t max, struct io_tag tag);
	void (*cancel)(struct io *io, int fd);
	void (*recv_stop)(struct io *io, int fd, struct io_tag tag);
	int (*turn)(struct io *io, uint64_t timeout_ns, const struct io_pace *pace, unsigned int max,
		    io_handler handler, void *ctx);
};

struct io {
	const struct io_engine_ops *ops;
	struct rbuf_pool rbufs;
	uint64_t starved;
	uint64_t busy_poll_ns;
	const char *busy_poll_missing;
	struct io_busy_polls busy_polls;
	bool brisk;		/* the last wait was short: busy polling is worth it */
	bool woken;		/* io_wake was noticed */
	int wake_fd;		/* eventfd, blocking: its counter never gets near its limit */
};

/* The common part; an engine calls them first and last. */
int io_init(struct io *io, const struct io_engine_ops *ops, const struct io_opts *opts);
void io_done(struct io *io);
/* Once the engine is there, and before its ring is restricted. */
void io_busy_poll(struct io *io);

/* Options come with their defaults filled in. *why: static text on failure. */
int uring_open(struct io **ret, const struct io_opts *opts, const char **why);
int epoll_open(struct io **ret, const struct io_opts *opts);

#endif
