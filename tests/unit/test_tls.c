/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/unit.h"

#include "lib/certs.h"
#include "lib/tls_peer.h"

#define HOST	"derp.example.com"
#define MANY	70000

static struct world {
	char *dir;
	char crt[128], key[128];
	struct tls_ctx *ctx;
	struct key derp;
	uint8_t data[MANY], got[MANY + 1];
} w;

static int try_ctx(struct tls_ctx **ret, const char *host, char *err, size_t errlen)
{
	struct tls_opts o = { .hostname = host, .cert_file = w.crt, .key_file = w.key,
			      .derp_public = &w.derp, .derp_version = 2 };

	return tls_ctx_new(ret, &o, err, errlen);
}

static struct tls_ctx *ctx_for(const char *host, const char *san)
{
	struct t_cert c = { .cn = host, .san = san };
	struct tls_ctx *ctx;
	char err[256];

	t_cert_write(&c, w.crt, w.key);
	if (try_ctx(&ctx, host, err, sizeof(err)))
		t_cert_die(err);
	return ctx;
}

static int set_up(void **state)
{
	(void)state;
	w.dir = t_dir_new();
	snprintf(w.crt, sizeof(w.crt), "%s/a.crt", w.dir);
	snprintf(w.key, sizeof(w.key), "%s/a.key", w.dir);
	for (size_t i = 0; i < KEY_LEN; i++)
		w.derp.b[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < MANY; i++)
		w.data[i] = (uint8_t)(i * 31 + i / 256);
	w.ctx = ctx_for(HOST, "DNS:" HOST);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	tls_ctx_free(w.ctx);
	t_dir_free(w.dir);
	return 0;
}

/* A finished handshake. */
static struct tls *connected(struct t_client *c, const struct t_client_opts *o)
{
	struct tls *t = tls_new(w.ctx);

	t_client_init(c, o);
	assert_int_equal(1, t_handshake(c, t, 0));
	tls_trim(t);
	return t;
}

static void disconnect(struct t_client *c, struct tls *t)
{
	t_client_done(c);
	tls_free(t);
}

static void client_sends(struct t_client *c, struct tls *t, size_t n)
{
	struct t_out out;
	size_t k, have = 0;
	ssize_t r;
	uint8_t *p;

	assert_int_equal(n, SSL_write(c->ssl, w.data, (int)n));
	p = t_client_take(c, &k);
	t_out_init(&out);
	tls_feed(t, p, k);
	while ((r = tls_read(t, w.got + have, sizeof(w.got) - have, &out.o)) > 0)
		have += (size_t)r;
	assert_int_equal(-EAGAIN, r);
	free(p);
	t_client_give(c, &out);
	assert_int_equal(n, have);
	assert_memory_equal(w.data, w.got, n);
}

static size_t count_records(const uint8_t *p, size_t n)
{
	size_t records = 0;

	for (size_t off = 0; off < n; records++) {
		assert_true(n - off >= 5);
		assert_int_equal(0x17, p[off]);
		assert_true(get_be16(p + off + 3) <= 16384 + 24);
		off += 5U + get_be16(p + off + 3);
		assert_true(off <= n);
	}
	return records;
}

/* In as few records as possible, and extra ones that hold no data. */
static void server_sends_with(struct t_client *c, struct tls *t, size_t n, size_t extra)
{
	struct t_out out;
	size_t have = 0;
	int r;

	t_out_init(&out);
	assert_int_equal(0, tls_write(t, w.data, n, &out.o));
	assert_int_equal((n + 16383) / 16384 + extra, count_records(out.o.p, out.o.len));
	t_client_give(c, &out);
	while ((r = SSL_read(c->ssl, w.got + have, (int)(sizeof(w.got) - have))) > 0)
		have += (size_t)r;
	assert_int_equal(SSL_ERROR_WANT_READ, SSL_get_error(c->ssl, r));
	assert_int_equal(n, have);
	assert_memory_equal(w.data, w.got, n);
}

static void server_sends(struct t_client *c, struct tls *t, size_t n)
{
	server_sends_with(c, t, n, 0);
}

/* --- each version and suite, whole and byte by byte */

