/* SPDX-License-Identifier: BSD-3-Clause */
/* /debug/traffic: who moved how many bytes, as JSON lines every two seconds for as long as the client listens. On the shard of its
 * connection, which is in CONN_HTTP and takes no more requests. docs/protocol.md section 3. */
#ifndef XDERP_TRAFFIC_H
#define XDERP_TRAFFIC_H

#include "relay/conn.h"

#define TRAFFIC_STREAMS	4U	/* at once, per shard: each remembers 8 bytes per key */

/* The head of the answer is out. */
void traffic_begin(struct conn *c);
/* The connection's deadline: the next lines. */
void traffic_tick(struct conn *c);
void traffic_done(struct conn *c);

#endif
