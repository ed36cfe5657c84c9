/* SPDX-License-Identifier: BSD-3-Clause */
/* The limits on what clients can take, how near they are, and how often they were met. */
#ifndef XDERP_LIMITS_H
#define XDERP_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#define LIMITS_MAX	16

struct relay;
struct shard_stats;

struct limit_row {
	const char *name;		/* of the setting */
	double limit;			/* INFINITY: none */
	bool has_use;			/* it holds for all together */
	uint64_t used;
	uint64_t refused;		/* connections, logins, packets: whatever it limits */
};

/* Any thread; st: the sum over the shards. Returns how many rows there are. */
unsigned int limits_list(struct limit_row ret[static LIMITS_MAX], const struct relay *r, const struct shard_stats *st);

#endif
