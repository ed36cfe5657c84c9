/* SPDX-License-Identifier: BSD-3-Clause */
/* All settings, parsed once, then const and passed down. */
#ifndef XDERP_CONFIG_H
#define XDERP_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "admin/rateconfig.h"
#include "base/key.h"
#include "base/log.h"
#include "base/textbuf.h"
#include "kern/kern.h"
#include "kern/splice.h"
#include "kern/xdp.h"
#include "net/io.h"
#include "net/record_path.h"

enum config_certmode { CERTMODE_MANUAL, CERTMODE_LETSENCRYPT, CERTMODE_GCP };

/* Where tools look for the relay if nothing is said. */
#define CONFIG_CONTROL_DIR	"/run/xderp"
#define CONFIG_CONTROL_SOCKET	CONFIG_CONTROL_DIR "/xderpd.sock"

/* What one source of connections may have at most; 0: any number. */
struct source_limits {
	unsigned int conns;
	unsigned int unauth;		/* connections not logged in, among them */
	double login_rate;		/* per second */
	unsigned int login_burst;
};

struct cidr_set;
struct conffile;
struct flag_table;

struct opener;

/* Which shard a new connection goes to. */
enum affinity {
	AFFINITY_HASH,			/* whichever the kernel's hash of addresses and ports says */
	AFFINITY_CPU,			/* the one that runs where the first packet arrived */
};

struct config {
	/* derper's flags */
	const char *addr;		/* -a */
	int http_port;			/* -http-port; -1: off */
	bool stun;
	uint16_t stun_port;
	const char *key_path;		/* -c */
	enum config_certmode certmode;
	const char *certdir;
	const char *hostname;
	const char *acme_email;		/* -acme-email: for xderp-acme, which asks for it over the control socket */
	bool derp;
	const char *bootstrap_names;	/* -bootstrap-dns-names: comma list, "" if none */
	const char *unpublished_names;	/* -unpublished-bootstrap-dns-names: name[/txt], likewise */
	const char *home;		/* "", "blank" or a URL */
	const char *mesh_psk_file;	/* "" if none */
	bool verify_clients;		/* ask the tailscaled at socket */
	const char *socket;
	const char *verify_url;		/* -verify-client-url; "" if none */
	bool verify_fail_open;
	const char *mesh_with;		/* host[:port][/address], comma-separated; "" if none */
	double accept_limit;		/* new connections per second; INFINITY: none */
	double accept_burst;
	uint64_t keepalive_ns;		/* -tcp-keepalive-time */
	uint64_t user_timeout_ns;	/* -tcp-user-timeout */
	uint64_t write_timeout_ns;	/* -tcp-write-timeout; 0: none */
	bool dev;
	bool version;			/* -version: only on the command line */

