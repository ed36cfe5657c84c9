/* SPDX-License-Identifier: BSD-3-Clause */
/* The transport under kernel TLS against an OpenSSL client, over a socket. Skipped where the kernel has no kTLS. */
#include "lib/unit.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/slab.h"
#include "lib/tls_peer.h"
#include "lib/tls_server.h"
#include "net/io_impl.h"
#include "net/ktls.h"
#include "net/record_path.h"
#include "net/transport.h"

#define MANY	100000

static struct world {
	struct t_server server;
	struct ktls_support kernel;
	struct rbuf_pool pool;
	struct slab mem;
	uint8_t data[MANY];
} w;

static int set_up(void **state)
{
	(void)state;
	t_server_init(&w.server);
	ktls_probe(&w.kernel);
	slab_init(&w.mem, 64 << 20);
	for (size_t i = 0; i < MANY; i++)
		w.data[i] = (uint8_t)(i * 31 + i / 256);
	return rbuf_pool_init(&w.pool, 64);
}

static int tear_down(void **state)
{
	(void)state;
	rbuf_pool_done(&w.pool);
	slab_done(&w.mem);
	t_server_done(&w.server);
	return 0;
}

/* The server's transport on s[0], as a shard drives it, and the client on s[1]. */
struct session {
	int s[2];
	struct transport t;
	struct outbuf out;
	struct t_client c;
	int last;			/* what the transport's input said last */
	size_t got;			/* plaintext from the client */
	const char *answer;		/* said once, when the first of it comes */
};

static bool sink(void *ctx, struct rbuf *b, uint8_t *p, size_t n)
{
	struct session *s = ctx;
	struct iovec iov;

	(void)b;
	assert_true(s->got + n <= MANY);
	assert_memory_equal(p, w.data + s->got, n);
	s->got += n;
	if (s->answer) {
		iov = (struct iovec){ (char *)s->answer, strlen(s->answer) };
		s->answer = NULL;
		assert_int_equal(0, transport_seal(&s->t, &iov, 1, &s->out));
	}
	return true;
}

static void flush(struct session *s)
{
	size_t n = outbuf_len(&s->out);

	if (!n)
		return;
	assert_int_equal(n, send(s->s[0], s->out.o.p + s->out.off, n, 0));
	outbuf_consume(&s->out, n);
}

/* One receive, if there is something. Returns whether there was. */
static bool server_turn(struct session *s)
{
	size_t max = transport_recv_max(&s->t);
	struct rbuf *b = rbuf_ref(rbuf_take(&w.pool));
	ssize_t n = recv(s->s[0], b->data, max ? max : RBUF_SIZE, MSG_DONTWAIT);
	int err = errno;

	if (n > 0)
		s->last = transport_input(&s->t, b, (size_t)n, &s->out, sink, s);
	else if (n < 0 && err != EAGAIN)
		s->last = transport_input_error(&s->t, -err);
	rbuf_unref(b);
	flush(s);
	return n > 0 || (n < 0 && err != EAGAIN && !s->last);
}

