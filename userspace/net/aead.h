/* SPDX-License-Identifier: BSD-3-Clause */
/* The three ciphers of TLS 1.3 over one buffer, in place. AES goes to libipsec-mb where it was built in and the CPU has
 * the instructions, everything else to OpenSSL. A key belongs to one thread. */
#ifndef XDERP_AEAD_H
#define XDERP_AEAD_H

#include <stddef.h>
#include <stdint.h>

#define AEAD_TAG_LEN	16
#define AEAD_NONCE_LEN	12
#define AEAD_KEY_MAX	32

enum aead_suite {
	AEAD_AES_128_GCM,
	AEAD_AES_256_GCM,
	AEAD_CHACHA20_POLY1305,
	AEAD_SUITE_NR
};

enum aead_engine {
	AEAD_AUTO,
	AEAD_IPSEC_MB,
	AEAD_EVP,
};

struct aead_key;

size_t aead_key_len(enum aead_suite suite);

/* Memory for a key, no key in it yet. -ENOMEM; -ENOTSUP: that engine can't do that suite here (AEAD_AUTO
 * always can). */
int aead_key_new(struct aead_key **ret, enum aead_suite suite, enum aead_engine engine);
void aead_key_free(struct aead_key *k);		/* takes NULL; wipes */
const char *aead_key_engine(const struct aead_key *k);	/* "ipsec-mb", "openssl" */

/* Put a key of aead_key_len() bytes in place of the one before. -ENOMEM. */
int aead_key_set(struct aead_key *k, const uint8_t *key);

struct aead_input {
	uint8_t nonce[AEAD_NONCE_LEN];
	const uint8_t *aad;
	size_t aad_len;
};

/* Encrypt n bytes at p, put the tag behind them. -EIO: the cipher failed. */
int aead_seal(struct aead_key *k, const struct aead_input *in, uint8_t *p, size_t n);
/* Decrypt n bytes at p if the tag behind them is right, else -EBADMSG and what is at p is rubbish. */
int aead_open(struct aead_key *k, const struct aead_input *in, uint8_t *p, size_t n);

#endif
