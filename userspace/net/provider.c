/* SPDX-License-Identifier: BSD-3-Clause */
/* Why: OpenSSL's TLS13-KDF looks its hash and its HMAC up by name on each of some twenty calls, its keylog, else the only way to the
 * traffic secrets, prints all secrets byte by byte with sprintf, and its X25519 makes a key pair in portable C. provider-base(7),
 * provider-kdf(7), provider-keymgmt(7), provider-keyexch(7). */
#include "net/provider.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"

#define NAME		"xderp"
/* FIPS asks for more than this. The second is for a test that leaves ours out: other names of properties can't be made up. */
#define PROPERTIES	"provider=" NAME ",output=tls"
#define X25519_LEN	32

_Static_assert(crypto_scalarmult_BYTES == X25519_LEN && crypto_scalarmult_SCALARBYTES == X25519_LEN, "libsodium's is X25519");

static __thread struct traffic_secrets *watched;

void provider_watch(struct traffic_secrets *s)
{
	watched = s;
}

/* --- parameters */

static bool get_bytes(struct view *ret, const OSSL_PARAM *params, const char *name)
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, name);
	const void *data;

	return p && OSSL_PARAM_get_octet_string_ptr(p, &data, &ret->n) && (ret->p = data, data || !ret->n);
}

static bool equals(struct view v, const char *s)
{
	return v.n == strlen(s) && !memcmp(v.p, s, v.n);
}

/* --- TLS13-KDF */

static bool find_hash(enum hkdf_hash *ret, const OSSL_PARAM *params)
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_KDF_PARAM_DIGEST);
	const char *name;

	if (!p || !OSSL_PARAM_get_utf8_string_ptr(p, &name))
		return false;
	*ret = strcasecmp(name, "SHA2-384") && strcasecmp(name, "SHA384") ? HKDF_SHA256 : HKDF_SHA384;
	return *ret == HKDF_SHA384 || !strcasecmp(name, "SHA2-256") || !strcasecmp(name, "SHA256");
}

static bool extract(enum hkdf_hash h, uint8_t *out, const OSSL_PARAM *params)
{
	struct view before = { 0 }, input = { 0 }, label;

	if (get_bytes(&before, params, OSSL_KDF_PARAM_SALT) && before.n != hkdf_len(h))
		return false;
	get_bytes(&input, params, OSSL_KDF_PARAM_KEY);
	if (!get_bytes(&label, params, OSSL_KDF_PARAM_LABEL) || !equals(label, "derived"))
		return false;
	hkdf_next_secret(h, out, before.p, input);
	return true;
}

static void note(struct view label, const uint8_t *secret, size_t n)
{
	if (!watched || n > HKDF_MAX)
		return;
	if (equals(label, "c ap traffic"))
		memcpy(watched->client, secret, n);
	else if (equals(label, "s ap traffic"))
		memcpy(watched->server, secret, n);
}

static bool expand(enum hkdf_hash h, uint8_t *out, size_t n, const OSSL_PARAM *params)
{
	struct view secret, label, context = { 0 };

	get_bytes(&context, params, OSSL_KDF_PARAM_DATA);
	if (!get_bytes(&secret, params, OSSL_KDF_PARAM_KEY) || secret.n != hkdf_len(h) || n > hkdf_len(h) ||
	    !get_bytes(&label, params, OSSL_KDF_PARAM_LABEL) || label.n > 249 || context.n > 255)
		return false;
	hkdf_expand_label(h, out, n, secret.p, label, context);
	note(label, out, n);
	return true;
}

/* TLS gives all parameters with this call: a context has nothing to hold. */
static int kdf_derive(void *ctx, unsigned char *out, size_t n, const OSSL_PARAM params[])
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_KDF_PARAM_MODE);
	struct view prefix;
	enum hkdf_hash h;
	int mode;

	(void)ctx;
	if (!p || !OSSL_PARAM_get_int(p, &mode) || !find_hash(&h, params) ||
	    !get_bytes(&prefix, params, OSSL_KDF_PARAM_PREFIX) || !equals(prefix, "tls13 "))
		return 0;
	if (mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY)
		return n == hkdf_len(h) && extract(h, out, params);
	return mode == EVP_KDF_HKDF_MODE_EXPAND_ONLY && expand(h, out, n, params);
}

