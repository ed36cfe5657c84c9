/* SPDX-License-Identifier: BSD-3-Clause */
/* By OpenSSL's hashes themselves: its HMAC and HKDF look theirs up by name on every call, and a context of EVP is three blocks of memory,
 * each of which costs more than what is hashed. These calls are deprecated since 3.0 in favour of EVP, but are what EVP calls. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "net/hkdf.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <string.h>

#define BLOCK_MAX	SHA512_CBLOCK
#define LABEL_MAX	(2 + 1 + 255 + 1 + 255 + 1)

static const struct {
	size_t len, block;
} hashes[HKDF_HASH_NR] = {
	[HKDF_SHA256] = { SHA256_DIGEST_LENGTH, SHA256_CBLOCK },
	[HKDF_SHA384] = { SHA384_DIGEST_LENGTH, SHA512_CBLOCK },
};

size_t hkdf_len(enum hkdf_hash h)
{
	return hashes[h].len;
}

/* The hash of a, then b. None of these calls can fail. */
static void hash(enum hkdf_hash h, uint8_t *ret, struct view a, struct view b)
{
	union {
		SHA256_CTX sha256;
		SHA512_CTX sha384;
	} c;

	if (h == HKDF_SHA256) {
		SHA256_Init(&c.sha256);
		SHA256_Update(&c.sha256, a.p, a.n);
		SHA256_Update(&c.sha256, b.p, b.n);
		SHA256_Final(ret, &c.sha256);
	} else {
		SHA384_Init(&c.sha384);
		SHA384_Update(&c.sha384, a.p, a.n);
		SHA384_Update(&c.sha384, b.p, b.n);
		SHA384_Final(ret, &c.sha384);
	}
	OPENSSL_cleanse(&c, sizeof(c));
}

/* key is at most a block long, as all of TLS's are. */
static void hmac(enum hkdf_hash h, uint8_t *ret, struct view key, struct view text)
{
	const size_t block = hashes[h].block;
	uint8_t pad[BLOCK_MAX], inner[HKDF_MAX];

	assert(key.n <= block);
	memset(pad, 0x36, block);
	for (size_t i = 0; i < key.n; i++)
		pad[i] ^= key.p[i];
	hash(h, inner, (struct view){ pad, block }, text);
	for (size_t i = 0; i < block; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	hash(h, ret, (struct view){ pad, block }, (struct view){ inner, hashes[h].len });
	OPENSSL_cleanse(pad, sizeof(pad));
	OPENSSL_cleanse(inner, sizeof(inner));
}

/* Never more than one block of HKDF-Expand. */
void hkdf_expand_label(enum hkdf_hash h, uint8_t *ret, size_t n, const uint8_t *secret, struct view label, struct view context)
{
	static const char prefix[] = "tls13 ";
	uint8_t info[LABEL_MAX], *p = info, block[HKDF_MAX];

	assert(n <= hashes[h].len && label.n <= 255 - (sizeof(prefix) - 1) && context.n <= 255);
	put_be16(p, (uint16_t)n);
	p[2] = (uint8_t)(sizeof(prefix) - 1 + label.n);
	p = mempcpy(p + 3, prefix, sizeof(prefix) - 1);
	p = mempcpy(p, label.p, label.n);
	*p++ = (uint8_t)context.n;
	if (context.n)
		p = mempcpy(p, context.p, context.n);
	*p++ = 1;		/* of the first block */
	hmac(h, block, (struct view){ secret, hashes[h].len }, (struct view){ info, (size_t)(p - info) });
	memcpy(ret, block, n);
	OPENSSL_cleanse(block, sizeof(block));
}

/* Derive-Secret(before, "derived", "") */
static void derived(enum hkdf_hash h, uint8_t *ret, const uint8_t *before)
{
	const struct view label = { (const uint8_t *)"derived", 7 }, none = { (const uint8_t *)"", 0 };
	uint8_t nothing[HKDF_MAX];

	hash(h, nothing, none, none);
	hkdf_expand_label(h, ret, hashes[h].len, before, label, (struct view){ nothing, hashes[h].len });
}

void hkdf_next_secret(enum hkdf_hash h, uint8_t *ret, const uint8_t *before, struct view input)
{
	static const uint8_t zeros[HKDF_MAX];
	uint8_t salt[HKDF_MAX];

	if (before)
		derived(h, salt, before);
	if (!input.p)
		input = (struct view){ zeros, hashes[h].len };
	hmac(h, ret, (struct view){ salt, before ? hashes[h].len : 0 }, input);
	OPENSSL_cleanse(salt, sizeof(salt));
}
