/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/unit.h"

#include <openssl/rand.h>

#include "lib/tls_peer.h"
#include "lib/tls_server.h"
#include "net/record.h"

#define MANY	70000

enum { ALERT = 21, HANDSHAKE = 22, DATA = 23 };

static struct world {
	struct t_server server;
	uint8_t data[MANY], got[MANY + 1];
} w;

static int set_up(void **state)
{
	(void)state;
	t_server_init(&w.server);
	for (size_t i = 0; i < MANY; i++)
		w.data[i] = (uint8_t)(i * 31 + i / 256);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	t_server_done(&w.server);
	return 0;
}

/* --- an OpenSSL client, and a server that left OpenSSL after the handshake */

struct pair {
	struct t_client c;
	struct record_keys k;
	struct t_out out;
};

/* The same secrets in the other engine; that one runs nowhere but in tests. */
static void use_engine(struct record_keys *k, enum aead_engine engine)
{
	uint8_t rd[RECORD_SECRET_MAX], wr[RECORD_SECRET_MAX];
	enum aead_suite suite = k->suite;

	memcpy(rd, k->rd.secret, sizeof(rd));
	memcpy(wr, k->wr.secret, sizeof(wr));
	record_keys_done(k);
	assert_int_equal(0, record_keys_init(k, suite, engine, rd, wr));
}

static void pair_init(struct pair *p, enum aead_suite suite, enum aead_engine engine)
{
	struct t_client_opts o = { .version = TLS1_3_VERSION, .suites = t_suite_names[suite], .sni = T_HOST };
	struct tls *t = tls_new(w.server.ctx);

	t_out_init(&p->out);
	t_client_init(&p->c, &o);
	assert_int_equal(1, t_handshake(&p->c, t, 0));
	assert_int_equal(0, tls_unread(t));
	assert_int_equal(0, tls_detach(t, &p->k));
	assert_int_equal(suite, p->k.suite);
	assert_string_equal("1.3", tls_version(t));
	assert_string_equal(t_suite_names[suite], tls_cipher(t));
	tls_free(t);
	if (engine != AEAD_AUTO)
		use_engine(&p->k, engine);
}

static void pair_done(struct pair *p)
{
	static const struct record_keys zero;

	record_keys_done(&p->k);
	assert_memory_equal(&zero, &p->k, sizeof(zero));
	record_keys_done(&p->k);
	t_client_done(&p->c);
	t_out_done(&p->out);
}

/* Open all records of n bytes at p; returns what ended it and counts plaintext into got. */
static int open_all(struct record_keys *k, uint8_t *p, size_t n, size_t *got)
{
	struct record r;
	size_t off = 0;
	int res;

	*got = 0;
	while ((res = record_open(k, p + off, n - off, &r)) == 1) {
		assert_true(r.n <= RECORD_PLAIN_MAX && r.used <= n - off);
		assert_true(r.used == record_size(p + off, n - off));
		assert_true(!r.n || (r.p >= p + off && r.p + r.n <= p + off + r.used));
		memcpy(w.got + *got, r.p, r.n);
		*got += r.n;
		off += r.used;
	}
	assert_true(res != -EAGAIN || off == n);
	return res;
}

static void client_sends(struct pair *p, size_t n)
{
	size_t k, got;
	uint8_t *bytes;

	assert_int_equal(n, SSL_write(p->c.ssl, w.data, (int)n));
	bytes = t_client_take(&p->c, &k);
	assert_int_equal(-EAGAIN, open_all(&p->k, bytes, k, &got));
	free(bytes);
	assert_int_equal(n, got);
	assert_memory_equal(w.data, w.got, n);
}

static void client_gets(struct pair *p, size_t n)
{
	size_t have = 0;
	int r;

	t_client_give(&p->c, &p->out);
	while ((r = SSL_read(p->c.ssl, w.got + have, (int)(sizeof(w.got) - have))) > 0)
		have += (size_t)r;
	assert_int_equal(SSL_ERROR_WANT_READ, SSL_get_error(p->c.ssl, r));
	assert_int_equal(n, have);
	assert_memory_equal(w.data, w.got, n);
}

