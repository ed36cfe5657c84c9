/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/aead.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

#include "net/keyscope.h"

#ifdef HAVE_IPSEC_MB	/* set by the build where the library is there */
#include <intel-ipsec-mb.h>
/* The library's structs claim this for themselves only where LINUX is defined, but its code relies on it. */
#define MB_ALIGN	64
#endif

static const struct suite {
	size_t key_len;
	const EVP_CIPHER *(*cipher)(void);
} suites[AEAD_SUITE_NR] = {
	[AEAD_AES_128_GCM]	 = { 16, EVP_aes_128_gcm },
	[AEAD_AES_256_GCM]	 = { 32, EVP_aes_256_gcm },
	[AEAD_CHACHA20_POLY1305] = { 32, EVP_chacha20_poly1305 },
};

struct engine {
	const char *name;
	int (*init)(struct aead_key *k);
	void (*done)(struct aead_key *k);	/* may be NULL */
	int (*set)(struct aead_key *k, const uint8_t *key);
	int (*seal)(struct aead_key *k, const struct aead_input *in, uint8_t *p, size_t n);
	int (*open)(struct aead_key *k, const struct aead_input *in, uint8_t *p, size_t n);
};

struct aead_key {
	const struct engine *engine;
	enum aead_suite suite;
	EVP_CIPHER_CTX *evp;		/* owned; NULL: ipsec-mb */
#ifdef HAVE_IPSEC_MB
	aes_gcm_enc_dec_t enc, dec;
	_Alignas(MB_ALIGN) struct gcm_key_data gcm;
#endif
};

/* --- OpenSSL */

static int evp_init(struct aead_key *k)
{
	int outer = keyscope_enter(KEYMEM_KEYS);

	k->evp = EVP_CIPHER_CTX_new();
	keyscope_leave(outer);
	return k->evp ? 0 : -ENOMEM;
}

static void evp_done(struct aead_key *k)
{
	EVP_CIPHER_CTX_free(k->evp);	/* wipes */
}

static int evp_set(struct aead_key *k, const uint8_t *key)
{
	int outer = keyscope_enter(KEYMEM_KEYS);
	int ok = EVP_EncryptInit_ex(k->evp, suites[k->suite].cipher(), NULL, key, NULL);

	keyscope_leave(outer);
	return ok ? 0 : -ENOMEM;
}

static int evp_seal(struct aead_key *k, const struct aead_input *in, uint8_t *p, size_t n)
{
	int len;

	/* No cipher and no key given: those of before stay, in either direction. */
	if (EVP_EncryptInit_ex(k->evp, NULL, NULL, NULL, in->nonce) &&
	    EVP_EncryptUpdate(k->evp, NULL, &len, in->aad, (int)in->aad_len) &&
	    EVP_EncryptUpdate(k->evp, p, &len, p, (int)n) && EVP_EncryptFinal_ex(k->evp, p + n, &len) &&
	    EVP_CIPHER_CTX_ctrl(k->evp, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN, p + n))
		return 0;
	ERR_clear_error();
	return -EIO;
}

static int evp_open(struct aead_key *k, const struct aead_input *in, uint8_t *p, size_t n)
{
	int len;

	if (EVP_DecryptInit_ex(k->evp, NULL, NULL, NULL, in->nonce) &&
	    EVP_DecryptUpdate(k->evp, NULL, &len, in->aad, (int)in->aad_len) &&
	    EVP_DecryptUpdate(k->evp, p, &len, p, (int)n) &&
	    EVP_CIPHER_CTX_ctrl(k->evp, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_LEN, p + n) &&
	    EVP_DecryptFinal_ex(k->evp, p + n, &len) > 0)
		return 0;
	ERR_clear_error();
	return -EBADMSG;
}

static const struct engine evp_engine = { "openssl", evp_init, evp_done, evp_set, evp_seal, evp_open };

/* --- libipsec-mb: AES-GCM in one call, without the library's job manager */

#ifdef HAVE_IPSEC_MB

static struct {
	aes_gcm_pre_t pre[2];			/* by suite; NULL: not on this CPU */
	aes_gcm_enc_dec_t enc[2], dec[2];
} mb;

