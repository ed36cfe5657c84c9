/* SPDX-License-Identifier: BSD-3-Clause */
/* Our key schedule and X25519 against OpenSSL's own. */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>

#include "lib/unit.h"

#include "lib/tls_peer.h"
#include "lib/tls_server.h"
#include "net/provider.h"
#include "net/record.h"

#define OURS	"provider=xderp"
#define THEIRS	"provider=default"

static struct t_server server;

static int set_up(void **state)
{
	(void)state;
	t_server_init(&server);
	return provider_load() ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	t_server_done(&server);
	return 0;
}

/* --- the key schedule */

static const struct kdf_case {
	const char *name;
	const char *digest, *label;	/* label NULL: extract */
	size_t key, salt, data, n;	/* bytes; key, salt, data 0: not given */
	const char *prefix;		/* NULL: that of TLS */
	bool refused;			/* by ours; OpenSSL's does more than TLS 1.3 needs */
} kdf_cases[] = {
	{ "early secret", "SHA256", NULL, 0, 0, 0, 32 },
	{ "early secret, SHA-384", "SHA384", NULL, 0, 0, 0, 48 },
	{ "handshake secret", "SHA2-256", NULL, 32, 32, 0, 32 },
	{ "handshake secret of P-521", "SHA256", NULL, 66, 32, 0, 32 },
	{ "handshake secret, SHA-384", "SHA2-384", NULL, 32, 48, 0, 48 },
	{ "main secret", "SHA256", NULL, 0, 32, 0, 32 },
	{ "main secret, SHA-384", "SHA384", NULL, 0, 48, 0, 48 },
	{ "traffic secret", "SHA256", "c hs traffic", 32, 0, 32, 32 },
	{ "traffic secret, SHA-384", "SHA384", "s ap traffic", 48, 0, 48, 48 },
	{ "key", "SHA256", "key", 32, 0, 0, 16 },
	{ "iv, SHA-384", "SHA384", "iv", 48, 0, 0, 12 },
	{ "finished", "SHA256", "finished", 32, 0, 0, 32 },
	{ "long context", "SHA256", "x", 32, 0, 255, 32 },
	{ "secret of the wrong length", "SHA256", "key", 31, 0, 0, 16, .refused = true },
	{ "salt of the wrong length", "SHA384", NULL, 32, 32, 0, 48, .refused = true },
	{ "two blocks", "SHA256", "key", 32, 0, 0, 33, .refused = true },
	{ "a hash of no suite", "SHA512", "key", 64, 0, 0, 32, .refused = true },
	{ "DTLS", "SHA256", "key", 32, 0, 0, 16, "dtls13", true },
};

static bool derive(const struct kdf_case *k, const char *query, uint8_t *ret, uint8_t *key, uint8_t *salt, uint8_t *data)
{
	const char *label = k->label ? k->label : "derived", *prefix = k->prefix ? k->prefix : "tls13 ";
	int mode = k->label ? EVP_KDF_HKDF_MODE_EXPAND_ONLY : EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", query);
	EVP_KDF_CTX *c = EVP_KDF_CTX_new(kdf);
	OSSL_PARAM params[8], *p = params;
	bool ok;

	*p++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
	*p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)k->digest, 0);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, (char *)prefix, strlen(prefix));
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, (char *)label, strlen(label));
	if (k->key)
		*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key, k->key);
	if (k->salt)
		*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt, k->salt);
	if (k->data)
		*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_DATA, data, k->data);
	*p = OSSL_PARAM_construct_end();
	ok = EVP_KDF_derive(c, ret, k->n, params) > 0;
	EVP_KDF_CTX_free(c);
	EVP_KDF_free(kdf);
	return ok;
}

static void test_kdf(void **state)
{
	const struct kdf_case *k = *state;
	uint8_t key[80], salt[80], data[255], ours[64], theirs[64];

	RAND_bytes(key, sizeof(key));
	RAND_bytes(salt, sizeof(salt));
	RAND_bytes(data, sizeof(data));
	assert_int_equal(!k->refused, derive(k, OURS, ours, key, salt, data));
	if (k->refused)
		return;
	assert_true(derive(k, THEIRS, theirs, key, salt, data));
	assert_memory_equal(theirs, ours, k->n);
}

/* --- X25519 */

static EVP_PKEY *pair_of(const char *query)
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "X25519", query);
	EVP_PKEY *ret = NULL;

	assert_int_equal(1, EVP_PKEY_keygen_init(c));
	assert_int_equal(1, EVP_PKEY_keygen(c, &ret));
	EVP_PKEY_CTX_free(c);
	return ret;
}

/* As TLS does it: an empty key, into which the bytes go. NULL: refused. */
static EVP_PKEY *public_of(const char *query, const uint8_t *p, size_t n)
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "X25519", query);
	EVP_PKEY *ret = NULL;

	assert_int_equal(1, EVP_PKEY_paramgen_init(c));
	assert_int_equal(1, EVP_PKEY_CTX_set_group_name(c, "x25519"));
	assert_int_equal(1, EVP_PKEY_paramgen(c, &ret));
	EVP_PKEY_CTX_free(c);
	if (EVP_PKEY_set1_encoded_public_key(ret, p, n) > 0)
		return ret;
	EVP_PKEY_free(ret);
	return NULL;
}