static void server_sends(struct pair *p, size_t n)
{
	struct iovec iov = { w.data, n };

	assert_int_equal(0, record_seal(&p->k, &iov, 1, &p->out.o));
	client_gets(p, n);
}

/* --- every suite in every engine */

static const struct engine_case {
	const char *name;
	enum aead_suite suite;
	enum aead_engine engine;
} engines[] = {
	{ "AES-128-GCM, auto", AEAD_AES_128_GCM, AEAD_AUTO },
	{ "AES-256-GCM, auto", AEAD_AES_256_GCM, AEAD_AUTO },
	{ "ChaCha20, auto", AEAD_CHACHA20_POLY1305, AEAD_AUTO },
	{ "AES-128-GCM, openssl", AEAD_AES_128_GCM, AEAD_EVP },
	{ "AES-256-GCM, openssl", AEAD_AES_256_GCM, AEAD_EVP },
};

static void test_exchange(void **state)
{
	const struct engine_case *e = *state;
	struct pair p;

	pair_init(&p, e->suite, e->engine);
	for (size_t n = 1; n <= MANY; n += n < 70 ? 1 : 1009) {
		client_sends(&p, n);
		server_sends(&p, n);
	}
	for (size_t n = RECORD_PLAIN_MAX - 2; n <= RECORD_PLAIN_MAX + 2; n++) {
		client_sends(&p, n);
		server_sends(&p, n);
	}
	assert_true(p.k.rd.seq > 100 && p.k.wr.seq > 100);
	pair_done(&p);
}

/* A record is waited for until its last byte is there. */
static void test_torn(void **state)
{
	const struct engine_case *e = *state;
	struct record r = { .n = 77 };
	struct pair p;
	uint8_t *bytes, *part;
	size_t n, got;

	pair_init(&p, e->suite, e->engine);
	SSL_write(p.c.ssl, w.data, 300);
	SSL_write(p.c.ssl, w.data + 300, 10);
	bytes = t_client_take(&p.c, &n);
	for (size_t cut = 0; cut < 300 + RECORD_OVERHEAD; cut++) {
		part = malloc(cut ? cut : 1);
		memcpy(part, bytes, cut);
		assert_int_equal(-EAGAIN, record_open(&p.k, part, cut, &r));
		assert_int_equal(77, r.n);
		assert_int_equal(cut < 5 ? 0 : 300 + RECORD_OVERHEAD, record_size(part, cut));
		assert_memory_equal(bytes, part, cut);
		free(part);
	}
	assert_int_equal(-EAGAIN, open_all(&p.k, bytes, n, &got));
	assert_int_equal(310, got);
	assert_memory_equal(w.data, w.got, 310);
	free(bytes);
	pair_done(&p);
}

/* Two peers that share secrets, for bytes that OpenSSL would not send. */
static void twins(struct record_keys *a, struct record_keys *b, enum aead_suite suite, enum aead_engine engine)
{
	uint8_t one[RECORD_SECRET_MAX], two[RECORD_SECRET_MAX];

	RAND_bytes(one, sizeof(one));
	RAND_bytes(two, sizeof(two));
	assert_int_equal(0, record_keys_init(a, suite, engine, one, two));
	assert_int_equal(0, record_keys_init(b, suite, AEAD_EVP, two, one));
}

/* Any bit of head, text or tag that changes breaks it for good. */
static void test_flipped(void **state)
{
	const struct engine_case *e = *state;
	struct iovec iov = { w.data, 20 };
	uint8_t good[20 + RECORD_OVERHEAD];
	struct record_keys a, b;
	struct record r;
	struct t_out out;

	for (size_t i = 0; i < 8 * (20 + RECORD_OVERHEAD); i++) {
		if (i >= 24 && i < 40)
			continue;	/* the length: too long is waited for */
		twins(&a, &b, e->suite, e->engine);
		t_out_init(&out);
		assert_int_equal(0, record_seal(&b, &iov, 1, &out.o));
		memcpy(good, out.o.p, sizeof(good));
		out.o.p[i / 8] ^= (uint8_t)(1U << i % 8);
		assert_int_equal(-EPROTO, record_open(&a, out.o.p, out.o.len, &r));
		assert_int_equal(i < 8 ? RECORD_UNEXPECTED_MESSAGE : RECORD_BAD_MAC, a.alert);
		assert_string_equal(i < 8 ? "record without protection" : "bad record MAC", a.error);
		assert_int_equal(-EPROTO, record_open(&a, good, sizeof(good), &r));
		t_out_done(&out);
		record_keys_done(&a);
		record_keys_done(&b);
	}
}

