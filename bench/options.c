/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "payload.h"

enum type { FLAG, NUMBER, REAL, TEXT };

#define AT(field)	offsetof(struct options, field)

static const struct row {
	const char *name;
	enum type type;
	size_t at;
	const char *help;
} rows[] = {
	{ "server",      TEXT,   AT(server),      "HOST:PORT of any DERP server" },
	{ "tls",         FLAG,   AT(tls),         "speak TLS 1.3 (AES-128-GCM) to it" },
	{ "insecure",    FLAG,   AT(insecure),    "do not check its certificate (this is the default)" },
	{ "verify",      FLAG,   AT(verify),      "check its certificate against the system's authorities" },
	{ "sni",         TEXT,   AT(sni),         "server name in the TLS hello (default: HOST unless an address)" },
	{ "path",        TEXT,   AT(path),        "HTTP path (/derp)" },
	{ "fast-start",  FLAG,   AT(fast_start),  "ask for DERP without an HTTP answer" },

	{ "pairs",       NUMBER, AT(pairs),       "N pairs, the first of each sends to the second" },
	{ "bidi",        FLAG,   AT(bidi),        "  both send" },
	{ "pingpong",    FLAG,   AT(pingpong),    "  one packet in flight per pair, sent back and forth (--pairs 1)" },
	{ "direct",      FLAG,   AT(direct),      "  no relay, the two of a pair are connected; with --server: by bench-floor there" },
	{ "fan-in",      NUMBER, AT(fan_in),      "N senders, one receiver" },
	{ "fan-out",     NUMBER, AT(fan_out),     "one sender, N receivers in turn" },
	{ "random",      NUMBER, AT(random),      "N clients, each sends to a random other one" },
	{ "idle",        NUMBER, AT(idle),        "log N clients in and hold them: server memory per connection; with a load: beside it" },
	{ "storm",       NUMBER, AT(storm),       "N logins and logouts: logins per second, server CPU per login" },

	{ "size",        TEXT,   AT(size),        "payload bytes: N, N:WEIGHT,N:WEIGHT,... or imix (64:7,576:4,1400:1); 1400" },
	{ "window",      NUMBER, AT(window),      "closed loop: packets in flight per sender (16)" },
	{ "burst",       NUMBER, AT(burst),       "frames per client write (1)" },
	{ "rate",        REAL,   AT(rate),        "open loop: packets per second of all senders together" },
	{ "search",      FLAG,   AT(search),      "open loop: find the highest rate without loss (starts at --rate)" },
	{ "slow",        NUMBER, AT(slow),        "add K pairs whose receivers read slowly and whose senders send too fast" },
	{ "slow-read",   NUMBER, AT(slow_read),   "  bytes per second that each reads (262144); 0: never" },
	{ "concurrency", NUMBER, AT(concurrency), "logins under way at one time (16)" },

	{ "duration",    REAL,   AT(duration),    "seconds measured (5)" },
	{ "warmup",      REAL,   AT(warmup),      "seconds before that (1)" },
	{ "packets",     NUMBER, AT(packets),     "  N packets measured, a fifth as many before that; however long it takes" },
	{ "threads",     NUMBER, AT(threads),     "generator threads; each has its own share of the clients (1)" },
	{ "pin",         TEXT,   AT(pin),         "processors for them: 0 or 0,2,..." },
	{ "server-pid",  NUMBER, AT(server_pid),  "process whose CPU and memory are measured" },
	{ "json",        TEXT,   AT(json),        "write the results there as well" },
	{ "progress",    FLAG,   AT(progress),    "a line each second on stderr" },
	{ "self-check",  FLAG,   AT(self_check),  "test the generator's own arithmetic and end" },
	{ "help",        FLAG,   AT(help),        "this text" },
};

void options_help(void)
{
	printf("xderp-bench --server HOST:PORT [MODE] [OPTION]...: load on a DERP relay, every byte checked\n");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		printf("  --%-12s %s\n", rows[i].name, rows[i].help);
}

unsigned int options_clients(const struct options *o)
{
	return o->pairs + o->fan_in + o->fan_out + o->random;
}

const char *options_mode(const struct options *o)
{
	if (o->idle && !options_clients(o))
		return "idle";
	if (o->storm)
		return "storm";
	if (o->fan_in)
		return "fan-in";
	if (o->fan_out)
		return "fan-out";
	if (o->random)
		return "random";
	return o->pingpong ? "pingpong" : "pairs";
}

