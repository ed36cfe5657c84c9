/* SPDX-License-Identifier: BSD-3-Clause */
/* A file of node keys: a line each, "nodekey:" and 64 hex digits, then white space and anything; empty lines and those that begin with
 * # are skipped. */
#ifndef XDERP_KEYLIST_H
#define XDERP_KEYLIST_H

#include "base/key.h"

struct keylist;
struct opener;

/* -errno and a sentence in err that names the line. */
int keylist_read(struct keylist **ret, struct opener *opener, const char *path, char *err, size_t errlen);
void keylist_free(struct keylist *l);	/* takes NULL */
bool keylist_has(const struct keylist *l, const struct key *k);
size_t keylist_len(const struct keylist *l);

#endif