static void mb_probe(void)
{
	IMB_MGR *m = alloc_mb_mgr(0);
	IMB_ARCH arch = IMB_ARCH_NONE;

	if (!m)
		return;
	init_mb_mgr_auto(m, &arch);
	if (arch >= IMB_ARCH_SSE && !imb_get_errno(m)) {
		mb.pre[AEAD_AES_128_GCM] = m->gcm128_pre;
		mb.enc[AEAD_AES_128_GCM] = m->gcm128_enc;
		mb.dec[AEAD_AES_128_GCM] = m->gcm128_dec;
		mb.pre[AEAD_AES_256_GCM] = m->gcm256_pre;
		mb.enc[AEAD_AES_256_GCM] = m->gcm256_enc;
		mb.dec[AEAD_AES_256_GCM] = m->gcm256_dec;
	}
	free_mb_mgr(m);
}

static int mb_init(struct aead_key *k)
{
	k->enc = mb.enc[k->suite];
	k->dec = mb.dec[k->suite];
	return 0;
}

static int mb_set(struct aead_key *k, const uint8_t *key)
{
	mb.pre[k->suite](key, &k->gcm);
	return 0;
}

static int mb_seal(struct aead_key *k, const struct aead_input *in, uint8_t *p, size_t n)
{
	_Alignas(MB_ALIGN) struct gcm_context_data ctx;

	k->enc(&k->gcm, &ctx, p, p, n, in->nonce, in->aad, in->aad_len, p + n, AEAD_TAG_LEN);
	explicit_bzero(&ctx, sizeof(ctx));
	return 0;
}

static int mb_open(struct aead_key *k, const struct aead_input *in, uint8_t *p, size_t n)
{
	_Alignas(MB_ALIGN) struct gcm_context_data ctx;
	uint8_t tag[AEAD_TAG_LEN];

	k->dec(&k->gcm, &ctx, p, p, n, in->nonce, in->aad, in->aad_len, tag, AEAD_TAG_LEN);
	explicit_bzero(&ctx, sizeof(ctx));
	return CRYPTO_memcmp(tag, p + n, AEAD_TAG_LEN) ? -EBADMSG : 0;
}

static const struct engine mb_engine = { "ipsec-mb", mb_init, NULL, mb_set, mb_seal, mb_open };

static const struct engine *mb_for(enum aead_suite suite)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, mb_probe);
	return suite <= AEAD_AES_256_GCM && mb.pre[suite] ? &mb_engine : NULL;
}

#define EVP_SIZE	offsetof(struct aead_key, enc)

#else

static const struct engine *mb_for(enum aead_suite suite)
{
	(void)suite;
	return NULL;
}

#define EVP_SIZE	sizeof(struct aead_key)

#endif

/* --- what callers see */

size_t aead_key_len(enum aead_suite suite)
{
	return suites[suite].key_len;
}

int aead_key_new(struct aead_key **ret, enum aead_suite suite, enum aead_engine engine)
{
	const struct engine *e = engine == AEAD_EVP ? NULL : mb_for(suite);
	size_t size;
	struct aead_key *k;

	if (!e && engine == AEAD_IPSEC_MB)
		return -ENOTSUP;
	/* An OpenSSL key does without the members behind. */
	size = e ? sizeof(*k) : EVP_SIZE;
	k = keymem_alloc(KEYMEM_KEYS, size);
	if (!k)
		return -ENOMEM;
	k->engine = e ? e : &evp_engine;
	k->suite = suite;
	if (k->engine->init(k)) {
		aead_key_free(k);
		return -ENOMEM;
	}
	*ret = k;
	return 0;
}

void aead_key_free(struct aead_key *k)
{
	if (!k)
		return;
	if (k->engine->done)
		k->engine->done(k);
	keymem_free(k);
}

const char *aead_key_engine(const struct aead_key *k)
{
	return k->engine->name;
}

int aead_key_set(struct aead_key *k, const uint8_t *key)
{
	return k->engine->set(k, key);
}

int aead_seal(struct aead_key *k, const struct aead_input *in, uint8_t *p, size_t n)
{
	return k->engine->seal(k, in, p, n);
}

int aead_open(struct aead_key *k, const struct aead_input *in, uint8_t *p, size_t n)
{
	return k->engine->open(k, in, p, n);
}
