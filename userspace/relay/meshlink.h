/* SPDX-License-Identifier: BSD-3-Clause */
/* The dialling side of the mesh: a link to each node of -mesh-with. We log in there as a client with our own server key and
 * the mesh key, watch who comes and goes, and send ForwardPacket frames for the keys it has (docs/protocol.md section 9). A link belongs
 * to one shard, packets of others reach it through the rings; nobody ever waits for it. Resolving and connecting are a worker's job. */
#ifndef XDERP_MESHLINK_H
#define XDERP_MESHLINK_H

#include "net/dial.h"
#include "relay/conn.h"

struct relay;

enum meshlink_state {
	MESHLINK_WAITING,	/* for its next try */
	MESHLINK_DIALLING,	/* a worker resolves and connects */
	MESHLINK_LOGIN,		/* TLS, HTTP upgrade, DERP login */
	MESHLINK_UP,
	MESHLINK_CLEARING,	/* it broke: its keys are being forgotten */
	MESHLINK_SELF,		/* the node is this relay: never again */
};

struct meshlink {
	unsigned int nr;			/* as forwarder in the directory */
	char name[DIAL_HOST_LEN + 8];		/* host[:port], as configured */
	char host[DIAL_HOST_LEN], dial[DIAL_HOST_LEN];	/* whose certificate; where to connect */
	uint16_t port;
	struct shard *shard;			/* whose it is; what follows is its thread's */
	uint32_t state;				/* enum meshlink_state; atomic: pages read it */
	uint32_t peers;				/* keys the node has; atomic */
	struct conn *conn;			/* MESHLINK_LOGIN and MESHLINK_UP */
	struct timer retry;
	unsigned int failures;			/* tries since it last worked */
	uint8_t stage;				/* of the login */
	uint32_t cursor;			/* MESHLINK_CLEARING: how far in the directory */
	uint64_t heard_ns;			/* when the node last said something */
	struct key server;			/* its public key */
	char why[160];				/* why it does not work, for the log */
};

/* Read -mesh-with; before the shards start. -errno and a sentence in err. */
int meshlinks_new(struct relay *r, char *err, size_t errlen);
/* After the shards have ended, before they are freed. */
void meshlinks_free(struct relay *r);

/* On the shard's thread: dial its links; and once per turn, go on forgetting the keys of broken ones. */
void meshlinks_start(struct shard *s);
void meshlinks_clear(struct shard *s);

/* conn.c: TLS is done or not needed; something went wrong, in words; the connection closes; its timer fired. */
void meshlink_established(struct conn *c);
void meshlink_failed(struct meshlink *l, const char *why);
void meshlink_closed(struct conn *c, enum close_reason why);
void meshlink_check(struct conn *c);

/* peer.c: the node has this key, or no more. */
void meshlink_peer(struct meshlink *l, const struct key *k, bool present);

#endif
