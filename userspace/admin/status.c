/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/status.h"

#include <math.h>
#include <unistd.h>

#include "admin/limits.h"
#include "base/clock.h"
#include "base/feature.h"
#include "base/util.h"
#include "kern/xdp.h"
#include "relay/relay.h"
#include "wire/handshake.h"

static json_t *features(void)
{
	struct feature list[FEATURE_MAX];
	unsigned int n = feature_list(list, FEATURE_MAX);
	json_t *a = json_array();

	for (unsigned int i = 0; i < n; i++)
		json_array_append_new(a, json_pack("{ssssss}", "name", list[i].name, "state", list[i].state,
						   "reason", list[i].reason));
	return a;
}

static json_t *shards(const struct relay *r)
{
	json_t *a = json_array();
	struct shard_stats st;

	for (unsigned int i = 0; i < r->nshards; i++) {
		relay_shard_stats(r, i, &st);
		json_array_append_new(a, json_pack("{sisssIsIsIsIsI}", "id", (int)i, "io", relay_io_name(r, i),
			"connections", (json_int_t)st.conns, "clients", (json_int_t)st.derp_conns,
			"packets_received", (json_int_t)st.packets_received, "packets_sent", (json_int_t)st.packets_sent,
			"packets_queued", (json_int_t)st.packets_queued));
	}
	return a;
}

static uint64_t dropped(const struct shard_stats *st)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < DROP_REASON_NR; i++)
		n += st->packets_dropped[i][KIND_DISCO] + st->packets_dropped[i][KIND_OTHER];
	return n;
}

static json_t *totals(const struct relay *r, const struct shard_stats *st)
{
	struct relay_totals t;

	directory_totals(r->directory, &t);
	return json_pack("{sIsIsIsIsIsIsIsIsIsIsI}", "connections", (json_int_t)st->conns, "clients", (json_int_t)st->derp_conns,
		"keys", (json_int_t)t.clients_local, "home", (json_int_t)st->home_conns, "mesh", (json_int_t)st->mesh_conns,
		"packets_received", (json_int_t)st->packets_received, "packets_sent", (json_int_t)st->packets_sent,
		"packets_dropped", (json_int_t)dropped(st), "packets_queued", (json_int_t)st->packets_queued,
		"bytes_received", (json_int_t)st->bytes_received, "bytes_sent", (json_int_t)st->bytes_sent);
}

static json_t *limits(const struct relay *r, const struct shard_stats *st)
{
	struct limit_row rows[LIMITS_MAX];
	unsigned int n = limits_list(rows, r, st);
	json_t *a = json_array(), *v;

	for (unsigned int i = 0; i < n; i++) {
		v = json_pack("{sssI}", "name", rows[i].name, "refused", (json_int_t)rows[i].refused);
		if (v && !isinf(rows[i].limit))
			json_object_set_new(v, "limit", json_real(rows[i].limit));
		if (v && rows[i].has_use)
			json_object_set_new(v, "used", json_integer((json_int_t)rows[i].used));
		json_array_append_new(a, v);
	}
	return a;
}

/* Packets by the way they take through the relay: what stays in its shard is what does not cross to another. */
static json_t *paths(const struct shard_stats *st)
{
	uint64_t in = st->packets_received + st->packets_forwarded_in;

	return json_pack("{sIsIsI}", "same_shard", (json_int_t)(in - min_of(in, st->packets_cross_out)),
		"other_shard", (json_int_t)st->packets_cross_out, "other_node", (json_int_t)st->packets_forwarded_out);
}

/* Open connections by what lies between their plaintext and the socket. */
static json_t *transports(const struct shard_stats *st)
{
	uint64_t tls = st->tls12_active + st->tls13_active;

	return json_pack("{sIsIsI}", "plain", (json_int_t)(st->conns - min_of(st->conns, tls)),
		"tls", (json_int_t)(tls - min_of(tls, st->ktls_active)), "ktls", (json_int_t)st->ktls_active);
}

static json_t *drops(const struct shard_stats *st)
{
	json_t *a = json_array();

	for (unsigned int i = 0; i < DROP_REASON_NR; i++)
		json_array_append_new(a, json_pack("{sssIsI}", "reason", drop_reason_name(i),
			"packets", (json_int_t)(st->packets_dropped[i][KIND_DISCO] + st->packets_dropped[i][KIND_OTHER]),
			"bytes", (json_int_t)(st->bytes_dropped[i][KIND_DISCO] + st->bytes_dropped[i][KIND_OTHER])));
	return a;
}

static json_t *nodes(const struct relay *r)
{
	json_t *a = json_array();
	struct relay_node n;

	for (unsigned int i = 0; relay_node(r, i, &n); i++)
		json_array_append_new(a, json_pack("{sssbsi}", "node", n.name, "up", n.up, "peers", (int)n.peers));
	return a;
}

/* What the kernel's XDP program answered, and the shards. */
static json_int_t stun_answers(const struct relay *r, const struct shard_stats *st)
{
	struct derp_xdp_stats xdp;

	xdp_stats(r->xdp, &xdp);
	return (json_int_t)(st->stun_success + xdp.stun_ipv4 + xdp.stun_ipv6);
}

json_t *status_json(const struct relay *r)
{
	const struct config *cfg = relay_config(r);
	char key[sizeof("nodekey:") + KEY_HEX_LEN] = "nodekey:";
	uint64_t up_ms = (clock_now_ns() - r->start_ns) / NS_PER_MS;
	struct shard_stats st;
	json_t *v;

	relay_stats(r, &st);
	key_to_hex(key + 8, &cfg->public_key);
	v = json_pack("{sssisIsIsIsssssbsssbsbsIsososososososo}", "version", xderp_version, "pid", (int)getpid(),
		"start_unix", (json_int_t)r->start_unix, "uptime_seconds", (json_int_t)(up_ms / 1000),
		"uptime_milliseconds", (json_int_t)up_ms, "hostname", cfg->hostname,
		"address", cfg->addr, "tls", cfg->tls, "public_key", key, "mesh_key", cfg->has_mesh_key,
		"draining", __atomic_load_n(&r->draining, __ATOMIC_RELAXED), "stun_answers", stun_answers(r, &st),
		"totals", totals(r, &st), "paths", paths(&st), "transports", transports(&st), "drops", drops(&st),
		"nodes", nodes(r), "shards", shards(r), "features", features());
	if (!v)
		return NULL;
	json_object_set_new(v, "limits", limits(r, &st));
	if (cfg->tls)
		json_object_set_new(v, "certificate_not_after",
				    json_integer(tls_ctx_not_after(__atomic_load_n(&r->tls, __ATOMIC_ACQUIRE))));
	return v;
}
