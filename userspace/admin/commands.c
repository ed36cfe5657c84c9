/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/commands.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/doctor.h"
#include "admin/flags.h"
#include "admin/reload.h"
#include "admin/status.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "relay/peerlist.h"
#include "relay/relay.h"
#include "relay/sources.h"
#include "wire/handshake.h"

#define MAX_ARGS	4096U
#define SOURCES_SHOWN	100U	/* the ones with most connections */
#define PEERS_STEP	64U	/* lines made at a time */
#define NODEKEY_LEN	(sizeof("nodekey:") + KEY_HEX_LEN)

struct request {
	struct relay *relay;
	const json_t *args;		/* array of strings; NULL: none */
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

static void nodekey(char ret[static NODEKEY_LEN], const struct key *k)
{
	memcpy(ret, "nodekey:", 8);
	key_to_hex(ret + 8, k);
}

static void status(struct request *rq)
{
	put(&rq->reply->out, status_json(rq->relay));
}

/* --- peers: a line each, made as the lines before leave */

struct peers {
	struct peer_row *rows;
	size_t n, next;
};

static bool more_peers(struct textbuf *out, void *state)
{
	struct peers *p = state;
	char key[NODEKEY_LEN];
	json_t *v;

	for (size_t end = min_of(p->next + PEERS_STEP, p->n); p->next < end; p->next++) {
		const struct peer_row *row = &p->rows[p->next];
		const struct peer_facts *f = &row->facts;

		nodekey(key, &row->key);
		v = json_pack("{sssssisssIsbsbsbsbsbsIsIsIsIsIsI}", "key", key, "address", row->address,
			"shard", (int)row->shard, "transport", transport_label(f->transport),
			"connected_at", (json_int_t)f->connected_at, "home", f->home_since != 0, "mesh", row->mesh,
			"prober", row->prober, "not_ideal", row->not_ideal, "watching", row->watching,
			"packets_in", (json_int_t)f->frames_in, "bytes_in", (json_int_t)f->bytes_in,
			"packets_out", (json_int_t)f->frames_out, "bytes_out", (json_int_t)f->bytes_out,
			"dropped", (json_int_t)f->drops, "queued", (json_int_t)row->queued);
		if (v && row->caps.has_rate)
			json_object_set_new(v, "rate", json_integer((json_int_t)row->caps.rate.bytes_per_s));
		if (v && row->caps.conns)
			json_object_set_new(v, "conns", json_integer(row->caps.conns));
		put(out, v);
	}
	return out->len > 0;
}

static void free_peers(void *state)
{
	struct peers *p = state;

	free(p->rows);
	free(p);
}

static void peers(struct request *rq)
{
	struct peers *p = calloc(1, sizeof(*p));

	if (!p || peerlist_take(rq->relay, &p->rows, &p->n)) {
		free(p);
		refuse(rq, "out of memory");
		return;
	}
	put(&rq->reply->out, json_pack("{sI}", "peers", (json_int_t)p->n));
	rq->reply->more = more_peers;
	rq->reply->done = free_peers;
	rq->reply->state = p;
}

/* --- sources */

static void sources(struct request *rq)
{
	struct source_row rows[SOURCES_SHOWN];
	unsigned int n = sources_top(rq->relay->sources, rows, SOURCES_SHOWN);
	struct sources_usage u;
	json_t *a = json_array();
	char net[CIDR_TEXT_LEN];

	for (unsigned int i = 0; i < n; i++) {
		cidr_text(net, &rows[i].net);
		json_array_append_new(a, json_pack("{sssIsIsI}", "source", net, "connections", (json_int_t)rows[i].conns,
			"unauthenticated", (json_int_t)rows[i].unauth, "refused", (json_int_t)rows[i].refused));
	}
	sources_usage(rq->relay->sources, &u);
	put(&rq->reply->out, json_pack("{sIsIso}", "connected", (json_int_t)u.connected, "known", (json_int_t)u.known,
		"sources", a));
}

/* --- drops */

static void drops(struct request *rq)
{
	json_t *packets = json_array(), *closed = json_array(), *logins = json_array();
	struct shard_stats st;

	relay_stats(rq->relay, &st);
	for (unsigned int i = 0; i < DROP_REASON_NR; i++)
		json_array_append_new(packets, json_pack("{sssIsIsIsI}", "reason", drop_reason_name(i),
			"disco", (json_int_t)st.packets_dropped[i][KIND_DISCO],
			"other", (json_int_t)st.packets_dropped[i][KIND_OTHER],
			"disco_bytes", (json_int_t)st.bytes_dropped[i][KIND_DISCO],
			"other_bytes", (json_int_t)st.bytes_dropped[i][KIND_OTHER]));
	for (unsigned int i = 0; i < CLOSE_REASON_NR; i++)
		json_array_append_new(closed, json_pack("{sssI}", "reason", close_reason_name(i),
			"connections", (json_int_t)st.closed[i]));
	for (unsigned int i = 1; i < LOGIN_REFUSAL_NR; i++)
		json_array_append_new(logins, json_pack("{sssI}", "reason", login_refusal_name(i),
			"logins", (json_int_t)st.login_refused[i]));
	put(&rq->reply->out, json_pack("{sIsososo}", "packets_received", (json_int_t)st.packets_received,
		"packets", packets, "connections", closed, "logins", logins));
}

/* --- check */

static void check(struct request *rq)
{
	put(&rq->reply->out, doctor_examine(rq->relay));
}

/* --- drain */

static void drain(struct request *rq)
{
	struct shard_stats st;

	relay_stats(rq->relay, &st);
	put(&rq->reply->out, json_pack("{sIsI}", "connections", (json_int_t)st.conns, "timeout_seconds",
		(json_int_t)(rq->relay->cfg->drain_timeout_ns / NS_PER_S)));
	rq->reply->end = true;
}

/* --- reload */

/* Bytes of a broken file are no UTF-8. */
static json_t *readable(char *text)
{
	json_t *v = json_string(text);

	for (char *p = text; !v && *p; p++)
		if (*p & 0x80)
			*p = '?';
	return v ? v : json_string(text);
}

static void reload(struct request *rq)
{
	struct textbuf changed = { 0 }, why = { 0 };
	char *line, *rest;
	json_t *names, *faults = json_array();

	if (!reload_all(rq->relay, &changed, &why)) {
		names = json_array();
		for (rest = changed.p; rest && (line = strsep(&rest, ",")); )
			json_array_append_new(names, json_string(line));
		put(&rq->reply->out, json_pack("{so}", "changed", names));
	} else {
		for (rest = why.p; rest && (line = strsep(&rest, "\n")) && *line; )
			json_array_append_new(faults, readable(line));
		put(&rq->reply->out, json_pack("{sssO}", "error", "nothing was changed", "faults", faults));
	}
	json_decref(faults);
	textbuf_done(&changed);
	textbuf_done(&why);
}

/* --- settings */

static json_t *setting(const struct flag *f, const struct config *cfg)
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);
	json_t *v;

	if (!out)
		return NULL;
	flags_print(f, cfg, out);
	fclose(out);
	v = json_pack("{sssosb}", "name", f->name, "value", text ? readable(text) : json_string(""), "fixed", f->fixed);
	free(text);
	return v;
}

