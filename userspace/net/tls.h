/* SPDX-License-Identifier: BSD-3-Clause */
/* TLS 1.2/1.3 over memory, server and client side, by OpenSSL: never blocks, never touches a socket. A context
 * is shared by all shards (OpenSSL counts references); a connection belongs to one shard. */
#ifndef XDERP_TLS_H
#define XDERP_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/key.h"

struct opener;
struct tls_ctx;
struct tls;
struct record_keys;

struct tls_opts {
	const char *hostname;		/* SNI must equal it exactly (else alert 80), unless it is an IP address */
	const char *cert_file;		/* PEM: leaf, then intermediates; NULL: there is no certificate, all handshakes fail */
	const char *key_file;
	struct opener *opener;		/* opens them; borrowed, may be NULL */
	const struct key *derp_public;	/* for the meta certificate */
	unsigned int derp_version;	/* its serial */
};

/* Load, check (key matches, leaf valid for hostname now) and build. On failure returns -errno and a sentence in
 * err naming the file and what is wrong with it. */
int tls_ctx_new(struct tls_ctx **ret, const struct tls_opts *o, char *err, size_t errlen);
/* For connections to others: their certificates are checked against the system's roots (SSL_CERT_FILE, SSL_CERT_DIR). */
int tls_ctx_new_client(struct tls_ctx **ret, char *err, size_t errlen);
/* Gives up the caller's share: connections keep theirs, so a context can be replaced at any time. */
void tls_ctx_free(struct tls_ctx *c);
int64_t tls_ctx_not_after(const struct tls_ctx *c);	/* leaf expiry, Unix seconds; 0: no certificate */

/* Where ciphertext to send is put: grows by calling grow(), which must leave room for at least need more bytes at p+len
 * or return -ENOMEM. */
struct tls_out {
	uint8_t *p;
	size_t len, cap;
	int (*grow)(struct tls_out *o, size_t need);
};

struct tls *tls_new(struct tls_ctx *c);		/* NULL: out of memory */
/* The client side, of a context of its own kind; host is what the certificate must be valid for: a name, which is sent too, or
 * an address. tls_handshake() speaks first; tls_detach() must not be called: servers send tickets. */
struct tls *tls_new_client(struct tls_ctx *c, const char *host);
void tls_free(struct tls *t);			/* takes NULL; wipes */

/* Lend n received bytes; they are consumed by the calls below, which copy nothing they do not need.
 * All lent bytes are taken in by the time one of them answers -EAGAIN; feed no more before that. */
void tls_feed(struct tls *t, const uint8_t *in, size_t n);

/* Advance the handshake; output (also alerts) goes to out. 1: done; -EAGAIN: wants more input; -EPROTO: failed, send out
 * and close (tls_error says why); -ENOMEM. */
int tls_handshake(struct tls *t, struct tls_out *out);

/* Decrypt into buf. > 0 bytes; 0: close_notify; -EAGAIN: wants more input; -EPROTO: broken (alert in out); out
 * also takes answers to KeyUpdate. */
ssize_t tls_read(struct tls *t, uint8_t *buf, size_t cap, struct tls_out *out);

/* Seal n bytes (any n: split into records of at most 16 KiB). 0 or -EPROTO/-ENOMEM. */
int tls_write(struct tls *t, const uint8_t *p, size_t n, struct tls_out *out);
void tls_shutdown(struct tls *t, struct tls_out *out);	/* close_notify */

/* The first bytes were a plain HTTP request (tls_handshake failed, out is untouched): answer as derper does and close. */
bool tls_got_http(const struct tls *t);
const char *tls_error(const struct tls *t);	/* short and static: "no shared cipher" ...; "" if nothing failed */
const char *tls_version(const struct tls *t);	/* "1.2", "1.3" once the handshake is done */
const char *tls_cipher(const struct tls *t);

/* Drop what a finished handshake no longer needs. */
void tls_trim(struct tls *t);

/* Take a TLS 1.3 connection over from OpenSSL (net/record.h): right after tls_handshake() answered 1 and instead of
 * tls_trim, tls_read, tls_write and tls_shutdown, which must not be called any more. What stays of t answers
 * tls_version, tls_cipher and tls_unread. -ENOTSUP: not TLS 1.3, go on as before; -ENOMEM. */
int tls_detach(struct tls *t, struct record_keys *ret);
/* How many of the lent bytes, at their end, were not taken: after a handshake, the first records behind it. */
size_t tls_unread(const struct tls *t);

#endif
