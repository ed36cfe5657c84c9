/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/ws.h"

#include <errno.h>
#include <string.h>
#include <wslay/wslay.h>

static ssize_t take_fed(uint8_t *buf, size_t len, int flags, void *ctx)
{
	struct ws_stream *w = ctx;
	size_t n = min_of(len, w->fed.n);

	(void)flags;
	if (!n)
		return -1;	/* nothing at present */
	memcpy(buf, w->fed.p, n);
	w->fed.p += n;
	w->fed.n -= n;
	return (ssize_t)n;
}

static ssize_t put_out(const uint8_t *p, size_t n, int flags, void *ctx)
{
	struct ws_stream *w = ctx;

	(void)flags;
	w->out[w->nout++] = (struct iovec){ (void *)p, n };
	return (ssize_t)n;
}

static int no_mask(uint8_t *buf, size_t len, void *ctx)
{
	(void)buf;
	(void)len;
	(void)ctx;
	return -1;		/* servers don't mask */
}

int ws_init(struct ws_stream *w)
{
	static const struct wslay_frame_callbacks cb = { put_out, take_fed, no_mask };

	memset(w, 0, sizeof(*w));
	return wslay_frame_context_init(&w->frames, &cb, w) ? -ENOMEM : 0;
}

void ws_done(struct ws_stream *w)
{
	wslay_frame_context_free(w->frames);
}

void ws_feed(struct ws_stream *w, const uint8_t *p, size_t n)
{
	w->fed = (struct view){ p, n };
}

/* Fragments may have control frames between them, nothing else. 0, or the status to close with. */
static int check_opcode(const struct ws_stream *w, uint8_t op)
{
	switch (op) {
	case WS_CLOSE:
	case WS_PING:
	case WS_PONG:
		return 0;
	case WS_TEXT:
		return WS_UNSUPPORTED;
	case WS_BINARY:
		return w->in_message ? WS_PROTOCOL_ERROR : 0;
	case WS_CONTINUATION:
		return w->in_message ? 0 : WS_PROTOCOL_ERROR;
	default:
		return WS_PROTOCOL_ERROR;
	}
}

static int begin_frame(struct ws_stream *w, const struct wslay_frame_iocb *f)
{
	int status = f->rsv || !f->mask ? WS_PROTOCOL_ERROR : check_opcode(w, f->opcode);

	if (status)
		return status;
	if (wslay_is_ctrl_frame(f->opcode)) {
		w->ctl_len = 0;
	} else {
		if (f->opcode == WS_BINARY)
			w->message = 0;
		if (f->payload_length > WS_MAX_MESSAGE - w->message)
			return WS_TOO_BIG;
		w->message += (uint32_t)f->payload_length;
		w->in_message = !f->fin;
	}
	w->left = (uint32_t)f->payload_length;
	w->in_frame = true;
	return 0;
}

/* Some bytes of a control frame, of at most WS_MAX_CONTROL: the library saw to that. */
static int control(struct ws_stream *w, const struct wslay_frame_iocb *f, struct ws_piece *piece)
{
	memcpy(w->ctl + w->ctl_len, f->data, f->data_length);
	w->ctl_len += (uint8_t)f->data_length;
	*piece = (struct ws_piece){ (enum ws_opcode)f->opcode, w->ctl, w->ctl_len };
	return w->in_frame ? WS_MORE : WS_CONTROL;
}

int ws_next(struct ws_stream *w, struct ws_piece *piece)
{
	struct wslay_frame_iocb f;
	ssize_t n;
	int r;

	do {
		n = wslay_frame_recv(w->frames, &f);
		if (n < 0)
			return n == WSLAY_ERR_WANT_READ ? WS_MORE : -WS_PROTOCOL_ERROR;
		r = w->in_frame ? 0 : begin_frame(w, &f);
		if (r)
			return -r;
		w->left -= (uint32_t)n;
		w->in_frame = w->left > 0;
		if (wslay_is_ctrl_frame(f.opcode)) {
			r = control(w, &f, piece);
		} else if (n) {
			*piece = (struct ws_piece){ WS_BINARY, (uint8_t *)f.data, f.data_length };
			r = WS_DATA;
		}
	} while (r == WS_MORE);
	return r;
}

unsigned int ws_frame(struct ws_stream *w, enum ws_opcode op, const struct iovec *iov, unsigned int n, struct iovec *out)
{
	struct wslay_frame_iocb f = { .fin = 1, .opcode = (uint8_t)op };
	unsigned int i = 0;

	w->out = out;
	w->nout = 0;
	for (i = 0; i < n; i++)
		f.payload_length += iov[i].iov_len;
	i = 0;
	do {
		f.data = n ? iov[i].iov_base : NULL;
		f.data_length = n ? iov[i].iov_len : 0;
		wslay_frame_send(w->frames, &f);	/* put_out() takes all */
	} while (++i < n);
	return w->nout;
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
