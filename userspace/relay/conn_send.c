/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/conn_send.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>

#include "relay/sendq.h"
#include "relay/shard.h"
#include "relay/spliced.h"
#include "relay/websocket.h"

#define MESH_WRITE_NS	(30 * NS_PER_S)

/* A send under way: what the kernel reads until its event. */
struct sendop {
	struct msghdr msg;
	uint8_t slab_class;
	struct iovec iov[];
};

/* Unsent bytes of a peer that takes none would stay in the kernel for TCP's own long patience. */
void conn_on_write_timeout(struct timer *t, void *ctx)
{
	struct conn *c = container_of(t, struct conn, write_timer);
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	(void)ctx;
	STAT_INC(&c->shard->stats, write_timeouts);
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	conn_close(c, CLOSE_WRITE_TIMEOUT);
}

static uint64_t write_timeout_ns(const struct conn *c)
{
	return conn_is_mesh(c) ? MESH_WRITE_NS : c->shard->cfg->write_timeout_ns;
}

bool conn_nothing_to_send(const struct conn *c)
{
	return !c->sending && !outbuf_len(&c->out) && (!c->peer || sendq_empty(c->peer));
}

int conn_seal(struct conn *c, const struct iovec *iov, unsigned int n)
{
	return c->ws ? websocket_seal(c, iov, n) : transport_seal(&c->transport, iov, n, &c->out);
}

/* Must frames be put into the out buffer, or can they be sent from where they lie? The lengths that WebSocket writes in front
 * would not hold for packets that a full socket drops. */
static bool seals(const struct conn *c)
{
	return c->ws || transport_seals(&c->transport);
}

int conn_write(struct conn *c, const void *p, size_t n)
{
	struct iovec iov = { (void *)p, n };

	assert(!c->peer || !c->peer->flight.n);
	conn_mark_dirty(c);
	return conn_seal(c, &iov, 1);
}

void conn_mark_dirty(struct conn *c)
{
	if (list_empty(&c->dirty))
		list_push_back(&c->shard->dirty, &c->dirty);
}

/* Point a send at what goes next: the out buffer, else frames from where they lie. */
static struct sendop *next_send(struct conn *c)
{
	struct iovec iov[SENDQ_IOV];
	unsigned int n = 0;
	struct sendop *op;
	uint8_t cls;

	if (outbuf_len(&c->out))
		iov[n++] = (struct iovec){ c->out.o.p + c->out.off, outbuf_len(&c->out) };
	if (!seals(c) && c->peer)
		n += sendq_gather(c, iov + n, SENDQ_IOV - n);
	if (!n)
		return NULL;
	op = slab_alloc(&c->shard->out, sizeof(*op) + n * sizeof(*iov), &cls);
	if (!op) {
		c->shard->retry = true;
		conn_mark_dirty(c);
		return NULL;
	}
	memcpy(op->iov, iov, n * sizeof(*iov));
	op->msg = (struct msghdr){ .msg_iov = op->iov, .msg_iovlen = n };
	op->slab_class = cls;
	return op;
}

void conn_send_free(struct conn *c)
{
	if (!c->send)
		return;
	c->sending = false;
	slab_free(&c->shard->out, c->send, c->send->slab_class);
	c->send = NULL;
}

/* All is flushed: our FIN, then wait for theirs, so that what we sent is not lost to a reset. */
static void finish_flushed(struct conn *c)
{
	/* Flushed before the transport's own last word, which passes by the out buffer under kTLS. */
	if (c->ws && websocket_say_close(c))
		return;
	if (!c->shut) {
		c->shut = true;
		transport_shutdown(&c->transport, &c->out);
		if (outbuf_len(&c->out)) {
			conn_mark_dirty(c);
			return;
		}
	}
	shutdown(c->fd, SHUT_WR);
	if (c->eof)
		conn_close(c, c->finish_reason);
	else
		/* Nothing more to flush: a client that keeps its side open must not hold up a drain. */
		timer_arm(&c->shard->wheel, &c->deadline, c->shard->now_ns + LINGER_NS);
}

