/* SPDX-License-Identifier: BSD-3-Clause */
/* Results: a list of named numbers, printed as a table and as JSON. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "measure.h"
#include "options.h"

#define REPORT_ROWS	64

struct report {
	unsigned int n;
	struct report_row {
		const char *name, *unit;	/* constants */
		double value;
	} row[REPORT_ROWS];
};

void report_add(struct report *r, const char *name, const char *unit, double value);
/* p50, p90, p99, p99.9 and the largest, in microseconds. */
void report_latency(struct report *r, const struct hist *h);
/* Server, generator and machine time between two samples, in all and for each of n things. */
void report_cpu(struct report *r, const struct cpu_sample *from, const struct cpu_sample *to, double n);
void report_print(const struct report *r, const struct options *o);
int report_json(const struct report *r, const struct options *o, const char *path);

#endif