static const struct suite_case {
	const char *name, *cipher;
	int version;
	size_t step;
	const char *openssl;	/* for 1.2 */
} suites[] = {
	{ "1.3 AES-128-GCM", "TLS_AES_128_GCM_SHA256", TLS1_3_VERSION, 0 },
	{ "1.3 AES-256-GCM", "TLS_AES_256_GCM_SHA384", TLS1_3_VERSION, 0 },
	{ "1.3 ChaCha20", "TLS_CHACHA20_POLY1305_SHA256", TLS1_3_VERSION, 0 },
	{ "1.2 AES-128-GCM", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", TLS1_2_VERSION, 0,
	  "ECDHE-ECDSA-AES128-GCM-SHA256" },
	{ "1.2 AES-256-GCM", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", TLS1_2_VERSION, 0,
	  "ECDHE-ECDSA-AES256-GCM-SHA384" },
	{ "1.2 ChaCha20", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", TLS1_2_VERSION, 0,
	  "ECDHE-ECDSA-CHACHA20-POLY1305" },
	{ "1.3 byte by byte", "TLS_AES_128_GCM_SHA256", TLS1_3_VERSION, 1 },
	{ "1.2 byte by byte", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", TLS1_2_VERSION, 1,
	  "ECDHE-ECDSA-AES128-GCM-SHA256" },
};

static void test_suite(void **state)
{
	const struct suite_case *s = *state;
	struct t_client_opts o = { .version = s->version, .sni = HOST, .ciphers12 = s->openssl,
				   .suites = s->version == TLS1_3_VERSION ? s->cipher : NULL };
	struct tls *t = tls_new(w.ctx);
	struct t_client c;

	t_client_init(&c, &o);
	assert_int_equal(1, t_handshake(&c, t, s->step));
	assert_string_equal(s->version == TLS1_3_VERSION ? "1.3" : "1.2", tls_version(t));
	assert_string_equal(s->cipher, tls_cipher(t));
	assert_string_equal("", tls_error(t));
	assert_false(tls_got_http(t));
	tls_trim(t);
	assert_string_equal(s->cipher, tls_cipher(t));
	for (int i = 0; i < 3; i++) {
		client_sends(&c, t, 1 + 20000 * (size_t)i);
		server_sends(&c, t, 1 + 20000 * (size_t)i);
	}
	disconnect(&c, t);
}

/* --- who is preferred */

static void expect_cipher(const struct t_client_opts *o, const char *cipher)
{
	struct t_client c;
	struct tls *t = connected(&c, o);

	assert_string_equal(cipher, tls_cipher(t));
	disconnect(&c, t);
}

