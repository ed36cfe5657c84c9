/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/util.h"

#define MAX_COLUMNS	12

/* A value as it stands in a table. */
static const char *text(const json_t *v, char *buf, size_t n)
{
	if (json_is_string(v))
		return json_string_value(v);
	if (json_is_integer(v))
		snprintf(buf, n, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_real(v))
		snprintf(buf, n, "%.10g", json_real_value(v));
	else
		snprintf(buf, n, "%s", json_is_true(v) ? "yes" : "-");
	return buf;
}

static void cell(const struct show_column *c, const char *v, size_t width, bool last)
{
	if (last && !c->right)
		printf("%s\n", v);
	else
		printf(c->right ? "%*s%s" : "%-*s%s", (int)width, v, last ? "\n" : "  ");
}

void show_table(const json_t *rows, const struct show_column *cols, unsigned int n)
{
	size_t width[MAX_COLUMNS], i;
	char buf[32];
	json_t *row;

	for (unsigned int c = 0; c < n; c++) {
		width[c] = strlen(cols[c].title);
		json_array_foreach(rows, i, row)
			width[c] = max_of(width[c], strlen(text(json_object_get(row, cols[c].key), buf, sizeof(buf))));
	}
	for (unsigned int c = 0; c < n; c++)
		cell(&cols[c], cols[c].title, width[c], c == n - 1);
	json_array_foreach(rows, i, row)
		for (unsigned int c = 0; c < n; c++)
			cell(&cols[c], text(json_object_get(row, cols[c].key), buf, sizeof(buf)), width[c], c == n - 1);
}

