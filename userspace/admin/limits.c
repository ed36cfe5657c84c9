/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/limits.h"

#include <math.h>
#include <string.h>

#include "base/util.h"
#include "relay/relay.h"
#include "relay/sources.h"

/* Settings of which 0 means that there is no limit. */
static double or_none(double v)
{
	return v ? v : INFINITY;
}

unsigned int limits_list(struct limit_row ret[static LIMITS_MAX], const struct relay *r, const struct shard_stats *st)
{
	const struct config *cfg = relay_config(r);
	struct sources_usage sources;
	struct relay_totals totals;

	sources_usage(r->sources, &sources);
	directory_totals(r->directory, &totals);
	const struct limit_row rows[] = {
		{ "max-connections", cfg->max_conns, true, st->conns, st->closed[CLOSE_CONN_LIMIT] },
		{ "max-unauthenticated", cfg->max_unauth, true, st->conns_unauth, st->closed[CLOSE_UNAUTH_LIMIT] },
		{ "max-handshakes", cfg->max_handshakes, true, st->conns_handshaking, st->closed[CLOSE_HANDSHAKE_LIMIT] },
		{ "max-verifications", cfg->max_verifications, true, st->conns_verifying, st->admissions[ADMISSION_BUSY] },
		{ "max-mesh-peers", cfg->max_remote, true, totals.clients_remote, st->mesh_present_refused },
		{ "max-sources", cfg->max_sources, true, sources.connected, st->sources_unknown },
		{ "queue-memory", (double)cfg->queue_memory * r->nshards, true, st->queue_memory_used,
		  st->packets_dropped[DROP_QUEUE_MEMORY][KIND_DISCO] + st->packets_dropped[DROP_QUEUE_MEMORY][KIND_OTHER] +
		  st->closed[CLOSE_NO_MEMORY] },
		{ "max-connections-per-key", cfg->max_conns_per_key, .refused = st->closed[CLOSE_KEY_LIMIT] },
		{ "max-connections-per-source", or_none(cfg->per_source.conns), .refused = st->closed[CLOSE_SOURCE_CONNS] },
		{ "max-unauthenticated-per-source", or_none(cfg->per_source.unauth), .refused = st->closed[CLOSE_SOURCE_UNAUTH] },
		{ "source-login-rate", or_none(cfg->per_source.login_rate), .refused = st->closed[CLOSE_SOURCE_LOGINS] },
		{ "accept-connection-limit", cfg->accept_limit, .refused = st->closed[CLOSE_ACCEPT_LIMIT] },
		{ "max-unknown-frame", (double)cfg->max_skip, .refused = st->closed[CLOSE_SKIP_LIMIT] },
	};

	_Static_assert(ARRAY_SIZE(rows) <= LIMITS_MAX, "room for all");
	memcpy(ret, rows, sizeof(rows));
	return ARRAY_SIZE(rows);
}
