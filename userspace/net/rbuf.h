/* SPDX-License-Identifier: BSD-3-Clause */
/* Receive buffers of one shard: fixed size, reference-counted (not atomic: a buffer never leaves its
 * shard). The io engine fills them, frames are rewritten in place inside them, and senders borrow
 * them until their bytes are with the kernel. Life: free -> armed (in the engine) -> delivered with
 * one reference -> rbuf_ref/rbuf_unref -> free again. */
#ifndef XDERP_RBUF_H
#define XDERP_RBUF_H

#include <stdint.h>

#define RBUF_SIZE	(32U * 1024)

struct rbuf_pool;

struct rbuf {
	uint8_t *data;		/* RBUF_SIZE bytes */
	struct rbuf_pool *pool;
	uint32_t refs;
	uint16_t bid;		/* index in the pool, and io_uring's buffer id */
};

static inline struct rbuf *rbuf_ref(struct rbuf *b)
{
	b->refs++;
	return b;
}

void rbuf_unref(struct rbuf *b);

/* A free buffer with one reference for the caller's own use, or NULL. */
struct rbuf *rbuf_get(struct rbuf_pool *pool);

#endif
