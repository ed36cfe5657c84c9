/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/transport.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/keymem.h"
#include "base/util.h"
#include "net/ktls.h"
#include "net/record.h"

#define BORROW_MIN	4096		/* plaintext of one read that is worth a buffer of its own */

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

int transport_init(struct transport *t, int fd, const struct transport_opts *o)
{
	*t = (struct transport){
		.kind = o->ctx ? TRANSPORT_TLS : TRANSPORT_PLAIN, .ready = !o->ctx, .own_records = o->own_records,
		.kernel = o->ktls, .fd = fd,
	};
	if (!o->ctx)
		return 0;
	if (o->ktls)
		t->ktls = KTLS_PENDING;
	t->tls = tls_new(o->ctx);
	return t->tls ? 0 : -ENOMEM;
}

/* Its records stay with OpenSSL: servers send tickets behind the handshake. */
int transport_init_client(struct transport *t, int fd, struct tls_ctx *ctx, const char *host, struct outbuf *out)
{
	*t = (struct transport){ .kind = TRANSPORT_TLS, .fd = fd };
	t->tls = tls_new_client(ctx, host);
	return t->tls && tls_handshake(t->tls, &out->o) == -EAGAIN ? 0 : -ENOMEM;
}

void transport_done(struct transport *t)
{
	tls_free(t->tls);
	t->tls = NULL;
	if (t->keys) {
		record_keys_done(t->keys);
		keymem_free(t->keys);
		t->keys = NULL;
	}
	free(t->part);
	t->part = NULL;
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

/* --- records of our own */

/* One record at p; b: what it lies in, NULL if that can't be borrowed. Returns what transport_input does, or
 * -EAGAIN: there may be more. */
static int open_record(struct transport *t, struct rbuf *b, uint8_t *p, size_t n, size_t *used, struct outbuf *out,
		       transport_sink sink, void *ctx)
{
	struct record rec;
	int r = record_open(t->keys, p, n, &rec);

	if (r == -EPROTO && t->keys->alert)
		record_seal_alert(t->keys, t->keys->alert, &out->o);
	if (r <= 0)
		return r ? r : 1;
	*used = rec.used;
	if (rec.n && !sink(ctx, rec.n <= BORROW_MIN ? NULL : b, rec.p, rec.n))
		return -ECANCELED;
	return -EAGAIN;
}

/* Keep the beginning of a record until the rest is there. Returns how many bytes it took. -ENOMEM. */
static ssize_t keep_part(struct transport *t, const uint8_t *p, size_t n)
{
	size_t want = t->part_len < RECORD_HEAD_LEN ? (size_t)RECORD_HEAD_LEN : record_size(t->part, t->part_len);
	size_t take;
	uint8_t *bigger;

	/* A record that says it is too long is refused by its head alone. */
	want = min_of(want, (size_t)RECORD_MAX);
	if (want > t->part_cap) {
		bigger = realloc(t->part, want);
		if (!bigger)
			return -ENOMEM;
		t->part = bigger;
		t->part_cap = (uint32_t)want;
	}
	take = min_of(n, want - t->part_len);
	memcpy(t->part + t->part_len, p, take);
	t->part_len += (uint32_t)take;
	return (ssize_t)take;
}

static int finish_part(struct transport *t, uint8_t **p, size_t *n, struct outbuf *out, transport_sink sink, void *ctx)
{
	ssize_t took;
	size_t used;
	int r = -EAGAIN;

	while (*n && t->part_len) {
		took = keep_part(t, *p, *n);
		if (took < 0)
			return (int)took;
		*p += took;
		*n -= (size_t)took;
		if (t->part_len < RECORD_HEAD_LEN || (t->part_len < record_size(t->part, t->part_len) && took))
			continue;
		t->part_len = 0;
		r = open_record(t, NULL, t->part, t->part_cap, &used, out, sink, ctx);
		if (r != -EAGAIN)
			return r;
		free(t->part);
		t->part = NULL;
		t->part_cap = 0;
	}
	return r;
}

static int records_input(struct transport *t, struct rbuf *b, uint8_t *p, size_t n, struct outbuf *out,
			 transport_sink sink, void *ctx)
{
	size_t used, size;
	ssize_t took;
	int r = finish_part(t, &p, &n, out, sink, ctx);

	while (r == -EAGAIN && n) {
		size = record_size(p, n);
		if ((size && size <= n) || size > RECORD_MAX) {
			used = n;
			r = open_record(t, b, p, n, &used, out, sink, ctx);
			p += used;
			n -= used;
			continue;
		}
		took = keep_part(t, p, n);
		if (took < 0)
			return (int)took;
		p += took;
		n -= (size_t)took;
		r = finish_part(t, &p, &n, out, sink, ctx);
	}
	return r == -EAGAIN ? 0 : r;
}

/* The handshake is done: leave OpenSSL if it is TLS 1.3. Returns whether it did; -ENOMEM. */
static int detach(struct transport *t)
{
	struct record_keys *keys;
	int err;

	t->tls_minor = tls_version(t->tls)[2] == '3' ? 3 : 2;
	if (t->tls_minor != 3 && t->ktls == KTLS_PENDING)
		t->ktls = KTLS_NO_TLS12;
	if ((!t->own_records && t->ktls != KTLS_PENDING) || t->tls_minor != 3)
		return 0;
	keys = keymem_alloc(KEYMEM_KEYS, sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	err = tls_detach(t->tls, keys);
	if (err) {
		keymem_free(keys);
		return err == -ENOTSUP ? 0 : err;
	}
	tls_free(t->tls);
	t->tls = NULL;
	t->keys = keys;
	t->kind = TRANSPORT_RECORDS;
	return 1;
}

/* --- the kernel's records */

size_t transport_recv_max(const struct transport *t)
{
	if (t->ktls != KTLS_PENDING)
		return 0;
	/* The rest of a torn record and nothing behind it, so that there is a border soon. */
	if (t->part_len)
		return (t->part_len < RECORD_HEAD_LEN ? (size_t)RECORD_HEAD_LEN :
			min_of(record_size(t->part, t->part_len), (size_t)RECORD_MAX)) - t->part_len;
	return RBUF_SIZE;
}

/* The stream stands between two records, and nobody receives: give it to the kernel, or know why not. -EPROTO: the
 * kernel took half of it. */
static int hand_over(struct transport *t, const struct outbuf *out)
{
	struct record_keys *k = t->keys;

	if (!t->kernel->suites[k->suite])
		t->ktls = KTLS_NO_SUITE;
	else if (outbuf_len(out))
		t->ktls = KTLS_NO_OUTPUT;
	else if (k->update_due || k->hs_len)
		t->ktls = KTLS_NO_KEY_UPDATE;
	else if (ktls_attach(t->fd) || ktls_set_rx(t->fd, k))
		t->ktls = KTLS_NO_REFUSED;
	if (t->ktls != KTLS_PENDING)
		return 0;
	if (ktls_set_tx(t->fd, k)) {
		k->error = "the kernel took the keys of one direction only";
		return -EPROTO;
	}
	record_keys_hand_over(k, t->kernel->rekey);
	t->kind = TRANSPORT_KTLS;
	t->ktls = KTLS_ON;
	return 0;
}

static int seal_held(struct transport *t, const struct outbuf *held, struct outbuf *out)
{
	struct iovec iov = { held->o.p, outbuf_len(held) };

	return iov.iov_len ? transport_seal(t, &iov, 1, out) : 0;
}

/* Records that were read before the kernel can take over are opened here. What they are answered waits, unsealed,
 * until it is clear who seals it. */
static int pending_input(struct transport *t, struct rbuf *b, uint8_t *p, size_t n, struct outbuf *out,
			 transport_sink sink, void *ctx)
{
	struct outbuf held;
	int r, err;

	outbuf_init(&held, out->mem);
	t->held = &held;
	r = records_input(t, b, p, n, out, sink, ctx);
	if (r != -ECANCELED) {
		t->held = NULL;
		if (!r && !t->part_len)
			r = hand_over(t, out);
		err = r < 0 ? 0 : seal_held(t, &held, out);
		r = err ? err : r;
	}
	outbuf_done(&held);
	return r;
}

static int tell_broken(struct transport *t, enum record_alert alert, const char *why)
{
	const uint8_t body[] = { alert == RECORD_CLOSE_NOTIFY ? 1 : 2, (uint8_t)alert };

	ktls_take_error(t->fd);
	/* It may not fit in any more; the connection ends anyway. */
	ktls_send(t->fd, RECORD_ALERT, body, sizeof(body));
	if (why)
		t->keys->error = why;
	return -EPROTO;
}

static int take_control(struct transport *t)
{
	enum record_type type;
	uint8_t buf[64];	/* more than any record we go on after */
	ssize_t n = ktls_recv(t->fd, &type, buf, sizeof(buf));
	int r;

	if (n < 0)
		return (int)n;
	r = record_take_control(t->keys, type, buf, (size_t)n);
	if (r == -EPROTO && t->keys->alert)
		return tell_broken(t, t->keys->alert, NULL);
	if (r <= 0)
		return r ? r : 1;
	if (type == RECORD_HANDSHAKE && !t->keys->hs_len && ktls_set_rx(t->fd, t->keys))
		return tell_broken(t, RECORD_INTERNAL_ERROR, "the kernel refused the peer's next key");
	return 0;
}

int transport_input_error(struct transport *t, int err)
{
	if (t->kind != TRANSPORT_KTLS)
		return err;
	switch (err) {
	case -EIO:
		return take_control(t);
	case -EBADMSG:
		return tell_broken(t, RECORD_BAD_MAC, "bad record MAC");
	case -EMSGSIZE:
		return tell_broken(t, RECORD_OVERFLOW, "record too long");
	case -EINVAL:
		return tell_broken(t, RECORD_UNEXPECTED_MESSAGE, "no TLS 1.3 record");
	default:
		return err;
	}
}

bool transport_update_due(const struct transport *t)
{
	return t->kind == TRANSPORT_KTLS && t->keys->update_due;
}

bool transport_sent(struct transport *t, size_t n)
{
	if (t->kind != TRANSPORT_KTLS)
		return false;
	/* What wears a key out is blocks; records are smaller than full ones mostly. */
	t->sealed += n;
	if (t->sealed >= t->keys->rekey_after * RECORD_PLAIN_MAX)
		t->keys->update_due = true;
	return t->keys->update_due;
}

int transport_update_keys(struct transport *t)
{
	int err;

	if (!t->kernel->rekey)
		return -EKEYEXPIRED;
	err = ktls_send(t->fd, RECORD_HANDSHAKE, record_key_update, sizeof(record_key_update));
	if (err)
		return err;
	err = record_dir_next(t->keys, &t->keys->wr);
	if (!err)
		err = ktls_set_tx(t->fd, t->keys);
	t->keys->update_due = false;
	t->sealed = 0;
	return err;
}

/* --- all kinds */

static int handshake_input(struct transport *t, struct rbuf *b, size_t n, struct outbuf *out,
			   transport_sink sink, void *ctx)
{
	size_t behind;
	int r = tls_handshake(t->tls, &out->o);

	if (r != 1)
		return r == -EAGAIN ? 0 : r;
	t->ready = true;
	behind = tls_unread(t->tls);
	r = detach(t);
	if (r < 0)
		return r;
	if (r && t->ktls == KTLS_PENDING)
		return pending_input(t, b, b->data + n - behind, behind, out, sink, ctx);
	if (r)
		return records_input(t, b, b->data + n - behind, behind, out, sink, ctx);
	tls_trim(t->tls);
	return tls_input(t, b->pool, out, sink, ctx);
}

int transport_input(struct transport *t, struct rbuf *b, size_t n, struct outbuf *out,
		    transport_sink sink, void *ctx)
{
	switch (t->kind) {
	case TRANSPORT_KTLS:
		if (t->keys->hs_len)
			return tell_broken(t, RECORD_UNEXPECTED_MESSAGE, "record inside a handshake message");
		t->keys->idle = 0;
		/* fall through */
	case TRANSPORT_PLAIN:
		return sink(ctx, b, b->data, n) ? 0 : -ECANCELED;
	case TRANSPORT_RECORDS:
		if (t->ktls == KTLS_PENDING)
			return pending_input(t, b, b->data, n, out, sink, ctx);
		return records_input(t, b, b->data, n, out, sink, ctx);
	case TRANSPORT_TLS:
		break;
	}
	tls_feed(t->tls, b->data, n);
	if (!t->ready)
		return handshake_input(t, b, n, out, sink, ctx);
	return tls_input(t, b->pool, out, sink, ctx);
}

/* Fill records to the brim: many small frames share one. */
static int tls_seal(struct transport *t, const struct iovec *iov, unsigned int n, struct outbuf *out)
{
	uint8_t stage[RECORD_PLAIN_MAX];
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
	if (t->held)
		out = t->held;
	else if (t->kind == TRANSPORT_RECORDS)
		return record_seal(t->keys, iov, n, &out->o);
	if (t->kind == TRANSPORT_TLS)
		return tls_seal(t, iov, n, out);
	for (unsigned int i = 0; i < n; i++)
		if (outbuf_put(out, iov[i].iov_base, iov[i].iov_len))
			return -ENOMEM;
	return 0;
}

const char *transport_error(const struct transport *t)
{
	const char *e = t->keys ? t->keys->error : t->tls ? tls_error(t->tls) : NULL;

	return e ? e : "broken stream";
}

void transport_shutdown(struct transport *t, struct outbuf *out)
{
	static const uint8_t close_notify[] = { 1, RECORD_CLOSE_NOTIFY };

	/* An error alert, ours or theirs, was the last word (RFC 8446 section 6.2). */
	if (t->keys && t->keys->error)
		return;
	if (t->kind == TRANSPORT_RECORDS)
		record_seal_alert(t->keys, RECORD_CLOSE_NOTIFY, &out->o);
	if (t->kind == TRANSPORT_KTLS)
		ktls_send(t->fd, RECORD_ALERT, close_notify, sizeof(close_notify));
	if (t->kind == TRANSPORT_TLS && t->ready)
		tls_shutdown(t->tls, &out->o);
}
