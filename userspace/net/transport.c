/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/transport.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

#define BORROW_MIN	4096		/* plaintext of one read that is worth a buffer of its own */
#define RECORD_MAX	16384U		/* plaintext of one TLS record, RFC 8446 5.1 */

static int outbuf_grow(struct tls_out *o, size_t need)
{
	struct outbuf *b = container_of(o, struct outbuf, o);
	uint8_t cls, *p;

	if (b->off) {
		memmove(o->p, o->p + b->off, o->len - b->off);
		o->len -= b->off;
		b->off = 0;
		if (o->cap - o->len >= need)
			return 0;
	}
	p = slab_alloc(b->mem, max_of(o->len + need, min_of(2 * o->cap, (size_t)SLAB_MAX)), &cls);
	if (!p)
		return -ENOMEM;
	if (o->p) {
		memcpy(p, o->p, o->len);
		slab_free(b->mem, o->p, b->cls);
	}
	o->p = p;
	o->cap = slab_class_size(cls);
	b->cls = cls;
	return 0;
}

void outbuf_init(struct outbuf *b, struct slab *mem)
{
	*b = (struct outbuf){ .o.grow = outbuf_grow, .mem = mem };
}

void outbuf_done(struct outbuf *b)
{
	if (b->o.p)
		slab_free(b->mem, b->o.p, b->cls);
	outbuf_init(b, b->mem);
}

int outbuf_put(struct outbuf *b, const void *p, size_t n)
{
	if (b->o.cap - b->o.len < n && outbuf_grow(&b->o, n))
		return -ENOMEM;
	memcpy(b->o.p + b->o.len, p, n);
	b->o.len += n;
	return 0;
}

void outbuf_consume(struct outbuf *b, size_t n)
{
	b->off += (uint32_t)n;
	if (b->off == b->o.len)
		outbuf_done(b);
}

int transport_init(struct transport *t, struct tls_ctx *ctx)
{
	*t = (struct transport){ .kind = ctx ? TRANSPORT_TLS : TRANSPORT_PLAIN, .ready = !ctx };
	if (!ctx)
		return 0;
	t->tls = tls_new(ctx);
	return t->tls ? 0 : -ENOMEM;
}

void transport_done(struct transport *t)
{
	tls_free(t->tls);
	t->tls = NULL;
}

/* Decrypt into space and pass it on, as long as there is something and space is not borrowed. */
static int read_into(struct transport *t, struct rbuf *b, uint8_t *space, struct outbuf *out,
		     transport_sink sink, void *ctx)
{
	ssize_t n;

	do {
		n = tls_read(t->tls, space, RBUF_SIZE, &out->o);
		if (n <= 0)
			return n == -EAGAIN ? 0 : n == 0 ? 1 : (int)n;
		/* A few frames are cheaper copied out than kept in a buffer of this size. */
		if (!sink(ctx, n <= BORROW_MIN ? NULL : b, space, (size_t)n))
			return -ECANCELED;
	} while (!b || b->refs == 1);
	return -EAGAIN;
}

/* Plaintext goes to a receive buffer, so that frames can be borrowed from it, or if there is none to the
 * stack, from where they are copied. */
static int tls_input(struct transport *t, struct rbuf_pool *pool, struct outbuf *out,
		     transport_sink sink, void *ctx)
{
	uint8_t scratch[RBUF_SIZE];
	struct rbuf *b;
	int r;

	do {
		b = rbuf_get(pool);
		r = read_into(t, b, b ? b->data : scratch, out, sink, ctx);
		if (b)
			rbuf_unref(b);
	} while (r == -EAGAIN);
	return r;
}

int transport_input(struct transport *t, struct rbuf *b, size_t n, struct outbuf *out,
		    transport_sink sink, void *ctx)
{
	int r;

	if (t->kind == TRANSPORT_PLAIN)
		return sink(ctx, b, b->data, n) ? 0 : -ECANCELED;
	tls_feed(t->tls, b->data, n);
	if (!t->ready) {
		r = tls_handshake(t->tls, &out->o);
		if (r == -EAGAIN)
			return 0;
		if (r < 0)
			return r;
		t->ready = true;
		tls_trim(t->tls);
	}
	return tls_input(t, b->pool, out, sink, ctx);
}

/* Fill records to the brim: many small frames share one. */
static int tls_seal(struct transport *t, const struct iovec *iov, unsigned int n, struct outbuf *out)
{
	uint8_t stage[RECORD_MAX];
	size_t have = 0, off, k;
	int err;

	if (n == 1)
		return tls_write(t->tls, iov->iov_base, iov->iov_len, &out->o);
	for (unsigned int i = 0; i < n; i++) {
		for (off = 0; off < iov[i].iov_len; off += k) {
			k = min_of(iov[i].iov_len - off, sizeof(stage) - have);
			memcpy(stage + have, (uint8_t *)iov[i].iov_base + off, k);
			have += k;
			if (have < sizeof(stage))
				continue;
			err = tls_write(t->tls, stage, have, &out->o);
			if (err)
				return err;
			have = 0;
		}
	}
	return have ? tls_write(t->tls, stage, have, &out->o) : 0;
}

int transport_seal(struct transport *t, const struct iovec *iov, unsigned int n, struct outbuf *out)
{
	if (t->kind == TRANSPORT_TLS)
		return tls_seal(t, iov, n, out);
	for (unsigned int i = 0; i < n; i++)
		if (outbuf_put(out, iov[i].iov_base, iov[i].iov_len))
			return -ENOMEM;
	return 0;
}

void transport_shutdown(struct transport *t, struct outbuf *out)
{
	if (t->kind == TRANSPORT_TLS && t->ready)
		tls_shutdown(t->tls, &out->o);
}
