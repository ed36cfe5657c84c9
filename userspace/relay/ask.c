/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/ask.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "relay/shard.h"

#define LEFT	UINT32_MAX	/* seq never is */

int ask_init(struct ask *a)
{
	a->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return a->done_fd == -1 ? -errno : 0;
}

void ask_close(struct ask *a)
{
	if (a->done_fd > 0)
		close(a->done_fd);
}

static bool all_done(const struct relay *r, uint32_t seq)
{
	for (unsigned int i = 0; i < r->nshards; i++) {
		uint32_t seen = __atomic_load_n(&r->shards[i]->ask_seen, __ATOMIC_ACQUIRE);

		if (seen != seq && seen != LEFT)
			return false;
	}
	return true;
}

void ask_all(struct relay *r, ask_step step, void *ctx)
{
	struct pollfd p = { r->ask.done_fd, POLLIN, 0 };
	uint32_t seq = (r->ask.seq + 1) % LEFT;
	eventfd_t n;

	r->ask.step = step;
	r->ask.ctx = ctx;
	__atomic_store_n(&r->ask.seq, seq, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < r->nshards; i++)
		io_wake(r->shards[i]->io);
	while (!all_done(r, seq)) {
		poll(&p, 1, -1);
		eventfd_read(r->ask.done_fd, &n);
	}
}

static bool nothing(struct shard *s, void *ctx)
{
	(void)s;
	(void)ctx;
	return false;
}

void ask_nothing(struct relay *r)
{
	ask_all(r, nothing, NULL);
}

bool ask_pending(const struct shard *s)
{
	return __atomic_load_n(&s->relay->ask.seq, __ATOMIC_ACQUIRE) != s->ask_seen;
}

static void say_seen(struct shard *s, uint32_t seq)
{
	__atomic_store_n(&s->ask_seen, seq, __ATOMIC_RELEASE);
	eventfd_write(s->relay->ask.done_fd, 1);
}

void ask_turn(struct shard *s)
{
	struct ask *a = &s->relay->ask;

	if (ask_pending(s) && !a->step(s, a->ctx))
		say_seen(s, a->seq);
}

void ask_leave(struct shard *s)
{
	say_seen(s, LEFT);
}

bool ask_walk(struct shard *s, uint32_t *cursor, void (*fn)(struct conn *c, void *ctx), void *ctx)
{
	uint32_t end = min_of(*cursor + SHARD_CHUNK, s->nchunks * SHARD_CHUNK);
	struct conn *c;

	for (; *cursor < end; ++*cursor) {
		c = &s->chunks[*cursor / SHARD_CHUNK][*cursor % SHARD_CHUNK];
		if (c->state != CONN_FREE && c->state != CONN_DEAD)
			fn(c, ctx);
	}
	return *cursor < s->nchunks * SHARD_CHUNK;
}