static void *kdf_new(void *provider)
{
	return provider;
}

static void kdf_free(void *ctx)
{
	(void)ctx;
}

static void kdf_reset(void *ctx)
{
	(void)ctx;
}

#define FUNCTION(id, f)	{ id, (void (*)(void))(f) }

static const OSSL_DISPATCH kdf[] = {
	FUNCTION(OSSL_FUNC_KDF_NEWCTX, kdf_new),
	FUNCTION(OSSL_FUNC_KDF_FREECTX, kdf_free),
	FUNCTION(OSSL_FUNC_KDF_RESET, kdf_reset),
	FUNCTION(OSSL_FUNC_KDF_DERIVE, kdf_derive),
	{ 0 },
};

/* --- X25519: keys */

struct x25519 {
	bool has_public, has_private;
	uint8_t public[X25519_LEN], private[X25519_LEN];
};

static void *key_new(void *provider)
{
	(void)provider;
	return OPENSSL_zalloc(sizeof(struct x25519));
}

static void key_free(void *key)
{
	OPENSSL_clear_free(key, sizeof(struct x25519));
}

static void *key_dup(const void *key, int selection)
{
	const struct x25519 *k = key;
	struct x25519 *ret = key_new(NULL);

	if (!ret)
		return NULL;
	ret->has_public = k->has_public && selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY;
	ret->has_private = k->has_private && selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY;
	if (ret->has_public)
		memcpy(ret->public, k->public, X25519_LEN);
	if (ret->has_private)
		memcpy(ret->private, k->private, X25519_LEN);
	return ret;
}

static int key_has(const void *key, int selection)
{
	const struct x25519 *k = key;

	/* OpenSSL asks this of keys that are not there yet, too. */
	return k && (!(selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) || k->has_public) &&
	       (!(selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) || k->has_private);
}

static int key_get_params(void *key, OSSL_PARAM params[])
{
	const struct x25519 *k = key;
	OSSL_PARAM *bits = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_BITS);
	OSSL_PARAM *security = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_SECURITY_BITS);
	OSSL_PARAM *size = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_MAX_SIZE);
	OSSL_PARAM *public = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY);

	return (!bits || OSSL_PARAM_set_int(bits, 253)) && (!security || OSSL_PARAM_set_int(security, 128)) &&
	       (!size || OSSL_PARAM_set_int(size, X25519_LEN)) &&
	       (!public || (k->has_public && OSSL_PARAM_set_octet_string(public, k->public, X25519_LEN)));
}

static const OSSL_PARAM *key_gettable(void *provider)
{
	static const OSSL_PARAM list[] = {
		OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)provider;
	return list;
}

/* The peer's, as it came. */
static int key_set_params(void *key, const OSSL_PARAM params[])
{
	struct x25519 *k = key;
	struct view public;

	if (!OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY))
		return 1;
	if (!get_bytes(&public, params, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY) || public.n != X25519_LEN)
		return 0;
	memcpy(k->public, public.p, X25519_LEN);
	k->has_public = true;
	k->has_private = false;
	return 1;
}

static const OSSL_PARAM *key_settable(void *provider)
{
	static const OSSL_PARAM list[] = { OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0), OSSL_PARAM_END };

	(void)provider;
	return list;
}

/* --- X25519: key pairs. What is generated is an empty key, for a peer's public one to be put into, or a pair. */

struct generator {
	bool pair;
};

static int gen_set_params(void *gen, const OSSL_PARAM params[])
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_GROUP_NAME);
	const char *name;

	(void)gen;
	return !p || (OSSL_PARAM_get_utf8_string_ptr(p, &name) && !strcasecmp(name, "X25519"));
}

