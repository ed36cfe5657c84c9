/* SPDX-License-Identifier: BSD-3-Clause */
/* A certificate and its key from their files into OpenSSL's hands. */
#ifndef XDERP_CERT_LOAD_H
#define XDERP_CERT_LOAD_H

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

#include "net/tls.h"

/* o->cert_file and o->key_file into s. *not_after: when the leaf expires, Unix time. -errno and a sentence in err, which names the
 * file and what to do, if they can't be read, do not belong together, or are not valid now and for o->hostname. */
int cert_load(SSL_CTX *s, const struct tls_opts *o, int64_t *not_after, char *err, size_t errlen);

#endif
