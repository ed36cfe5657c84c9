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
	struct ws_reader in;
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

	c->ws = slab_alloc(&c->shard->out, sizeof(*c->ws), &cls);
	if (!c->ws) {
		conn_close(c, CLOSE_NO_MEMORY);
		return false;
	}
	*c->ws = (struct websocket){ .status = WS_GOING_AWAY, .slab_class = cls };
	if (derp)
		STAT_INC(&c->shard->stats, websocket_accepts);
	else
		finish(c, WS_POLICY, CLOSE_WEBSOCKET);
	return derp;
}

void websocket_done(struct conn *c)
{
	if (c->ws)
		slab_free(&c->shard->out, c->ws, c->ws->slab_class);
	c->ws = NULL;
}

static int put_frame(struct conn *c, enum ws_opcode op, const void *p, size_t n)
{
	uint8_t head[WS_MAX_OUT_HEAD];
	struct iovec iov[] = { { head, ws_head(head, op, n) }, { (void *)p, n } };

	conn_mark_dirty(c);
	return transport_seal(&c->transport, iov, 2, &c->out);
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

size_t websocket_input(struct conn *c, uint8_t *p, size_t n, struct iovec *piece)
{
	struct ws_piece f;
	size_t used;
	int r = ws_read(&c->ws->in, p, n, &used, &f);

	*piece = (struct iovec){ NULL, 0 };
	if (r < 0)
		finish(c, (enum ws_status)-r, CLOSE_WEBSOCKET);
	else if (r == WS_CONTROL)
		on_control(c, &f);
	else if (r == WS_DATA)
		*piece = (struct iovec){ f.p, f.n };
	return used;
}

/* Pieces of the stream as long as they fit into a message; *i and *off stand where the next one begins. */
static size_t take_message(struct iovec *to, unsigned int *nto, const struct iovec *iov, unsigned int n, unsigned int *i,
			   size_t *off)
{
	size_t bytes = 0, k;

	while (*i < n && bytes < OUT_MAX) {
		k = min_of(iov[*i].iov_len - *off, OUT_MAX - bytes);
		to[(*nto)++] = (struct iovec){ (uint8_t *)iov[*i].iov_base + *off, k };
		bytes += k;
		*off += k;
		if (*off == iov[*i].iov_len) {
			(*i)++;
			*off = 0;
		}
	}
	return bytes;
}

int websocket_seal(struct conn *c, const struct iovec *iov, unsigned int n)
{
	struct iovec m[1 + WEBSOCKET_IOV];
	uint8_t head[WS_MAX_OUT_HEAD];
	unsigned int i = 0, k;
	size_t off = 0, bytes;
	int err = 0;

	assert(n <= WEBSOCKET_IOV);
	while (!err && i < n) {
		k = 1;
		bytes = take_message(m, &k, iov, n, &i, &off);
		m[0] = (struct iovec){ head, ws_head(head, WS_BINARY, bytes) };
		err = transport_seal(&c->transport, m, k, &c->out);
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
