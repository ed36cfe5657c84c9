/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/tls.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "net/cert.h"
#include "net/cert_load.h"
#include "net/keyscope.h"
#include "net/meta_cert.h"
#include "net/provider.h"
#include "net/record.h"

/* AEAD only. Our order holds, except that a client that puts ChaCha20 first gets it: it has no
 * AES hardware. */
#define CIPHERS_12	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
			"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
			"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_13	"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
/* What Go offers; finite-field groups would let a client buy our time cheaply. */
#define GROUPS		"X25519:P-256:P-384:P-521"

#define HEAD_LEN	5	/* of a record; of what is looked at to tell HTTP from TLS */
#define STACK_WIPED	8192
#define RECORD_EXTRA	32U	/* head, explicit nonce, content type and tag: at most 29 */

struct tls_ctx {
	SSL_CTX *ssl;
	char *hostname;			/* owned; NULL: any name, the certificate is for an address */
	int64_t not_after;
	unsigned int shares;		/* atomic: connections of all shards, and the owner */
};

struct tls {
	SSL *ssl;
	struct tls_ctx *ctx;		/* a share */
	const uint8_t *in;		/* lent; what OpenSSL did not take yet */
	size_t in_len;
	struct tls_out *out;		/* of the call under way */
	int outer_scope;		/* likewise */
	const char *error, *version, *cipher;	/* static */
	int ended;			/* 1 until reading or writing came to an end for good: then 0 or -errno */
	bool no_room;			/* out could not grow */
	bool used;			/* OpenSSL counts records: too late to take over */
	uint8_t head_len;
	uint8_t head[HEAD_LEN];		/* the first bytes of the stream */
	struct traffic_secrets secrets;	/* of TLS 1.3, until trimmed, detached or freed */
};

/* --- the BIO: reads the lent bytes, writes to the caller's buffer; nothing is copied twice */

static void keep_head(struct tls *t, const uint8_t *p, size_t n)
{
	size_t k = min_of(n, (size_t)(HEAD_LEN - t->head_len));

	memcpy(t->head + t->head_len, p, k);
	t->head_len += (uint8_t)k;
}

static int bio_read(BIO *bio, char *buf, int len)
{
	struct tls *t = BIO_get_data(bio);
	size_t n = min_of((size_t)len, t->in_len);

	BIO_clear_retry_flags(bio);
	if (!n) {
		BIO_set_retry_read(bio);
		return -1;
	}
	keep_head(t, t->in, n);
	memcpy(buf, t->in, n);
	t->in += n;
	t->in_len -= n;
	return (int)n;
}

static int out_reserve(struct tls_out *o, size_t n)
{
	return o->cap - o->len < n ? o->grow(o, n) : 0;
}

static int bio_write(BIO *bio, const char *buf, int len)
{
	struct tls *t = BIO_get_data(bio);
	struct tls_out *o = t->out;

	BIO_clear_retry_flags(bio);
	if (out_reserve(o, (size_t)len)) {
		t->no_room = true;
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

/* Connections outlive the context they came from, so the method is the process's. */
static BIO_METHOD *lent_method;

static void make_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "lent");

	if (!m)
		return;
	BIO_meth_set_read(m, bio_read);
	BIO_meth_set_write(m, bio_write);
	BIO_meth_set_ctrl(m, bio_ctrl);
	lent_method = m;
}

static const BIO_METHOD *bio_method(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_method);
	return lent_method;
}

/* --- the context */

/* derper answers a wrong or missing name, also one in upper case, with internal_error. */
static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	struct tls *t = SSL_get_app_data(ssl);
	const char *want = t->ctx->hostname;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)arg;
	if (!want || (name && !strcmp(name, want)))
		return SSL_TLSEXT_ERR_OK;
	t->error = "wrong server name";
	*alert = SSL_AD_INTERNAL_ERROR;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* http/1.1 if offered; h2 can't be upgraded. Offers without it are refused, as Go does. */
