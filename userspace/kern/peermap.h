/* SPDX-License-Identifier: BSD-3-Clause */
/* derp_peers, written by the daemon. */
#ifndef XDERP_PEERMAP_H
#define XDERP_PEERMAP_H

#include <stddef.h>

struct peermap;
struct pins;

int peermap_open(struct peermap **ret, struct pins *pins, unsigned int max_peers, char *why, size_t len);
void peermap_close(struct peermap *m);

#endif