static void test_engines(void **state)
{
	struct aead_key *k = NULL;

	(void)state;
	assert_int_equal(-ENOTSUP, aead_key_new(&k, AEAD_CHACHA20_POLY1305, AEAD_IPSEC_MB));
	assert_null(k);
	aead_key_free(NULL);
	assert_int_equal(0, aead_key_new(&k, AEAD_CHACHA20_POLY1305, AEAD_AUTO));
	assert_string_equal("openssl", aead_key_engine(k));
	aead_key_free(k);
	assert_int_equal(0, aead_key_new(&k, AEAD_AES_128_GCM, AEAD_EVP));
	assert_string_equal("openssl", aead_key_engine(k));
	aead_key_free(k);
	if (aead_key_new(&k, AEAD_AES_128_GCM, AEAD_IPSEC_MB))
		return;		/* not built in, or not this CPU */
	aead_key_free(k);
	assert_int_equal(0, aead_key_new(&k, AEAD_AES_256_GCM, AEAD_IPSEC_MB));
	assert_string_equal("ipsec-mb", aead_key_engine(k));
	aead_key_free(k);
	assert_int_equal(0, aead_key_new(&k, AEAD_AES_256_GCM, AEAD_AUTO));
	assert_string_equal("ipsec-mb", aead_key_engine(k));
	aead_key_free(k);
}

/* --- leaving OpenSSL */

/* Finished, then records: nothing of them was taken, wherever the flight is torn. */
static void test_fast_start(void **state)
{
	struct t_client_opts o = { .sni = T_HOST };
	size_t n = 2, k, got, left, finished;

	(void)state;
	for (size_t cut = 1; cut <= n; cut++) {
		struct tls *t = tls_new(w.server.ctx);
		struct record_keys keys;
		struct t_client c;
		struct t_out out;
		uint8_t *p;
		int r;

		t_client_init(&c, &o);
		t_out_init(&out);
		SSL_do_handshake(c.ssl);
		p = t_client_take(&c, &k);
		tls_feed(t, p, k);
		assert_int_equal(-EAGAIN, tls_handshake(t, &out.o));
		free(p);
		t_client_give(&c, &out);
		assert_int_equal(1, SSL_do_handshake(c.ssl));
		finished = (size_t)BIO_pending(c.out);
		SSL_write(c.ssl, w.data, 100);
		SSL_write(c.ssl, w.data + 100, 30);
		p = t_client_take(&c, &n);
		tls_feed(t, p, cut);
		r = tls_handshake(t, &out.o);
		left = n;
		if (r == -EAGAIN) {
			assert_true(cut < finished);
			assert_int_equal(0, tls_unread(t));
			tls_feed(t, p + cut, n - cut);
			r = tls_handshake(t, &out.o);
		} else {
			left = cut;
		}
		assert_int_equal(1, r);
		assert_int_equal(left - finished, tls_unread(t));
		assert_int_equal(0, out.o.len);
		assert_int_equal(0, tls_detach(t, &keys));
		tls_free(t);
		assert_int_equal(-EAGAIN, open_all(&keys, p + finished, n - finished, &got));
		assert_int_equal(130, got);
		assert_memory_equal(w.data, w.got, 130);
		record_keys_done(&keys);
		free(p);
		t_client_done(&c);
	}
}

/* TLS 1.2 stays with OpenSSL. */
static void test_detach_12(void **state)
{
	struct t_client_opts o = { .version = TLS1_2_VERSION, .sni = T_HOST };
	struct tls *t = tls_new(w.server.ctx);
	struct record_keys k = { .alert = 77 };
	struct t_client c;
	struct t_out out;
	uint8_t *p;
	size_t n;

	(void)state;
	t_client_init(&c, &o);
	assert_int_equal(1, t_handshake(&c, t, 0));
	assert_int_equal(-ENOTSUP, tls_detach(t, &k));
	assert_int_equal(77, k.alert);
	SSL_write(c.ssl, w.data, 100);
	p = t_client_take(&c, &n);
	t_out_init(&out);
	tls_feed(t, p, n);
	assert_int_equal(100, tls_read(t, w.got, 1000, &out.o));
	free(p);
	tls_free(t);
	t_client_done(&c);
}

