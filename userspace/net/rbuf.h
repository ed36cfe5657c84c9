/* SPDX-License-Identifier: BSD-3-Clause */
/* Receive buffers of one shard: fixed size, reference-counted (not atomic: other shards may read a buffer that is lent to
 * them, and only its own one counts). The io engine fills them, frames are rewritten in place inside them, and senders borrow
 * them until their bytes are with the kernel. Life: free -> armed (in the engine) -> delivered with
 * one reference -> rbuf_ref/rbuf_unref -> free again. */
#ifndef XDERP_RBUF_H
#define XDERP_RBUF_H

#include <stdbool.h>
#include <stdint.h>

#define RBUF_SIZE	(32U * 1024)

struct rbuf_pool;

struct rbuf {
	uint8_t *data;		/* RBUF_SIZE bytes */
	struct rbuf_pool *pool;
	uint32_t refs;
	uint16_t bid;		/* index in the pool, and io_uring's buffer id */
	uint16_t lent;		/* of refs, those for other threads */
};

static inline struct rbuf *rbuf_ref(struct rbuf *b)
{
	b->refs++;
	return b;
}

void rbuf_unref(struct rbuf *b);

/* A reference for another thread to read by. False: too many buffers of the pool are lent. return: back on this one. */
bool rbuf_lend(struct rbuf *b);
void rbuf_return(struct rbuf *b);

/* A free buffer with one reference for the caller's own use, or NULL. */
struct rbuf *rbuf_get(struct rbuf_pool *pool);

#endif
