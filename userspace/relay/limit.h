/* SPDX-License-Identifier: BSD-3-Clause */
/* Token bucket: rate tokens per second, at most burst of them, full at the start. */
#ifndef XDERP_LIMIT_H
#define XDERP_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

struct bucket {
	double tokens;
	uint64_t last_ns;	/* 0: never used */
};

static inline bool bucket_take(struct bucket *b, double rate, double burst, uint64_t now_ns)
{
	if (!b->last_ns)
		b->tokens = burst;
	else if (now_ns > b->last_ns)
		b->tokens += rate * (double)(now_ns - b->last_ns) / (double)NS_PER_S;
	if (b->tokens > burst)
		b->tokens = burst;
	b->last_ns = now_ns;
	if (b->tokens < 1)
		return false;
	b->tokens -= 1;
	return true;
}

#endif