/* Loopback delivers when it likes. */
static bool comes(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

static void server_runs(struct session *s)
{
	while (comes(s->s[0], 10) && server_turn(s) && !s->last)
		;
}

/* What the client has to say goes out, cut bytes first, with the server running in between. */
static void client_speaks(struct session *s, size_t cut)
{
	size_t n, off = 0, k;
	uint8_t *p = t_client_take(&s->c, &n);

	while (off < n) {
		k = cut ? min_of(cut, n - off) : n - off;
		assert_int_equal(k, send(s->s[1], p + off, k, 0));
		off += k;
		if (cut)
			server_runs(s);
	}
	free(p);
	server_runs(s);
}

static void client_listens(struct session *s)
{
	uint8_t buf[65536];
	ssize_t n;

	if (comes(s->s[1], 2000) && (n = recv(s->s[1], buf, sizeof(buf), 0)) > 0)
		BIO_write(s->c.in, buf, (int)n);
}

/* Handshake; the first n bytes of data go out in one flight with Finished. */
static void session_start(struct session *s, enum aead_suite suite, size_t n, size_t cut)
{
	struct t_client_opts o = { .version = TLS1_3_VERSION, .suites = t_suite_names[suite], .sni = T_HOST };
	struct transport_opts to = { .ctx = w.server.ctx, .own_records = true, .ktls = &w.kernel };

	*s = (struct session){ .answer = "hello" };
	assert_int_equal(0, ktls_socket_pair(s->s));
	outbuf_init(&s->out, &w.mem);
	assert_int_equal(0, transport_init(&s->t, s->s[0], &to));
	t_client_init(&s->c, &o);
	SSL_do_handshake(s->c.ssl);
	client_speaks(s, 0);
	for (int i = 0; i < 10 && SSL_do_handshake(s->c.ssl) != 1; i++)
		client_listens(s);
	assert_true(SSL_is_init_finished(s->c.ssl));
	if (n)
		assert_int_equal(n, SSL_write(s->c.ssl, w.data, (int)n));
	client_speaks(s, cut);
	for (int i = 0; i < 100 && s->got < n && !s->last; i++)
		server_runs(s);
	assert_int_equal(0, s->last);
}

static void session_open(struct session *s, enum aead_suite suite, size_t n, size_t cut)
{
	if (!w.kernel.any)
		skip();
	session_start(s, suite, n, cut);
	assert_int_equal(KTLS_ON, s->t.ktls);
	assert_int_equal(TRANSPORT_KTLS, s->t.kind);
}

static void session_close(struct session *s)
{
	transport_done(&s->t);
	outbuf_done(&s->out);
	t_client_done(&s->c);
	close(s->s[0]);
	close(s->s[1]);
}

static void client_reads(struct session *s, const void *want, size_t n)
{
	static uint8_t got[MANY];
	size_t have = 0;
	int r;

	for (int i = 0; i < 100 && have < n; i++) {
		while (have < n && (r = SSL_read(s->c.ssl, got + have, (int)(n - have))) > 0)
			have += (size_t)r;
		if (have < n)
			client_listens(s);
	}
	assert_int_equal(n, have);
	assert_memory_equal(want, got, n);
}

static void client_writes(struct session *s, size_t n)
{
	size_t before = s->got;

	assert_int_equal(n, SSL_write(s->c.ssl, w.data + s->got, (int)n));
	client_speaks(s, 0);
	for (int i = 0; i < 100 && s->got < before + n; i++)
		server_runs(s);
	assert_int_equal(before + n, s->got);
}

static void server_writes(struct session *s, size_t n)
{
	assert_false(transport_seals(&s->t));
	assert_int_equal(n, send(s->s[0], w.data, n, 0));
	client_reads(s, w.data, n);
}

/* What the client is told at the end: 0 for close_notify, else the alert's number, -1 for nothing. */
static int client_alert(struct session *s)
{
	uint8_t b;
	int r;

	client_listens(s);
	ERR_clear_error();
	r = SSL_read(s->c.ssl, &b, 1);
	if (SSL_get_error(s->c.ssl, r) == SSL_ERROR_ZERO_RETURN)
		return 0;
	if (SSL_get_error(s->c.ssl, r) != SSL_ERROR_SSL)
		return -1;
	return ERR_GET_REASON(ERR_get_error()) - SSL_AD_REASON_OFFSET;
}

static void both_ways(void **state)
{
	enum aead_suite suite = *(enum aead_suite *)*state;
	struct session s;

	session_open(&s, suite, 0, 0);
	for (size_t n = 1; n < 40000; n = n * 3 + 1) {
		client_writes(&s, n);
		if (s.answer == NULL && n == 1)
			client_reads(&s, "hello", 5);
		server_writes(&s, n);
	}
	session_close(&s);
}

/* Data behind Finished, in every kind of cut: read by us or left in the socket, torn or whole. */
static void torn_hand_over(void **state)
{
	static const size_t cuts[] = { 0, 1, 2, 3, 4, 5, 6, 7, 50, 1000, 16384, 16400, 20000 };
	static const size_t sizes[] = { 1, 100, 16384, 16385, 50000 };
	struct session s;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(cuts); j++) {
			if (cuts[j] && cuts[j] < 1000 && sizes[i] > 100)
				continue;
			session_open(&s, AEAD_AES_128_GCM, sizes[i], cuts[j]);
			assert_int_equal(sizes[i], s.got);
			client_reads(&s, "hello", 5);
			client_writes(&s, 3000);
			server_writes(&s, 3000);
			session_close(&s);
		}
	}
}

static void close_notify_both_ways(void **state)
{
	struct session s;

	(void)state;
	session_open(&s, AEAD_AES_128_GCM, 10, 0);
	client_reads(&s, "hello", 5);
	SSL_shutdown(s.c.ssl);
	client_speaks(&s, 0);
	assert_int_equal(1, s.last);
	transport_shutdown(&s.t, &s.out);
	assert_int_equal(0, outbuf_len(&s.out));
	assert_int_equal(0, client_alert(&s));
	session_close(&s);
}

static void broken_record(struct session *s, void (*spoil)(uint8_t *p, size_t n))
{
	size_t n;
	uint8_t *p;

	session_open(s, AEAD_AES_128_GCM, 10, 0);
	client_reads(s, "hello", 5);
	assert_int_equal(100, SSL_write(s->c.ssl, w.data, 100));
	p = t_client_take(&s->c, &n);
	spoil(p, n);
	assert_int_equal(n, send(s->s[1], p, n, 0));
	free(p);
	server_runs(s);
	assert_int_equal(10, s->got);
	assert_int_equal(-EPROTO, s->last);
}

static void flip_last(uint8_t *p, size_t n)
{
	p[n - 1] ^= 1;
}

static void say_long(uint8_t *p, size_t n)
{
	(void)n;
	put_be16(p + 3, RECORD_PLAIN_MAX + 300);
}

static void say_plain(uint8_t *p, size_t n)
{
	(void)n;
	p[1] = 2;	/* version */
}

