/* SPDX-License-Identifier: BSD-3-Clause */
/* The relay as a whole: what all shards share, made before they start and freed after they ended. */
#ifndef XDERP_RELAY_H
#define XDERP_RELAY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "admin/config.h"
#include "net/record_path.h"
#include "net/tls.h"
#include "relay/ask.h"
#include "relay/certificate.h"
#include "relay/deny.h"
#include "relay/directory.h"
#include "relay/frontdoor.h"
#include "relay/stats.h"

#define RELAY_MAX_SHARDS	64

struct admission;
struct bootstrap;
struct meshlink;
struct opener;
struct shard;
struct sources;
struct workers;
struct mail_slot;
struct splicer;
struct xdp_gate;

struct relay {
	const struct config *cfg;	/* atomic: relay_reload replaces it; other threads: relay_config() */
	struct tls_ctx *tls;		/* owned; atomic: relay_reload replaces it under the shards; NULL: plain */
	struct certificate_watch certificate;
	struct record_path path;	/* of TLS 1.3 records */
	struct directory *directory;	/* owned */
	struct peermap *peers;		/* borrowed; NULL: BPF is off */
	struct splicer *splicer;	/* borrowed; NULL: the splice is off */
	struct xdp_gate *xdp;		/* borrowed; NULL: XDP is off */
	unsigned int nshards;
	struct shard *shards[RELAY_MAX_SHARDS];			/* owned */
	struct mail_slot *mail;						/* owned; mailbox.h */
	struct admission *admission;	/* owned; atomic, as tls; NULL: nobody is asked */
	struct bootstrap *bootstrap;	/* owned */
	struct workers *verifiers;	/* owned; ask for it */
	struct meshlink *links;		/* owned; of -mesh-with */
	unsigned int nlinks;
	struct workers *dialers;	/* owned */
	struct tls_ctx *client_tls;	/* owned; for links. NULL: plain */
	pthread_barrier_t started;	/* all shards have their engines: from here on they may wake each other */
	uint64_t start_unix, start_ns;
	/* Renders debug pages; set before relay_start. NULL: there are none. */
	int (*page)(enum frontdoor_page page, struct textbuf *body, void *relay);
	struct ask ask;
	struct deny deny;
	struct sources *sources;	/* owned */
	unsigned int watchers;		/* atomic: connections that watch, all shards */
	bool draining;			/* atomic: shards see it after a wake */
};

/* A process that can open what is read again later (settings, certificates, debug key) after we have become uid; NULL if
 * none is needed. -errno. */
int relay_opener(struct opener **ret, const struct config *cfg, uid_t uid, gid_t gid);
/* Load certificates, open sockets, make shards (not started). peers: the BPF map of peers, borrowed, or NULL. err: a sentence. */
int relay_new(struct relay **ret, const struct config *cfg, struct peermap *peers, char *err, size_t errlen);
void relay_free(struct relay *r);

/* What the sockets are bound to. Ports in host order, 0: there is none. */
struct relay_bound {
	uint8_t address[16];		/* all zero: every address */
	uint16_t main_port, plain_port, stun_port;
};
void relay_bound(const struct relay *r, struct relay_bound *ret);

/* Start the threads; wait for all of them. */
int relay_start(struct relay *r, char *err, size_t errlen);
void relay_join(struct relay *r);
/* One line: addresses, key, what is on and off. */
void relay_log_ready(const struct relay *r);
/* Main thread: certificates and --allow-keys from their files again, and from now on these settings, which may be those that are used
 * already. All or nothing: a failure changes nothing and says why in err. The settings before must stay where they are
 * until the end. */
int relay_reload(struct relay *r, const struct config *next, char *err, size_t errlen);
/* Would the certificate that these settings name be taken? 0, or -errno and a sentence. */
int relay_check_certificate(const struct config *cfg, char *err, size_t errlen);
/* Any thread: stop accepting, flush, tell clients, close; shards end by themselves within the drain timeout. */
void relay_drain(struct relay *r);

/* Any thread: node i of -mesh-with as it is now. False: there are fewer. */
struct relay_node {
	const char *name;	/* host[:port] */
	bool up;
	uint32_t peers;		/* keys it has */
};
bool relay_node(const struct relay *r, unsigned int i, struct relay_node *ret);

/* Any thread. */
static inline const struct config *relay_config(const struct relay *r)
{
	return __atomic_load_n(&r->cfg, __ATOMIC_ACQUIRE);
}
void relay_stats(const struct relay *r, struct shard_stats *ret);
void relay_shard_stats(const struct relay *r, unsigned int shard, struct shard_stats *ret);
const char *relay_io_name(const struct relay *r, unsigned int shard);	/* after relay_start */

#endif
