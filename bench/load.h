/* SPDX-License-Identifier: BSD-3-Clause */
/* Traffic on one or more threads, run through phases by the main thread. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "report.h"

/* --pairs, --fan-in, --fan-out, --random: measure, fill the report. Returns 0, a negative errno, or 1 if
 * packets came back wrong or clients were thrown out. */
int load_run(const struct options *o, struct report *r);

/* The same, open loop, again and again: the highest rate at which nothing was lost. */
int load_search(const struct options *o, struct report *r);

#endif