	/* ours */
	unsigned int shards;		/* --shards; 0 on the command line means one per usable core, resolved here */
	const char *shard_cpus;		/* --shard-cpus; "": any */
	uint16_t cpus[64];		/* resolved from it: shard i runs on the i-th, and so on round and round */
	unsigned int ncpus;
	enum affinity affinity;		/* --affinity=hash|cpu */
	enum io_engine io;		/* --io=auto|uring|epoll */
	int records;			/* --records=auto|own|openssl */
	bool own_records;		/* resolved from it */
	enum ktls_mode ktls;		/* --ktls=auto|on|off */
	unsigned int queue_depth;	/* --send-queue-depth, TS_DEBUG_DERP_PER_CLIENT_SEND_QUEUE_DEPTH; packets per queue */
	uint64_t queue_memory;		/* --queue-memory: bytes of packets waiting, per shard */
	unsigned int max_conns;		/* --max-connections, all shards together */
	unsigned int max_unauth;	/* --max-unauthenticated: connections not logged in, all shards together */
	unsigned int max_handshakes;	/* --max-handshakes: of them in a TLS handshake, all shards together */
	struct source_limits per_source;	/* --max-connections-per-source, --max-unauthenticated-per-source, --source-login-rate, -burst */
	unsigned int max_sources;	/* --max-sources */
	const char *source_exempt;	/* --source-exempt: comma list of networks */
	struct cidr_set *exempt;	/* owned; resolved from it; NULL: none */
	const char *allow_keys;		/* --allow-keys: file; "" if none */
	unsigned int max_verifications;	/* --max-verifications: asked at a time */
	bool mesh_plain;		/* --mesh-plain: links without TLS */
	unsigned int mesh_queue_depth;	/* --mesh-queue-depth: packets per link and kind */
	unsigned int max_remote;	/* --max-mesh-peers: keys of other nodes */
	unsigned int max_conns_per_key;	/* --max-connections-per-key */
	uint64_t max_skip;		/* --max-unknown-frame: bytes of an unknown frame that are skipped; longer closes */
	uint64_t drain_timeout_ns;	/* --drain-timeout */
	const char *acme_dir;		/* --acme-dir: answers to http-01 challenges; "" if none are given */
	uint64_t cert_poll_ns;		/* --cert-poll; 0: only SIGHUP */
	const char *rate_config;	/* -rate-config: file, "" if none */
	struct rate rate;		/* resolved from it */
	uint64_t notsent_lowat;		/* --notsent-lowat; 0: system default */
	uint64_t pace_ns;		/* --pace: upper bound of wake-up moderation; 0: off */
	uint64_t busy_poll_ns;		/* --busy-poll; 0: off */
	enum kern_mode bpf;		/* --bpf=auto|on|off */
	const char *bpffs;		/* --bpffs: directory for pins */
	unsigned int bpf_peers;		/* --bpf-peers; 0: as many as max_conns */
	enum splice_mode splice;	/* --splice=auto|on|off */
	unsigned int splice_peers;	/* --splice-peers */
	unsigned int splice_queue;	/* --splice-queue: packets */
	unsigned int splice_pressure;	/* --splice-pressure */
	int splice_tls;			/* --splice-tls: 1 is on */
	unsigned int splice_tls_queue;	/* --splice-tls-queue: packets */
	enum xdp_mode xdp;		/* --xdp=auto|native|generic|off */
	const char *xdp_interfaces;	/* --xdp-interfaces: comma list, may be "" */
	double guard_rate;		/* --guard-rate: new connections per second and source; 0: any number */
	unsigned int guard_burst;	/* --guard-burst */
	unsigned int guard_sources;	/* --guard-sources */
	const char *default_mesh_file;	/* found where derper looks for one; "" if none */
	struct opener *opener;		/* opens files for us after privileges are gone; borrowed, NULL: we do */
	const char *user;		/* --user; "": xderp or nobody if started as root */
	int seccomp;			/* --seccomp=auto|off */
	enum log_level log_level;	/* --log-level */
	const char *trusted_cidrs;	/* --debug-cidrs, TS_DEBUG_TRUSTED_CIDRS: comma list, may be "" */
	const char *allow_debug_ip;	/* TS_ALLOW_DEBUG_IP, may be "" */
	const char *debug_key_path;	/* TS_DEBUG_KEY_PATH, may be "" */

	const char *proxy_from;		/* --proxy-protocol-from: comma list of networks, may be "" */
	struct cidr_set *proxies;	/* owned; resolved from it; NULL: none */
	const char *deny;		/* --deny: comma list of networks, may be "" */
	const char *control_socket;	/* --control-socket; "": off, NULL: CONFIG_CONTROL_SOCKET if it can be made */

	const char *config_file;	/* --config, may be "" */
	bool check_config;		/* --check-config */
	bool no_rtt;			/* TS_DERP_DISABLE_RTT_STATS */

	char *owned[4];			/* strings made here, freed by config_done */
	unsigned int nowned;
	struct conffile *file;		/* owned: the strings of config_file */
	struct config *before;		/* owned: what it replaced; other threads than the shards may still look at it */
	int argc;			/* what it was made from, to make it anew */
	char **argv;

	/* resolved */
	bool tls;			/* the main listener speaks TLS: port 443 or -certmode manual */
	struct key private_key;		/* secret */
	struct key public_key;
	bool has_mesh_key;
	struct key mesh_key;		/* secret */
};

/* Make *ret from what is built in, then the environment, then the file of --config, then argv: the later wins. Returns 0:
 * run; 1: -help, -version or --check-config was answered on stdout, exit 0; -EINVAL: a sentence per fault on err naming the
 * setting, the value and what is allowed, exit 2. argv must live as long as *ret. */
int config_parse(struct config *ret, int argc, char **argv, FILE *err);

/* The same anew, for a running relay: keys are taken over, and a setting that can't change while it runs is a fault,
 * too. changed: names of the settings that differ, separated by commas, "" if none do. */
int config_reparse(struct config *ret, const struct config *running, struct textbuf *changed, FILE *err);

/* All flags, for help, completion and documentation. */
const struct flag_table *config_flags(void);

/* After parsing: read or create the key file, read the mesh key. -errno and a sentence in err. */
int config_load_keys(struct config *cfg, char *err, size_t errlen);

/* Wipe secrets, free strings. */
void config_done(struct config *cfg);
/* config_done and free it and all before it. Takes NULL. */
void config_free(struct config *cfg);

extern const char xderp_version[];

#endif