static bool agree(const char *query, EVP_PKEY *mine, EVP_PKEY *peer, uint8_t ret[32])
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_pkey(NULL, mine, query);
	size_t n = 0;
	bool ok = EVP_PKEY_derive_init(c) > 0 && EVP_PKEY_derive_set_peer(c, peer) > 0 && EVP_PKEY_derive(c, NULL, &n) > 0 &&
		  n == 32 && EVP_PKEY_derive(c, ret, &n) > 0 && n == 32;

	EVP_PKEY_CTX_free(c);
	return ok;
}

/* The public half of from, as whoever has query reads it. */
static EVP_PKEY *carried(const char *query, EVP_PKEY *from)
{
	uint8_t *p;
	size_t n = EVP_PKEY_get1_encoded_public_key(from, &p);
	EVP_PKEY *ret;

	assert_int_equal(32, n);
	ret = public_of(query, p, n);
	assert_non_null(ret);
	OPENSSL_free(p);
	return ret;
}

static void test_agree(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		EVP_PKEY *ours = pair_of(OURS), *theirs = pair_of(THEIRS);
		EVP_PKEY *to_us = carried(OURS, theirs), *to_them = carried(THEIRS, ours);
		uint8_t a[32], b[32];

		assert_true(agree(OURS, ours, to_us, a));
		assert_true(agree(THEIRS, theirs, to_them, b));
		assert_memory_equal(a, b, 32);
		assert_int_equal(253, EVP_PKEY_get_bits(ours));
		assert_int_equal(128, EVP_PKEY_get_security_bits(ours));
		EVP_PKEY_free(ours);
		EVP_PKEY_free(theirs);
		EVP_PKEY_free(to_us);
		EVP_PKEY_free(to_them);
	}
}

/* Two pairs are not the same; a low-order point and a key of another length are no keys. */
static void test_bad_keys(void **state)
{
	EVP_PKEY *a = pair_of(OURS), *b = pair_of(OURS), *zero;
	uint8_t nothing[33] = { 0 }, *p, *q, secret[32];

	(void)state;
	assert_int_equal(32, EVP_PKEY_get1_encoded_public_key(a, &p));
	assert_int_equal(32, EVP_PKEY_get1_encoded_public_key(b, &q));
	assert_memory_not_equal(p, q, 32);
	OPENSSL_free(p);
	OPENSSL_free(q);
	zero = public_of(OURS, nothing, 32);
	assert_non_null(zero);
	assert_false(agree(OURS, a, zero, secret));
	assert_false(agree(OURS, zero, a, secret));	/* no private half */
	assert_null(public_of(OURS, nothing, 31));
	assert_null(public_of(OURS, nothing, 33));
	EVP_PKEY_free(a);
	EVP_PKEY_free(b);
	EVP_PKEY_free(zero);
}

/* --- a context whose OpenSSL does not let ours in: the secrets come by the keylog */

/* A handshake, after which our own records and the client's understand each other. */
static void expect_detach(struct tls_ctx *ctx)
{
	struct t_client_opts o = { .version = TLS1_3_VERSION, .sni = T_HOST };
	struct tls *t = tls_new(ctx);
	struct record_keys keys;
	struct t_client c;
	struct record r;
	uint8_t *p;
	size_t n;

	t_client_init(&c, &o);
	assert_int_equal(1, t_handshake(&c, t, 0));
	assert_int_equal(0, tls_detach(t, &keys));
	assert_int_equal(5, SSL_write(c.ssl, "hello", 5));
	p = t_client_take(&c, &n);
	assert_int_equal(1, record_open(&keys, p, n, &r));
	assert_int_equal(5, r.n);
	assert_memory_equal("hello", r.p, 5);
	free(p);
	record_keys_done(&keys);
	tls_free(t);
	t_client_done(&c);
}

static void test_not_let_in(void **state)
{
	struct t_server other;

	(void)state;
	expect_detach(server.ctx);
	assert_int_equal(1, EVP_set_default_properties(NULL, "output!=tls"));
	assert_false(provider_load());
	t_server_init(&other);
	expect_detach(other.ctx);
	t_server_done(&other);
	assert_int_equal(1, EVP_set_default_properties(NULL, ""));
	assert_true(provider_load());
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(kdf_cases) + 3] = {
		{ "pairs agree with OpenSSL's", test_agree },
		{ "what is no key", test_bad_keys },
		{ "not let in", test_not_let_in },
	};

	if (OpenSSL_version_num() >= PROVIDER_END) {
		print_message("skipped: %s is used without ours\n", OpenSSL_version(OPENSSL_VERSION));
		return 0;
	}

	for (size_t i = 0; i < ARRAY_SIZE(kdf_cases); i++)
		t[3 + i] = (struct CMUnitTest){ kdf_cases[i].name, test_kdf, NULL, NULL, (void *)&kdf_cases[i] };
	return cmocka_run_group_tests(t, set_up, tear_down);
}