static void test_preference(void **state)
{
	(void)state;
	expect_cipher(&(struct t_client_opts){ .sni = HOST }, "TLS_AES_128_GCM_SHA256");
	expect_cipher(&(struct t_client_opts){ .sni = HOST, .suites = "TLS_CHACHA20_POLY1305_SHA256:"
					       "TLS_AES_128_GCM_SHA256" }, "TLS_CHACHA20_POLY1305_SHA256");
	expect_cipher(&(struct t_client_opts){ .sni = HOST, .version = TLS1_2_VERSION },
		      "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
}

/* --- refusals: the alert on the wire */

static const struct alert_case {
	const char *name;
	struct t_client_opts o;
	uint8_t alert;
	const char *error;
} alerts[] = {
	{ "wrong SNI 1.3", { .sni = "other.example.com" }, 80, "wrong server name" },
	{ "wrong SNI 1.2", { .sni = "other.example.com", .version = TLS1_2_VERSION }, 80, "wrong server name" },
	{ "SNI with a longer name", { .sni = HOST "x" }, 80, "wrong server name" },
	{ "SNI in another case", { .sni = "derp.example.COM" }, 80, "wrong server name" },
	{ "no SNI 1.3", { 0 }, 80, "wrong server name" },
	{ "no SNI 1.2", { .version = TLS1_2_VERSION }, 80, "wrong server name" },
	{ "TLS 1.1", { .sni = HOST, .version = TLS1_1_VERSION }, 70, "unsupported protocol" },
	{ "TLS 1.1, no SNI", { .version = TLS1_1_VERSION }, 70, "unsupported protocol" },
	{ "CBC only", { .sni = HOST, .version = TLS1_2_VERSION, .ciphers12 = "ECDHE-ECDSA-AES128-SHA256" },
	  40, "no shared cipher" },
	{ "ALPN h2 only", { .sni = HOST, .alpn = "\x02h2" }, 120, "no application protocol" },
	{ "ALPN h2 only 1.2", { .sni = HOST, .alpn = "\x02h2", .version = TLS1_2_VERSION },
	  120, "no application protocol" },
};

static void test_alert(void **state)
{
	const struct alert_case *a = *state;
	struct tls *t = tls_new(w.ctx);
	struct t_client c;
	struct t_out out;
	uint8_t *p;
	size_t n;

	t_client_init(&c, &a->o);
	SSL_do_handshake(c.ssl);
	p = t_client_take(&c, &n);
	t_out_init(&out);
	tls_feed(t, p, n);
	assert_int_equal(-EPROTO, tls_handshake(t, &out.o));
	assert_int_equal(7, out.o.len);
	assert_int_equal(0x15, out.o.p[0]);
	assert_int_equal(2, out.o.p[5]);
	assert_int_equal(a->alert, out.o.p[6]);
	assert_string_equal(a->error, tls_error(t));
	assert_false(tls_got_http(t));
	/* It stays so, and nothing more is said. */
	assert_int_equal(-EPROTO, tls_handshake(t, &out.o));
	tls_shutdown(t, &out.o);
	assert_int_equal(7, out.o.len);
	t_out_done(&out);
	free(p);
	disconnect(&c, t);
}

static void expect_alpn(const char *offer, const char *want)
{
	struct t_client_opts o = { .sni = HOST, .alpn = offer };
	struct t_client c;
	struct tls *t = connected(&c, &o);
	const uint8_t *p;
	unsigned int n;

	SSL_get0_alpn_selected(c.ssl, &p, &n);
	assert_int_equal(strlen(want), n);
	if (n)
		assert_memory_equal(want, p, n);
	disconnect(&c, t);
}

static void test_alpn(void **state)
{
	(void)state;
	expect_alpn(NULL, "");
	expect_alpn("\x08http/1.1", "http/1.1");
	expect_alpn("\x02h2\x08http/1.1", "http/1.1");
	expect_alpn("\x0a" "acme-tls/1\x02h2\x08http/1.1", "http/1.1");
}

static void test_names(void **state)
{
	static const char *const names[] = { NULL, "any.example.org", "192.0.2.7" };
	struct t_client_opts o = { 0 };
	struct tls_ctx *saved = w.ctx;
	struct t_client c;

	(void)state;
	w.ctx = ctx_for("192.0.2.7", "IP:192.0.2.7");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		o.sni = names[i];
		disconnect(&c, connected(&c, &o));
	}
	tls_ctx_free(w.ctx);
	w.ctx = saved;
}

/* --- what is not TLS */

static const struct start_case {
	const char *name, *bytes;
	size_t n;
	bool http;
} starts[] = {
	{ "GET", "GET / HTTP/1.1\r\n\r\n", 18, true },
	{ "HEAD", "HEAD / HTTP/1.1\r\n\r\n", 19, true },
	{ "POST", "POST /x HTTP/1.1\r\n\r\n", 20, true },
	{ "PUT", "PUT /x HTTP/1.1\r\n\r\n", 19, true },
	{ "OPTIONS", "OPTIONS * HTTP/1.1\r\n\r\n", 22, true },
	{ "GETX", "GETX / HTTP/1.1\r\n\r\n", 19, false },
	{ "SSH", "SSH-2.0-x\r\n", 11, false },
	{ "zeros", "\0\0\0\0\0\0\0\0\0\0\0\0", 12, false },
	{ "record of 65535", "\x16\x03\x01\xff\xff\x01\x00", 7, false },
	{ "data first", "\x17\x03\x03\x00\x05hello", 10, false },
	{ "alert first", "\x15\x03\x03\x00\x02\x02\x28", 7, false },
};

