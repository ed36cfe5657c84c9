/* SPDX-License-Identifier: BSD-3-Clause */
/* How fast a client may send (-rate-config and the caps of --allow-keys, docs/protocol.md section 7): over it we stop reading the connection until
 * it may send again. Nothing is dropped or said; TCP slows the client down. Mesh clients are exempt. */
#ifndef XDERP_RATE_H
#define XDERP_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;

/* The head of a frame came, which announces that many bytes. */
void rate_charge(struct conn *c, uint32_t len);
/* Is there a rate that it must not exceed? */
bool rate_is_limited(const struct conn *c);
/* How to receive: 0, whatever comes; else one receive of at most so many bytes, so that it ends in time. */
size_t rate_recv_max(const struct conn *c);
/* All that was received has been dealt with: stop reading if more came than was allowed. */
void rate_hold(struct conn *c);
/* The connection ends. */
void rate_release(struct conn *c);

#endif
