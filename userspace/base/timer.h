/* SPDX-License-Identifier: BSD-3-Clause */
/* Timer wheel, one per shard, not thread-safe. Times are CLOCK_MONOTONIC nanoseconds; a timer fires
 * at most one tick (TIMER_TICK_NS) late and never early. No allocation: the node is the caller's. */
#ifndef XDERP_TIMER_H
#define XDERP_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

#define TIMER_TICK_NS		(8ULL * 1000 * 1000)
#define TIMER_SLOTS		256	/* per level; a power of two */
#define TIMER_LEVELS		4

struct timer {
	struct list node;
	uint64_t when_ns;
	void (*fire)(struct timer *t, void *ctx);
};

struct timer_wheel {
	struct list slots[TIMER_LEVELS][TIMER_SLOTS];
	uint64_t busy[TIMER_LEVELS][TIMER_SLOTS / 64];	/* a bit per slot that holds a timer */
	struct list due;	/* tick reached, not fired yet */
	uint64_t tick;		/* last tick that was run */
	unsigned int armed;	/* timers on the wheel */
};

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ns);
void timer_init(struct timer *t, void (*fire)(struct timer *t, void *ctx));

/* Arm, or move if it was armed. A time in the past fires at the next run. */
void timer_arm(struct timer_wheel *w, struct timer *t, uint64_t when_ns);
void timer_disarm(struct timer_wheel *w, struct timer *t);
bool timer_armed(const struct timer *t);

/* Fire what is due, at most max timers; returns how many fired. ctx goes to fire(), which may arm or
 * disarm any timer, itself and others due in the same tick included. */
unsigned int timer_run(struct timer_wheel *w, uint64_t now_ns, unsigned int max, void *ctx);

/* Nanoseconds a thread may sleep from now on: UINT64_MAX if nothing is armed. May be early (the
 * thread then finds nothing due and asks again), never late by more than a tick. */
uint64_t timer_sleep_ns(const struct timer_wheel *w, uint64_t now_ns);

#endif