static void test_start(void **state)
{
	const struct start_case *s = *state;
	struct t_out out;

	for (size_t step = 1; step <= s->n; step += s->n - 1) {
		struct tls *t = tls_new(w.ctx);
		int r = -EAGAIN;

		t_out_init(&out);
		for (size_t off = 0; off < s->n && r == -EAGAIN; off += step) {
			uint8_t *p = malloc(step);

			memcpy(p, s->bytes + off, step);
			tls_feed(t, p, step);
			r = tls_handshake(t, &out.o);
			free(p);
		}
		assert_int_equal(-EPROTO, r);
		assert_int_equal(s->http, tls_got_http(t));
		assert_true(*tls_error(t));
		assert_true(out.o.len == 0 || (!s->http && out.o.p[0] == 0x15));
		t_out_done(&out);
		tls_free(t);
	}
}

/* Every prefix is waited for; every changed byte is survived. */
static void test_hello_torn(void **state)
{
	struct t_client_opts o = { .sni = HOST };
	struct t_client c;
	struct t_out out;
	uint8_t *hello;
	size_t n;

	(void)state;
	t_client_init(&c, &o);
	SSL_do_handshake(c.ssl);
	hello = t_client_take(&c, &n);
	for (size_t i = 0; i < 2 * n; i++) {
		struct tls *t = tls_new(w.ctx);
		size_t k = i < n ? i : n;
		uint8_t *p = malloc(k ? k : 1);
		int r;

		memcpy(p, hello, k);
		if (i >= n)
			p[i - n] ^= 0xff;
		t_out_init(&out);
		tls_feed(t, p, k);
		r = tls_handshake(t, &out.o);
		if (i < n) {
			assert_int_equal(-EAGAIN, r);
			assert_int_equal(0, out.o.len);
		} else {
			assert_true(r == -EAGAIN || r == -EPROTO);
		}
		free(p);
		t_out_done(&out);
		tls_free(t);
	}
	free(hello);
	t_client_done(&c);
}

/* --- the chain */

static void check_meta(X509 *x)
{
	uint8_t *der = NULL;
	char cn[7 + KEY_HEX_LEN + 1] = "derpkey", got[128];
	X509_EXTENSION *e = X509_get_ext(x, 0);

	key_to_hex(cn + 7, &w.derp);
	assert_int_equal(359, i2d_X509(x, &der));
	OPENSSL_free(der);
	assert_int_equal(2, ASN1_INTEGER_get(X509_get0_serialNumber(x)));
	assert_int_equal(1, X509_NAME_entry_count(X509_get_subject_name(x)));
	X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, got, sizeof(got));
	assert_string_equal(cn, got);
	assert_int_equal(V_ASN1_PRINTABLESTRING, ASN1_STRING_type(X509_NAME_ENTRY_get_data(
			 X509_NAME_get_entry(X509_get_subject_name(x), 0))));
	assert_int_equal(0, X509_NAME_cmp(X509_get_subject_name(x), X509_get_issuer_name(x)));
	assert_int_equal(EVP_PKEY_ED25519, EVP_PKEY_id(X509_get0_pubkey(x)));
	assert_int_equal(1, X509_verify(x, X509_get0_pubkey(x)));
	assert_int_equal(1, X509_get_ext_count(x));
	assert_int_equal(NID_basic_constraints, OBJ_obj2nid(X509_EXTENSION_get_object(e)));
	assert_true(X509_EXTENSION_get_critical(e));
	assert_null(X509_get0_subject_key_id(x));
	assert_null(X509_get0_authority_key_id(x));
	assert_true(X509_cmp_timeframe(NULL, X509_get0_notBefore(x), X509_get0_notAfter(x)) == 0);
}

static void test_chain(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		struct t_client_opts o = { .sni = HOST, .version = versions[i] };
		struct t_client c;
		struct tls *t = connected(&c, &o);
		STACK_OF(X509) *chain = SSL_get_peer_cert_chain(c.ssl);

		assert_int_equal(2, sk_X509_num(chain));
		check_meta(sk_X509_value(chain, 1));
		disconnect(&c, t);
	}
}

/* --- after the handshake */

