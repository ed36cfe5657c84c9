/* SPDX-License-Identifier: BSD-3-Clause */
/* All logged-in connections at one time, as their shards see them, for people and scripts. */
#ifndef XDERP_PEERLIST_H
#define XDERP_PEERLIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/key.h"
#include "net/listen.h"
#include "relay/directory.h"
#include "relay/keylist.h"

struct relay;

struct peer_row {
	struct key key;
	struct peer_facts facts;
	char address[LISTEN_TEXT_LEN];
	uint16_t shard;
	uint32_t queued;		/* packets waiting for it */
	bool mesh, prober, not_ideal, watching;
	struct key_caps caps;
};

/* Main thread. *ret: malloc'ed, *n rows; those who come meanwhile may be left out. -ENOMEM. */
int peerlist_take(struct relay *r, struct peer_row **ret, size_t *n);

const char *transport_label(enum derp_transport t);

#endif
