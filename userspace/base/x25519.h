/* SPDX-License-Identifier: BSD-3-Clause */
/* X25519 (RFC 7748 section 5), in constant time: a login over TLS needs three. On processors with AVX-512 IFMA our own, at half of
 * libsodium's time; on others libsodium's. */
#ifndef XDERP_X25519_H
#define XDERP_X25519_H

#include <stdbool.h>
#include <stdint.h>

#define X25519_LEN	32

/* 0, or -1: point is one of the few of low order, and ret all zeros or unset. */
int x25519(uint8_t ret[static X25519_LEN], const uint8_t scalar[static X25519_LEN], const uint8_t point[static X25519_LEN]);
/* The public key of a private one. */
void x25519_public(uint8_t ret[static X25519_LEN], const uint8_t scalar[static X25519_LEN]);

/* Is it ours that is used here? */
bool x25519_is_own(void);

#endif
