/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef XDERP_DIGEST_H
#define XDERP_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define SHA1_LEN	20

/* For the handshake of WebSocket, which proves nothing by it. -ENOMEM: OpenSSL has none. */
int digest_sha1(uint8_t ret[static SHA1_LEN], const void *p, size_t n);

#endif
