/* SPDX-License-Identifier: BSD-3-Clause */
/* An OpenSSL client over memory, and an out buffer that can refuse to grow. */
#ifndef XDERP_TESTS_TLS_PEER_H
#define XDERP_TESTS_TLS_PEER_H

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "net/tls.h"

struct t_out {
	struct tls_out o;
	size_t limit;		/* of cap; 0: none */
};

static __attribute__((unused)) int t_out_grow(struct tls_out *o, size_t need)
{
	struct t_out *t = container_of(o, struct t_out, o);
	size_t cap = o->len + need;
	uint8_t *p;

	if (t->limit && cap > t->limit)
		return -ENOMEM;
	p = malloc(cap);	/* exactly: one too far is seen */
	if (o->len)
		memcpy(p, o->p, o->len);
	free(o->p);
	o->p = p;
	o->cap = cap;
	return 0;
}

static __attribute__((unused)) void t_out_init(struct t_out *t)
{
	*t = (struct t_out){ .o.grow = t_out_grow };
}

static __attribute__((unused)) void t_out_done(struct t_out *t)
{
	free(t->o.p);
	t_out_init(t);
}

struct t_client {
	SSL_CTX *ctx;
	SSL *ssl;
	BIO *in, *out;		/* owned by ssl */
};

struct t_client_opts {
	int version;		/* 0: any */
	const char *ciphers12, *suites, *sni, *alpn;	/* alpn in wire form */
};

static __attribute__((unused)) void t_client_init(struct t_client *c, const struct t_client_opts *o)
{
	c->ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_security_level(c->ctx, 0);
	SSL_CTX_set_min_proto_version(c->ctx, o->version ? o->version : TLS1_VERSION);
	SSL_CTX_set_max_proto_version(c->ctx, o->version);
	if (o->ciphers12)
		SSL_CTX_set_cipher_list(c->ctx, o->ciphers12);
	if (o->suites)
		SSL_CTX_set_ciphersuites(c->ctx, o->suites);
	if (o->alpn)
		SSL_CTX_set_alpn_protos(c->ctx, (const uint8_t *)o->alpn, (unsigned int)strlen(o->alpn));
	c->ssl = SSL_new(c->ctx);
	c->in = BIO_new(BIO_s_mem());
	c->out = BIO_new(BIO_s_mem());
	BIO_set_mem_eof_return(c->in, -1);
	SSL_set_bio(c->ssl, c->in, c->out);
	if (o->sni)
		SSL_set_tlsext_host_name(c->ssl, o->sni);
	SSL_set_connect_state(c->ssl);
}

static __attribute__((unused)) void t_client_done(struct t_client *c)
{
	SSL_free(c->ssl);
	SSL_CTX_free(c->ctx);
	ERR_clear_error();
}

/* What the client wants to send, in a heap block of exactly that size; the caller frees it. */
static __attribute__((unused)) uint8_t *t_client_take(struct t_client *c, size_t *n)
{
	char *p;
	long k = BIO_get_mem_data(c->out, &p);
	uint8_t *copy = malloc((size_t)k);

	if (k)
		memcpy(copy, p, (size_t)k);
	(void)BIO_reset(c->out);
	*n = (size_t)k;
	return copy;
}

/* Give the client all of out. */
static __attribute__((unused)) void t_client_give(struct t_client *c, struct t_out *out)
{
	if (out->o.len)
		BIO_write(c->in, out->o.p, (int)out->o.len);
	t_out_done(out);
}

/* Handshake with t, step bytes at a time (0: whatever there is). Returns what tls_handshake said last. */
static __attribute__((unused)) int t_handshake(struct t_client *c, struct tls *t, size_t step)
{
	struct t_out out;
	int r = -EAGAIN;
	uint8_t *p;
	size_t n, k;

	t_out_init(&out);
	for (int turn = 0; turn < 10 && r == -EAGAIN; turn++) {
		SSL_do_handshake(c->ssl);
		ERR_clear_error();
		p = t_client_take(c, &n);
		for (size_t off = 0; off < n && r == -EAGAIN; off += k) {
			k = step ? min_of(step, n - off) : n - off;
			tls_feed(t, p + off, k);
			r = tls_handshake(t, &out.o);
		}
		free(p);
		t_client_give(c, &out);
	}
	SSL_do_handshake(c->ssl);
	return r;
}

#endif
