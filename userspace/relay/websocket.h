/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection whose DERP bytes travel in WebSocket messages: between the transport and the states of conn.c. docs/protocol.md
 * section 3.1. */
#ifndef XDERP_WEBSOCKET_H
#define XDERP_WEBSOCKET_H

#include <sys/uio.h>

#include "relay/conn.h"

/* The 101 is out: frames from here on, both ways. derp: the client offered the subprotocol; else it is told so and closed.
 * Returns whether DERP begins; if not, the connection is closed or closing. */
bool websocket_begin(struct conn *c, bool derp);
/* Memory of the connection's own. */
void websocket_done(struct conn *c);

/* Plaintext of the transport; what it says goes through conn_replay(). It may have closed the connection. */
void websocket_input(struct conn *c, const uint8_t *p, size_t n);

/* As transport_seal(), for n pieces of the stream, at most WEBSOCKET_IOV: one message, more only above 32 KiB. */
#define WEBSOCKET_IOV	64U
int websocket_seal(struct conn *c, const struct iovec *iov, unsigned int n);

/* All is flushed and the connection closing: the Close frame, once. Returns whether it is to be flushed now; the connection may
 * have been closed for want of memory. */
bool websocket_say_close(struct conn *c);

#endif
