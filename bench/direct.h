/* SPDX-License-Identifier: BSD-3-Clause */
/* Load without a relay: the two ends of each pair are connected to each other, or by bench/floor.c. What that costs is the
 * generator's own share of a run, to be subtracted; by the floor, what any relay has to pay. */
#ifndef BENCH_DIRECT_H
#define BENCH_DIRECT_H

#include "client.h"

/* Connect client[i] with client[n / 2 + i], for all i below n / 2; all are ready then. Each is initialised, and closed by
 * the caller also after an error. Negative errno; -EPROTO: TLS failed. */
int direct_run(struct net *net, struct client **client, unsigned int n);

#endif
