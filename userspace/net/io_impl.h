/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two engines share: the table of operations and the pool of receive buffers. Private to net/. */
#ifndef XDERP_IO_IMPL_H
#define XDERP_IO_IMPL_H

#include "net/io.h"

struct rbuf_pool {
	struct rbuf *bufs;	/* owned */
	uint8_t *mem;		/* owned: max * RBUF_SIZE bytes of address space, touched on demand */
	uint16_t *spare;	/* owned: stack of free buffers, hot ones on top */
	uint32_t nspare, max;
	/* Buffers the kernel may fill: as many as circulate. Doubled when a receive found none; the rest stays
	 * for rbuf_get. Epoll lends none. */
	uint32_t lent, circulate;
	void (*lend)(struct rbuf_pool *p, struct rbuf *b);	/* NULL: never */
	uint64_t starved;
};

#define RBUF_RESERVE	64U	/* never lent: for rbuf_get, that is for plaintext */

int rbuf_pool_init(struct rbuf_pool *p, uint32_t max);
void rbuf_pool_done(struct rbuf_pool *p);
/* A receive found no buffer: let more circulate. */
void rbuf_pool_grow(struct rbuf_pool *p);
/* The kernel filled this one: it is the receiver's now, with one reference. */
struct rbuf *rbuf_delivered(struct rbuf_pool *p, uint16_t bid);

struct io_ops {
	const char *name;
	void (*close)(struct io *io);
	void (*accept)(struct io *io, int fd, struct io_tag tag);
	void (*recv)(struct io *io, int fd, struct io_tag tag);
	void (*readable)(struct io *io, int fd, struct io_tag tag);
	void (*send)(struct io *io, int fd, const struct msghdr *msg, struct io_tag tag);
	void (*writable)(struct io *io, int fd, struct io_tag tag);
	void (*cancel)(struct io *io, int fd, struct io_tag tag);
	void (*recv_stop)(struct io *io, int fd, struct io_tag tag);
	int (*turn)(struct io *io, uint64_t timeout_ns, uint64_t min_wait_ns, unsigned int max,
		    io_handler handler, void *ctx);
};

/* First member of each engine. */
struct io {
	const struct io_ops *ops;
	struct rbuf_pool pool;
	int wake_fd;
};

int uring_open(struct io **ret, const struct io_opts *opts, const char **why);
int epoll_open(struct io **ret, const struct io_opts *opts);

#endif
