/* SPDX-License-Identifier: BSD-3-Clause */
/* The file of -rate-config: {"PerClientRateLimitBytesPerSec": n, "PerClientRateBurstBytes": n}, as derper reads it. */
#ifndef XDERP_RATECONFIG_H
#define XDERP_RATECONFIG_H

#include <stddef.h>
#include <stdint.h>

struct rate {
	uint64_t bytes_per_s;	/* of one client's frames, heads excluded; 0: no limit */
	uint64_t burst;		/* bytes, at least RATE_MIN_BURST */
};

#define RATE_MIN_BURST	65568	/* the largest frame a client may send must pass at once */

struct opener;

/* -errno and a sentence in err that names the file and what is wrong in it. */
int rateconfig_load(struct rate *ret, struct opener *opener, const char *file, char *err, size_t errlen);

#endif