static int set(struct options *o, const struct row *r, const char *text)
{
	void *field = (char *)o + r->at;
	char *end = NULL;

	errno = 0;
	switch (r->type) {
	case FLAG:
		*(bool *)field = true;
		return 0;
	case TEXT:
		*(const char **)field = text;
		return 0;
	case NUMBER:
		*(unsigned int *)field = (unsigned int)strtoul(text, &end, 10);
		break;
	case REAL:
		*(double *)field = strtod(text, &end);
		break;
	}
	if (!errno && end != text && !*end && *text != '-')
		return 0;
	fprintf(stderr, "xderp-bench: --%s wants a number, not \"%s\"\n", r->name, text);
	return -EINVAL;
}

static int parse_size(struct options *o)
{
	const char *p = strcmp(o->size, "imix") ? o->size : "64:7,576:4,1400:1";
	unsigned long len, weight;
	char *end;

	for (;;) {
		len = strtoul(p, &end, 10);
		weight = 1;
		if (*end == ':')
			weight = strtoul(end + 1, &end, 10);
		if (len < PAYLOAD_MIN || len > PAYLOAD_MAX || weight < 1 || weight > OPTIONS_SIZES - o->nsizes)
			return -EINVAL;
		for (; weight; weight--)
			o->sizes[o->nsizes++] = (uint32_t)len;
		if (len > o->max_size)
			o->max_size = (uint32_t)len;
		if (*end != ',')
			return *end ? -EINVAL : 0;
		p = end + 1;
	}
}

static const char *complaint(struct options *o)
{
	int modes = !!o->pairs + !!o->fan_in + !!o->fan_out + !!o->random + !!o->storm;

	if (o->server ? !strchr(o->server, ':') : !o->direct)
		return "--server HOST:PORT is needed";
	if (modes > 1 || (o->storm && o->idle))
		return "one mode only";
	if (!modes && !o->idle)
		o->pairs = 1;
	if (o->direct && (!o->pairs || o->slow || o->idle))
		return "--direct goes with --pairs, not with --slow or --idle";
	if (o->pingpong && !o->pairs)
		return "--pingpong goes with --pairs";
	if (o->pingpong) {
		o->bidi = true;
		o->window = o->burst = 1;
	}
	if (o->pingpong && (o->rate > 0 || o->search))
		return "--pingpong is a closed loop";
	if (o->random == 1 || o->random > 1000)
		return "--random takes 2 to 1000 clients";
	if (parse_size(o))
		return "--size: payloads of 32 to 65536 bytes, up to 256 weights in all";
	if (!o->burst || o->burst > 1024 || (o->burst > o->window && !(o->rate > 0) && !o->search))
		return "--burst: 1 to 1024, and not more than --window";
	if (!o->threads || o->threads > 64 || !o->concurrency)
		return "--threads: 1 to 64; --concurrency: 1 or more";
	if (o->packets && (o->search || !options_clients(o)))
		return "--packets goes with a load, not with --search, --idle or --storm";
	if (!(o->duration > 0) || (o->verify && o->insecure))
		return "--duration must be positive; --verify and --insecure exclude each other";
	return NULL;
}

int options_parse(struct options *ret, int argc, char **argv)
{
	struct option longs[ARRAY_SIZE(rows) + 1] = { 0 };
	struct options o = {
		.path = "/derp", .size = "1400", .window = 16, .burst = 1, .slow_read = 262144,
		.concurrency = 16, .duration = 5, .warmup = 1, .threads = 1,
	};
	const char *why;
	int i, c;

	for (size_t k = 0; k < ARRAY_SIZE(rows); k++)
		longs[k] = (struct option){ rows[k].name, rows[k].type != FLAG, NULL, 1 };
	while ((c = getopt_long(argc, argv, "", longs, &i)) != -1)
		if (c != 1 || set(&o, &rows[i], optarg))
			return -EINVAL;
	if (optind < argc) {
		fprintf(stderr, "xderp-bench: what is \"%s\"?\n", argv[optind]);
		return -EINVAL;
	}
	why = o.help || o.self_check ? NULL : complaint(&o);
	if (why) {
		fprintf(stderr, "xderp-bench: %s (--help)\n", why);
		return -EINVAL;
	}
	*ret = o;
	return 0;
}
