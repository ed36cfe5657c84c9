/* SPDX-License-Identifier: BSD-3-Clause */
/* Debug pages and metrics, rendered from the shards' counters. Any thread: reads atomics only. */
#ifndef XDERP_PAGES_H
#define XDERP_PAGES_H

#include "relay/frontdoor.h"

/* ctx: the struct relay. Returns the HTTP status. */
int pages_render(enum frontdoor_page page, struct textbuf *body, void *ctx);

#endif
