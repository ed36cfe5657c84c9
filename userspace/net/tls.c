/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"
#include "net/cert.h"

#define ERROR_LEN	64

/* AEAD only. The server's order holds, except that a client that puts ChaCha20 first gets it: it has no AES hardware. */
#define CIPHERS_12	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
			"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
			"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_13	"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

struct tls_ctx {
	SSL_CTX *ssl;
	char *hostname;			/* owned; NULL: any name, the certificate is for an address */
	int64_t not_after;
};

struct tls {
	SSL *ssl;
	/* Lent by tls_feed; what OpenSSL did not take by the time it wants more is an error of ours. */
	const uint8_t *in;
	size_t in_len;
	struct tls_out *out;		/* of the call under way */
	bool out_failed, first_seen, got_http;
	char error[ERROR_LEN];
};

/* --- the BIO: reads the lent bytes, writes to the caller's buffer; nothing is copied twice */

static int bio_read(BIO *bio, char *buf, int len)
{
	struct tls *t = BIO_get_data(bio);
	size_t n = min_of((size_t)len, t->in_len);

	BIO_clear_retry_flags(bio);
	if (!n) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(buf, t->in, n);
	t->in += n;
	t->in_len -= n;
	return (int)n;
}

static int bio_write(BIO *bio, const char *buf, int len)
{
	struct tls *t = BIO_get_data(bio);
	struct tls_out *o = t->out;

	BIO_clear_retry_flags(bio);
	if (!o || (o->cap - o->len < (size_t)len && o->grow(o, (size_t)len))) {
		t->out_failed = true;
		return -1;
	}
	memcpy(o->p + o->len, buf, (size_t)len);
	o->len += (size_t)len;
	return len;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_PUSH || cmd == BIO_CTRL_POP;
}

