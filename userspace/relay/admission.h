/* SPDX-License-Identifier: BSD-3-Clause */
/* May this key log in? A list of keys, a local tailscaled, a URL: what is configured must all agree (docs/protocol.md section 10).
 * Mesh clients are not asked about. The list answers at once; the others are asked by workers, a bounded number at a time, so
 * that one that hangs stalls nobody else's login. */
#ifndef XDERP_ADMISSION_H
#define XDERP_ADMISSION_H

#include "relay/conn.h"
#include "relay/keylist.h"

struct admission;
struct config;
struct workers;

/* Read --allow-keys; *ret is NULL if nothing is to be checked. The rest of cfg is borrowed, as are the workers. -errno and a
 * sentence in err. */
int admission_new(struct admission **ret, const struct config *cfg, struct workers *w, char *err, size_t errlen);
/* Takes NULL. No shard asks it any more; what is being asked is still answered. */
void admission_free(struct admission *a);

/* What a shard does with a verdict. text: why, in words. */
typedef void (*admission_verdict)(struct shard *s, struct conn_id id, const struct key *k, enum admission_outcome outcome,
				  const char *text);

/* Decide on k, which logs in from src. ADMISSION_ASKED: verdict() is called later, on s's thread; else this is the
 * verdict, with its reason in *why (static). */
enum admission_outcome admission_ask(struct admission *a, struct shard *s, struct conn_id id, const struct key *k,
				     const struct sockaddr *src, admission_verdict verdict, const char **why);
/* What a key may have that is logged in, or about to be; good as long as a is. a NULL: nothing is checked. */
const struct key_caps *admission_caps(const struct admission *a, const struct key *k);
/* Has any key caps of its own? */
bool admission_has_caps(const struct admission *a);
/* No verdict came in time; a NULL: nothing is checked any more. */
enum admission_outcome admission_late(const struct admission *a);

static inline bool admission_allows(enum admission_outcome o)
{
	return o == ADMISSION_ALLOWED || o == ADMISSION_FAIL_OPEN;
}

#endif