/* --- new keys */

static void test_key_update_received(void **state)
{
	const struct engine_case *e = *state;
	struct pair p;

	pair_init(&p, e->suite, e->engine);
	for (int i = 0; i < 5; i++) {
		bool ask = i & 1;

		SSL_key_update(p.c.ssl, ask ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
		client_sends(&p, 1000);
		assert_int_equal(1, p.k.rd.seq);
		assert_int_equal(ask, p.k.update_due);
		server_sends(&p, 1000);
		if (ask)
			assert_int_equal(1, p.k.wr.seq);
		server_sends(&p, 1000);
	}
	/* One answer to several. */
	for (int i = 0; i < 3; i++) {
		SSL_key_update(p.c.ssl, SSL_KEY_UPDATE_REQUESTED);
		client_sends(&p, 10);
	}
	server_sends(&p, 1000);
	assert_int_equal(1, p.k.wr.seq);
	server_sends(&p, 1000);
	assert_int_equal(2, p.k.wr.seq);
	pair_done(&p);
}

/* We change our keys before too many records were sealed with them. */
static void test_key_update_sent(void **state)
{
	const struct engine_case *e = *state;
	struct pair p;

	pair_init(&p, e->suite, e->engine);
	assert_int_equal(1U << 24, p.k.rekey_after);
	p.k.rekey_after = 3;
	for (uint64_t i = 0; i < 10; i++) {
		server_sends(&p, 1000);
		assert_int_equal(i % 3 + 1, p.k.wr.seq);
	}
	client_sends(&p, 1000);
	pair_done(&p);
}

/* --- the end */

static void test_close(void **state)
{
	const struct engine_case *e = *state;
	struct pair p;
	uint8_t *bytes, buf[10];
	size_t n, got;

	pair_init(&p, e->suite, e->engine);
	SSL_write(p.c.ssl, w.data, 10);
	SSL_shutdown(p.c.ssl);
	bytes = t_client_take(&p.c, &n);
	assert_int_equal(0, open_all(&p.k, bytes, n, &got));
	assert_int_equal(10, got);
	free(bytes);
	assert_int_equal(0, record_seal_alert(&p.k, RECORD_CLOSE_NOTIFY, &p.out.o));
	t_client_give(&p.c, &p.out);
	assert_int_equal(0, SSL_read(p.c.ssl, buf, sizeof(buf)));
	assert_true(SSL_get_shutdown(p.c.ssl) & SSL_RECEIVED_SHUTDOWN);
	pair_done(&p);
}

static void test_alert_sent(void **state)
{
	const struct engine_case *e = *state;
	struct pair p;
	uint8_t buf[10];

	pair_init(&p, e->suite, e->engine);
	assert_int_equal(0, record_seal_alert(&p.k, RECORD_BAD_MAC, &p.out.o));
	t_client_give(&p.c, &p.out);
	assert_true(SSL_read(p.c.ssl, buf, sizeof(buf)) <= 0);
	assert_string_equal("sslv3 alert bad record mac", ERR_reason_error_string(ERR_peek_error()));
	pair_done(&p);
}

/* Only the two that end nothing by themselves are warnings. */
static void test_alert_level(void **state)
{
	static const uint8_t want[][2] = { { 1, 0 }, { 1, 90 }, { 2, 20 }, { 2, 10 } };
	struct aead_input in = { .aad_len = 5 };
	struct record_keys a, b;
	struct t_out out;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		twins(&a, &b, AEAD_AES_128_GCM, AEAD_AUTO);
		t_out_init(&out);
		assert_int_equal(0, record_seal_alert(&b, want[i][1], &out.o));
		assert_int_equal(2 + RECORD_OVERHEAD, out.o.len);
		memcpy(in.nonce, a.rd.iv, sizeof(in.nonce));
		in.aad = out.o.p;
		assert_int_equal(0, aead_open(a.rd.key, &in, out.o.p + 5, 3));
		assert_memory_equal(want[i], out.o.p + 5, 2);
		t_out_done(&out);
		record_keys_done(&a);
		record_keys_done(&b);
	}
}

