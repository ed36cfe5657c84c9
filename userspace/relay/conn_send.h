/* SPDX-License-Identifier: BSD-3-Clause */
/* What conn.c (states, input, the end) and conn_send.c (output) have between them. */
#ifndef XDERP_CONN_SEND_H
#define XDERP_CONN_SEND_H

#include "base/clock.h"
#include "relay/conn.h"

#define LINGER_NS	(500 * NS_PER_MS)	/* for the other side's FIN, once ours is out */

/* What the io engine says of this connection's operations. */
static inline struct io_tag conn_tag(const struct conn *c)
{
	return (struct io_tag){ .slot = c->slot, .gen = c->gen };
}

/* Neither waiting nor under way. */
bool conn_nothing_to_send(const struct conn *c);

/* The memory of the send under way, if there is one; the kernel is done with it. */
void conn_send_free(struct conn *c);

/* Nothing is written before the kernel has written what it was given; the write timeout holds for that, too. done: it has. */
void conn_kernel_waits(struct conn *c);
void conn_kernel_done(struct conn *c);

void conn_on_write_timeout(struct timer *t, void *ctx);

#endif