static void settings(struct request *rq)
{
	const struct flag_table *t = config_flags();
	json_t *a = json_array();

	for (size_t i = 0; i < t->n; i++)
		if (t->flags[i].type != FLAG_REFUSED && !t->flags[i].cli_only)
			json_array_append_new(a, setting(&t->flags[i], rq->relay->cfg));
	put(&rq->reply->out, json_pack("{ssso}", "file", rq->relay->cfg->config_file, "settings", a));
}

/* --- deny, allow */

/* The arguments as networks, malloc'ed. NULL: refused. */
static struct cidr *networks(struct request *rq, size_t *n)
{
	struct cidr *v;
	json_t *arg;
	size_t i;

	*n = json_array_size(rq->args);
	v = malloc((*n + 1) * sizeof(*v));
	if (!v) {
		refuse(rq, "out of memory");
		return NULL;
	}
	json_array_foreach(rq->args, i, arg) {
		if (!cidr_parse(&v[i], json_string_value(arg), json_string_length(arg))) {
			refuse(rq, "\"%.60s\" is no network; allowed: addresses and networks such as 192.0.2.7 or 10.0.0.0/8",
			       json_string_value(arg));
			free(v);
			return NULL;
		}
	}
	return v;
}

static void append_networks(json_t *to, const struct cidr *v, size_t n, bool setting)
{
	char text[CIDR_TEXT_LEN];

	for (size_t i = 0; i < n; i++) {
		cidr_text(text, &v[i]);
		json_array_append_new(to, json_pack("{sssb}", "network", text, "setting", setting));
	}
}