static json_int_t number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static const char *string(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static void show_duration(json_int_t s)
{
	if (s >= 86400)
		printf("%" JSON_INTEGER_FORMAT " d %" JSON_INTEGER_FORMAT " h", s / 86400, s % 86400 / 3600);
	else if (s >= 3600)
		printf("%" JSON_INTEGER_FORMAT " h %" JSON_INTEGER_FORMAT " min", s / 3600, s % 3600 / 60);
	else if (s >= 60)
		printf("%" JSON_INTEGER_FORMAT " min %" JSON_INTEGER_FORMAT " s", s / 60, s % 60);
	else
		printf("%" JSON_INTEGER_FORMAT " s", s);
}

static void show_certificate(json_int_t not_after)
{
	time_t t = (time_t)not_after;
	struct tm tm;
	char day[32];

	if (!t) {
		printf("certificate  none yet: xderp-acme requests one\n");
		return;
	}
	gmtime_r(&t, &tm);
	strftime(day, sizeof(day), "%Y-%m-%d %H:%M UTC", &tm);
	printf("certificate  ends %s, ", day);
	if (t > time(NULL)) {
		printf("in ");
		show_duration(t - time(NULL));
		printf("\n");
	} else {
		printf("it is over\n");
	}
}

void show_status(const json_t *answer)
{
	static const struct show_column shard[] = {
		{ "shard", "id", true }, { "io", "io" }, { "connections", "connections", true }, { "clients", "clients", true },
		{ "received", "packets_received", true }, { "sent", "packets_sent", true }, { "queued", "packets_queued", true },
	};
	static const struct show_column feature[] = { { "feature", "name" }, { "state", "state" }, { "reason", "reason" } };
	static const struct show_column limit[] = {
		{ "limit", "name" }, { "is", "limit", true }, { "in use", "used", true }, { "refused", "refused", true },
	};
	const json_t *t = json_object_get(answer, "totals");

	printf("xderpd %s, process %" JSON_INTEGER_FORMAT ", up ", string(answer, "version"), number(answer, "pid"));
	show_duration(number(answer, "uptime_seconds"));
	printf("\naddress      %s for %s\nkey          %s\n", string(answer, "address"), string(answer, "hostname"),
	       string(answer, "public_key"));
	if (json_object_get(answer, "certificate_not_after"))
		show_certificate(number(answer, "certificate_not_after"));
	printf("clients      %" JSON_INTEGER_FORMAT " with %" JSON_INTEGER_FORMAT " keys; %" JSON_INTEGER_FORMAT
	       " have their home here, %" JSON_INTEGER_FORMAT " have the mesh key\n",
	       number(t, "clients"), number(t, "keys"), number(t, "home"), number(t, "mesh"));
	printf("packets      %" JSON_INTEGER_FORMAT " received, %" JSON_INTEGER_FORMAT " sent, %" JSON_INTEGER_FORMAT
	       " dropped, %" JSON_INTEGER_FORMAT " queued\n\n",
	       number(t, "packets_received"), number(t, "packets_sent"), number(t, "packets_dropped"), number(t, "packets_queued"));
	show_table(json_object_get(answer, "shards"), shard, ARRAY_SIZE(shard));
	printf("\n");
	show_table(json_object_get(answer, "limits"), limit, ARRAY_SIZE(limit));
	printf("\n");
	show_table(json_object_get(answer, "features"), feature, ARRAY_SIZE(feature));
}

void show_sources(const json_t *answer)
{
	static const struct show_column cols[] = {
		{ "source", "source" }, { "connections", "connections", true }, { "not logged in", "unauthenticated", true },
		{ "refused", "refused", true },
	};

	printf("%" JSON_INTEGER_FORMAT " sources have connections; %" JSON_INTEGER_FORMAT " are remembered\n", number(answer, "connected"),
	       number(answer, "known"));
	if (json_array_size(json_object_get(answer, "sources")))
		show_table(json_object_get(answer, "sources"), cols, ARRAY_SIZE(cols));
}

/* The rows whose counter key is not zero. */
static json_t *nonzero(const json_t *rows, const char *key)
{
	json_t *a = json_array(), *row;
	size_t i;

	json_array_foreach(rows, i, row)
		if (number(row, key))
			json_array_append(a, row);
	return a;
}

void show_drops(const json_t *answer)
{
	static const struct show_column drop[] = {
		{ "dropped packets", "reason" }, { "disco", "disco", true }, { "bytes", "disco_bytes", true },
		{ "other", "other", true }, { "bytes", "other_bytes", true },
	};
	static const struct show_column closed[] = { { "closed or refused", "reason" }, { "connections", "connections", true } };
	static const struct show_column login[] = { { "refused logins", "reason" }, { "logins", "logins", true } };
	json_t *conns = nonzero(json_object_get(answer, "connections"), "connections");
	json_t *logins = nonzero(json_object_get(answer, "logins"), "logins");

	printf("packets received: %" JSON_INTEGER_FORMAT "\n\n", number(answer, "packets_received"));
	show_table(json_object_get(answer, "packets"), drop, ARRAY_SIZE(drop));
	if (json_array_size(conns)) {
		printf("\n");
		show_table(conns, closed, ARRAY_SIZE(closed));
	}
	if (json_array_size(logins)) {
		printf("\n");
		show_table(logins, login, ARRAY_SIZE(login));
	}
	json_decref(conns);
	json_decref(logins);
}

void show_denied(const json_t *answer)
{
	static const struct show_column cols[] = { { "denied", "network" }, { "by --deny", "setting" } };
	const json_t *all = json_object_get(answer, "denied");

	if (number(answer, "closed"))
		printf("%" JSON_INTEGER_FORMAT " connections closed\n", number(answer, "closed"));
	if (json_array_size(all))
		show_table(all, cols, ARRAY_SIZE(cols));
	else
		printf("nothing is denied\n");
}

void show_drain(const json_t *answer)
{
	printf("draining %" JSON_INTEGER_FORMAT " connections, at most %" JSON_INTEGER_FORMAT " s\n",
	       number(answer, "connections"), number(answer, "timeout_seconds"));
	fflush(stdout);
}

void show_reload(const json_t *answer)
{
	const json_t *names = json_object_get(answer, "changed");
	json_t *name;
	size_t i;

	printf("reloaded; changed:");
	json_array_foreach(names, i, name)
		printf(" %s", json_string_value(name));
	printf("%s\n", json_array_size(names) ? "" : " no setting");
}

void show_refusal(const json_t *answer)
{
	json_t *fault;
	size_t i;

	json_array_foreach(json_object_get(answer, "faults"), i, fault)
		fprintf(stderr, "%s\n", json_string_value(fault));
	fprintf(stderr, "xderpctl: %s\n", string(answer, "error"));
}

void show_settings(const json_t *answer)
{
	json_t *row;
	size_t i;

	printf("; in use; the ones marked * can't change while the relay runs\n");
	if (*string(answer, "file"))
		printf("; from the command line, the environment and %s\n", string(answer, "file"));
	json_array_foreach(json_object_get(answer, "settings"), i, row)
		printf("%s = %s%s\n", string(row, "name"), string(row, "value"),
		       json_is_true(json_object_get(row, "fixed")) ? " ; *" : "");
}

void show_peers(const json_t *answer)
{
	printf("%" JSON_INTEGER_FORMAT " connections\n", number(answer, "peers"));
	if (number(answer, "peers"))
		printf("%-72s %5s %-9s %-8s %-6s %10s %10s %7s %7s  %s\n", "key", "shard", "transport", "up", "flags", "in", "out",
		       "dropped", "queued", "address");
}

/* Lists may be long: no second look at them for the widths. */
void show_peer(const json_t *row)
{
	json_int_t up = time(NULL) - number(row, "connected_at");
	bool capped = json_object_get(row, "rate") || json_object_get(row, "conns");
	char flags[7], age[16];

	snprintf(flags, sizeof(flags), "%s%s%s%s%s%s", json_is_true(json_object_get(row, "home")) ? "h" : "",
		 json_is_true(json_object_get(row, "mesh")) ? "m" : "", json_is_true(json_object_get(row, "prober")) ? "p" : "",
		 json_is_true(json_object_get(row, "not_ideal")) ? "n" : "", json_is_true(json_object_get(row, "watching")) ? "w" : "",
		 capped ? "c" : "");
	snprintf(age, sizeof(age), up >= 86400 ? "%dd%02dh" : "%d:%02d", (int)(up >= 86400 ? up / 86400 : up / 3600),
		 (int)(up >= 86400 ? up % 86400 / 3600 : up % 3600 / 60));
	printf("%-72s %5" JSON_INTEGER_FORMAT " %-9s %-8s %-6s %10" JSON_INTEGER_FORMAT " %10" JSON_INTEGER_FORMAT
	       " %7" JSON_INTEGER_FORMAT " %7" JSON_INTEGER_FORMAT "  %s\n", string(row, "key"), number(row, "shard"),
	       string(row, "transport"), age, flags, number(row, "packets_in"), number(row, "packets_out"), number(row, "dropped"),
	       number(row, "queued"), string(row, "address"));
}

void show_checks(const json_t *answer)
{
	json_t *row;
	size_t i;

	json_array_foreach(json_object_get(answer, "checks"), i, row) {
		printf("%-4s  %-17s  %s\n", string(row, "state"), string(row, "check"), string(row, "found"));
		if (*string(row, "fix"))
			printf("      %-17s  -> %s\n", "", string(row, "fix"));
	}
}
