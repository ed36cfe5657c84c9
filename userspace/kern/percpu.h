/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters that BPF programs keep per CPU. */
#ifndef XDERP_KERN_PERCPU_H
#define XDERP_KERN_PERCPU_H

#include <stddef.h>
#include <stdint.h>

/* Sums over all CPUs an entry of a per-CPU array whose value is bytes / 8 counters of 64 bits. Zeroes if it can't be read. Any
 * thread. */
void percpu_sum(int map, uint32_t key, void *ret, size_t bytes);
/* Zeroes them. */
void percpu_clear(int map, uint32_t key, size_t bytes);

#endif