/* --- what a client may not send, or need not */

/* A record as any peer may make it: text is what is encrypted, content type and padding included. */
static void forge(struct t_out *out, struct record_keys *k, const uint8_t *text, size_t n)
{
	struct aead_input in = { .aad_len = 5 };
	uint8_t *p;

	if (out->o.cap - out->o.len < n + 21)
		assert_int_equal(0, out->o.grow(&out->o, n + 21));
	p = out->o.p + out->o.len;
	memcpy(p, "\x17\x03\x03", 3);
	put_be16(p + 3, (uint16_t)(n + 16));
	memcpy(p + 5, text, n);
	memcpy(in.nonce, k->wr.iv, 12);
	in.nonce[11] ^= (uint8_t)k->wr.seq++;
	in.aad = p;
	assert_int_equal(0, aead_seal(k->wr.key, &in, p + 5, n));
	out->o.len += n + 21;
}

#define UPDATE		"\x18\0\0\1\0"
#define UPDATE_ASK	"\x18\0\0\1\1"

static const struct forged_case {
	const char *name;
	struct forged_text {
		const char *p;
		size_t n;
		uint8_t type;
		size_t pad;
	} recs[4];		/* ends with type 0, unless n or pad is set */
	int want;
	uint8_t alert;		/* if want is -EPROTO */
	const char *error;
	size_t got;		/* data of all records before */
} forged[] = {
	{ "empty data", { { "", 0, DATA }, { "a", 1, DATA } }, -EAGAIN, .got = 1 },
	{ "padding", { { "abc", 3, DATA, 1 }, { "d", 1, DATA, 16000 }, { "", 0, DATA, 200 } }, -EAGAIN, .got = 4 },
	{ "zeros in the data", { { "\0\0", 2, DATA }, { "a\0", 2, DATA, 3 } }, -EAGAIN, .got = 4 },
	{ "only padding", { { "a", 1, DATA }, { "", 0, 0, 5 } }, -EPROTO, 10, "record without content type", 1 },
	{ "nothing inside", { { NULL, 0, 0, 0 } }, -EPROTO, 10, "record without content type" },
	{ "CCS inside", { { "\1", 1, 20 } }, -EPROTO, 10, "unexpected content type" },
	{ "type 24", { { "a", 1, 24 } }, -EPROTO, 10, "unexpected content type" },
	{ "full with padding", { { "a", 1, DATA, 16383 } }, -EAGAIN, .got = 1 },
	{ "padded too far", { { "a", 1, DATA, 16384 } }, -EPROTO, 22, "plaintext too long" },
	{ "KeyUpdate", { { UPDATE, 5, HANDSHAKE } }, -EAGAIN },
	{ "KeyUpdate in parts", { { UPDATE, 1, HANDSHAKE }, { "\0\0\1", 3, HANDSHAKE }, { "\1", 1, HANDSHAKE, 9 } },
	  -EAGAIN },
	{ "KeyUpdate with an empty part", { { UPDATE, 1, HANDSHAKE }, { "", 0, HANDSHAKE } },
	  -EPROTO, 10, "unexpected handshake message" },
	{ "KeyUpdate interrupted", { { UPDATE, 1, HANDSHAKE }, { "a", 1, DATA } },
	  -EPROTO, 10, "record inside a handshake message" },
	{ "KeyUpdate twice in a record", { { UPDATE UPDATE, 10, HANDSHAKE } },
	  -EPROTO, 10, "record goes on behind a KeyUpdate" },
	{ "KeyUpdate, one byte more", { { UPDATE "\x18", 6, HANDSHAKE } },
	  -EPROTO, 10, "record goes on behind a KeyUpdate" },
	{ "KeyUpdate in parts, one byte more", { { UPDATE, 4, HANDSHAKE }, { "\0\x18", 2, HANDSHAKE } },
	  -EPROTO, 10, "record goes on behind a KeyUpdate" },
	{ "KeyUpdate asks 2", { { "\x18\0\0\1\2", 5, HANDSHAKE } }, -EPROTO, 47, "bad KeyUpdate request" },
	{ "KeyUpdate of length 0", { { "\x18\0\0\0\0", 5, HANDSHAKE } }, -EPROTO, 50, "bad KeyUpdate length" },
	{ "KeyUpdate of length 257", { { "\x18\0\1\1\0", 5, HANDSHAKE } }, -EPROTO, 50, "bad KeyUpdate length" },
	{ "KeyUpdate of length 65537", { { "\x18\1\0\1\0", 5, HANDSHAKE } }, -EPROTO, 50, "bad KeyUpdate length" },
	{ "KeyUpdate of length 0 and no more", { { "\x18\0\0\0", 4, HANDSHAKE } }, -EPROTO, 50, "bad KeyUpdate length" },
	{ "KeyUpdate of length 2", { { "\x18\0\0\2\0\0", 6, HANDSHAKE } }, -EPROTO, 50, "bad KeyUpdate length" },
	{ "NewSessionTicket", { { "\4\0\0\1\0", 5, HANDSHAKE } }, -EPROTO, 10, "unexpected handshake message" },
	{ "ClientHello", { { "\1\0\0\1\0", 5, HANDSHAKE } }, -EPROTO, 10, "unexpected handshake message" },
	{ "empty handshake", { { "", 0, HANDSHAKE } }, -EPROTO, 10, "unexpected handshake message" },
	{ "empty alert", { { "", 0, ALERT } }, -EPROTO, 10, "bad alert length" },
	{ "alert of 1", { { "\1", 1, ALERT } }, -EPROTO, 50, "bad alert length" },
	{ "alert of 3", { { "\1\0\0", 3, ALERT } }, -EPROTO, 50, "bad alert length" },
	{ "close_notify", { { "a", 1, DATA }, { "\1\0", 2, ALERT } }, 0, .got = 1 },
	{ "close_notify, fatal", { { "\2\0", 2, ALERT } }, 0 },
	{ "user_canceled", { { "\1\x5a", 2, ALERT }, { "a", 1, DATA } }, -EAGAIN, .got = 1 },
	{ "handshake_failure", { { "\2\x28", 2, ALERT } }, -EPROTO, 0, "handshake failure" },
	{ "no_certificate as a warning", { { "\1\x29", 2, ALERT } }, -EPROTO, 0, "no certificate" },
	{ "alert 255", { { "\2\xff", 2, ALERT } }, -EPROTO, 0, "unknown" },
};

