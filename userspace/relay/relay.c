/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/relay.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/feature.h"
#include "base/log.h"
#include "base/worker.h"
#include "base/opener.h"
#include "kern/splice.h"
#include "net/io.h"
#include "net/listen.h"
#include "relay/admission.h"
#include "relay/bootstrap.h"
#include "relay/mailbox.h"
#include "relay/meshlink.h"
#include "relay/placement.h"
#include "relay/shard.h"
#include "relay/sources.h"

int relay_check_certificate(const struct config *cfg, char *err, size_t errlen)
{
	struct tls_ctx *ctx = NULL;
	int e = certificate_load(&ctx, cfg, err, errlen);

	tls_ctx_free(ctx);
	return e;
}

/* --ktls and what is behind it. */
static int choose_records(struct relay *r, char *err, size_t errlen)
{
	const struct config *cfg = r->cfg;
	const struct record_path *p = &r->path;
	int e = record_path_choose(&r->path, cfg->ktls);

	if (e) {
		snprintf(err, errlen, "--ktls=on: %s; use --ktls=auto, or load the module (modprobe tls)", p->why);
		return e;
	}
	feature_set("ktls", p->ktls ? "on" : "off", "%s", p->why);
	if (p->ktls)
		feature_set("ktls_rekey", p->kernel.rekey ? "on" : "off", "%s",
			    p->kernel.rekey ? "keys of a connection can be changed" :
			    "keys can't be changed before Linux 6.14: clients that do are closed in order");
	feature_set("records", p->ktls ? "kernel" : cfg->own_records ? "own" : "openssl",
		    "TLS 1.3 after the handshake; --ktls and --records choose");
	return 0;
}

static int add_listener(struct shard *s, const struct listen_addr *a, enum listener_kind kind, char *err,
			size_t errlen)
{
	int cpu = placement_cpu(s->cfg, s->id);
	struct listen_tcp_opts o = {
		.user_timeout_ms = (unsigned int)(s->cfg->user_timeout_ns / NS_PER_MS),
		.accepted = shard_accepted_opts(s->cfg),
		.reuseport = s->relay->nshards > 1,
		.cpu = s->cfg->affinity == AFFINITY_CPU ? &cpu : NULL,
	};
	static const char *const flag[] = { "-a", "-http-port", "-stun-port" };
	char text[LISTEN_TEXT_LEN];
	int fd;

	fd = kind == LISTEN_STUN ? listen_udp(a, o.reuseport) : listen_tcp(a, &o);
	if (fd < 0) {
		sockaddr_text(text, (const struct sockaddr *)&a->sa);
		snprintf(err, errlen, "can't listen on %s (%s): %s%s", text, flag[kind], strerror(-fd),
			 fd == -EADDRINUSE ? "; is another relay running? choose another address with " :
			 fd == -EACCES ? "; ports below 1024 need root or CAP_NET_BIND_SERVICE, or choose another with " : "");
		if (fd == -EADDRINUSE || fd == -EACCES)
			strncat(err, flag[kind], errlen - strlen(err) - 1);
		return fd;
	}
	s->listeners[s->nlisteners++] = (struct listener){ .fd = fd, .kind = kind };
	return 0;
}

