/* SPDX-License-Identifier: BSD-3-Clause */
/* The certificate that only carries the relay's DERP key: docs/protocol.md section 2.1. */
#ifndef XDERP_META_CERT_H
#define XDERP_META_CERT_H

#include <openssl/x509.h>

#include "base/key.h"

/* Signed by a fresh key that is thrown away. The caller owns it. NULL: out of memory. */
X509 *meta_cert_new(const struct key *derp_public, unsigned int derp_version);

#endif
