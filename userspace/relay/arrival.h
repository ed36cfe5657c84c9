/* SPDX-License-Identifier: BSD-3-Clause */
/* Who comes, and may they? From accept to the first byte of the stream, on the shard's thread. */
#ifndef XDERP_ARRIVAL_H
#define XDERP_ARRIVAL_H

#include "relay/conn.h"

/* May an accepted socket become a connection? If not, it is closed and counted. */
bool arrival_admit(struct shard *s, int fd, bool main_port);
void arrival_refuse(struct shard *s, int fd, enum close_reason why);

/* A connection that is set up: the stream begins, or first the header of a proxy (--proxy-protocol-from) in front of it. It may
 * be closed at once. */
void arrival_begin(struct conn *c);

/* CONN_EXPECT_PROXY: n received bytes at b->data. Returns how many of them are of the stream, at b->data now; 0 also if the
 * connection was closed. */
size_t arrival_header(struct conn *c, struct rbuf *b, size_t n);

/* Before its ClientInfo is looked at: false if its source logs in too often; it is closed then. */
bool arrival_may_login(struct conn *c);

#endif
