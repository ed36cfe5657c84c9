/* SPDX-License-Identifier: BSD-3-Clause */
/* A file of node keys and what each may have: a line each, "nodekey:" and 64 hex digits, or * for all others, then words. Those with an
 * equals sign are caps: rate=SIZE (bytes per second that it may send), burst=SIZE, conns=NUMBER; other words are remarks, and so is
 * all behind a # in front of a word. Empty lines are skipped. */
#ifndef XDERP_KEYLIST_H
#define XDERP_KEYLIST_H

#include <stdbool.h>

#include "admin/config.h"
#include "base/key.h"

struct keylist;
struct opener;

struct key_caps {
	bool has_rate;			/* false: -rate-config holds for it */
	struct rate rate;
	unsigned int conns;		/* 0: --max-connections-per-key holds for it */
};

/* -errno and a sentence in err that names the line. */
int keylist_read(struct keylist **ret, struct opener *opener, const char *path, char *err, size_t errlen);
void keylist_free(struct keylist *l);	/* takes NULL */
/* What this key may have, as long as the list is there; NULL: it is not in it, and neither is *. */
const struct key_caps *keylist_find(const struct keylist *l, const struct key *k);
/* Has any line caps? */
bool keylist_has_caps(const struct keylist *l);
size_t keylist_len(const struct keylist *l);	/* * not counted */

#endif
