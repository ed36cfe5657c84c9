/* SPDX-License-Identifier: BSD-3-Clause */
/* What on this machine or in these settings will hurt, each with what to do about it. */
#ifndef XDERP_DOCTOR_H
#define XDERP_DOCTOR_H

#include <jansson.h>

struct config;
struct relay;

/* {"fails": how many, "checks": [{"check", "state": "ok", "warn", "fail" or "skip", "found", "fix"}]}; NULL: out of memory. Reads
 * files and asks the kernel, waits for nobody. Main thread. */
json_t *doctor_examine(const struct relay *r);
/* The same where no relay runs, for one with these settings: also whether it could start. */
json_t *doctor_examine_settings(const struct config *cfg);

#endif
