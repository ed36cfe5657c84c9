/* SPDX-License-Identifier: BSD-3-Clause */
#include "kern/percpu.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdlib.h>
#include <string.h>

/* Room for the entry of every CPU, zeroed; NULL: no memory. */
static uint64_t *entries(size_t bytes, size_t *cpus)
{
	int n = libbpf_num_possible_cpus();

	*cpus = n > 0 ? (size_t)n : 0;
	return *cpus ? calloc(*cpus, bytes) : NULL;
}

void percpu_sum(int map, uint32_t key, void *ret, size_t bytes)
{
	size_t cpus, words = bytes / sizeof(uint64_t);
	uint64_t *each = entries(bytes, &cpus), *sum = ret;

	memset(ret, 0, bytes);
	if (each && !bpf_map_lookup_elem(map, &key, each))
		for (size_t i = 0; i < cpus * words; i++)
			sum[i % words] += each[i];
	free(each);
}

void percpu_clear(int map, uint32_t key, size_t bytes)
{
	size_t cpus;
	uint64_t *none = entries(bytes, &cpus);

	if (none)
		bpf_map_update_elem(map, &key, none, BPF_ANY);
	free(none);
}