static const OSSL_PARAM *gen_settable(void *gen, void *provider)
{
	static const OSSL_PARAM list[] = { OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0), OSSL_PARAM_END };

	(void)gen;
	(void)provider;
	return list;
}

static void *gen_init(void *provider, int selection, const OSSL_PARAM params[])
{
	struct generator *g;

	(void)provider;
	if (!gen_set_params(NULL, params))
		return NULL;
	g = OPENSSL_zalloc(sizeof(*g));
	if (g)
		g->pair = selection & OSSL_KEYMGMT_SELECT_KEYPAIR;
	return g;
}

static void *gen_make(void *gen, OSSL_CALLBACK *progress, void *arg)
{
	const struct generator *g = gen;
	struct x25519 *k = key_new(NULL);

	(void)progress;
	(void)arg;
	if (!k || !g->pair)
		return k;
	randombytes_buf(k->private, X25519_LEN);
	if (crypto_scalarmult_base(k->public, k->private)) {
		key_free(k);
		return NULL;
	}
	k->has_public = k->has_private = true;
	return k;
}

static void gen_free(void *gen)
{
	OPENSSL_free(gen);
}

static const OSSL_DISPATCH keymgmt[] = {
	FUNCTION(OSSL_FUNC_KEYMGMT_NEW, key_new),
	FUNCTION(OSSL_FUNC_KEYMGMT_FREE, key_free),
	FUNCTION(OSSL_FUNC_KEYMGMT_DUP, key_dup),
	FUNCTION(OSSL_FUNC_KEYMGMT_HAS, key_has),
	FUNCTION(OSSL_FUNC_KEYMGMT_GET_PARAMS, key_get_params),
	FUNCTION(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, key_gettable),
	FUNCTION(OSSL_FUNC_KEYMGMT_SET_PARAMS, key_set_params),
	FUNCTION(OSSL_FUNC_KEYMGMT_SETTABLE_PARAMS, key_settable),
	FUNCTION(OSSL_FUNC_KEYMGMT_GEN_INIT, gen_init),
	FUNCTION(OSSL_FUNC_KEYMGMT_GEN_SET_PARAMS, gen_set_params),
	FUNCTION(OSSL_FUNC_KEYMGMT_GEN_SETTABLE_PARAMS, gen_settable),
	FUNCTION(OSSL_FUNC_KEYMGMT_GEN, gen_make),
	FUNCTION(OSSL_FUNC_KEYMGMT_GEN_CLEANUP, gen_free),
	{ 0 },
};

/* --- X25519: the shared secret. The exchange has copies, so that keys may go when they like. */

static void *exchange_new(void *provider)
{
	return key_new(provider);
}

static int exchange_init(void *exchange, void *key, const OSSL_PARAM params[])
{
	struct x25519 *e = exchange;
	const struct x25519 *k = key;

	(void)params;
	memcpy(e->private, k->private, X25519_LEN);
	e->has_private = k->has_private;
	return e->has_private;
}

static int exchange_set_peer(void *exchange, void *key)
{
	struct x25519 *e = exchange;
	const struct x25519 *k = key;

	memcpy(e->public, k->public, X25519_LEN);
	e->has_public = k->has_public;
	return e->has_public;
}

static int exchange_derive(void *exchange, unsigned char *secret, size_t *n, size_t room)
{
	const struct x25519 *e = exchange;

	if (!e->has_private || !e->has_public || (secret && room < X25519_LEN))
		return 0;
	*n = X25519_LEN;
	/* Fails if the secret is zero, as that of low-order keys is (RFC 8446 section 7.4.2). */
	return !secret || !crypto_scalarmult(secret, e->private, e->public);
}

static const OSSL_DISPATCH exchange[] = {
	FUNCTION(OSSL_FUNC_KEYEXCH_NEWCTX, exchange_new),
	FUNCTION(OSSL_FUNC_KEYEXCH_FREECTX, key_free),
	FUNCTION(OSSL_FUNC_KEYEXCH_INIT, exchange_init),
	FUNCTION(OSSL_FUNC_KEYEXCH_SET_PEER, exchange_set_peer),
	FUNCTION(OSSL_FUNC_KEYEXCH_DERIVE, exchange_derive),
	{ 0 },
};

