/* SPDX-License-Identifier: BSD-3-Clause */
/* Clocks, memory and latencies: what the generator reads from the system about the server, the machine and itself. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Logarithmic buckets, 64 to each power of two: a value is known to within 1.6 %, whatever its size. */
#define HIST_SUB_BITS	6
#define HIST_SUB	(1U << HIST_SUB_BITS)
#define HIST_BUCKETS	((64 - HIST_SUB_BITS + 1) * HIST_SUB)

struct hist {
	uint64_t n, max;
	uint64_t bucket[HIST_BUCKETS];
};

static inline unsigned int hist_index(uint64_t v)
{
	unsigned int exp;

	if (v < HIST_SUB)
		return (unsigned int)v;
	exp = 63 - (unsigned int)__builtin_clzll(v) - HIST_SUB_BITS;
	return (exp + 1) * HIST_SUB + (unsigned int)(v >> exp) - HIST_SUB;
}

static inline void hist_add(struct hist *h, uint64_t v)
{
	h->n++;
	if (v > h->max)
		h->max = v;
	h->bucket[hist_index(v)]++;
}

/* Smallest value that falls into the bucket. */
uint64_t hist_value(unsigned int index);
void hist_merge(struct hist *to, const struct hist *from);
/* The value below which the fraction q of all values lies, its bucket's middle; 0 if there are none. */
uint64_t hist_quantile(const struct hist *h, double q);

struct cpu_sample {
	uint64_t wall_ns;
	uint64_t server_ns;	/* all threads of the server, also those that ended; 0 without a pid */
	uint64_t self_ns;	/* all threads of this process */
	uint64_t kernel_ns;	/* all kernel threads, whoever they work for */
	uint64_t machine_ns;	/* all processors, everything that is not idle, waiting or stolen */
	uint64_t stolen_ns;	/* taken by the hypervisor: a large value spoils the run */
	uint64_t switches;	/* context switches of the whole machine */
};

/* pid 0: no server figures. Returns 0 or a negative errno. */
int cpu_sample(struct cpu_sample *ret, pid_t pid);

struct mem_sample {
	uint64_t rss, pss;	/* bytes */
	uint64_t anon;		/* of rss, what the process wrote: neither program text nor mapped files */
	uint64_t tcp;		/* bytes the kernel holds for all TCP sockets of this network namespace */
};
int mem_sample(struct mem_sample *ret, pid_t pid);

/* list: "0" or "0,2". Thread i may then only run on its i-th entry (round robin). */
int pin_thread(const char *list, unsigned int i);

#endif
