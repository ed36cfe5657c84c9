/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/ws.h"

#include <string.h>

#include "base/util.h"

#define FIN	0x80
#define RSV	0x70
#define MASKED	0x80

static bool is_control(uint8_t op)
{
	return op & 8;
}

static uint8_t opcode(const struct ws_reader *r)
{
	return r->head[0] & 15;
}

/* How long the head is, as far as its first two bytes say. */
static size_t head_len(const uint8_t *h)
{
	uint8_t len = h[1] & 127;

	return 2 + (len == 127 ? 8 : len == 126 ? 2 : 0) + 4;
}

/* Payload length; UINT64_MAX if it is not written as short as it can be (section 5.2). */
static uint64_t payload_len(const uint8_t *h)
{
	uint64_t n = h[1] & 127;

	if (n == 126) {
		n = get_be16(h + 2);
		return n < 126 ? UINT64_MAX : n;
	}
	if (n == 127) {
		n = (uint64_t)get_be32(h + 2) << 32 | get_be32(h + 6);
		return n < 65536 || n >> 63 ? UINT64_MAX : n;
	}
	return n;
}

/* What the first two bytes say already: nothing is awaited of a frame that is wrong. 0, or the status to close with. */
static int check_start(const struct ws_reader *r)
{
	uint8_t op = opcode(r), len = r->head[1] & 127;
	bool fin = r->head[0] & FIN;

	if (r->head[0] & RSV || !(r->head[1] & MASKED))
		return WS_PROTOCOL_ERROR;
	switch (op) {
	case WS_CLOSE:
	case WS_PING:
	case WS_PONG:
		return fin && len <= WS_MAX_CONTROL ? 0 : WS_PROTOCOL_ERROR;
	case WS_TEXT:
		return WS_UNSUPPORTED;
	case WS_BINARY:
		return r->in_message ? WS_PROTOCOL_ERROR : 0;
	case WS_CONTINUATION:
		return r->in_message ? 0 : WS_PROTOCOL_ERROR;
	default:
		return WS_PROTOCOL_ERROR;
	}
}

/* The head is whole. */
static int begin_payload(struct ws_reader *r)
{
	uint64_t n = payload_len(r->head);
	uint8_t op = opcode(r);

	if (n == UINT64_MAX)
		return WS_PROTOCOL_ERROR;
	if (!is_control(op)) {
		if (op == WS_BINARY)
			r->message = 0;
		if (n > WS_MAX_MESSAGE - r->message)
			return WS_TOO_BIG;
		r->message += (uint32_t)n;
		r->in_message = !(r->head[0] & FIN);
	}
	r->left = (uint32_t)n;
	r->phase = 0;
	r->ctl_len = 0;
	r->in_payload = true;
	return 0;
}

static int read_head(struct ws_reader *r, const uint8_t *p, size_t n, size_t *used)
{
	size_t i = 0, want = 2;
	int status;

	while (i < n) {
		r->head[r->head_len++] = p[i++];
		if (r->head_len < 2)
			continue;
		want = head_len(r->head);
		status = r->head_len == 2 ? check_start(r) : 0;
		if (!status && r->head_len == want)
			status = begin_payload(r);
		if (status) {
			*used = n;
			return -status;
		}
		if (r->in_payload)
			break;
	}
	*used = i;
	return 0;
}

/* In place, eight bytes at a time: this is all that a packet costs more than over plain TCP. */
static void unmask(struct ws_reader *r, uint8_t *p, size_t n)
{
	const uint8_t *mask = r->head + r->head_len - 4;
	uint8_t m[8];
	uint64_t m8, v;
	size_t i = 0;

	for (unsigned int k = 0; k < 8; k++)
		m[k] = mask[(r->phase + k) & 3];
	memcpy(&m8, m, 8);
	for (; i + 8 <= n; i += 8) {
		memcpy(&v, p + i, 8);
		v ^= m8;
		memcpy(p + i, &v, 8);
	}
	for (; i < n; i++)
		p[i] ^= m[i & 7];
	r->phase = (r->phase + n) & 3;
}

static void end_frame(struct ws_reader *r)
{
	r->in_payload = false;
	r->head_len = 0;
}

int ws_read(struct ws_reader *r, uint8_t *p, size_t n, size_t *used, struct ws_piece *piece)
{
	size_t skip = 0, take;
	uint8_t op;
	int err;

	if (!r->in_payload) {
		err = read_head(r, p, n, &skip);
		*used = skip;
		if (err || !r->in_payload)
			return err ? err : WS_MORE;
	}
	op = opcode(r);
	take = min_of((size_t)r->left, n - skip);
	unmask(r, p + skip, take);
	r->left -= (uint32_t)take;
	*used = skip + take;
	if (!is_control(op)) {
		if (!r->left)
			end_frame(r);
		*piece = (struct ws_piece){ WS_BINARY, p + skip, take };
		return take ? WS_DATA : WS_MORE;
	}
	memcpy(r->ctl + r->ctl_len, p + skip, take);
	r->ctl_len += (uint8_t)take;
	if (r->left)
		return WS_MORE;
	end_frame(r);
	*piece = (struct ws_piece){ (enum ws_opcode)op, r->ctl, r->ctl_len };
	return WS_CONTROL;
}

enum ws_status ws_close_status(const uint8_t *p, size_t n)
{
	unsigned int code;

	if (!n)
		return WS_NO_STATUS;
	if (n == 1)
		return WS_PROTOCOL_ERROR;
	code = get_be16(p);
	/* 1004 to 1006 and 1015 stand for what was not said; others below 3000 are not defined. */
	if ((code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999))
		return (enum ws_status)code;
	return WS_PROTOCOL_ERROR;
}

size_t ws_head(uint8_t out[static WS_MAX_OUT_HEAD], enum ws_opcode op, size_t n)
{
	out[0] = (uint8_t)(FIN | op);
	if (n < 126) {
		out[1] = (uint8_t)n;
		return 2;
	}
	out[1] = 126;
	put_be16(out + 2, (uint16_t)n);
	return 4;
}
