/* SPDX-License-Identifier: BSD-3-Clause */
/* What the relay is and does, for xderpctl status and /debug/status. */
#ifndef XDERP_STATUS_H
#define XDERP_STATUS_H

#include <jansson.h>

struct relay;

/* Any thread. A new reference; NULL: no memory. Counters are since the start: rates are the reader's to work out, with
 * uptime_milliseconds. */
json_t *status_json(const struct relay *r);

#endif
