/* SPDX-License-Identifier: BSD-3-Clause */
/* Single-producer single-consumer ring of variable-size messages between two shards. The only
 * shared words are the two cursors, each on a cache line of its own and each published once per batch
 * (C11 acquire/release; clean under ThreadSanitizer). Messages are contiguous and 8-byte aligned. */
#ifndef XDERP_MSGRING_H
#define XDERP_MSGRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct msgring;

/* bytes: a power of two; the largest message is half of it. */
int msgring_new(struct msgring **ret, size_t bytes);
void msgring_free(struct msgring *r);

/* Producer. reserve: room for len bytes, or NULL if the ring is full (headroom bytes stay free on
 * top of len: that is how bulk messages leave room for urgent ones). commit: the reserved message,
 * cut to len, is part of the batch. publish: the batch becomes visible; returns true if it added any. */
void *msgring_reserve(struct msgring *r, uint32_t len, size_t headroom);
void msgring_commit(struct msgring *r, uint32_t len);
bool msgring_publish(struct msgring *r);

/* Consumer. peek: the next message, or NULL. pop: done with it (its memory stays valid until
 * release). release: gives the popped memory back to the producer. empty: nothing published. */
void *msgring_peek(struct msgring *r, uint32_t *len);
void msgring_pop(struct msgring *r);
void msgring_release(struct msgring *r);
bool msgring_empty(struct msgring *r);

#endif
