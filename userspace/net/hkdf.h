/* SPDX-License-Identifier: BSD-3-Clause */
/* The key schedule of TLS 1.3: HKDF-Extract and HKDF-Expand-Label (RFC 8446 section 7.1). Any thread; nothing can fail. */
#ifndef XDERP_HKDF_H
#define XDERP_HKDF_H

#include <stddef.h>
#include <stdint.h>

#include "base/util.h"

enum hkdf_hash {
	HKDF_SHA256,
	HKDF_SHA384,
	HKDF_HASH_NR
};

#define HKDF_MAX	48	/* bytes of the longest hash */

/* Bytes of a hash, and of a secret of the schedule. */
size_t hkdf_len(enum hkdf_hash h);

/* HKDF-Expand-Label(secret, label, context, n): n is at most hkdf_len(); label, without "tls13 ", at most 249 bytes, context 255. */
void hkdf_expand_label(enum hkdf_hash h, uint8_t *ret, size_t n, const uint8_t *secret, struct view label, struct view context);

/* The next secret of the schedule: HKDF-Extract(Derive-Secret(before, "derived", ""), input), hkdf_len() bytes. before NULL: the
 * first; input.p NULL: zeros. */
void hkdf_next_secret(enum hkdf_hash h, uint8_t *ret, const uint8_t *before, struct view input);

#endif