/* Finished and the first data in one flight, torn anywhere: the data is there without new input. */
static void test_fast_start(void **state)
{
	size_t n = 2;

	(void)state;
	for (size_t cut = 0; cut <= n; cut++) {
		struct t_client_opts o = { .sni = HOST };
		struct tls *t = tls_new(w.ctx);
		struct t_client c;
		struct t_out out;
		size_t k, have = 0;
		uint8_t *p, *q;
		bool done = false;
		ssize_t r;

		t_client_init(&c, &o);
		t_out_init(&out);
		SSL_do_handshake(c.ssl);
		p = t_client_take(&c, &k);
		tls_feed(t, p, k);
		assert_int_equal(-EAGAIN, tls_handshake(t, &out.o));
		free(p);
		t_client_give(&c, &out);
		assert_int_equal(1, SSL_do_handshake(c.ssl));
		assert_int_equal(100, SSL_write(c.ssl, w.data, 100));
		assert_int_equal(30, SSL_write(c.ssl, w.data + 100, 30));
		p = t_client_take(&c, &n);
		for (size_t off = 0; off < n; off += k) {
			k = off ? n - off : cut ? cut : n;
			q = malloc(k);
			memcpy(q, p + off, k);
			tls_feed(t, q, k);
			r = 1;
			if (!done) {
				r = tls_handshake(t, &out.o);
				done = r == 1;
			}
			while (r > 0) {
				r = tls_read(t, w.got + have, 100, &out.o);
				have += r > 0 ? (size_t)r : 0;
			}
			assert_int_equal(-EAGAIN, r);
			free(q);
		}
		assert_int_equal(130, have);
		assert_memory_equal(w.data, w.got, 130);
		assert_int_equal(0, out.o.len);
		free(p);
		t_out_done(&out);
		disconnect(&c, t);
	}
}

