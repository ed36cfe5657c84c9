/* SPDX-License-Identifier: BSD-3-Clause */
/* What on this machine or in these settings will hurt, each with what to do about it. */
#ifndef XDERP_DOCTOR_H
#define XDERP_DOCTOR_H

#include <jansson.h>

struct relay;

/* Main thread; reads files and asks the kernel, waits for nobody. An array of {"check", "state": "ok", "warn", "fail" or
 * "skip", "found", "fix"}. NULL: out of memory. fails: how many are "fail". */
json_t *doctor_examine(struct relay *r, unsigned int *fails);

#endif
