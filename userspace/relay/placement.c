/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/placement.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "admin/config.h"
#include "base/feature.h"

int placement_cpu(const struct config *cfg, unsigned int shard)
{
	return cfg->ncpus ? cfg->cpus[shard % cfg->ncpus] : -1;
}

void placement_enter(const struct config *cfg, unsigned int shard)
{
	int cpu = placement_cpu(cfg, shard);
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		feature_set("shard_cpus", "off", "shard %u can't be put on processor %d: %s", shard, cpu, strerror(errno));
}

void placement_list(const struct config *cfg)
{
	if (cfg->ncpus)
		feature_set("shard_cpus", "on", "%u shards on %s", cfg->shards, cfg->shard_cpus);
	else
		feature_set("shard_cpus", "off", "shards run where the kernel puts them");
	if (cfg->affinity == AFFINITY_CPU)
		feature_set("affinity", "cpu", "connections go to the shard on whose processor they arrive, as of Linux 6.2");
	else
		feature_set("affinity", "hash", "connections are spread over the shards by address and port");
}