static BIO_METHOD *bio_method(void)
{
	static BIO_METHOD *m;
	BIO_METHOD *n, *none = NULL;

	if (__atomic_load_n(&m, __ATOMIC_ACQUIRE))
		return m;
	n = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "lent");
	if (!n)
		return NULL;
	BIO_meth_set_read(n, bio_read);
	BIO_meth_set_write(n, bio_write);
	BIO_meth_set_ctrl(n, bio_ctrl);
	if (!__atomic_compare_exchange_n(&m, &none, n, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		BIO_meth_free(n);
	return m;
}

/* --- the context */

/* docs/protocol.md section 2.1: who reads this certificate knows the relay's DERP key before its first byte. */
static X509 *meta_certificate(const struct key *derp_public, unsigned int version)
{
	static const uint8_t not_a_ca[] = { 0x30, 0x00 };	/* an empty BasicConstraints sequence */
	char cn[7 + KEY_HEX_LEN + 1] = "derpkey";
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	ASN1_OCTET_STRING *der = ASN1_OCTET_STRING_new();
	ASN1_OBJECT *oid = OBJ_nid2obj(NID_basic_constraints);
	X509_EXTENSION *ext = NULL;
	X509 *x = X509_new();
	X509_NAME *name;
	bool ok;

	key_to_hex(cn + 7, derp_public);
	name = x ? X509_get_subject_name(x) : NULL;
	ok = key && der && name && ASN1_OCTET_STRING_set(der, not_a_ca, sizeof(not_a_ca)) &&
	     (ext = X509_EXTENSION_create_by_OBJ(NULL, oid, 1, der)) &&
	     X509_set_version(x, X509_VERSION_3) && ASN1_INTEGER_set(X509_get_serialNumber(x), (long)version) &&
	     X509_gmtime_adj(X509_getm_notBefore(x), -30L * 86400) &&
	     X509_gmtime_adj(X509_getm_notAfter(x), 30L * 86400) &&
	     /* MBSTRING types refuse names above 64 characters. */
	     X509_NAME_add_entry_by_txt(name, "CN", V_ASN1_PRINTABLESTRING, (const uint8_t *)cn, -1, -1, 0) &&
	     X509_set_issuer_name(x, name) && X509_set_pubkey(x, key) && X509_add_ext(x, ext, -1) &&
	     X509_sign(x, key, NULL);
	X509_EXTENSION_free(ext);
	ASN1_OCTET_STRING_free(der);
	EVP_PKEY_free(key);
	if (ok)
		return x;
	X509_free(x);
	return NULL;
}

/* derper answers a wrong or missing name with internal_error. */
static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	struct tls_ctx *c = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	if (!c->hostname || (name && !strcasecmp(name, c->hostname)))
		return SSL_TLSEXT_ERR_OK;
	*alert = SSL_AD_INTERNAL_ERROR;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* http/1.1 if offered; h2 can't be upgraded. Offers without it are refused, as Go does. */
static int on_alpn(SSL *ssl, const uint8_t **out, uint8_t *outlen, const uint8_t *in, unsigned int inlen, void *arg)
{
	static const uint8_t want[] = "\x08http/1.1";

	(void)ssl;
	(void)arg;
	for (unsigned int i = 0; i < inlen; i += in[i] + 1U) {
		if (i + sizeof(want) - 1 <= inlen && !memcmp(in + i, want, sizeof(want) - 1)) {
			*out = in + i + 1;
			*outlen = 8;
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int fail(char *err, size_t errlen, const char *what, const char *file, const char *fix)
{
	unsigned long e = ERR_peek_last_error();

	snprintf(err, errlen, "%s: %s%s%s; %s", file, what, e ? ": " : "", e ? ERR_reason_error_string(e) : "", fix);
	ERR_clear_error();
	return -EINVAL;
}

static int load_files(struct tls_ctx *c, const struct tls_opts *o, char *err, size_t errlen)
{
	static const char fix[] = "put <hostname>.crt and <hostname>.key into -certdir (both PEM)";

	if (SSL_CTX_use_certificate_chain_file(c->ssl, o->cert_file) != 1)
		return fail(err, errlen, "can't load the certificate", o->cert_file, fix);
	if (SSL_CTX_use_PrivateKey_file(c->ssl, o->key_file, SSL_FILETYPE_PEM) != 1)
		return fail(err, errlen, "can't load the private key", o->key_file, fix);
	if (SSL_CTX_check_private_key(c->ssl) != 1)
		return fail(err, errlen, "does not belong to the certificate", o->key_file, fix);
	return 0;
}

static int64_t to_unix(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : 0;
}

static int check_leaf(struct tls_ctx *c, const struct tls_opts *o, char *err, size_t errlen)
{
	X509 *x = SSL_CTX_get0_certificate(c->ssl);
	bool ip = cert_is_ip(o->hostname);
	int ok = ip ? X509_check_ip_asc(x, o->hostname, 0) : X509_check_host(x, o->hostname, 0, 0, NULL);

	if (ok != 1) {
		snprintf(err, errlen, "%s: the certificate is not valid for -hostname %s; get one that names it or change -hostname",
			 o->cert_file, o->hostname);
		return -EINVAL;
	}
	if (X509_cmp_current_time(X509_get0_notAfter(x)) < 0) {
		snprintf(err, errlen, "%s: the certificate has expired; renew it", o->cert_file);
		return -EINVAL;
	}
	if (X509_cmp_current_time(X509_get0_notBefore(x)) > 0) {
		snprintf(err, errlen, "%s: the certificate is not valid yet; check the clock", o->cert_file);
		return -EINVAL;
	}
	c->not_after = to_unix(X509_get0_notAfter(x));
	return 0;
}

static bool settings(struct tls_ctx *c)
{
	SSL_CTX *s = c->ssl;

	SSL_CTX_set_options(s, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_TICKET |
			       SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(s, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(s, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(s, 0);
	SSL_CTX_set_tlsext_servername_callback(s, on_server_name);
	SSL_CTX_set_tlsext_servername_arg(s, c);
	SSL_CTX_set_alpn_select_cb(s, on_alpn, NULL);
	/* One read takes all that was received; a whole record is in there most of the time. */
	SSL_CTX_set_read_ahead(s, 1);
	return SSL_CTX_set_min_proto_version(s, TLS1_2_VERSION) && SSL_CTX_set_cipher_list(s, CIPHERS_12) &&
	       SSL_CTX_set_ciphersuites(s, CIPHERS_13);
}

int tls_ctx_new(struct tls_ctx **ret, const struct tls_opts *o, char *err, size_t errlen)
{
	struct tls_ctx *c = calloc(1, sizeof(*c));
	X509 *meta = NULL;
	int e = -ENOMEM;

	snprintf(err, errlen, "TLS does not start: out of memory");
	ERR_clear_error();
	if (!c)
		return e;
	c->ssl = SSL_CTX_new(TLS_server_method());
	if (!c->ssl || !bio_method() || !settings(c))
		goto fail;
	e = load_files(c, o, err, errlen);
	if (!e)
		e = check_leaf(c, o, err, errlen);
	if (e)
		goto fail;
	e = -ENOMEM;
	if (!cert_is_ip(o->hostname) && !(c->hostname = strdup(o->hostname)))
		goto fail;
	meta = meta_certificate(o->derp_public, o->derp_version);
	if (!meta || SSL_CTX_add0_chain_cert(c->ssl, meta) != 1)
		goto fail;
	*ret = c;
	return 0;
fail:
	tls_ctx_free(c);
	return e;
}

void tls_ctx_free(struct tls_ctx *c)
{
	if (!c)
		return;
	SSL_CTX_free(c->ssl);
	free(c->hostname);
	free(c);
}

int64_t tls_ctx_not_after(const struct tls_ctx *c)
{
	return c->not_after;
}

/* --- a connection */

struct tls *tls_new(struct tls_ctx *c)
{
	struct tls *t = calloc(1, sizeof(*t));
	BIO *bio = NULL;

	if (!t)
		return NULL;
	t->ssl = SSL_new(c->ssl);
	if (t->ssl)
		bio = BIO_new(bio_method());
	if (!bio) {
		tls_free(t);
		return NULL;
	}
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_accept_state(t->ssl);
	return t;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	free(t);
}

/* A request on the wrong port begins with a method. */
static bool looks_like_http(const uint8_t *p, size_t n)
{
	static const char *const starts[] = { "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "CONNE", "DELET", "PATCH", "TRACE" };

	for (size_t i = 0; n >= 5 && i < ARRAY_SIZE(starts); i++)
		if (!memcmp(p, starts[i], 5))
			return true;
	return false;
}

void tls_feed(struct tls *t, const uint8_t *in, size_t n)
{
	if (!t->first_seen && n) {
		t->first_seen = true;
		t->got_http = looks_like_http(in, n);
	}
	t->in = in;
	t->in_len = n;
}

/* What a call of OpenSSL came to. */
static int outcome(struct tls *t, int r)
{
	unsigned long e;

	t->out = NULL;
	if (t->out_failed)
		return -ENOMEM;
	switch (SSL_get_error(t->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		e = ERR_peek_error();
		snprintf(t->error, sizeof(t->error), "%s", e && ERR_reason_error_string(e) ? ERR_reason_error_string(e) : "broken stream");
		ERR_clear_error();
		return -EPROTO;
	}
}

int tls_handshake(struct tls *t, struct tls_out *out)
{
	int r;

	if (t->got_http) {
		snprintf(t->error, sizeof(t->error), "http request");
		return -EPROTO;
	}
	ERR_clear_error();
	t->out = out;
	r = SSL_do_handshake(t->ssl);
	if (r == 1) {
		t->out = NULL;
		return t->out_failed ? -ENOMEM : 1;
	}
	r = outcome(t, r);
	return r == 0 ? -EPROTO : r;
}

ssize_t tls_read(struct tls *t, uint8_t *buf, size_t cap, struct tls_out *out)
{
	size_t have = 0;
	int r = 1;

	ERR_clear_error();
	t->out = out;
	/* SSL_read gives one record at a time: gather as many as fit, so that frames are seen together. */
	while (have < cap) {
		r = SSL_read(t->ssl, buf + have, (int)(cap - have));
		if (r <= 0)
			break;
		have += (size_t)r;
	}
	if (have) {
		t->out = NULL;
		return (ssize_t)have;
	}
	return outcome(t, r);
}

int tls_write(struct tls *t, const uint8_t *p, size_t n, struct tls_out *out)
{
	int r;

	if (!n)
		return 0;
	ERR_clear_error();
	t->out = out;
	/* All or nothing: the BIO takes whatever comes, or fails for good. */
	r = SSL_write(t->ssl, p, (int)n);
	if (r == (int)n) {
		t->out = NULL;
		return 0;
	}
	r = outcome(t, r);
	return r == -ENOMEM ? r : -EPROTO;
}

void tls_shutdown(struct tls *t, struct tls_out *out)
{
	ERR_clear_error();
	t->out = out;
	SSL_shutdown(t->ssl);
	t->out = NULL;
	ERR_clear_error();
}

bool tls_got_http(const struct tls *t)
{
	return t->got_http;
}

const char *tls_error(const struct tls *t)
{
	return t->error;
}

const char *tls_version(const struct tls *t)
{
	return SSL_version(t->ssl) == TLS1_3_VERSION ? "1.3" : "1.2";
}

const char *tls_cipher(const struct tls *t)
{
	return SSL_get_cipher_name(t->ssl);
}

void tls_trim(struct tls *t)
{
	/* Read and write buffers go back as soon as they are empty (SSL_MODE_RELEASE_BUFFERS). */
	SSL_free_buffers(t->ssl);
}
