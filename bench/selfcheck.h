/* SPDX-License-Identifier: BSD-3-Clause */
/* The generator judges others: its own arithmetic is checked by --self-check. */
#ifndef BENCH_SELFCHECK_H
#define BENCH_SELFCHECK_H

/* Prints what is wrong on stderr; returns the number of faults. */
int selfcheck(void);

#endif
