/* SPDX-License-Identifier: BSD-3-Clause */
/* With hashes that were fetched once: OpenSSL's own HMAC and HKDF look theirs up by name on every call, which costs several times
 * what the hashing does. */
#include "net/hkdf.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "net/keyscope.h"

#define BLOCK_MAX	128
#define LABEL_MAX	(2 + 1 + 255 + 1 + 255 + 1)

static struct {
	const char *const name;
	const size_t len, block;
	EVP_MD *md;		/* NULL: OpenSSL has none */
} hashes[HKDF_HASH_NR] = {
	[HKDF_SHA256] = { "SHA2-256", 32, 64 },
	[HKDF_SHA384] = { "SHA2-384", 48, 128 },
};

static void fetch(void)
{
	for (size_t i = 0; i < HKDF_HASH_NR; i++)
		hashes[i].md = EVP_MD_fetch(NULL, hashes[i].name, NULL);
}

size_t hkdf_len(enum hkdf_hash h)
{
	return hashes[h].len;
}

/* One context for all that one call hashes. Its copies of keys are wiped with it. */
static EVP_MD_CTX *begin(enum hkdf_hash h)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	EVP_MD_CTX *c;
	int outer;

	pthread_once(&once, fetch);
	if (!hashes[h].md)
		return NULL;
	outer = keyscope_enter(KEYMEM_WORK);
	c = EVP_MD_CTX_new();
	if (c && !EVP_DigestInit_ex2(c, hashes[h].md, NULL)) {
		EVP_MD_CTX_free(c);
		c = NULL;
	}
	keyscope_leave(outer);
	return c;
}

/* key is at most a block long, as all of TLS's are. */
static bool hmac(EVP_MD_CTX *c, enum hkdf_hash h, uint8_t *ret, struct view key, struct view text)
{
	const size_t block = hashes[h].block, len = hashes[h].len;
	uint8_t pad[BLOCK_MAX], inner[HKDF_MAX];
	bool ok;

	assert(key.n <= block);
	memset(pad, 0x36, block);
	for (size_t i = 0; i < key.n; i++)
		pad[i] ^= key.p[i];
	ok = EVP_DigestInit_ex2(c, NULL, NULL) && EVP_DigestUpdate(c, pad, block) && EVP_DigestUpdate(c, text.p, text.n) &&
	     EVP_DigestFinal_ex(c, inner, NULL);
	for (size_t i = 0; i < block; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	ok = ok && EVP_DigestInit_ex2(c, NULL, NULL) && EVP_DigestUpdate(c, pad, block) && EVP_DigestUpdate(c, inner, len) &&
	     EVP_DigestFinal_ex(c, ret, NULL);
	OPENSSL_cleanse(pad, sizeof(pad));
	OPENSSL_cleanse(inner, sizeof(inner));
	return ok;
}

/* Never more than one block of HKDF-Expand. */
static bool expand(EVP_MD_CTX *c, enum hkdf_hash h, uint8_t *ret, size_t n, const uint8_t *secret, struct view label,
		   struct view context)
{
	static const char prefix[] = "tls13 ";
	uint8_t info[LABEL_MAX], *p = info, block[HKDF_MAX];
	bool ok;

	assert(n <= hashes[h].len && label.n <= 255 - (sizeof(prefix) - 1) && context.n <= 255);
	put_be16(p, (uint16_t)n);
	p[2] = (uint8_t)(sizeof(prefix) - 1 + label.n);
	p = mempcpy(p + 3, prefix, sizeof(prefix) - 1);
	p = mempcpy(p, label.p, label.n);
	*p++ = (uint8_t)context.n;
	if (context.n)
		p = mempcpy(p, context.p, context.n);
	*p++ = 1;		/* of the first block */
	ok = hmac(c, h, block, (struct view){ secret, hashes[h].len }, (struct view){ info, (size_t)(p - info) });
	memcpy(ret, block, n);
	OPENSSL_cleanse(block, sizeof(block));
	return ok;
}

static int end(EVP_MD_CTX *c, bool ok)
{
	EVP_MD_CTX_free(c);
	return ok ? 0 : -ENOMEM;
}

int hkdf_expand_label(enum hkdf_hash h, uint8_t *ret, size_t n, const uint8_t *secret, struct view label, struct view context)
{
	EVP_MD_CTX *c = begin(h);

	return end(c, c && expand(c, h, ret, n, secret, label, context));
}

/* Derive-Secret(before, "derived", "") */
static bool derived(EVP_MD_CTX *c, enum hkdf_hash h, uint8_t *ret, const uint8_t *before)
{
	const struct view label = { (const uint8_t *)"derived", 7 };
	uint8_t nothing[HKDF_MAX];

	return EVP_DigestInit_ex2(c, NULL, NULL) && EVP_DigestFinal_ex(c, nothing, NULL) &&
	       expand(c, h, ret, hashes[h].len, before, label, (struct view){ nothing, hashes[h].len });
}

int hkdf_next_secret(enum hkdf_hash h, uint8_t *ret, const uint8_t *before, struct view input)
{
	static const uint8_t zeros[HKDF_MAX];
	uint8_t salt[HKDF_MAX];
	EVP_MD_CTX *c = begin(h);
	bool ok = c && (!before || derived(c, h, salt, before));

	if (!input.p)
		input = (struct view){ zeros, hashes[h].len };
	ok = ok && hmac(c, h, ret, (struct view){ salt, before ? hashes[h].len : 0 }, input);
	OPENSSL_cleanse(salt, sizeof(salt));
	return end(c, ok);
}
