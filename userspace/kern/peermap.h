/* SPDX-License-Identifier: BSD-3-Clause */
/* derp_peers, written by the daemon; any thread, privileges or not. An entry appears, changes and goes as a whole. The
 * caller sees to it that writes of one key come in order, and that only the connection that is shown removes it. */
#ifndef XDERP_PEERMAP_H
#define XDERP_PEERMAP_H

#include <stddef.h>
#include <stdint.h>

#include "derp_maps.h"

struct peermap;
struct pins;

/* Makes and pins the map. Main thread, with privileges. why: a sentence for any error. */
int peermap_open(struct peermap **ret, struct pins *pins, unsigned int max_peers, char *why, size_t len);
void peermap_close(struct peermap *m);

/* Full, or no memory in the kernel: counted, and logged the first time; the relay does not need the entry. */
void peermap_put(struct peermap *m, const struct derp_peer_key *k, const struct derp_peer *v);
void peermap_del(struct peermap *m, const struct derp_peer_key *k);

/* Writes that the map refused. */
uint64_t peermap_refused(const struct peermap *m);

#endif
