/* SPDX-License-Identifier: BSD-3-Clause */
/* What lies between a connection's plaintext and its socket. The relay sees only this: received bytes
 * go in and plaintext comes out at a sink; plaintext to send is sealed into an out buffer, or, where there
 * is nothing to seal, goes to the socket from where it lies. One shard's thread only. */
#ifndef XDERP_TRANSPORT_H
#define XDERP_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/slab.h"
#include "net/rbuf.h"
#include "net/tls.h"

struct record_keys;
struct ktls_support;

/* Bytes for the socket, from a slab, held only while there are any. */
struct outbuf {
	struct tls_out o;	/* first: tls calls grow() with it */
	struct slab *mem;
	uint32_t off;		/* bytes the kernel took */
	uint8_t cls;
};

void outbuf_init(struct outbuf *b, struct slab *mem);
void outbuf_done(struct outbuf *b);
int outbuf_put(struct outbuf *b, const void *p, size_t n);
/* The kernel took n more bytes; an empty buffer gives its memory back. */
void outbuf_consume(struct outbuf *b, size_t n);

static inline size_t outbuf_len(const struct outbuf *b)
{
	return b->o.len - b->off;
}

enum transport_kind {
	TRANSPORT_PLAIN,
	TRANSPORT_TLS,		/* OpenSSL: every handshake, and TLS 1.2 or --records=openssl afterwards */
	TRANSPORT_RECORDS,	/* TLS 1.3 after the handshake: record.h */
	TRANSPORT_KTLS,		/* the same, in the kernel: ktls.h */
};

/* Why a TLS connection did not get to the kernel although it was meant to. X(enum suffix, label, help). */
#define KTLS_FALLBACKS(X)									\
	X(TLS12,	"tls12",	"TLS 1.2, which stays with OpenSSL")			\
	X(SUITE,	"suite",	"a cipher the kernel does not have")			\
	X(OUTPUT,	"output",	"sealed bytes still waited for a full socket")		\
	X(KEY_UPDATE,	"key_update",	"the client changed keys before its first frame")	\
	X(REFUSED,	"refused",	"the kernel refused the socket or the keys")

enum ktls_state {
	KTLS_OFF,		/* not wanted */
	KTLS_PENDING,		/* the kernel takes over at the next border between records */
	KTLS_ON,
#define X(id, label, help) KTLS_NO_##id,
	KTLS_FALLBACKS(X)
#undef X
	KTLS_STATE_NR
};
#define KTLS_FALLBACK_NR	(KTLS_STATE_NR - KTLS_ON - 1)

struct transport {
	enum transport_kind kind;
	bool ready;		/* handshake done, or none needed */
	bool own_records;	/* leave OpenSSL behind after the handshake where possible */
	uint8_t ktls;		/* enum ktls_state */
	uint8_t tls_minor;	/* 2 or 3 once ready; 0: plain */
	struct tls *tls;	/* owned; TRANSPORT_TLS only */
	struct record_keys *keys;	/* owned; TRANSPORT_RECORDS and TRANSPORT_KTLS only */
	const struct ktls_support *kernel;	/* NULL: no kTLS wanted */
	struct outbuf *held;	/* while it is open who seals: plaintext to send */
	uint64_t sealed;	/* TRANSPORT_KTLS: bytes sealed with the kernel's present key */
	int fd;			/* borrowed */
	/* A record that is not all there yet: memory as long as it says it is, at most RECORD_MAX. */
	uint8_t *part;		/* owned */
	uint32_t part_len, part_cap;
};

struct transport_opts {
	struct tls_ctx *ctx;		/* NULL: plain */
	bool own_records;
	const struct ktls_support *ktls;	/* NULL: never; must outlive the transport */
};

/* -ENOMEM. fd stays the caller's. */
int transport_init(struct transport *t, int fd, const struct transport_opts *o);
/* The client side, to a server whose certificate is valid for host: its first flight goes to out. -ENOMEM. */
int transport_init_client(struct transport *t, int fd, struct tls_ctx *ctx, const char *host, struct outbuf *out);
void transport_done(struct transport *t);

/* Takes n bytes of plaintext at p, which lie in b; may keep them by taking references to b, or must copy them if b is NULL. Returns
 * false to stop: the connection was closed, t may be gone. */
typedef bool (*transport_sink)(void *ctx, struct rbuf *b, uint8_t *p, size_t n);

/* n received bytes at b->data. Returns 0; 1: the peer closed its side in order (close_notify); -EPROTO: the stream is
 * broken (an alert may be in out); -ENOMEM; -ECANCELED: sink said stop. Handshake answers go to out. */
int transport_input(struct transport *t, struct rbuf *b, size_t n, struct outbuf *out,
		    transport_sink sink, void *ctx);

/* A receive failed with err. Under kTLS that may be a record that is no data, or a broken one: then this
 * returns what transport_input does, 0 meaning that receiving goes on; -EKEYEXPIRED: the peer wants new keys, which this
 * kernel can't set: end the connection in order. Any other error comes back as it is. */
int transport_input_error(struct transport *t, int err);
/* How to receive: 0, whatever comes; else one receive of at most so many bytes, then ask again. */
size_t transport_recv_max(const struct transport *t);

/* Must what is sent be sealed into out first? If not, iovecs go to the socket as they are. */
static inline bool transport_seals(const struct transport *t)
{
	return t->kind == TRANSPORT_TLS || t->kind == TRANSPORT_RECORDS;
}

/* Seal all of iov into out, or copy it there if plain. -ENOMEM, -EPROTO: nothing usable. */
int transport_seal(struct transport *t, const struct iovec *iov, unsigned int n, struct outbuf *out);

/* n bytes that needed no sealing here went to the socket. Returns whether new keys are due before more of them. */
bool transport_sent(struct transport *t, size_t n);
/* Under kTLS, nothing in flight: tell the peer and change keys. 0; -EAGAIN: the socket is full; -EKEYEXPIRED: this kernel
 * can't; other -errno. */
int transport_update_keys(struct transport *t);
bool transport_update_due(const struct transport *t);

/* Short and static: why transport_input answered -EPROTO. */
const char *transport_error(const struct transport *t);

/* What the protocol says last (close_notify) goes to out. */
void transport_shutdown(struct transport *t, struct outbuf *out);

#endif