static void put_denied(struct request *rq, uint64_t closed)
{
	const struct relay *r = rq->relay;
	size_t n = cidr_list_parse(NULL, 0, r->cfg->deny);
	struct cidr *of_setting = malloc((n + 1) * sizeof(*of_setting));
	json_t *all = json_array();

	if (of_setting)
		cidr_list_parse(of_setting, n, r->cfg->deny);
	append_networks(all, of_setting, of_setting ? n : 0, true);
	free(of_setting);
	append_networks(all, r->deny.nets, r->deny.n, false);
	put(&rq->reply->out, json_pack("{sIso}", "closed", (json_int_t)closed, "denied", all));
}

static void deny(struct request *rq)
{
	uint64_t closed = 0;
	size_t n;
	struct cidr *v = networks(rq, &n);
	int err = 0;

	if (!v)
		return;
	if (n)
		err = deny_add(rq->relay, v, n, &closed);
	free(v);
	if (err)
		refuse(rq, err == -ENOSPC ? "at most %u networks can be denied while the relay runs; put wider ones in their place, "
		       "or use a firewall" : "out of memory", DENY_MAX);
	else
		put_denied(rq, closed);
}

static void allow(struct request *rq)
{
	char text[CIDR_TEXT_LEN];
	size_t n, missing = 0;
	struct cidr *v = networks(rq, &n);
	int err;

	if (!v)
		return;
	err = deny_remove(rq->relay, v, n, &missing);
	if (err == -ENOENT) {
		cidr_text(text, &v[missing]);
		refuse(rq, "%s was not denied by xderpctl deny, which lists what is; what --deny says is changed there", text);
	} else if (err) {
		refuse(rq, "out of memory");
	} else {
		put_denied(rq, 0);
	}
	free(v);
}

/* --- */

static const struct {
	const char *name;
	void (*run)(struct request *rq);
	unsigned int min_args, max_args;
} commands[] = {
	{ "status", status },
	{ "peers", peers },
	{ "sources", sources },
	{ "drops", drops },
	{ "check", check },
	{ "drain", drain },
	{ "reload", reload },
	{ "settings", settings },
	{ "deny", deny, 0, MAX_ARGS },
	{ "allow", allow, 1, MAX_ARGS },
};

static bool args_fit(const json_t *args, size_t min, size_t max)
{
	json_t *v;
	size_t i;

	json_array_foreach(args, i, v)
		if (!json_is_string(v))
			return false;
	return (!args || json_is_array(args)) && json_array_size(args) >= min && json_array_size(args) <= max;
}

void commands_handle(const char *line, size_t n, struct control_reply *ret, void *relay)
{
	json_error_t e;
	json_t *root = json_loadb(line, n, JSON_REJECT_DUPLICATES, &e);
	const char *name = json_string_value(json_object_get(root, "command"));
	struct request rq = { .relay = relay, .args = json_object_get(root, "args"), .reply = ret };
	size_t i = 0;

	while (name && i < ARRAY_SIZE(commands) && strcmp(name, commands[i].name))
		i++;
	if (!root)
		refuse(&rq, "the request is not JSON: %s", e.text);
	else if (!name)
		refuse(&rq, "the request is not an object with a \"command\"");
	else if (i == ARRAY_SIZE(commands))
		refuse(&rq, "this relay (%s) has no command \"%.40s\"", xderp_version, name);
	else if (!args_fit(rq.args, commands[i].min_args, commands[i].max_args))
		refuse(&rq, "%s takes an array \"args\" of %u to %u strings", name, commands[i].min_args, commands[i].max_args);
	else
		commands[i].run(&rq);
	json_decref(root);
}