static void forge_text(struct t_out *out, struct record_keys *k, const struct forged_text *t)
{
	size_t n = t->n + (t->type != 0) + t->pad;
	uint8_t *text = calloc(1, n ? n : 1);

	if (t->n)
		memcpy(text, t->p, t->n);
	if (t->type)
		text[t->n] = t->type;
	forge(out, k, text, n);
	free(text);
}

static void test_forged(void **state)
{
	const struct forged_case *c = *state;
	struct record_keys a, b;
	struct t_out out;
	size_t got;

	twins(&a, &b, AEAD_AES_128_GCM, AEAD_AUTO);
	t_out_init(&out);
	for (size_t i = 0; !i || (i < ARRAY_SIZE(c->recs) && c->recs[i].p); i++)
		forge_text(&out, &b, &c->recs[i]);
	assert_int_equal(c->want, open_all(&a, out.o.p, out.o.len, &got));
	assert_int_equal(c->got, got);
	if (c->want == -EPROTO) {
		assert_int_equal(c->alert, a.alert);
		assert_string_equal(c->error, a.error);
	} else {
		assert_null(a.error);
	}
	t_out_done(&out);
	record_keys_done(&a);
	record_keys_done(&b);
}

/* 32 records in a row without data are borne, 33 are not; data starts the count anew. */
static void test_idle(void **state)
{
	const struct forged_text *t = *state;
	struct record_keys a, b;
	struct t_out out;
	size_t got;
	int r = -EAGAIN, n;

	twins(&a, &b, AEAD_AES_128_GCM, AEAD_AUTO);
	t_out_init(&out);
	for (n = 0; n < 20; n++)
		forge_text(&out, &b, &(struct forged_text){ "", 0, DATA });
	forge_text(&out, &b, &(struct forged_text){ "a", 1, DATA });
	assert_int_equal(-EAGAIN, open_all(&a, out.o.p, out.o.len, &got));
	t_out_done(&out);
	for (n = 0; r == -EAGAIN; n++) {
		forge_text(&out, &b, t);
		r = open_all(&a, out.o.p, out.o.len, &got);
		t_out_done(&out);
		if (t->type == HANDSHAKE) {	/* follow */
			record_keys_done(&b);
			assert_int_equal(0, record_keys_init(&b, a.suite, AEAD_EVP, a.wr.secret, a.rd.secret));
		}
	}
	assert_int_equal(33, n);
	assert_int_equal(-EPROTO, r);
	assert_string_equal("too many records without data", a.error);
	record_keys_done(&a);
	record_keys_done(&b);
}