static int on_alpn(SSL *ssl, const uint8_t **out, uint8_t *outlen, const uint8_t *in,
		   unsigned int inlen, void *arg)
{
	static const uint8_t want[] = "\x08http/1.1";

	(void)ssl;
	(void)arg;
	/* OpenSSL checked that the lengths add up. */
	for (unsigned int i = 0; i < inlen; i += in[i] + 1U) {
		if (inlen - i < sizeof(want) - 1 || memcmp(in + i, want, sizeof(want) - 1))
			continue;
		*out = in + i + 1;
		*outlen = in[i];
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void take_secret(uint8_t ret[static RECORD_SECRET_MAX], const char *line)
{
	size_t n;

	/* "LABEL client-random secret" */
	OPENSSL_hexstr2buf_ex(ret, RECORD_SECRET_MAX, &n, strrchr(line, ' ') + 1, '\0');
}

/* The one way to the traffic secrets that OpenSSL offers, where the key schedule is its own. */
static void on_keylog(const SSL *ssl, const char *line)
{
	struct tls *t = SSL_get_app_data(ssl);

	if (!strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24))
		take_secret(t->secrets.client, line);
	else if (!strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24))
		take_secret(t->secrets.server, line);
}

static bool settings(SSL_CTX *s)
{
	SSL_CTX_set_options(s, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_TICKET |
			       SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(s, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_session_cache_mode(s, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(s, 0);
	SSL_CTX_set_tlsext_servername_callback(s, on_server_name);
	SSL_CTX_set_alpn_select_cb(s, on_alpn, NULL);
	return SSL_CTX_set_min_proto_version(s, TLS1_2_VERSION) && SSL_CTX_set_max_proto_version(s, 0) &&
	       SSL_CTX_set_cipher_list(s, CIPHERS_12) && SSL_CTX_set_ciphersuites(s, CIPHERS_13) &&
	       SSL_CTX_set1_groups_list(s, GROUPS);
}

static bool add_meta_cert(SSL_CTX *s, const struct tls_opts *o)
{
	X509 *x = meta_cert_new(o->derp_public, o->derp_version);

	if (x && SSL_CTX_add0_chain_cert(s, x) == 1)
		return true;
	X509_free(x);
	return false;
}

int tls_ctx_new(struct tls_ctx **ret, const struct tls_opts *o, char *err, size_t errlen)
{
	struct tls_ctx *c = calloc(1, sizeof(*c));
	bool watch;
	int e;

	if (!c)
		goto no_memory;
	c->shares = 1;
	watch = provider_load();
	c->ssl = SSL_CTX_new_ex(NULL, PROVIDER_QUERY, TLS_server_method());
	if (c->ssl && !watch)
		SSL_CTX_set_keylog_callback(c->ssl, on_keylog);
	if (!c->ssl || !bio_method() || !settings(c->ssl))
		goto no_memory;
	if (!cert_is_ip(o->hostname)) {
		c->hostname = strdup(o->hostname);
		if (!c->hostname)
			goto no_memory;
	}
	e = o->cert_file ? cert_load(c->ssl, o, &c->not_after, err, errlen) : 0;
	if (e)
		goto fail;
	if (o->cert_file && !add_meta_cert(c->ssl, o))
		goto no_memory;
	*ret = c;
	return 0;
no_memory:
	ERR_clear_error();
	snprintf(err, errlen, "TLS can't start: out of memory");
	e = -ENOMEM;
fail:
	tls_ctx_free(c);
	return e;
}

/* OpenSSL works extensions out when a certificate is first used; the roots are shared by threads, so do it now. */
static void warm_roots(SSL_CTX *s)
{
	STACK_OF(X509_OBJECT) *roots = X509_STORE_get0_objects(SSL_CTX_get_cert_store(s));
	X509 *x;

	for (int i = 0; i < sk_X509_OBJECT_num(roots); i++) {
		x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(roots, i));
		if (x)
			X509_check_purpose(x, -1, 0);
	}
	ERR_clear_error();
}

static bool client_settings(SSL_CTX *s)
{
	SSL_CTX_set_options(s, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(s, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(s, SSL_VERIFY_PEER, NULL);
	return SSL_CTX_set_default_verify_paths(s) && SSL_CTX_set_min_proto_version(s, TLS1_2_VERSION) &&
	       SSL_CTX_set_cipher_list(s, CIPHERS_12) && SSL_CTX_set_ciphersuites(s, CIPHERS_13) &&
	       SSL_CTX_set1_groups_list(s, GROUPS);
}

int tls_ctx_new_client(struct tls_ctx **ret, char *err, size_t errlen)
{
	struct tls_ctx *c = calloc(1, sizeof(*c));

	if (c) {
		c->shares = 1;
		c->ssl = SSL_CTX_new(TLS_client_method());
	}
	if (!c || !c->ssl || !bio_method() || !client_settings(c->ssl)) {
		ERR_clear_error();
		snprintf(err, errlen, "TLS can't start for connections to others: out of memory, or an OpenSSL "
			 "that is set up without TLS 1.2 and the suites DERP needs");
		tls_ctx_free(c);
		return -ENOMEM;
	}
	warm_roots(c->ssl);
	*ret = c;
	return 0;
}

void tls_ctx_free(struct tls_ctx *c)
{
	if (!c || __atomic_sub_fetch(&c->shares, 1, __ATOMIC_ACQ_REL))
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

static struct tls *connection_new(struct tls_ctx *c)
{
	struct tls *t = keymem_alloc(KEYMEM_WORK, sizeof(*t));
	int outer;
	BIO *bio;

	if (!t)
		return NULL;
	t->ended = 1;
	t->error = t->version = t->cipher = "";
	t->ctx = c;
	__atomic_add_fetch(&c->shares, 1, __ATOMIC_RELAXED);
	outer = keyscope_enter(KEYMEM_WORK);
	t->ssl = SSL_new(c->ssl);
	bio = BIO_new(bio_method());
	keyscope_leave(outer);
	if (!t->ssl || !bio) {
		BIO_free(bio);
		tls_free(t);
		ERR_clear_error();
		return NULL;
	}
	SSL_set_app_data(t->ssl, t);
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	return t;
}

struct tls *tls_new(struct tls_ctx *c)
{
	struct tls *t = connection_new(c);

	if (t)
		SSL_set_accept_state(t->ssl);
	return t;
}

/* Only subject alternative names count, as in Go; addresses are not sent as a server name (RFC 6066 section 3). */
static bool expect_name(SSL *ssl, const char *host)
{
	X509_VERIFY_PARAM *p = SSL_get0_param(ssl);

	X509_VERIFY_PARAM_set_hostflags(p, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (cert_is_ip(host))
		return X509_VERIFY_PARAM_set1_ip_asc(p, host) == 1;
	return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

struct tls *tls_new_client(struct tls_ctx *c, const char *host)
{
	struct tls *t = connection_new(c);

	if (!t)
		return NULL;
	SSL_set_connect_state(t->ssl);
	if (expect_name(t->ssl, host))
		return t;
	tls_free(t);
	ERR_clear_error();
	return NULL;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	tls_ctx_free(t->ctx);
	keymem_free(t);
}

void tls_feed(struct tls *t, const uint8_t *in, size_t n)
{
	assert(!t->in_len || t->ended != 1);
	t->in = in;
	t->in_len = n;
}

static void begin(struct tls *t, struct tls_out *out)
{
	t->outer_scope = keyscope_enter(KEYMEM_WORK);
	ERR_clear_error();
	t->out = out;
	t->used = SSL_is_init_finished(t->ssl);
	provider_watch(&t->secrets);
}

/* OpenSSL leaves keys on its stack, to be overwritten by whatever comes next. 200 ns. */
static __attribute__((noinline)) void wipe_stack(void)
{
	uint8_t below[STACK_WIPED];

	explicit_bzero(below, sizeof(below));
}

static void end(struct tls *t)
{
	wipe_stack();
	t->out = NULL;
	provider_watch(NULL);
	keyscope_leave(t->outer_scope);
}

/* What a call of OpenSSL that answered r came to: 1, -EAGAIN, or the end. */
static int outcome(struct tls *t, int r)
{
	const char *why;
	int e;

	end(t);
	if (t->no_room) {
		t->error = "out of memory";
		return t->ended = -ENOMEM;
	}
	if (r > 0)
		return 1;
	e = SSL_get_error(t->ssl, r);
	if (e == SSL_ERROR_WANT_READ)
		return -EAGAIN;
	if (e == SSL_ERROR_ZERO_RETURN)
		return t->ended = 0;
	why = ERR_reason_error_string(ERR_peek_error());
	if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED)
		why = X509_verify_cert_error_string(SSL_get_verify_result(t->ssl));
	if (!*t->error)
		t->error = why ? why : "broken stream";
	ERR_clear_error();
	return t->ended = -EPROTO;
}

int tls_handshake(struct tls *t, struct tls_out *out)
{
	int r;

	if (t->ended != 1)
		return t->ended ? t->ended : -EPROTO;
	begin(t, out);
	r = outcome(t, SSL_do_handshake(t->ssl));
	if (r == 1) {
		/* Until here only whole records were pulled; from now on all there is. */
		SSL_set_read_ahead(t->ssl, 1);
		t->version = SSL_version(t->ssl) == TLS1_3_VERSION ? "1.3" : "1.2";
		t->cipher = SSL_CIPHER_standard_name(SSL_get_current_cipher(t->ssl));
		return 1;
	}
	return r ? r : -EPROTO;
}

ssize_t tls_read(struct tls *t, uint8_t *buf, size_t cap, struct tls_out *out)
{
	size_t have = 0;
	int r = t->ended;

	/* OpenSSL gives one record at a time: gather as many as fit, so that frames are seen together. */
	while (t->ended == 1 && have < cap) {
		begin(t, out);
		r = SSL_read(t->ssl, buf + have, (int)min_of(cap - have, (size_t)INT_MAX));
		if (r > 0)
			have += (size_t)r;
		r = outcome(t, r);
		if (r == -EAGAIN)
			break;
	}
	return have ? (ssize_t)have : r;
}

/* All or nothing: the BIO takes whatever comes, or fails for good. */
int tls_write(struct tls *t, const uint8_t *p, size_t n, struct tls_out *out)
{
	int r;

	assert(n <= INT_MAX);
	if (t->ended < 0)
		return t->ended;
	if (!n)
		return 0;
	begin(t, out);
	t->no_room = out_reserve(out, n + (n / RECORD_PLAIN_MAX + 1) * RECORD_EXTRA) != 0;
	r = outcome(t, t->no_room ? -1 : SSL_write(t->ssl, p, (int)n));
	return r == 1 ? 0 : r == -ENOMEM ? r : -EPROTO;
}

void tls_shutdown(struct tls *t, struct tls_out *out)
{
	if (t->ended < 0 || !SSL_is_init_finished(t->ssl))
		return;
	begin(t, out);
	SSL_shutdown(t->ssl);
	ERR_clear_error();
	end(t);
}

bool tls_got_http(const struct tls *t)
{
	static const char starts[][HEAD_LEN + 1] = { "GET /", "HEAD ", "POST ", "PUT /", "OPTIO" };

	for (size_t i = 0; t->head_len == HEAD_LEN && i < ARRAY_SIZE(starts); i++)
		if (!memcmp(t->head, starts[i], HEAD_LEN))
			return true;
	return false;
}

const char *tls_error(const struct tls *t)
{
	return t->error;
}

const char *tls_version(const struct tls *t)
{
	return t->version;
}

const char *tls_cipher(const struct tls *t)
{
	return t->cipher;
}

void tls_trim(struct tls *t)
{
	/* Read and write buffers go back as soon as they are empty (SSL_MODE_RELEASE_BUFFERS). */
	SSL_free_buffers(t->ssl);
	OPENSSL_cleanse(&t->secrets, sizeof(t->secrets));
}

int tls_detach(struct tls *t, struct record_keys *ret)
{
	static const uint32_t ids[AEAD_SUITE_NR] = {
		[AEAD_AES_128_GCM]	 = TLS1_3_CK_AES_128_GCM_SHA256,
		[AEAD_AES_256_GCM]	 = TLS1_3_CK_AES_256_GCM_SHA384,
		[AEAD_CHACHA20_POLY1305] = TLS1_3_CK_CHACHA20_POLY1305_SHA256,
	};
	uint32_t id = (uint32_t)SSL_CIPHER_get_id(SSL_get_current_cipher(t->ssl));
	enum aead_suite s = 0;
	int err;

	assert(!t->used && SSL_is_init_finished(t->ssl));
	while (s < AEAD_SUITE_NR && ids[s] != id)
		s++;
	if (s == AEAD_SUITE_NR)
		return -ENOTSUP;
	/* No ticket was sent and no record read, so both directions count from zero. */
	err = record_keys_init(ret, s, AEAD_AUTO, t->secrets.client, t->secrets.server);
	if (err)
		return err;
	SSL_free(t->ssl);
	t->ssl = NULL;
	OPENSSL_cleanse(&t->secrets, sizeof(t->secrets));
	return 0;
}

size_t tls_unread(const struct tls *t)
{
	return t->in_len;
}