static void test_key_update(void **state)
{
	struct t_client_opts o = { .sni = HOST, .version = TLS1_3_VERSION };
	struct t_client c;
	struct tls *t = connected(&c, &o);

	(void)state;
	for (int i = 0; i < 4; i++) {
		SSL_key_update(c.ssl, i & 1 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
		client_sends(&c, t, 100);
		server_sends_with(&c, t, 100, i & 1);	/* the answer goes first */
	}
	disconnect(&c, t);
}

static void test_client_closes(void **state)
{
	const int *version = *state;
	struct t_client_opts o = { .sni = HOST, .version = *version };
	struct t_client c;
	struct tls *t = connected(&c, &o);
	struct t_out out;
	uint8_t *p, buf[100];
	size_t n;

	t_out_init(&out);
	SSL_write(c.ssl, w.data, 10);
	SSL_shutdown(c.ssl);
	p = t_client_take(&c, &n);
	tls_feed(t, p, n);
	assert_int_equal(10, tls_read(t, buf, sizeof(buf), &out.o));
	assert_int_equal(0, tls_read(t, buf, sizeof(buf), &out.o));
	assert_int_equal(0, tls_read(t, buf, sizeof(buf), &out.o));
	free(p);
	/* Our side is still open. */
	assert_int_equal(0, tls_write(t, w.data, 10, &out.o));
	tls_shutdown(t, &out.o);
	t_client_give(&c, &out);
	assert_int_equal(10, SSL_read(c.ssl, buf, sizeof(buf)));
	assert_int_equal(0, SSL_read(c.ssl, buf, sizeof(buf)));
	assert_true(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN);
	disconnect(&c, t);
}

static void test_client_alert(void **state)
{
	struct t_client_opts o = { .sni = HOST };
	struct tls *t = tls_new(w.ctx);
	struct t_client c;

	(void)state;
	t_client_init(&c, &o);
	SSL_set_verify(c.ssl, SSL_VERIFY_PEER, NULL);
	assert_int_equal(-EPROTO, t_handshake(&c, t, 0));
	assert_string_equal("tlsv1 alert unknown ca", tls_error(t));
	disconnect(&c, t);
}

/* One changed byte, an over-long record: alert, and the end. */
static void test_broken(void **state)
{
	const int *version = *state;
	static const uint8_t oversize[5] = { 0x17, 3, 3, 0x42, 0x00 };
	uint8_t buf[300];

	for (int kind = 0; kind < 3; kind++) {
		struct t_client_opts o = { .sni = HOST, .version = *version };
		struct t_client c;
		struct tls *t = connected(&c, &o);
		struct t_out out;
		uint8_t *p;
		size_t n;

		t_out_init(&out);
		SSL_write(c.ssl, w.data, 100);
		SSL_write(c.ssl, w.data, 100);
		p = t_client_take(&c, &n);
		if (kind == 0)
			p[20] ^= 1;		/* the first record */
		else if (kind == 1)
			p[n - 1] ^= 1;		/* the second: the first is still read */
		else
			memcpy(p, oversize, sizeof(oversize));
		tls_feed(t, p, n);
		if (kind == 1)
			assert_int_equal(100, tls_read(t, buf, sizeof(buf), &out.o));
		assert_int_equal(-EPROTO, tls_read(t, buf, sizeof(buf), &out.o));
		assert_true(out.o.len >= 7 && *tls_error(t));
		assert_int_equal(-EPROTO, tls_read(t, buf, sizeof(buf), &out.o));
		assert_int_equal(-EPROTO, tls_write(t, buf, 10, &out.o));
		free(p);
		t_client_give(&c, &out);
		assert_true(SSL_read(c.ssl, buf, sizeof(buf)) <= 0);
		assert_string_equal(kind == 2 ? "tlsv1 alert record overflow" : "sslv3 alert bad record mac",
				    ERR_reason_error_string(ERR_peek_error()));
		disconnect(&c, t);
	}
}

/* --- what goes out */

static void test_write_sizes(void **state)
{
	const int *version = *state;
	struct t_client_opts o = { .version = *version, .sni = HOST };
	struct t_client c;
	struct tls *t = connected(&c, &o);
	struct t_out out;

	for (size_t n = 1; n <= MANY; n += n < 40 ? 1 : 409)
		server_sends(&c, t, n);
	for (size_t n = 16382; n < 16387; n++)
		server_sends(&c, t, n);
	server_sends(&c, t, 32768);
	server_sends(&c, t, MANY);
	t_out_init(&out);
	assert_int_equal(0, tls_write(t, w.data, 0, &out.o));
	assert_int_equal(0, out.o.len);
	disconnect(&c, t);
}

static void test_no_room(void **state)
{
	struct t_client_opts o = { .sni = HOST };
	struct tls *t = tls_new(w.ctx);
	struct t_client c;
	struct t_out out;
	uint8_t *p;
	size_t n;

	(void)state;
	t_client_init(&c, &o);
	SSL_do_handshake(c.ssl);
	p = t_client_take(&c, &n);
	t_out_init(&out);
	out.limit = 500;	/* ServerHello fits, the certificates do not */
	tls_feed(t, p, n);
	assert_int_equal(-ENOMEM, tls_handshake(t, &out.o));
	assert_int_equal(-ENOMEM, tls_handshake(t, &out.o));
	assert_string_equal("out of memory", tls_error(t));
	free(p);
	t_out_done(&out);
	disconnect(&c, t);

	t = connected(&c, &o);
	out.limit = 500;
	assert_int_equal(0, tls_write(t, w.data, 100, &out.o));
	assert_int_equal(-ENOMEM, tls_write(t, w.data, 600, &out.o));
	assert_int_equal(-ENOMEM, tls_write(t, w.data, 1, &out.o));
	n = out.o.len;
	tls_shutdown(t, &out.o);
	assert_int_equal(n, out.o.len);
	t_out_done(&out);
	disconnect(&c, t);
}

/* --- the context */

/* A connection outlives its context. */
static void test_replaced(void **state)
{
	struct t_client_opts o = { .sni = HOST };
	struct tls_ctx *saved = w.ctx;
	struct t_client c;
	struct tls *t;

	(void)state;
	w.ctx = ctx_for(HOST, "DNS:" HOST);
	t = tls_new(w.ctx);
	tls_ctx_free(w.ctx);
	w.ctx = saved;
	t_client_init(&c, &o);
	assert_int_equal(1, t_handshake(&c, t, 0));
	client_sends(&c, t, 10);
	disconnect(&c, t);
}

static const struct ctx_case {
	const char *name;
	struct t_cert cert;
	const char *host;	/* NULL: HOST */
	int want;
	const char *says;
} contexts[] = {
	{ "good name", { .cn = "x", .san = "DNS:" HOST }, NULL, 0, "" },
	{ "good wildcard", { .cn = "x", .san = "DNS:*.example.com" }, NULL, 0, "" },
	{ "good IPv4", { .cn = "x", .san = "IP:192.0.2.1" }, "192.0.2.1", 0, "" },
	{ "good IPv6", { .cn = "x", .san = "IP:2001:db8::1" }, "2001:db8:0::1", 0, "" },
	{ "other name", { .cn = "x", .san = "DNS:a.example.com" }, NULL, -EINVAL, "a.crt is not valid for " HOST },
	{ "common name only", { .cn = HOST }, NULL, -EINVAL, "as a subject alternative name" },
	{ "other address", { .cn = "x", .san = "IP:192.0.2.2" }, "192.0.2.1", -EINVAL, "not valid for 192.0.2.1" },
	{ "expired", { .cn = "x", .san = "DNS:" HOST, .from_s = -20, .to_s = -10 }, NULL, -EINVAL,
	  "a.crt has expired; renew it" },
	{ "of tomorrow", { .cn = "x", .san = "DNS:" HOST, .from_s = 1000, .to_s = 2000 }, NULL, -EINVAL,
	  "a.crt is not valid yet; check the clock" },
	{ "password", { .cn = "x", .san = "DNS:" HOST, .password = "secret" }, NULL, -EINVAL,
	  "a.key is no PEM private key without a password" },
};

static void test_context(void **state)
{
	const struct ctx_case *k = *state;
	struct tls_ctx *ctx = NULL;
	char err[256] = "";

	t_cert_write(&k->cert, w.crt, w.key);
	assert_int_equal(k->want, try_ctx(&ctx, k->host ? k->host : HOST, err, sizeof(err)));
	if (!strstr(err, k->says))
		fail_msg("said: %s", err);
	if (!k->want) {
		int64_t left = tls_ctx_not_after(ctx) - (int64_t)time(NULL);

		assert_true(left > T_CERT_DAY - 60 && left <= T_CERT_DAY);
	}
	tls_ctx_free(ctx);
}

static void expect_refusal(const char *says, int want)
{
	struct tls_ctx *ctx = NULL;
	char err[256] = "";

	assert_int_equal(want, try_ctx(&ctx, HOST, err, sizeof(err)));
	assert_null(ctx);
	if (!strstr(err, says))
		fail_msg("said: %s", err);
}

static void test_files(void **state)
{
	struct t_cert good = { .cn = "x", .san = "DNS:" HOST };
	char other[sizeof(w.crt) + 2];
	FILE *f;

	(void)state;
	t_cert_write(&good, w.crt, w.key);
	unlink(w.key);
	expect_refusal("a.key: No such file or directory; -certdir must hold", -ENOENT);
	snprintf(other, sizeof(other), "%s.2", w.crt);
	t_cert_write(&good, other, w.key);
	expect_refusal("a.key does not belong to the certificate", -EINVAL);
	f = fopen(w.key, "w");
	fputs("nothing of use\n", f);
	fclose(f);
	expect_refusal("a.key is no PEM private key", -EINVAL);
	f = fopen(w.crt, "w");
	fclose(f);
	expect_refusal("a.crt is no PEM file", -EINVAL);
	unlink(w.crt);
	expect_refusal("a.crt: No such file or directory", -ENOENT);
}

/* --- our client against our server: whose certificate it takes */

static const struct client_case {
	const char *name, *host, *server, *san, *root, *says;	/* root: NULL: the server's own certificate */
} clients[] = {
	{ "client: name", HOST, HOST, "DNS:" HOST, NULL, NULL },
	{ "client: wildcard", HOST, HOST, "DNS:*.example.com", NULL, NULL },
	{ "client: address", "192.0.2.7", "192.0.2.7", "IP:192.0.2.7", NULL, NULL },
	{ "client: IPv6 address", "2001:db8::1", "2001:db8::1", "IP:2001:db8::1", NULL, NULL },
	{ "client: other name", "b.example.com", "192.0.2.7", "IP:192.0.2.7", NULL, "ostname mismatch" },
	{ "client: other address", "192.0.2.8", "192.0.2.7", "IP:192.0.2.7", NULL, "IP address mismatch" },
	{ "client: unknown root", HOST, HOST, "DNS:" HOST, "/dev/null", "self-signed certificate" },
};

/* Move what a put into its out to b. Returns what b's handshake says. */
static int pass_on(struct t_out *from, struct tls *to, struct t_out *out)
{
	int r;

	tls_feed(to, from->o.p, from->o.len);
	r = tls_handshake(to, &out->o);
	t_out_done(from);
	return r;
}

static void test_client(void **state)
{
	const struct client_case *k = *state;
	struct tls_ctx *server = ctx_for(k->server, k->san), *client;
	struct t_out to_server, to_client;
	struct tls *c, *s;
	char err[256], b[4];
	int rc;

	setenv("SSL_CERT_FILE", k->root ? k->root : w.crt, 1);
	assert_int_equal(0, tls_ctx_new_client(&client, err, sizeof(err)));
	c = tls_new_client(client, k->host);
	s = tls_new(server);
	assert_non_null(c);
	t_out_init(&to_server);
	t_out_init(&to_client);
	rc = tls_handshake(c, &to_server.o);
	for (int i = 0; i < 10 && rc == -EAGAIN; i++) {
		pass_on(&to_server, s, &to_client);
		rc = pass_on(&to_client, c, &to_server);
	}
	if (k->says) {
		assert_int_equal(-EPROTO, rc);
		if (!strstr(tls_error(c), k->says))
			fail_msg("said: %s", tls_error(c));
		assert_true(to_server.o.len > 0);		/* an alert */
	} else {
		assert_int_equal(1, rc);
		assert_int_equal(1, pass_on(&to_server, s, &to_client));
		assert_int_equal(0, tls_write(c, (const uint8_t *)"abc", 3, &to_server.o));
		tls_feed(s, to_server.o.p, to_server.o.len);
		assert_int_equal(3, tls_read(s, (uint8_t *)b, sizeof(b), &to_client.o));
		assert_memory_equal("abc", b, 3);
		assert_string_equal("1.3", tls_version(c));
	}
	t_out_done(&to_server);
	t_out_done(&to_client);
	tls_free(c);
	tls_free(s);
	tls_ctx_free(client);
	tls_ctx_free(server);
}

int main(void)
{
	static int v12 = TLS1_2_VERSION, v13 = TLS1_3_VERSION;
	struct CMUnitTest t[100] = {
		{ "server preference", test_preference },
		{ "ALPN", test_alpn },
		{ "any name for an address", test_names },
		{ "ClientHello torn", test_hello_torn },
		{ "chain", test_chain },
		{ "fast start", test_fast_start },
		{ "KeyUpdate", test_key_update },
		{ "client closes 1.2", test_client_closes, .initial_state = &v12 },
		{ "client closes 1.3", test_client_closes, .initial_state = &v13 },
		{ "alert from the client", test_client_alert },
		{ "broken 1.2", test_broken, .initial_state = &v12 },
		{ "broken 1.3", test_broken, .initial_state = &v13 },
		{ "write sizes 1.2", test_write_sizes, .initial_state = &v12 },
		{ "write sizes 1.3", test_write_sizes, .initial_state = &v13 },
		{ "no room", test_no_room },
		{ "context replaced", test_replaced },
		{ "files", test_files },
	};
	size_t n = 17;

	for (size_t i = 0; i < ARRAY_SIZE(suites); i++)
		t[n++] = (struct CMUnitTest){ suites[i].name, test_suite, NULL, NULL, (void *)&suites[i] };
	for (size_t i = 0; i < ARRAY_SIZE(alerts); i++)
		t[n++] = (struct CMUnitTest){ alerts[i].name, test_alert, NULL, NULL, (void *)&alerts[i] };
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
		t[n++] = (struct CMUnitTest){ starts[i].name, test_start, NULL, NULL, (void *)&starts[i] };
	for (size_t i = 0; i < ARRAY_SIZE(contexts); i++)
		t[n++] = (struct CMUnitTest){ contexts[i].name, test_context, NULL, NULL, (void *)&contexts[i] };
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
		t[n++] = (struct CMUnitTest){ clients[i].name, test_client, NULL, NULL, (void *)&clients[i] };
	return _cmocka_run_group_tests("tls", t, n, set_up, tear_down);
}