/* SO_REUSEPORT would let a second relay of ours share the port in silence: claim it alone first. */
static int claim(const struct listen_addr *a, enum listener_kind kind)
{
	struct listen_tcp_opts o = { 0 };
	int fd = kind == LISTEN_STUN ? listen_udp(a, false) : listen_tcp(a, &o);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int open_listener(struct relay *r, const struct listen_addr *a, enum listener_kind kind, char *err,
			 size_t errlen)
{
	char text[LISTEN_TEXT_LEN];
	int e = r->nshards > 1 ? claim(a, kind) : 0;

	for (unsigned int i = 0; i < r->nshards && (!e || i == 0); i++) {
		if (e == -EADDRINUSE) {
			sockaddr_text(text, (const struct sockaddr *)&a->sa);
			snprintf(err, errlen, "can't listen on %s: %s; is another relay running?", text, strerror(-e));
			return e;
		}
		e = add_listener(r->shards[i], a, kind, err, errlen);
	}
	return e;
}

static int open_listeners(struct relay *r, char *err, size_t errlen)
{
	const struct config *cfg = r->cfg;
	struct listen_addr a, plain, stun;
	int e;

	e = listen_addr_parse(&a, cfg->addr, err, errlen);
	if (e)
		return e;
	e = open_listener(r, &a, LISTEN_MAIN, err, errlen);
	if (e)
		return e;
	if (cfg->tls && cfg->http_port >= 0) {
		plain = a;
		listen_addr_set_port(&plain, (uint16_t)cfg->http_port);
		e = open_listener(r, &plain, LISTEN_PLAIN, err, errlen);
		if (e)
			return e;
	}
	if (!cfg->stun)
		return 0;
	stun = a;
	listen_addr_set_port(&stun, cfg->stun_port);
	/* Not fatal, as in derper; but said. */
	if (open_listener(r, &stun, LISTEN_STUN, err, errlen)) {
		log_event(LOG_LEVEL_ERROR, "stun_off", "reason=%s", err);
		feature_set("stun", "off", "%s", err);
	}
	return 0;
}

/* What follows from the settings alone; who finds out more says it in its place. */
static void list_features(const struct relay *r, const struct config *cfg)
{
	certificate_list(r, cfg);
	placement_list(cfg);
	if (!cfg->tls || cfg->http_port < 0)
		feature_set("http", "off", "%s", cfg->tls ? "-http-port=-1" : "the main port speaks it");
	else
		feature_set("http", "on", "port %d", cfg->http_port);
	if (cfg->stun)
		feature_set("stun", "on", "UDP port %u, answered by the shards", cfg->stun_port);
	else
		feature_set("stun", "off", "-stun=false");
	feature_set("mesh", cfg->has_mesh_key ? "on" : "off", "%s",
		    cfg->has_mesh_key ? "nodes with the mesh key may watch and forward" : "no -mesh-psk-file");
}

int relay_opener(struct opener **ret, const struct config *cfg, uid_t uid, gid_t gid)
{
	struct certificate_paths p;
	const char *files[OPENER_MAX];
	unsigned int n = 0;

	*ret = NULL;
	if (cfg->tls && certificate_paths(&p, cfg)) {
		files[n++] = p.crt;
		files[n++] = p.key;
		if (cfg->certmode == CERTMODE_LETSENCRYPT)
			files[n++] = p.cache;
	}
	if (*cfg->debug_key_path)
		files[n++] = cfg->debug_key_path;
	if (*cfg->rate_config)
		files[n++] = cfg->rate_config;
	if (*cfg->allow_keys)
		files[n++] = cfg->allow_keys;
	if (*cfg->config_file)
		files[n++] = cfg->config_file;
	return n ? opener_start(ret, files, n, uid, gid) : 0;
}

/* Each where it will run. */
static int make_shards(struct relay *r)
{
	cpu_set_t before;
	bool back = !sched_getaffinity(0, sizeof(before), &before);
	int e = 0;

	for (unsigned int i = 0; !e && i < r->nshards; i++) {
		placement_enter(r->cfg, i);
		e = shard_new(&r->shards[i], r, (uint16_t)i);
	}
	if (back)
		sched_setaffinity(0, sizeof(before), &before);
	return e;
}

int relay_new(struct relay **ret, const struct config *cfg, struct peermap *peers, char *err, size_t errlen)
{
	struct relay *r = calloc(1, sizeof(*r));
	int e = -ENOMEM;

	snprintf(err, errlen, "out of memory");
	if (!r)
		return e;
	r->cfg = cfg;
	r->peers = peers;
	r->nshards = cfg->shards;
	pthread_barrier_init(&r->started, NULL, r->nshards + 1);
	r->start_unix = (uint64_t)time(NULL);
	r->start_ns = clock_now_ns();
	e = ask_init(&r->ask);
	if (!e)
		e = directory_new(&r->directory, peers);
	if (!e)
		e = make_shards(r);
	if (!e && !(r->mail = mailbox_new(r->nshards)))
		e = -ENOMEM;
	if (!e)
		e = sources_new(&r->sources, cfg->max_sources);
	if (!e)
		e = deny_init(&r->deny, cfg->deny);
	if (!e)
		e = bootstrap_new(&r->bootstrap);
	if (!e && cfg->tls)
		e = certificate_renew(&r->tls, r, cfg, err, errlen);
	if (!e && cfg->tls)
		e = choose_records(r, err, errlen);
	if (!e)
		e = meshlinks_new(r, err, errlen);
	if (!e)
		e = workers_new(&r->verifiers, cfg->max_verifications, cfg->max_unauth);
	if (!e)
		e = admission_new(&r->admission, cfg, r->verifiers, err, errlen);
	if (!e) {
		list_features(r, cfg);
		e = open_listeners(r, err, errlen);
	}
	if (e) {
		relay_free(r);
		return e;
	}
	*ret = r;
	return 0;
}

void relay_free(struct relay *r)
{
	if (!r)
		return;
	meshlinks_free(r);
	workers_stop(r->verifiers);
	admission_free(r->admission);
	bootstrap_free(r->bootstrap);
	for (unsigned int i = 0; i < r->nshards; i++)
		shard_free(r->shards[i]);
	free(r->mail);
	tls_ctx_free(r->tls);
	directory_free(r->directory);
	sources_free(r->sources);
	deny_done(&r->deny);
	ask_close(&r->ask);
	pthread_barrier_destroy(&r->started);
	free(r);
}

/* --- other settings while the shards run: all that can fail first */

struct reload {
	const struct config *next;
	struct tls_ctx *tls;
	struct admission *admission;
	struct cidr_set *denied;
	struct shard_room room[RELAY_MAX_SHARDS];
	uint32_t capped[RELAY_MAX_SHARDS];	/* where cap_some is in each shard's connections */
};

static int prepare(struct relay *r, struct reload *l, char *err, size_t errlen)
{
	int e = l->next->tls ? certificate_renew(&l->tls, r, l->next, err, errlen) : 0;

	if (!e)
		e = admission_new(&l->admission, l->next, r->verifiers, err, errlen);
	if (e)
		return e;
	snprintf(err, errlen, "out of memory");
	e = deny_prepare(&r->deny, l->next->deny, &l->denied);
	for (unsigned int i = 0; !e && i < r->nshards; i++)
		e = shard_prepare(r->shards[i], l->next, &l->room[i]);
	return e;
}

static bool adopt(struct shard *s, void *ctx)
{
	struct reload *l = ctx;

	shard_adopt(s, l->next, &l->room[s->id]);
	return false;
}

static void cap(struct conn *c, void *admission)
{
	const struct peer *p = c->peer;

	if (p && !p->hidden && !p->mesh && !c->link)
		login_cap(c, admission_caps(admission, &p->key));
}

static bool cap_some(struct shard *s, void *ctx)
{
	struct reload *l = ctx;

	return ask_walk(s, &l->capped[s->id], cap, l->admission);
}

static void commit(struct relay *r, struct reload *l)
{
	struct tls_ctx *before = r->tls;
	struct admission *admission = r->admission;
	uint64_t closed;

	__atomic_store_n(&r->tls, l->tls, __ATOMIC_RELEASE);
	__atomic_store_n(&r->admission, l->admission, __ATOMIC_RELEASE);
	__atomic_store_n(&r->cfg, l->next, __ATOMIC_RELEASE);
	ask_all(r, adopt, l);
	if (admission_has_caps(admission) || admission_has_caps(l->admission))
		ask_all(r, cap_some, l);
	splice_enable(r->splicer, !l->next->rate.bytes_per_s);
	tls_ctx_free(before);
	admission_free(admission);
	deny_commit(r, l->denied, &closed);
	certificate_list(r, l->next);
}

int relay_reload(struct relay *r, const struct config *next, char *err, size_t errlen)
{
	struct reload l = { .next = next };
	int e = prepare(r, &l, err, errlen);

	if (e) {
		tls_ctx_free(l.tls);
		admission_free(l.admission);
		free(l.denied);
	} else {
		commit(r, &l);
	}
	for (unsigned int i = 0; i < r->nshards; i++)
		shard_room_free(&l.room[i]);
	return e;
}

void relay_bound(const struct relay *r, struct relay_bound *ret)
{
	static const uint8_t any4[16] = { [10] = 0xff, [11] = 0xff };
	const struct shard *s = r->shards[0];

	memset(ret, 0, sizeof(*ret));
	for (unsigned int i = 0; i < s->nlisteners; i++) {
		uint16_t *port = s->listeners[i].kind == LISTEN_MAIN ? &ret->main_port :
				 s->listeners[i].kind == LISTEN_PLAIN ? &ret->plain_port : &ret->stun_port;
		struct sockaddr_storage sa;
		socklen_t len = sizeof(sa);

		if (!getsockname(s->listeners[i].fd, (struct sockaddr *)&sa, &len))
			sockaddr_to_16(ret->address, port, (struct sockaddr *)&sa);
	}
	if (!memcmp(ret->address, any4, sizeof(any4)))
		memset(ret->address, 0, sizeof(ret->address));
}

int relay_start(struct relay *r, char *err, size_t errlen)
{
	int e;

	for (unsigned int i = 0; i < r->nshards; i++) {
		e = pthread_create(&r->shards[i]->thread, NULL, shard_run, r->shards[i]);
		if (e) {
			/* Threads that wait at the barrier can't be called back; the caller exits. */
			snprintf(err, errlen, "can't start shard %u: %s; try a smaller --shards", i, strerror(e));
			return -e;
		}
	}
	pthread_barrier_wait(&r->started);
	for (unsigned int i = 0; i < r->nshards; i++) {
		e = r->shards[i]->start_err;
		if (e) {
			snprintf(err, errlen, "can't open the I/O engine of shard %u: %s; try --io=epoll", i, strerror(-e));
			return e;
		}
	}
	return 0;
}

void relay_log_ready(const struct relay *r)
{
	const struct config *cfg = r->cfg;
	char hex[KEY_HEX_LEN + 1];

	key_to_hex(hex, &cfg->public_key);
	log_event(LOG_LEVEL_INFO, "ready", "addr=%s tls=%s hostname=%s http_port=%d stun_port=%d shards=%u io=%s "
		  "mesh_key=%s derp_key=%s version=%s",
		  cfg->addr, cfg->tls ? "on" : "off", cfg->hostname, cfg->tls ? cfg->http_port : -1,
		  cfg->stun ? cfg->stun_port : -1, r->nshards, io_name(r->shards[0]->io),
		  cfg->has_mesh_key ? "set" : "none", hex, xderp_version);
}

void relay_join(struct relay *r)
{
	for (unsigned int i = 0; i < r->nshards; i++)
		pthread_join(r->shards[i]->thread, NULL);
}

void relay_drain(struct relay *r)
{
	__atomic_store_n(&r->draining, true, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < r->nshards; i++)
		io_wake(r->shards[i]->io);
}

/* Packets that no shard has seen. What the kernel redirected and then could not write was counted as dropped by its shard. */
static void add_spliced(const struct relay *r, struct shard_stats *ret)
{
	struct derp_stats k;

	splice_stats(r->splicer, &k);
	ret->packets_spliced = k.redirected;
	ret->bytes_spliced = k.redirected_bytes;
	ret->packets_received += k.redirected + k.dropped_full;
	ret->bytes_received += k.redirected_bytes + k.dropped_full_bytes;
	ret->packets_received_disco += k.redirected_disco + k.dropped_full_disco;
	ret->packets_received_other += k.redirected + k.dropped_full - k.redirected_disco - k.dropped_full_disco;
	ret->packets_sent += k.redirected - ret->splice_lost;
	ret->bytes_sent += k.redirected_bytes - ret->splice_lost_bytes;
	ret->packets_dropped[DROP_SPLICE_FULL][KIND_DISCO] += k.dropped_full_disco;
	ret->packets_dropped[DROP_SPLICE_FULL][KIND_OTHER] += k.dropped_full - k.dropped_full_disco;
	ret->bytes_dropped[DROP_SPLICE_FULL][KIND_DISCO] += k.dropped_full_disco_bytes;
	ret->bytes_dropped[DROP_SPLICE_FULL][KIND_OTHER] += k.dropped_full_bytes - k.dropped_full_disco_bytes;
}

void relay_stats(const struct relay *r, struct shard_stats *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (unsigned int i = 0; i < r->nshards; i++)
		stats_add(ret, &r->shards[i]->stats);
	add_spliced(r, ret);
}

void relay_shard_stats(const struct relay *r, unsigned int shard, struct shard_stats *ret)
{
	memset(ret, 0, sizeof(*ret));
	stats_add(ret, &r->shards[shard]->stats);
}

const char *relay_io_name(const struct relay *r, unsigned int shard)
{
	return io_name(r->shards[shard]->io);
}

bool relay_node(const struct relay *r, unsigned int i, struct relay_node *ret)
{
	const struct meshlink *l;

	if (i >= r->nlinks)
		return false;
	l = &r->links[i];
	*ret = (struct relay_node){
		.name = l->name,
		.up = __atomic_load_n(&l->state, __ATOMIC_RELAXED) == MESHLINK_UP,
		.peers = __atomic_load_n(&l->peers, __ATOMIC_RELAXED),
	};
	return true;
}