static void broken_records(void **state)
{
	struct session s;

	(void)state;
	broken_record(&s, flip_last);
	assert_string_equal("bad record MAC", transport_error(&s.t));
	assert_int_equal(RECORD_BAD_MAC, client_alert(&s));
	session_close(&s);
	broken_record(&s, say_long);
	assert_int_equal(RECORD_OVERFLOW, client_alert(&s));
	session_close(&s);
	broken_record(&s, say_plain);
	session_close(&s);
}

static void key_update_from_client(void **state)
{
	struct session s;

	(void)state;
	session_open(&s, AEAD_AES_128_GCM, 10, 0);
	client_reads(&s, "hello", 5);
	for (int i = 0; i < 40; i++) {
		assert_int_equal(1, SSL_key_update(s.c.ssl, i % 2 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED));
		assert_int_equal(100, SSL_write(s.c.ssl, w.data + s.got, 100));
		client_speaks(&s, 0);
		if (!w.kernel.rekey) {
			assert_int_equal(-EKEYEXPIRED, s.last);
			break;
		}
		assert_int_equal(0, s.last);
		assert_int_equal(110 + 100 * i, s.got);
		assert_int_equal(i % 2, transport_update_due(&s.t));
		if (i % 2)
			assert_int_equal(0, transport_update_keys(&s.t));
		server_writes(&s, 1000);
	}
	session_close(&s);
}

/* A key is not used for more than it is good for. */
static void worn_out_key(void **state)
{
	struct session s;

	(void)state;
	session_open(&s, AEAD_CHACHA20_POLY1305, 10, 0);
	client_reads(&s, "hello", 5);
	s.t.keys->rekey_after = 1;
	assert_false(transport_sent(&s.t, RECORD_PLAIN_MAX - 1));
	assert_true(transport_sent(&s.t, 1));
	assert_true(transport_update_due(&s.t));
	if (w.kernel.rekey) {
		assert_int_equal(0, transport_update_keys(&s.t));
		assert_false(transport_update_due(&s.t));
		server_writes(&s, 5000);
		assert_false(transport_sent(&s.t, 5000));
	} else {
		assert_int_equal(-EKEYEXPIRED, transport_update_keys(&s.t));
	}
	session_close(&s);
}

/* OpenSSL's state is freed, and no secret stays behind that is not needed. */
static void keys_are_gone(void **state)
{
	static const uint8_t zero[RECORD_SECRET_MAX];
	struct session s;

	(void)state;
	session_open(&s, AEAD_AES_256_GCM, 10, 0);
	assert_null(s.t.tls);
	assert_null(s.t.keys->rd.key);
	assert_null(s.t.keys->wr.key);
	if (!w.kernel.rekey) {
		assert_memory_equal(zero, s.t.keys->rd.secret, sizeof(zero));
		assert_memory_equal(zero, s.t.keys->wr.secret, sizeof(zero));
	}
	session_close(&s);
}

/* Without the kernel's cipher, and where it refuses the socket, our own layer goes on. */
static void falls_back(void **state)
{
	static const struct ktls_support no_suite = { .any = true }, every_suite = { .suites = { true, true, true }, .any = true };
	const struct { const struct ktls_support *kernel; enum ktls_state want; } rows[] = {
		{ &no_suite, KTLS_NO_SUITE },
		{ &every_suite, w.kernel.any ? KTLS_ON : KTLS_NO_REFUSED },
	};
	const struct ktls_support kernel = w.kernel;
	struct session s;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		w.kernel = *rows[i].kernel;
		session_start(&s, AEAD_AES_128_GCM, 10, 0);
		assert_int_equal(rows[i].want, s.t.ktls);
		assert_int_equal(0, transport_recv_max(&s.t));
		client_reads(&s, "hello", 5);
		client_writes(&s, 3000);
		session_close(&s);
	}
	w.kernel = kernel;
}

static void choice(void **state)
{
	struct record_path p;

	(void)state;
	assert_int_equal(0, record_path_choose(&p, KTLS_MODE_OFF));
	assert_false(p.ktls);
	assert_string_equal("--ktls=off", p.why);
	assert_int_equal(w.kernel.any ? 0 : -ENOTSUP, record_path_choose(&p, KTLS_MODE_ON));
	assert_int_equal(w.kernel.any, p.ktls);
	assert_true(*p.why);
	assert_int_equal(0, record_path_choose(&p, KTLS_MODE_AUTO));
	assert_true(*p.why);
	assert_int_equal(w.kernel.any && !*p.nic, p.own_ns > 0 && p.ktls_ns > 0);
}

int main(void)
{
	static enum aead_suite suites[] = { AEAD_AES_128_GCM, AEAD_AES_256_GCM, AEAD_CHACHA20_POLY1305 };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(choice),
		cmocka_unit_test_prestate(both_ways, &suites[0]),
		cmocka_unit_test_prestate(both_ways, &suites[1]),
		cmocka_unit_test_prestate(both_ways, &suites[2]),
		cmocka_unit_test(torn_hand_over),
		cmocka_unit_test(close_notify_both_ways),
		cmocka_unit_test(broken_records),
		cmocka_unit_test(key_update_from_client),
		cmocka_unit_test(worn_out_key),
		cmocka_unit_test(keys_are_gone),
		cmocka_unit_test(falls_back),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
