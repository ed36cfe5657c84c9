/* SPDX-License-Identifier: BSD-3-Clause */
/* Work that admin has the shards do on themselves, between two turns: the only way from outside to live connections
 * and to what a shard owns. One at a time; shards look for it once a turn, at the price of one load. */
#ifndef XDERP_ASK_H
#define XDERP_ASK_H

#include <stdbool.h>
#include <stdint.h>

struct relay;
struct shard;

/* A piece of the work, on the shard's thread, bounded like everything in a turn. true: there is more, next turn. */
typedef bool (*ask_step)(struct shard *s, void *ctx);

struct ask {
	ask_step step;
	void *ctx;
	uint32_t seq;		/* atomic: changes when there is something to do */
	int done_fd;		/* written by each shard that is done */
};

int ask_init(struct ask *a);
void ask_close(struct ask *a);

/* Main thread, between relay_start and relay_drain: returns when all shards are done, or have ended. When it returns, no
 * shard holds anything any more that it read before the call. */
void ask_all(struct relay *r, ask_step step, void *ctx);

/* The same for no work at all: what was replaced before the call can be freed after it. */
void ask_nothing(struct relay *r);

/* A shard, once a turn. */
void ask_turn(struct shard *s);
bool ask_pending(const struct shard *s);
/* A shard's thread is about to end: nobody waits for it. */
void ask_leave(struct shard *s);

/* For a step: fn for each connection that is not over, a bounded number from *cursor on. true: there are more. */
struct conn;
bool ask_walk(struct shard *s, uint32_t *cursor, void (*fn)(struct conn *c, void *ctx), void *ctx);

#endif
