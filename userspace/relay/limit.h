/* SPDX-License-Identifier: BSD-3-Clause */
/* Token bucket: rate tokens per second, at most burst of them, full at the start. */
#ifndef XDERP_LIMIT_H
#define XDERP_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

struct bucket {
	double tokens;		/* below 0: debt */
	uint64_t last_ns;	/* 0: never used */
};

static inline void bucket_fill(struct bucket *b, double rate, double burst, uint64_t now_ns)
{
	if (!b->last_ns)
		b->tokens = burst;
	else if (now_ns > b->last_ns)
		b->tokens += rate * (double)(now_ns - b->last_ns) / (double)NS_PER_S;
	if (b->tokens > burst)
		b->tokens = burst;
	b->last_ns = now_ns;
}

static inline bool bucket_take(struct bucket *b, double rate, double burst, uint64_t now_ns)
{
	bucket_fill(b, rate, burst, now_ns);
	if (b->tokens < 1)
		return false;
	b->tokens -= 1;
	return true;
}

/* Take cost tokens, on credit if there are not so many. Returns the nanoseconds until the debt is paid, 0 without one. */
static inline uint64_t bucket_charge(struct bucket *b, double rate, double burst, double cost, uint64_t now_ns)
{
	bucket_fill(b, rate, burst, now_ns);
	b->tokens -= cost;
	return b->tokens < 0 ? (uint64_t)(-b->tokens / rate * (double)NS_PER_S) + 1 : 0;
}

#endif