/* Refused by its head alone. */
static const struct head_case {
	const char *name;
	uint8_t bytes[5];
	size_t n;		/* bytes behind it */
	int want;
	uint8_t alert;
	const char *error;
} heads[] = {
	{ "CCS outside", { 20, 3, 3, 0, 1 }, 1, -EPROTO, 10, "record without protection" },
	{ "alert in the clear", { 21, 3, 3, 0, 2 }, 0, -EPROTO, 10, "record without protection" },
	{ "handshake in the clear", { 22, 3, 1, 2, 0 }, 0, -EPROTO, 10, "record without protection" },
	{ "HTTP", { 'G', 'E', 'T', ' ', '/' }, 0, -EPROTO, 10, "record without protection" },
	{ "length 16641", { 23, 3, 3, 0x41, 1 }, 0, -EPROTO, 22, "record too long" },
	{ "length 65535", { 23, 3, 3, 0xff, 0xff }, 0, -EPROTO, 22, "record too long" },
	{ "length 16640", { 23, 3, 3, 0x41, 0 }, 0, -EAGAIN },
	{ "length 0", { 23, 3, 3, 0, 0 }, 0, -EPROTO, 20, "record too short" },
	{ "length 15", { 23, 3, 3, 0, 15 }, 15, -EPROTO, 20, "record too short" },
	{ "length 16, no tag", { 23, 3, 3, 0, 16 }, 16, -EPROTO, 20, "bad record MAC" },
};

static void test_head(void **state)
{
	const struct head_case *c = *state;
	struct record_keys a, b;
	struct record r;
	uint8_t *p = calloc(1, 5 + c->n);

	twins(&a, &b, AEAD_AES_128_GCM, AEAD_AUTO);
	memcpy(p, c->bytes, 5);
	for (size_t n = 0; n < 5; n++)
		assert_int_equal(-EAGAIN, record_open(&a, p, n, &r));
	assert_int_equal(c->want, record_open(&a, p, 5 + c->n, &r));
	assert_int_equal(c->alert, a.alert);
	if (c->error)
		assert_string_equal(c->error, a.error);
	free(p);
	record_keys_done(&a);
	record_keys_done(&b);
}

/* --- gathering */

