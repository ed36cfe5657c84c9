/* SPDX-License-Identifier: BSD-3-Clause */
/* WebSocket frames (RFC 6455 section 5), the server's side: DERP uses them as a byte stream in binary messages. */
#ifndef XDERP_WS_H
#define XDERP_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WS_MAX_MESSAGE	32768U	/* of a client, all its fragments together: derper's limit */
#define WS_MAX_CONTROL	125U	/* payload of a control frame */
#define WS_MAX_HEAD	14U	/* of a client: with a mask */
#define WS_MAX_OUT_HEAD	4U	/* of ours: no mask, at most 65535 bytes */

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

/* Where a client's stream stands. All zero: at its beginning. */
struct ws_reader {
	uint8_t head[WS_MAX_HEAD];
	uint8_t head_len;
	uint8_t ctl_len;
	bool in_payload;
	bool in_message;		/* a fragment came, its last one not yet */
	uint8_t phase;			/* index in the mask of the next byte */
	uint32_t left;			/* payload bytes of this frame still to come */
	uint32_t message;		/* payload bytes of this message, announced so far */
	uint8_t ctl[WS_MAX_CONTROL];
};

enum ws_event {
	WS_MORE,			/* nothing yet */
	WS_DATA,			/* payload: bytes of the stream, unmasked where they lie */
	WS_CONTROL,			/* a whole control frame; its payload lies in the reader */
};

struct ws_piece {
	enum ws_opcode op;		/* WS_CONTROL: WS_PING, WS_PONG or WS_CLOSE */
	uint8_t *p;
	size_t n;
};

/* Reads on in p[0..n), n > 0, which it changes; *used of it belong to what it answers: an enum ws_event, or, negative, the enum
 * ws_status to close with. */
int ws_read(struct ws_reader *r, uint8_t *p, size_t n, size_t *used, struct ws_piece *piece);

/* The code of a Close frame's payload; WS_NO_STATUS if it has none, WS_PROTOCOL_ERROR if it has no right one. */
enum ws_status ws_close_status(const uint8_t *p, size_t n);

/* The head of a whole frame of ours with n < 65536 bytes of payload; returns its length. */
size_t ws_head(uint8_t out[static WS_MAX_OUT_HEAD], enum ws_opcode op, size_t n);

#endif
