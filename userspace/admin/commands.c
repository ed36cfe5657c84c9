/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/commands.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/feature.h"
#include "base/log.h"
#include "base/util.h"
#include "relay/relay.h"

struct request {
	struct relay *relay;
	const json_t *args;		/* the whole object */
	struct control_reply *reply;
};

/* --- answers */

/* One line; v is given up. */
static void put(struct textbuf *out, json_t *v)
{
	char *text = v ? json_dumps(v, JSON_COMPACT) : NULL;

	textbuf_puts(out, text ? text : "{\"error\":\"out of memory\"}");
	textbuf_puts(out, "\n");
	free(text);
	json_decref(v);
}

static void refuse(struct request *rq, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void refuse(struct request *rq, const char *fmt, ...)
{
	char why[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	put(&rq->reply->out, json_pack("{ss}", "error", why));
}

/* --- status */

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

static json_t *totals(const struct relay *r)
{
	struct relay_totals t;
	struct shard_stats st;

	relay_stats(r, &st);
	directory_totals(r->directory, &t);
	return json_pack("{sIsIsIsIsIsIsIsIsI}", "connections", (json_int_t)st.conns, "clients", (json_int_t)st.derp_conns,
		"keys", (json_int_t)t.clients_local, "home", (json_int_t)st.home_conns, "mesh", (json_int_t)st.mesh_conns,
		"packets_received", (json_int_t)st.packets_received, "packets_sent", (json_int_t)st.packets_sent,
		"packets_dropped", (json_int_t)dropped(&st), "packets_queued", (json_int_t)st.packets_queued);
}

static void status(struct request *rq)
{
	const struct relay *r = rq->relay;
	const struct config *cfg = r->cfg;
	char hex[KEY_HEX_LEN + 1], key[sizeof("nodekey:") + KEY_HEX_LEN];
	json_t *v;

	key_to_hex(hex, &cfg->public_key);
	snprintf(key, sizeof(key), "nodekey:%s", hex);
	v = json_pack("{sssisIsIsssssbsssbsososo}", "version", xderp_version, "pid", (int)getpid(),
		"start_unix", (json_int_t)r->start_unix,
		"uptime_seconds", (json_int_t)((clock_now_ns() - r->start_ns) / NS_PER_S), "hostname", cfg->hostname,
		"address", cfg->addr, "tls", cfg->tls, "public_key", key, "mesh_key", cfg->has_mesh_key,
		"totals", totals(r), "shards", shards(r), "features", features());
	if (v && cfg->tls)
		json_object_set_new(v, "certificate_not_after", json_integer(tls_ctx_not_after(r->tls)));
	put(&rq->reply->out, v);
}

/* --- */

static const struct {
	const char *name;
	void (*run)(struct request *rq);
} commands[] = {
	{ "status", status },
};

void commands_handle(const char *line, size_t n, struct control_reply *ret, void *relay)
{
	json_error_t e;
	json_t *args = json_loadb(line, n, JSON_REJECT_DUPLICATES, &e);
	const char *name = json_string_value(json_object_get(args, "command"));
	struct request rq = { .relay = relay, .args = args, .reply = ret };
	size_t i = 0;

	while (name && i < ARRAY_SIZE(commands) && strcmp(name, commands[i].name))
		i++;
	if (!args)
		refuse(&rq, "the request is not JSON: %s", e.text);
	else if (!name)
		refuse(&rq, "the request is not an object with a \"command\"");
	else if (i == ARRAY_SIZE(commands))
		refuse(&rq, "this relay (%s) has no command \"%.40s\"", xderp_version, name);
	else
		commands[i].run(&rq);
	json_decref(args);
}