/* --- the provider */

static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_cache)
{
	static const OSSL_ALGORITHM kdfs[] = { { "TLS13-KDF", PROPERTIES, kdf, "" }, { 0 } };
	static const OSSL_ALGORITHM keys[] = { { "X25519", PROPERTIES, keymgmt, "" }, { 0 } };
	static const OSSL_ALGORITHM exchanges[] = { { "X25519", PROPERTIES, exchange, "" }, { 0 } };

	(void)provider;
	*no_cache = 0;
	switch (operation) {
	case OSSL_OP_KDF:
		return kdfs;
	case OSSL_OP_KEYMGMT:
		return keys;
	case OSSL_OP_KEYEXCH:
		return exchanges;
	default:
		return NULL;
	}
}

/* TLS takes a group only from whoever has its keys. */
static int capabilities(void *provider, const char *capability, OSSL_CALLBACK *take, void *arg)
{
	static unsigned int id = 29 /* RFC 8446 section 4.2.7 */, bits = 128;
	static int min_tls = TLS1_VERSION, max_tls = 0 /* none */, dtls = -1 /* not at all */;
	static const OSSL_PARAM group[] = {
		OSSL_PARAM_utf8_string(OSSL_CAPABILITY_TLS_GROUP_NAME, (char *)"x25519", sizeof("x25519")),
		OSSL_PARAM_utf8_string(OSSL_CAPABILITY_TLS_GROUP_NAME_INTERNAL, (char *)"X25519", sizeof("X25519")),
		OSSL_PARAM_utf8_string(OSSL_CAPABILITY_TLS_GROUP_ALG, (char *)"X25519", sizeof("X25519")),
		OSSL_PARAM_uint(OSSL_CAPABILITY_TLS_GROUP_ID, &id),
		OSSL_PARAM_uint(OSSL_CAPABILITY_TLS_GROUP_SECURITY_BITS, &bits),
		OSSL_PARAM_int(OSSL_CAPABILITY_TLS_GROUP_MIN_TLS, &min_tls),
		OSSL_PARAM_int(OSSL_CAPABILITY_TLS_GROUP_MAX_TLS, &max_tls),
		OSSL_PARAM_int(OSSL_CAPABILITY_TLS_GROUP_MIN_DTLS, &dtls),
		OSSL_PARAM_int(OSSL_CAPABILITY_TLS_GROUP_MAX_DTLS, &dtls),
		OSSL_PARAM_END,
	};

	(void)provider;
	return strcasecmp(capability, "TLS-GROUP") || take(group, arg);
}

static const OSSL_DISPATCH functions[] = {
	FUNCTION(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query),
	FUNCTION(OSSL_FUNC_PROVIDER_GET_CAPABILITIES, capabilities),
	{ 0 },
};

static int init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *core, const OSSL_DISPATCH **ret, void **provider)
{
	(void)handle;
	(void)core;
	*ret = functions;
	*provider = (void *)functions;	/* something that is not NULL */
	return 1;
}

static OSSL_PROVIDER *loaded;

/* try: with what OpenSSL loads by itself where nobody says which providers to load. */
static void load(void)
{
	if (OpenSSL_version_num() < PROVIDER_END && sodium_init() >= 0 && OSSL_PROVIDER_add_builtin(NULL, NAME, init))
		loaded = OSSL_PROVIDER_try_load(NULL, NAME, 1);
}

bool provider_load(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	EVP_KDF *k;
	bool ours;

	pthread_once(&once, load);
	k = EVP_KDF_fetch(NULL, "TLS13-KDF", PROVIDER_QUERY);
	ours = loaded && k && EVP_KDF_get0_provider(k) == loaded;
	EVP_KDF_free(k);
	return ours;
}
