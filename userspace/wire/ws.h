/* SPDX-License-Identifier: BSD-3-Clause */
/* WebSocket (RFC 6455 section 5), the server's side: DERP uses it as a byte stream in binary messages. Frames are libwslay's, which
 * follow each other in what way and of what size is ours. */
#ifndef XDERP_WS_H
#define XDERP_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/util.h"

#define WS_MAX_MESSAGE	32768U	/* of a client, all its fragments together: derper's limit */
#define WS_MAX_CONTROL	125U	/* payload of a control frame */

enum ws_opcode {
	WS_CONTINUATION = 0,
	WS_TEXT = 1,
	WS_BINARY = 2,
	WS_CLOSE = 8,
	WS_PING = 9,
	WS_PONG = 10,
};

/* Close codes, RFC 6455 section 7.4. */
enum ws_status {
	WS_NORMAL = 1000,
	WS_GOING_AWAY = 1001,
	WS_PROTOCOL_ERROR = 1002,
	WS_UNSUPPORTED = 1003,
	WS_NO_STATUS = 1005,	/* never on the wire: a Close frame without a code */
	WS_POLICY = 1008,
	WS_TOO_BIG = 1009,
};

struct wslay_frame_context;

/* Both directions of one client's stream. */
struct ws_stream {
	struct wslay_frame_context *frames;	/* owned */
	struct view fed;		/* not yet taken in */
	struct iovec *out;		/* where ws_frame() puts what it makes */
	unsigned int nout;
	bool in_frame;			/* its first bytes were seen and allowed */
	bool in_message;		/* a fragment came, its last one not yet */
	uint32_t message;		/* payload bytes of this message, announced so far */
	uint32_t left;			/* payload bytes of this frame still to come */
	uint8_t ctl_len;
	uint8_t ctl[WS_MAX_CONTROL];
};

/* At its beginning. -ENOMEM. */
int ws_init(struct ws_stream *w);
void ws_done(struct ws_stream *w);

enum ws_event {
	WS_MORE,			/* all that was fed is used up */
	WS_DATA,			/* payload: bytes of the stream, unmasked; good until the next call */
	WS_CONTROL,			/* a whole control frame with its payload */
};

struct ws_piece {
	enum ws_opcode op;		/* WS_CONTROL: WS_PING, WS_PONG or WS_CLOSE */
	uint8_t *p;
	size_t n;
};

/* These bytes come next; borrowed until ws_next() has answered WS_MORE. */
void ws_feed(struct ws_stream *w, const uint8_t *p, size_t n);

/* An enum ws_event, or, negative, the enum ws_status to close with. A frame is judged when its head and the first byte of its payload
 * are there. */
int ws_next(struct ws_stream *w, struct ws_piece *piece);

/* A whole frame of ours around n pieces, which stay where they are: out has room for one more than n, returns how many it got. Good
 * until the next call. */
unsigned int ws_frame(struct ws_stream *w, enum ws_opcode op, const struct iovec *iov, unsigned int n, struct iovec *out);

/* The code of a Close frame's payload; WS_NO_STATUS if it has none, WS_PROTOCOL_ERROR if it has no right one. */
enum ws_status ws_close_status(const uint8_t *p, size_t n);

#endif
