/* SPDX-License-Identifier: BSD-3-Clause */
/* Certificate files as derper names them, and its self-signed certificate for a bare IP address. */
#ifndef XDERP_CERT_H
#define XDERP_CERT_H

#include <stdbool.h>
#include <stddef.h>

/* certdir/hostname.crt and .key, characters outside [a-zA-Z0-9-.] removed from the name as derper does.
 * -ENAMETOOLONG if they do not fit. */
int cert_paths(char *crt, char *key, size_t len, const char *certdir, const char *hostname);

bool cert_is_ip(const char *hostname);

/* Make a P-256 certificate for an IP address: CN and IP SAN = the address, one year, serverAuth, key
 * file mode 0600; directories made. Never overwrites. -errno and a sentence in err. */
int cert_make_self_signed(const char *crt, const char *key, const char *ip, char *err, size_t errlen);

/* Lowercase hex SHA-256 of the leaf's DER: clients pin it as "sha256-raw:<hex>". */
int cert_sha256_raw(char ret[static 65], const char *crt, char *err, size_t errlen);
/* Is the leaf in crt issued by itself? */
bool cert_is_self_signed(const char *crt);

#endif
