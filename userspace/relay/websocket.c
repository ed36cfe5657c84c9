/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/websocket.h"

#include <assert.h>
#include <errno.h>

#include "base/util.h"
#include "relay/sendq.h"
#include "relay/shard.h"
#include "wire/ws.h"

/* Messages of ours stay within what clients in Go read by default. */
#define OUT_MAX		32768U
/* Pongs may wait for a client that does not read, up to here. */
#define PONG_BACKLOG	4096U

struct websocket {
	struct ws_stream stream;
	uint16_t status;		/* said in our Close frame; WS_NO_STATUS: it has none */
	bool said;			/* it is out */
	uint8_t slab_class;
};

/* Closed in order, with a Close frame of that status behind what goes out first. */
static void finish(struct conn *c, enum ws_status status, enum close_reason why)
{
	c->ws->status = (uint16_t)status;
	if (c->peer)
		sendq_drop_waiting(c, DROP_GONE_DISCONNECTED);
	conn_finish(c, why);
}

bool websocket_begin(struct conn *c, bool derp)
{
	uint8_t cls;

	struct websocket *ws = slab_alloc(&c->shard->out, sizeof(*ws), &cls);

	if (!ws || ws_init(&ws->stream)) {
		if (ws)
			slab_free(&c->shard->out, ws, cls);
		conn_close(c, CLOSE_NO_MEMORY);
		return false;
	}
	ws->status = WS_GOING_AWAY;
	ws->said = false;
	ws->slab_class = cls;
	c->ws = ws;
	if (derp)
		STAT_INC(&c->shard->stats, websocket_accepts);
	else
		finish(c, WS_POLICY, CLOSE_WEBSOCKET);
	return derp;
}

void websocket_done(struct conn *c)
{
	if (!c->ws)
		return;
	ws_done(&c->ws->stream);
	slab_free(&c->shard->out, c->ws, c->ws->slab_class);
	c->ws = NULL;
}

static int put_frame(struct conn *c, enum ws_opcode op, const void *p, size_t n)
{
	struct iovec payload = { (void *)p, n }, iov[2];

	conn_mark_dirty(c);
	return transport_seal(&c->transport, iov, ws_frame(&c->ws->stream, op, &payload, n > 0, iov), &c->out);
}

static void on_ping(struct conn *c, const struct ws_piece *f)
{
	if (outbuf_len(&c->out) > PONG_BACKLOG)
		STAT_INC(&c->shard->stats, websocket_pongs_skipped);
	else if (put_frame(c, WS_PONG, f->p, f->n))
		conn_close(c, CLOSE_NO_MEMORY);
}

static void on_close(struct conn *c, const struct ws_piece *f)
{
	enum ws_status status = ws_close_status(f->p, f->n);

	finish(c, status, status == WS_PROTOCOL_ERROR ? CLOSE_WEBSOCKET : CLOSE_EOF);
}

static void on_control(struct conn *c, const struct ws_piece *f)
{
	if (f->op == WS_PING)
		on_ping(c, f);
	else if (f->op == WS_CLOSE)
		on_close(c, f);
}

/* c->ws lives until the connection is dead. */
void websocket_input(struct conn *c, const uint8_t *p, size_t n)
{
	struct ws_piece f;
	int r;

	ws_feed(&c->ws->stream, p, n);
	while (conn_takes_input(c)) {
		r = ws_next(&c->ws->stream, &f);
		if (r == WS_MORE)
			break;
		if (r < 0)
			finish(c, (enum ws_status)-r, CLOSE_WEBSOCKET);
		else if (r == WS_CONTROL)
			on_control(c, &f);
		else
			conn_replay(c, f.p, f.n);
	}
}

/* Pieces of the stream as long as they fit into a message: how many; *i and *off stand where the next one begins. */
static unsigned int take_message(struct iovec *to, const struct iovec *iov, unsigned int n, unsigned int *i, size_t *off)
{
	unsigned int nto = 0;
	size_t bytes = 0, k;

	while (*i < n && bytes < OUT_MAX) {
		k = min_of(iov[*i].iov_len - *off, OUT_MAX - bytes);
		to[nto++] = (struct iovec){ (uint8_t *)iov[*i].iov_base + *off, k };
		bytes += k;
		*off += k;
		if (*off == iov[*i].iov_len) {
			(*i)++;
			*off = 0;
		}
	}
	return nto;
}

int websocket_seal(struct conn *c, const struct iovec *iov, unsigned int n)
{
	struct iovec payload[WEBSOCKET_IOV], frame[WEBSOCKET_IOV + 1];
	unsigned int i = 0, k;
	size_t off = 0;
	int err = 0;

	assert(n <= WEBSOCKET_IOV);
	while (!err && i < n) {
		k = take_message(payload, iov, n, &i, &off);
		k = ws_frame(&c->ws->stream, WS_BINARY, payload, k, frame);
		err = transport_seal(&c->transport, frame, k, &c->out);
	}
	return err;
}

bool websocket_say_close(struct conn *c)
{
	uint8_t code[2];

	if (c->ws->said)
		return false;
	c->ws->said = true;
	put_be16(code, c->ws->status);
	if (put_frame(c, WS_CLOSE, code, c->ws->status == WS_NO_STATUS ? 0 : sizeof(code)))
		conn_close(c, c->finish_reason);
	return true;
}
