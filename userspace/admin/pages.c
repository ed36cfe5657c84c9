/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/pages.h"

#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "admin/limits.h"
#include "admin/status.h"
#include "base/clock.h"
#include "base/feature.h"
#include "base/keymem.h"
#include "kern/splice.h"
#include "kern/twin.h"
#include "kern/xdp.h"
#include "kern/peermap.h"
#include "relay/bootstrap.h"
#include "relay/relay.h"
#include "status_page.h"	/* made from status.html */
#include "wire/handshake.h"

/* One reading of everything, so that a page does not contradict itself more than it must. */
struct snapshot {
	const struct relay *relay;
	const struct config *cfg;
	struct shard_stats st;
	struct relay_totals totals;
	struct derp_xdp_stats xdp;
	struct derp_stats splice, twins;
	uint64_t uptime_s, fds, max_fds, rss, vsize;
	double cpu_s;
};

/* Linux 6.2 and later say it in one call; before, a shard with many connections reads them all. */
static uint64_t count_fds(void)
{
	struct stat st;
	uint64_t n = 0;
	DIR *d;

	if (!stat("/proc/self/fd", &st) && st.st_size > 0)
		return (uint64_t)st.st_size;
	d = opendir("/proc/self/fd");
	if (!d)
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n > 3 ? n - 3 : 0;	/* ., .. and d itself */
}

static void read_memory(struct snapshot *s)
{
	unsigned long vsize = 0, rss = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f)
		return;
	if (fscanf(f, "%lu %lu", &vsize, &rss) == 2) {
		s->vsize = vsize * (uint64_t)sysconf(_SC_PAGESIZE);
		s->rss = rss * (uint64_t)sysconf(_SC_PAGESIZE);
	}
	fclose(f);
}

