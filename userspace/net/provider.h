/* SPDX-License-Identifier: BSD-3-Clause */
/* What a TLS 1.3 handshake spends most of its time on, as a provider for OpenSSL: the key schedule and X25519. Contexts that are
 * made with PROVIDER_QUERY use it, and OpenSSL's own where its configuration (FIPS) does not let ours in. */
#ifndef XDERP_PROVIDER_H
#define XDERP_PROVIDER_H

#include <stdbool.h>
#include <stdint.h>

#include "net/hkdf.h"

#define PROVIDER_QUERY	"?provider=xderp"
/* From this version of OpenSSL on its own are used: X25519 is a part of key exchanges with ML-KEM there, which ask of it what ours
 * has not got. */
#define PROVIDER_END	0x30500000UL

/* Once for the process, any thread; what it registers stays. Returns whether contexts with PROVIDER_QUERY get their secrets from
 * our key schedule: provider_watch() works. */
bool provider_load(void);

/* The secrets that the records behind the handshake are sealed with. */
struct traffic_secrets {
	uint8_t client[HKDF_MAX], server[HKDF_MAX];
};

/* Put those that this thread's key schedule makes from now on into *s, which the caller owns, and stop with NULL. */
void provider_watch(struct traffic_secrets *s);

#endif
