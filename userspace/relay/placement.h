/* SPDX-License-Identifier: BSD-3-Clause */
/* Which processor a shard runs on: --shard-cpus. What a thread allocates and writes to first is memory of the node that it runs on, so
 * each shard is made, and makes its own things, there. */
#ifndef XDERP_PLACEMENT_H
#define XDERP_PLACEMENT_H

struct config;

/* A processor, or -1: any. */
int placement_cpu(const struct config *cfg, unsigned int shard);
/* The calling thread goes there; one that can't stays where it is, and the feature shard_cpus says why. */
void placement_enter(const struct config *cfg, unsigned int shard);
/* What of it is on, for the log and xderpctl. */
void placement_list(const struct config *cfg);

#endif