static void test_iovecs(void **state)
{
	struct iovec iov[300] = { { NULL, 0 } };
	struct record_keys a, b;
	struct t_out out;
	struct record r;
	size_t got, n, total;

	(void)state;
	twins(&a, &b, AEAD_AES_128_GCM, AEAD_AUTO);
	t_out_init(&out);
	assert_int_equal(0, record_seal(&b, NULL, 0, &out.o));
	assert_int_equal(0, record_seal(&b, iov, 3, &out.o));
	assert_int_equal(0, out.o.len);
	/* Pieces of all sizes, empty ones between, behind what is there. */
	for (size_t step = 1; step < 240; step += 7) {
		total = 0;
		for (n = 0; n < ARRAY_SIZE(iov); n++) {
			iov[n] = (struct iovec){ w.data + total, n % 5 == 2 ? 0 : n * step % 241 };
			total += iov[n].iov_len;
		}
		out.o.grow(&out.o, 3);
		memcpy(out.o.p, "abc", 3);
		out.o.len = 3;
		assert_int_equal(0, record_seal(&b, iov, (unsigned int)n, &out.o));
		assert_memory_equal("abc", out.o.p, 3);
		assert_int_equal(3 + total + (total + 16383) / 16384 * RECORD_OVERHEAD, out.o.len);
		assert_int_equal(1, record_open(&a, out.o.p + 3, out.o.len - 3, &r));
		assert_int_equal(min_of(total, (size_t)RECORD_PLAIN_MAX), r.n);
		assert_memory_equal(w.data, r.p, r.n);
		assert_int_equal(-EAGAIN, open_all(&a, out.o.p + 3 + r.used, out.o.len - 3 - r.used, &got));
		assert_int_equal(total - r.n, got);
		assert_memory_equal(w.data + r.n, w.got, got);
		t_out_done(&out);
	}
	record_keys_done(&a);
	record_keys_done(&b);
}

/* Nothing is lost when there is no room: the next try is read. */
static void test_no_room(void **state)
{
	struct iovec iov = { w.data, 40000 };
	struct record_keys a, b;
	struct t_out out;
	size_t got;

	(void)state;
	twins(&a, &b, AEAD_AES_128_GCM, AEAD_AUTO);
	t_out_init(&out);
	out.limit = 30000;
	b.update_due = true;
	assert_int_equal(-ENOMEM, record_seal(&b, &iov, 1, &out.o));
	assert_int_equal(0, out.o.len);
	assert_true(b.update_due);
	out.limit = 10;
	assert_int_equal(-ENOMEM, record_seal_alert(&b, RECORD_CLOSE_NOTIFY, &out.o));
	out.limit = 0;
	assert_int_equal(0, record_seal(&b, &iov, 1, &out.o));
	assert_int_equal(0, record_seal_alert(&b, RECORD_CLOSE_NOTIFY, &out.o));
	assert_int_equal(0, open_all(&a, out.o.p, out.o.len, &got));
	assert_int_equal(40000, got);
	t_out_done(&out);
	record_keys_done(&a);
	record_keys_done(&b);
}

static const struct forged_text idle_kinds[] = {
	{ "", 0, DATA }, { "", 0, DATA, 100 }, { UPDATE_ASK, 5, HANDSHAKE }, { "\1\x5a", 2, ALERT },
};

int main(void)
{
	static const struct per_engine {
		const char *name;
		CMUnitTestFunction run;
	} per_engine[] = {
		{ "exchange", test_exchange }, { "torn", test_torn }, { "flipped", test_flipped },
		{ "KeyUpdate received", test_key_update_received }, { "KeyUpdate sent", test_key_update_sent },
		{ "close", test_close }, { "alert sent", test_alert_sent },
	};
	static char names[ARRAY_SIZE(per_engine) * ARRAY_SIZE(engines)][64];
	struct CMUnitTest t[150] = {
		cmocka_unit_test(test_engines),
		cmocka_unit_test(test_fast_start),
		cmocka_unit_test(test_detach_12),
		cmocka_unit_test(test_iovecs),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_alert_level),
	};
	size_t n = 6, k = 0;

	for (size_t i = 0; i < ARRAY_SIZE(per_engine); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(engines); j++, k++) {
			snprintf(names[k], sizeof(names[k]), "%s, %s", per_engine[i].name, engines[j].name);
			t[n++] = (struct CMUnitTest){ names[k], per_engine[i].run, NULL, NULL, (void *)&engines[j] };
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(forged); i++)
		t[n++] = (struct CMUnitTest){ forged[i].name, test_forged, NULL, NULL, (void *)&forged[i] };
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
		t[n++] = (struct CMUnitTest){ heads[i].name, test_head, NULL, NULL, (void *)&heads[i] };
	for (size_t i = 0; i < ARRAY_SIZE(idle_kinds); i++)
		t[n++] = (struct CMUnitTest){ "idle", test_idle, NULL, NULL, (void *)&idle_kinds[i] };
	return _cmocka_run_group_tests("record", t, n, set_up, tear_down);
}
