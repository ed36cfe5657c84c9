/* SPDX-License-Identifier: BSD-3-Clause */
/* Key files in derper's formats. */
#ifndef XDERP_KEYFILE_H
#define XDERP_KEYFILE_H

#include <stddef.h>

#include "base/key.h"

/* {"PrivateKey":"privkey:<64 hex>"}. If the file is not there, makes a key and writes it with mode 0600,
 * its directories too. -errno and a sentence in err. */
int keyfile_load_or_create(struct key *ret, const char *path, char *err, size_t errlen);

/* A fresh Curve25519 private key. */
void keyfile_generate(struct key *ret);

/* 64 hex digits of either case, white space around them; not all zero. text is a file's content or a variable's. */
int keyfile_parse_mesh(struct key *ret, const char *text, size_t n);
int keyfile_load_mesh(struct key *ret, const char *path, char *err, size_t errlen);

#endif