static void take(struct snapshot *s, const struct relay *r)
{
	struct rusage ru;
	struct rlimit rl;

	*s = (struct snapshot){ .relay = r, .cfg = relay_config(r) };
	relay_stats(r, &s->st);
	directory_totals(r->directory, &s->totals);
	xdp_stats(r->xdp, &s->xdp);
	splice_stats(r->splicer, &s->splice);
	twin_stats(r->splicer, &s->twins);
	s->st.stun_success += s->xdp.stun_ipv4 + s->xdp.stun_ipv6;	/* whoever answered */
	s->st.stun_ipv4 += s->xdp.stun_ipv4;
	s->st.stun_ipv6 += s->xdp.stun_ipv6;
	s->uptime_s = (clock_now_ns() - r->start_ns) / NS_PER_S;
	s->fds = count_fds();
	if (!getrlimit(RLIMIT_NOFILE, &rl))
		s->max_fds = rl.rlim_cur;
	read_memory(s);
	if (!getrusage(RUSAGE_SELF, &ru))
		s->cpu_s = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
			   (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

/* --- Prometheus text */

static void type(struct textbuf *b, const char *name, const char *kind)
{
	textbuf_printf(b, "# TYPE %s %s\n", name, kind);
}

static void value(struct textbuf *b, const char *name, const char *kind, uint64_t v)
{
	type(b, name, kind);
	textbuf_printf(b, "%s %" PRIu64 "\n", name, v);
}

/* What derper counts, under its names without derp_ before them. */
struct row {
	const char *name, *kind;
	uint64_t v;
};
#define DERPER_ROWS	40

static unsigned int derper_rows(struct row ret[static DERPER_ROWS], const struct snapshot *s)
{
	const struct shard_stats *st = &s->st;
	const struct row rows[] = {
		{ "accepts", "counter", st->accepts },
		{ "bytes_received", "counter", st->bytes_received },
		{ "bytes_sent", "counter", st->bytes_sent },
		{ "clients_local", "gauge", s->totals.clients_local },
		{ "clients_remote", "gauge", s->totals.clients_remote },
		{ "clients_total", "gauge", s->totals.clients_local + s->totals.clients_remote },
		{ "current_connections", "gauge", st->derp_conns },
		{ "current_dup_client_conns", "gauge", s->totals.dup_client_conns },
		{ "current_dup_client_keys", "gauge", s->totals.dup_client_keys },
		{ "current_file_descriptors", "gauge", s->fds },
		{ "current_home_connections", "gauge", st->home_conns },
		{ "current_notideal_connections", "gauge", st->not_ideal_conns },
		{ "got_ping", "counter", st->got_ping },
		{ "home_moves_in", "counter", st->home_moves_in },
		{ "home_moves_out", "counter", st->home_moves_out },
		{ "memstats_sys0", "gauge", s->vsize },
		{ "multiforwarder_created", "counter", s->totals.multiforwarder_created },
		{ "multiforwarder_deleted", "counter", s->totals.multiforwarder_deleted },
		{ "packet_forwarder_delete_other_value", "counter", s->totals.forwarder_delete_other },
		{ "packets_forwarded_in", "counter", st->packets_forwarded_in },
		{ "packets_forwarded_out", "counter", st->packets_forwarded_out },
		{ "packets_received", "counter", st->packets_received },
		{ "packets_sent", "counter", st->packets_sent },
		{ "peer_gone_disconnected_frames", "counter", st->gone_disconnected_frames },
		{ "peer_gone_not_here_frames", "counter", st->gone_not_here_frames },
		{ "sclient_write_timeouts", "counter", st->write_timeouts },
		{ "sent_pong", "counter", st->sent_pong },
		{ "total_dup_client_conns", "counter", st->dup_client_conns },
		{ "unknown_frames", "counter", st->unknown_frames },
		{ "watchers", "gauge", st->watchers },
		{ "websocket_accepts", "counter", st->websocket_accepts },
	};

	_Static_assert(ARRAY_SIZE(rows) <= DERPER_ROWS, "room for all");
	memcpy(ret, rows, sizeof(rows));
	return ARRAY_SIZE(rows);
}

static double average_queue_ms(const struct snapshot *s)
{
	return (double)s->st.avg_queue_us / 1000 / s->relay->nshards;
}

static void derper_counters(struct textbuf *b, const struct snapshot *s)
{
	struct row rows[DERPER_ROWS];
	unsigned int n = derper_rows(rows, s);
	char name[64];

	for (unsigned int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "derp_%s", rows[i].name);
		value(b, name, rows[i].kind, rows[i].v);
	}
	type(b, "derp_average_queue_duration_ms", "untyped");
	textbuf_printf(b, "derp_average_queue_duration_ms %.3f\n", average_queue_ms(s));
}

static void by_reason(struct textbuf *b, const char *name, const uint64_t v[DROP_REASON_NR][KIND_NR])
{
	type(b, name, "counter");
	for (unsigned int r = 0; r < DROP_REASON_NR; r++)
		textbuf_printf(b, "%s{reason=\"%s\",kind=\"disco\"} %" PRIu64 "\n%s{reason=\"%s\",kind=\"other\"} %" PRIu64 "\n",
			       name, drop_reason_name(r), v[r][KIND_DISCO], name, drop_reason_name(r), v[r][KIND_OTHER]);
}

/* Who handed packets to their destination. */
static void by_path(struct textbuf *b, const struct shard_stats *st)
{
	type(b, "xderp_path_packets_total", "counter");
	textbuf_printf(b, "xderp_path_packets_total{path=\"uring\"} %" PRIu64 "\nxderp_path_packets_total{path=\"splice\"} %" PRIu64 "\n",
		       st->packets_sent + st->splice_lost - st->packets_spliced, st->packets_spliced);
	type(b, "xderp_path_bytes_total", "counter");
	textbuf_printf(b, "xderp_path_bytes_total{path=\"uring\"} %" PRIu64 "\nxderp_path_bytes_total{path=\"splice\"} %" PRIu64 "\n",
		       st->bytes_sent + st->splice_lost_bytes - st->bytes_spliced, st->bytes_spliced);
}

static void flush_histogram(struct textbuf *b, const struct shard_stats *st)
{
	static const unsigned int bounds[FLUSH_BUCKETS - 1] = FLUSH_BOUNDS;
	static const char name[] = "derp_buffered_write_frames";
	uint64_t sum = 0;

	type(b, name, "histogram");
	for (unsigned int i = 0; i < FLUSH_BUCKETS - 1; i++) {
		sum += st->flush_frames[i];
		textbuf_printf(b, "%s_bucket{le=\"%u\"} %" PRIu64 "\n", name, bounds[i], sum);
	}
	sum += st->flush_frames[FLUSH_BUCKETS - 1];
	textbuf_printf(b, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %" PRIu64 "\n%s_count %" PRIu64 "\n",
		       name, sum, name, st->flush_frames_sum, name, sum);
}

/* Cumulative, as the label promises; derper's are not. */
static void rtt_histogram(struct textbuf *b, const struct shard_stats *st)
{
	static const unsigned int bounds[RTT_BUCKETS - 1] = RTT_BOUNDS_MS;
	uint64_t sum = 0;

	type(b, "derp_tcp_rtt", "counter");
	for (unsigned int i = 0; i < RTT_BUCKETS - 1; i++) {
		sum += st->rtt[i];
		textbuf_printf(b, "derp_tcp_rtt{le=\"%ums\"} %" PRIu64 "\n", bounds[i], sum);
	}
	textbuf_printf(b, "derp_tcp_rtt{le=\"inf\"} %" PRIu64 "\n", sum + st->rtt[RTT_BUCKETS - 1]);
}

static void stun(struct textbuf *b, const struct shard_stats *st)
{
	type(b, "stun_requests", "counter");
	textbuf_printf(b, "stun_requests{disposition=\"success\"} %" PRIu64 "\nstun_requests{disposition=\"not_stun\"} %" PRIu64 "\n"
		       "stun_requests{disposition=\"read_error\"} %" PRIu64 "\nstun_requests{disposition=\"write_error\"} %" PRIu64 "\n",
		       st->stun_success, st->stun_not_stun, st->stun_read_error, st->stun_write_error);
	type(b, "stun_addrfamily", "counter");
	textbuf_printf(b, "stun_addrfamily{family=\"ipv4\"} %" PRIu64 "\nstun_addrfamily{family=\"ipv6\"} %" PRIu64 "\n",
		       st->stun_ipv4, st->stun_ipv6);
}

static void tls(struct textbuf *b, const struct snapshot *s)
{
	const struct shard_stats *st = &s->st;

	if (!s->cfg->tls)
		return;
	type(b, "derper_tls_request_version", "untyped");
	textbuf_printf(b, "derper_tls_request_version{version=\"1.2\"} %" PRIu64 "\nderper_tls_request_version{version=\"1.3\"} %" PRIu64 "\n",
		       st->tls12, st->tls13);
	type(b, "derper_tls_active_version", "gauge");
	textbuf_printf(b, "derper_tls_active_version{version=\"1.2\"} %" PRIu64 "\nderper_tls_active_version{version=\"1.3\"} %" PRIu64 "\n",
		       st->tls12_active, st->tls13_active);
	value(b, "tls_listener_accepted_connections", "counter", st->tcp_accepted - st->closed[CLOSE_ACCEPT_LIMIT]);
	value(b, "tls_listener_rejected_connections", "counter", st->closed[CLOSE_ACCEPT_LIMIT]);
}

static void process(struct textbuf *b, const struct snapshot *s)
{
	type(b, "process_cpu_seconds_total", "counter");
	textbuf_printf(b, "process_cpu_seconds_total %.3f\n", s->cpu_s);
	value(b, "process_open_fds", "gauge", s->fds);
	value(b, "process_max_fds", "gauge", s->max_fds);
	value(b, "process_resident_memory_bytes", "gauge", s->rss);
	value(b, "process_virtual_memory_bytes", "gauge", s->vsize);
	value(b, "process_start_time_seconds", "gauge", s->relay->start_unix);
	value(b, "process_start_unix_time", "gauge", s->relay->start_unix);
	value(b, "uptime_sec", "counter", s->uptime_s);
	type(b, "version", "gauge");
	textbuf_printf(b, "version{version=\"%s\",binary=\"xderpd\"} 1\n", xderp_version);
}

static void rate_limit(struct textbuf *b, const struct snapshot *s)
{
	if (!s->cfg->rate.bytes_per_s)
		return;
	value(b, "derp_rate_limit_per_client_bytes_per_second", "untyped", s->cfg->rate.bytes_per_s);
	value(b, "derp_rate_limit_per_client_burst_bytes", "untyped", s->cfg->rate.burst);
	value(b, "derp_rate_limit_per_client_waited", "counter", s->st.rate_waits);
}

static void bootstrap(struct textbuf *b, const struct snapshot *s)
{
	const struct shard_stats *st = &s->st;
	struct bootstrap_stats names;

	bootstrap_stats(s->relay->bootstrap, &names);
	value(b, "bootstrap_dns_requests", "counter", st->bootstrap_dns_requests);
	value(b, "bootstrap_dns_published_hits", "counter", st->bootstrap_dns_published_hits);
	value(b, "bootstrap_dns_published_misses", "counter", 0);	/* a name without addresses is in no list */
	value(b, "bootstrap_dns_unpublished_hits", "counter", st->bootstrap_dns_unpublished_hits);
	value(b, "bootstrap_dns_unpublished_misses", "counter", st->bootstrap_dns_unpublished_misses);
	value(b, "bootstrap_dns_unpublished_percent_misses", "counter", st->bootstrap_dns_unpublished_percent_misses);
	value(b, "bootstrap_dns_queried_domains", "counter", names.asked);
}

static void bootstrap_lookups(struct textbuf *b, const struct snapshot *s)
{
	struct bootstrap_stats names;

	bootstrap_stats(s->relay->bootstrap, &names);
	type(b, "xderp_bootstrap_lookups_total", "counter");
	textbuf_printf(b, "xderp_bootstrap_lookups_total{outcome=\"found\"} %" PRIu64 "\n"
		       "xderp_bootstrap_lookups_total{outcome=\"failed\"} %" PRIu64 "\n", names.found, names.failed);
}

static void varz(struct textbuf *b, const struct snapshot *s)
{
	const struct shard_stats *st = &s->st;

	derper_counters(b, s);
	type(b, "derp_packets_received_kind", "counter");
	textbuf_printf(b, "derp_packets_received_kind{kind=\"disco\"} %" PRIu64 "\nderp_packets_received_kind{kind=\"other\"} %" PRIu64 "\n",
		       st->packets_received_disco, st->packets_received_other);
	/* With the reasons that derper does not know, so that its names add up, too. */
	by_reason(b, "derp_packets_dropped", st->packets_dropped);
	by_reason(b, "derp_bytes_dropped", st->bytes_dropped);
	flush_histogram(b, st);
	rtt_histogram(b, st);
	stun(b, st);
	tls(b, s);
	bootstrap(b, s);
	rate_limit(b, s);
	process(b, s);
}

/* /proc/net/tls_stat: name, value, one per line. Not there: no module, nothing to say. */
static void kernel_tls(struct textbuf *b)
{
	FILE *f = fopen("/proc/net/tls_stat", "re");
	uint64_t v;
	char name[32];

	if (!f)
		return;
	type(b, "xderp_kernel_tls", "untyped");
	while (fscanf(f, "%31s %" SCNu64, name, &v) == 2)
		textbuf_printf(b, "xderp_kernel_tls{name=\"%s\"} %" PRIu64 "\n", name, v);
	fclose(f);
}

static void features(struct textbuf *b)
{
	struct feature list[FEATURE_MAX];
	unsigned int n = feature_list(list, FEATURE_MAX);

	type(b, "xderp_feature", "gauge");
	for (unsigned int i = 0; i < n; i++)
		textbuf_printf(b, "xderp_feature{name=\"%s\",state=\"%s\"} 1\n", list[i].name, list[i].state);
}

static void mesh_nodes(struct textbuf *b, const struct relay *r)
{
	struct relay_node n;

	if (!r->nlinks)
		return;
	type(b, "xderp_mesh_link_up", "gauge");
	for (unsigned int i = 0; relay_node(r, i, &n); i++)
		textbuf_printf(b, "xderp_mesh_link_up{node=\"%s\"} %d\n", n.name, n.up);
	type(b, "xderp_mesh_link_peers", "gauge");
	for (unsigned int i = 0; relay_node(r, i, &n); i++)
		textbuf_printf(b, "xderp_mesh_link_peers{node=\"%s\"} %u\n", n.name, n.peers);
}

/* So that a rule for alerts need not know the settings. */
static void limits(struct textbuf *b, const struct snapshot *s)
{
	struct limit_row rows[LIMITS_MAX];
	unsigned int n = limits_list(rows, s->relay, &s->st);

	type(b, "xderp_limit", "gauge");
	for (unsigned int i = 0; i < n; i++)
		textbuf_printf(b, isinf(rows[i].limit) ? "xderp_limit{name=\"%s\"} +Inf\n" : "xderp_limit{name=\"%s\"} %.10g\n",
			       rows[i].name, rows[i].limit);
	type(b, "xderp_limit_used", "gauge");
	for (unsigned int i = 0; i < n; i++)
		if (rows[i].has_use)
			textbuf_printf(b, "xderp_limit_used{name=\"%s\"} %" PRIu64 "\n", rows[i].name, rows[i].used);
}

static void key_memory(struct textbuf *b)
{
	struct keymem_usage u;

	keymem_usage(&u);
	type(b, "xderp_key_memory_bytes", "gauge");
	textbuf_printf(b, "xderp_key_memory_bytes{use=\"keys\",locked=\"yes\"} %" PRIu64 "\n", u.locked);
	textbuf_printf(b, "xderp_key_memory_bytes{use=\"keys\",locked=\"no\"} %" PRIu64 "\n", u.unlocked);
	textbuf_printf(b, "xderp_key_memory_bytes{use=\"openssl\",locked=\"no\"} %" PRIu64 "\n", u.work);
}

static void certificate(struct textbuf *b, const struct snapshot *s)
{
	const struct certificate_watch *w = &s->relay->certificate;

	if (!s->cfg->tls)
		return;
	value(b, "xderp_certificate_not_after_seconds", "gauge",
	      (uint64_t)tls_ctx_not_after(__atomic_load_n(&s->relay->tls, __ATOMIC_ACQUIRE)));
	type(b, "xderp_certificate_changes_total", "counter");
	textbuf_printf(b, "xderp_certificate_changes_total{outcome=\"taken\"} %" PRIu64 "\n"
		       "xderp_certificate_changes_total{outcome=\"refused\"} %" PRIu64 "\n",
		       __atomic_load_n(&w->taken, __ATOMIC_RELAXED), __atomic_load_n(&w->refused, __ATOMIC_RELAXED));
}

static void metrics(struct textbuf *b, const struct snapshot *s)
{
	const struct shard_stats *st = &s->st;

	varz(b, s);
#define X(field, help) \
	textbuf_printf(b, "# HELP xderp_" #field "_total " help "\n# TYPE xderp_" #field "_total counter\nxderp_" #field "_total %" PRIu64 "\n", \
		       st->field);
	SHARD_COUNTERS(X)
#undef X
#define X(field, help) \
	textbuf_printf(b, "# HELP xderp_" #field " " help "\n# TYPE xderp_" #field " gauge\nxderp_" #field " %" PRIu64 "\n", \
		       st->field);
	SHARD_GAUGES(X)
#undef X
#define X(field, help) \
	textbuf_printf(b, "# HELP xderp_xdp_" #field "_total " help "\n# TYPE xderp_xdp_" #field "_total counter\nxderp_xdp_" #field "_total %" PRIu64 "\n", \
		       (uint64_t)s->xdp.field);
	DERP_XDP_COUNTERS(X)
#undef X
	by_path(b, st);
#define X(field, help) \
	textbuf_printf(b, "# HELP xderp_splice_" #field "_total " help "\n# TYPE xderp_splice_" #field "_total counter\nxderp_splice_" #field "_total %" PRIu64 "\n", \
		       (uint64_t)s->splice.field);
	DERP_SPLICE_OUTCOMES(X)
#undef X
#define X(field, help) \
	textbuf_printf(b, "# HELP xderp_twin_" #field "_total " help "\n# TYPE xderp_twin_" #field "_total counter\nxderp_twin_" #field "_total %" PRIu64 "\n", \
		       (uint64_t)s->twins.field);
	DERP_TWIN_OUTCOMES(X)
#undef X
	by_reason(b, "xderp_packets_dropped_total", st->packets_dropped);
	by_reason(b, "xderp_bytes_dropped_total", st->bytes_dropped);
	type(b, "xderp_connections_closed_total", "counter");
	for (unsigned int r = 0; r < CLOSE_REASON_NR; r++)
		textbuf_printf(b, "xderp_connections_closed_total{reason=\"%s\"} %" PRIu64 "\n", close_reason_name(r), st->closed[r]);
	type(b, "xderp_logins_refused_total", "counter");
	for (unsigned int r = 1; r < LOGIN_REFUSAL_NR; r++)
		textbuf_printf(b, "xderp_logins_refused_total{reason=\"%s\"} %" PRIu64 "\n", login_refusal_name(r), st->login_refused[r]);
	features(b);
	kernel_tls(b);
	type(b, "xderp_ktls_fallbacks_total", "counter");
	for (unsigned int r = 0; r < KTLS_FALLBACK_NR; r++)
		textbuf_printf(b, "xderp_ktls_fallbacks_total{reason=\"%s\"} %" PRIu64 "\n", ktls_fallback_name(r), st->ktls_fallbacks[r]);
	mesh_nodes(b, s->relay);
	type(b, "xderp_admissions_total", "counter");
	for (unsigned int o = 0; o < ADMISSION_NR; o++)
		textbuf_printf(b, "xderp_admissions_total{outcome=\"%s\"} %" PRIu64 "\n", admission_name(o), st->admissions[o]);
	value(b, "xderp_shards", "gauge", s->relay->nshards);
	value(b, "xderp_clients_local", "gauge", s->totals.clients_local);
	if (s->relay->peers)
		value(b, "xderp_bpf_peers_refused_total", "counter", peermap_refused(s->relay->peers));
	key_memory(b);
	limits(b, s);
	bootstrap_lookups(b, s);
	certificate(b, s);
}

/* --- expvar JSON: the same numbers under derper's raw names */

#define N(v)	((json_int_t)(v))

/* How many were at most each bound, under the bound's name; returns how many there were in all. n has nbounds + 1. */
static uint64_t buckets(json_t *v, const uint64_t *n, const unsigned int *bounds, unsigned int nbounds, const char *unit)
{
	uint64_t sum = 0;
	char name[16];

	for (unsigned int i = 0; i < nbounds; i++) {
		sum += n[i];
		snprintf(name, sizeof(name), "%u%s", bounds[i], unit);
		json_object_set_new(v, name, json_integer(N(sum)));
	}
	return sum + n[nbounds];
}

static json_t *flush_vars(const struct shard_stats *st)
{
	static const unsigned int bounds[FLUSH_BUCKETS - 1] = FLUSH_BOUNDS;
	json_t *v = json_object();
	uint64_t all = buckets(v, st->flush_frames, bounds, FLUSH_BUCKETS - 1, "");

	json_object_set_new(v, "+Inf", json_integer(N(all)));
	json_object_set_new(v, "sum", json_integer(N(st->flush_frames_sum)));
	json_object_set_new(v, "count", json_integer(N(all)));
	return v;
}

static json_t *rtt_vars(const struct shard_stats *st)
{
	static const unsigned int bounds[RTT_BUCKETS - 1] = RTT_BOUNDS_MS;
	json_t *v = json_object();
	uint64_t all = buckets(v, st->rtt, bounds, RTT_BUCKETS - 1, "ms");

	json_object_set_new(v, "inf", json_integer(N(all)));
	return v;
}

/* derper says "MultiLabelMap" here and nothing else. */
static json_t *reason_vars(const uint64_t n[DROP_REASON_NR][KIND_NR])
{
	json_t *v = json_object();

	for (unsigned int r = 0; r < DROP_REASON_NR; r++)
		json_object_set_new(v, drop_reason_name(r), json_integer(N(n[r][KIND_DISCO] + n[r][KIND_OTHER])));
	return v;
}

static json_t *derp_vars(const struct snapshot *s)
{
	const struct shard_stats *st = &s->st;
	struct row rows[DERPER_ROWS];
	unsigned int n = derper_rows(rows, s);
	json_t *v = json_object();
	char name[64];

	for (unsigned int i = 0; i < n; i++) {
		const char *prefix = !strcmp(rows[i].kind, "gauge") ? "gauge_" : !strncmp(rows[i].name, "total_", 6) ? "counter_" : "";

		snprintf(name, sizeof(name), "%s%s", prefix, rows[i].name);
		json_object_set_new(v, name, json_integer(N(rows[i].v)));
	}
	json_object_set_new(v, "average_queue_duration_ms", json_real(average_queue_ms(s)));
	json_object_set_new(v, "counter_buffered_write_frames", flush_vars(st));
	json_object_set_new(v, "counter_packets_received_kind", json_pack("{sIsI}", "disco", N(st->packets_received_disco),
									  "other", N(st->packets_received_other)));
	json_object_set_new(v, "counter_tcp_rtt", rtt_vars(st));
	json_object_set_new(v, "counter_packets_dropped", reason_vars(st->packets_dropped));
	json_object_set_new(v, "counter_bytes_dropped", reason_vars(st->bytes_dropped));
	json_object_set_new(v, "version", json_string(xderp_version));
	return v;
}

static void tls_vars(json_t *v, const struct snapshot *s)
{
	const struct shard_stats *st = &s->st;

	json_object_set_new(v, "derper_tls_request_version", json_pack("{sIsI}", "1.2", N(st->tls12), "1.3", N(st->tls13)));
	json_object_set_new(v, "gauge_derper_tls_active_version",
			    json_pack("{sIsI}", "1.2", N(st->tls12_active), "1.3", N(st->tls13_active)));
	json_object_set_new(v, "tls_listener", json_pack("{sIsI}",
		"counter_accepted_connections", N(st->tcp_accepted - st->closed[CLOSE_ACCEPT_LIMIT]),
		"counter_rejected_connections", N(st->closed[CLOSE_ACCEPT_LIMIT])));
}

static void put_json(struct textbuf *b, json_t *v, size_t flags)
{
	char *text = v ? json_dumps(v, flags) : NULL;

	textbuf_puts(b, text ? text : "{\"error\":\"out of memory\"}");
	textbuf_puts(b, "\n");
	free(text);
	json_decref(v);
}

static void vars(struct textbuf *b, const struct snapshot *s)
{
	const struct shard_stats *st = &s->st;
	json_t *v = json_pack("{sIsIsIsIsssos{s{sIsIsIsI}s{sIsI}}}", "counter_uptime_sec", N(s->uptime_s),
		"process_start_unix_time", N(s->relay->start_unix), "counter_bootstrap_dns_requests", N(st->bootstrap_dns_requests),
		"derp_websocket_accepts", N(st->websocket_accepts), "version", xderp_version, "derp", derp_vars(s),
		"stun", "counter_requests", "success", N(st->stun_success), "not_stun", N(st->stun_not_stun),
		"read_error", N(st->stun_read_error), "write_error", N(st->stun_write_error),
		"counter_addrfamily", "ipv4", N(st->stun_ipv4), "ipv6", N(st->stun_ipv6));

	if (v && s->cfg->tls)
		tls_vars(v, s);
	put_json(b, v, JSON_INDENT(1));
}

static void index_page(struct textbuf *b, const struct snapshot *s)
{
	struct utsname un = { 0 };

	uname(&un);
	textbuf_printf(b, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>xderp debug</title></head><body>"
		       "<h1>xderp debug</h1><ul>"
		       "<li><b>Uptime:</b> %" PRIu64 "s</li><li><b>Version:</b> %s</li><li><b>Machine:</b> %s</li>"
		       "<li><b>TLS hostname:</b> %s</li><li><b>Mesh key:</b> %s</li>"
		       "<li><a href=\"/debug/status\">/debug/status</a> (what goes on, live)</li>"
		       "<li><a href=\"/debug/status.json\">/debug/status.json</a> (the same as data)</li>"
		       "<li><a href=\"/readyz\">/readyz</a> (is the relay serving?), <a href=\"/healthz\">/healthz</a></li>"
		       "<li><a href=\"/debug/varz\">/debug/varz</a> (derper's metrics, Prometheus text)</li>"
		       "<li><a href=\"/metrics\">/metrics</a> (the same and xderp's own)</li>"
		       "<li><a href=\"/debug/vars\">/debug/vars</a> (metrics, JSON)</li>"
		       "<li><a href=\"/debug/check\">/debug/check</a> (consistency check)</li>"
		       "<li><a href=\"/debug/traffic\">/debug/traffic</a> (traffic check)</li></ul></body></html>\n",
		       s->uptime_s, xderp_version, un.nodename, s->cfg->hostname, s->cfg->has_mesh_key ? "true" : "false");
}

/* Connections of keys must add up to logged-in connections; only a quiet relay can be asked exactly. */
static int check(struct textbuf *b, const struct snapshot *s)
{
	uint64_t single = s->totals.clients_local - s->totals.dup_client_keys;
	uint64_t conns = single + s->totals.dup_client_conns;

	if (conns == s->st.derp_conns) {
		textbuf_puts(b, "derp.Server ConsistencyCheck okay");
		return 200;
	}
	textbuf_printf(b, "connections by key = %" PRIu64 ", by shard = %" PRIu64 " (logins and logouts under way show as a difference)\n",
		       conns, s->st.derp_conns);
	return 500;
}

static int ready(struct textbuf *b, const struct relay *r)
{
	bool draining = __atomic_load_n(&r->draining, __ATOMIC_RELAXED);

	textbuf_puts(b, draining ? "draining\n" : "ok\n");
	return draining ? 503 : 200;
}

int pages_render(enum frontdoor_page page, struct textbuf *body, void *ctx)
{
	struct snapshot s;

	switch (page) {		/* those that want no snapshot of everything */
	case PAGE_STATUS:
		textbuf_put(body, STATUS_PAGE, sizeof(STATUS_PAGE) - 1);
		return 200;
	case PAGE_STATUS_JSON:
		put_json(body, status_json(ctx), JSON_COMPACT);
		return 200;
	case PAGE_READY:
		return ready(body, ctx);
	default:
		break;
	}
	take(&s, ctx);
	switch (page) {
	case PAGE_INDEX:
		index_page(body, &s);
		return 200;
	case PAGE_VARZ:
		varz(body, &s);
		return 200;
	case PAGE_METRICS:
		metrics(body, &s);
		return 200;
	case PAGE_VARS:
		vars(body, &s);
		return 200;
	case PAGE_CHECK:
		return check(body, &s);
	default:
		return 404;
	}
}