/* What is queued has to wait. */
static void block(struct conn *c, bool progress)
{
	struct shard *s = c->shard;
	uint64_t limit = write_timeout_ns(c);

	c->blocked = true;
	if (c->peer)
		sendq_block(c);
	if (c->state != CONN_DEAD && limit && (progress || !timer_armed(&c->write_timer)))
		timer_arm(&s->wheel, &c->write_timer, s->now_ns + limit);
}

void conn_kernel_waits(struct conn *c)
{
	c->waits_kernel = true;
	block(c, false);
}

void conn_kernel_done(struct conn *c)
{
	c->waits_kernel = false;
	c->blocked = false;
	timer_disarm(&c->shard->wheel, &c->write_timer);
	conn_mark_dirty(c);
}

static void blocked(struct conn *c, bool progress)
{
	struct shard *s = c->shard;

	STAT_INC(&s->stats, sends_short);
	block(c, progress);
	if (c->state == CONN_DEAD)
		return;
	c->inflight++;
	io_writable(s->io, c->fd, conn_tag(c));
}

/* Under kTLS, before more data may go. Returns whether it may now. */
static bool update_keys(struct conn *c)
{
	int err = transport_update_keys(&c->transport);

	if (err == -EAGAIN)
		blocked(c, false);
	else if (err == -EKEYEXPIRED)
		conn_finish(c, CLOSE_KTLS_REKEY);
	else if (err)
		conn_close(c, CLOSE_TLS_ERROR);
	return !err;
}

void conn_flush(struct conn *c)
{
	struct shard *s = c->shard;
	int err;

	if (c->sending || c->blocked || c->state == CONN_DEAD)
		return;
	if (!spliced_may_write(c)) {
		conn_kernel_waits(c);
		return;
	}
	if (transport_update_due(&c->transport) && c->state != CONN_CLOSING && !update_keys(c))
		return;
	if (seals(c) && c->peer) {
		err = sendq_seal(c);
		if (err) {
			conn_close(c, err == -ENOMEM ? CLOSE_NO_MEMORY : CLOSE_TLS_ERROR);
			return;
		}
	}
	c->send = next_send(c);
	if (!c->send) {
		if (c->state == CONN_CLOSING && conn_nothing_to_send(c))
			finish_flushed(c);
		return;
	}
	c->sending = true;
	c->inflight++;
	STAT_INC(&s->stats, sends);
	io_send(s->io, c->fd, &c->send->msg, conn_tag(c));
}

static size_t send_size(const struct sendop *op)
{
	size_t n = 0;

	for (size_t i = 0; i < op->msg.msg_iovlen; i++)
		n += op->iov[i].iov_len;
	return n;
}

/* Clients often close without waiting for our close_notify: that is no other end than the one they announced. */
static void send_failed(struct conn *c)
{
	conn_close(c, c->state == CONN_CLOSING ? c->finish_reason : CLOSE_RESET);
}

void conn_on_send(struct conn *c, const struct io_event *ev)
{
	size_t took = ev->res > 0 ? (size_t)ev->res : 0, from_out;
	size_t all = send_size(c->send);

	conn_send_free(c);
	if (ev->res < 0 && ev->res != -EAGAIN && ev->res != -EINTR) {
		send_failed(c);
		return;
	}
	from_out = min_of(took, outbuf_len(&c->out));
	if (from_out)
		outbuf_consume(&c->out, from_out);
	if (c->peer)
		sendq_sent(c, took - from_out);
	if (transport_sent(&c->transport, took))
		conn_mark_dirty(c);
	if (took < all) {
		blocked(c, took > 0);
		return;
	}
	timer_disarm(&c->shard->wheel, &c->write_timer);
	if (!conn_nothing_to_send(c) || c->state == CONN_CLOSING)
		conn_mark_dirty(c);
	else
		spliced_sent(c);
}

void conn_on_writable(struct conn *c, const struct io_event *ev)
{
	c->blocked = false;
	if (ev->res < 0 && ev->res != -ECANCELED)
		send_failed(c);
	else
		conn_mark_dirty(c);
}
