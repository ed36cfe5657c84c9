/* SPDX-License-Identifier: BSD-3-Clause */
/* xderpctl: asks a running xderpd over its control socket. Exit status: 0 done; 1 the relay refused; 2 wrong usage;
 * 3 no relay answers. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/config.h"
#include "admin/doctor.h"
#include "admin/flags.h"
#include "base/util.h"
#include "ctl/completion.h"
#include "ctl/link.h"
#include "ctl/show.h"

enum { EXIT_REFUSED = 1, EXIT_USAGE, EXIT_NO_RELAY };

#define MAX_ARGS	64

struct options {
	const char *socket;
	bool json, version;
	const char *args[MAX_ARGS];	/* the command and its arguments */
	unsigned int nargs;
};

struct command {
	const char *name, *args, *help;
	unsigned int min_args, max_args;
	void (*show)(const json_t *answer);	/* NULL: completion, which asks nobody */
	bool waits;			/* for the end of the relay */
	void (*line)(const json_t *row);	/* each line behind the answer; NULL: there are none */
	json_t *(*alone)(const char *arg);	/* with an argument no relay is asked */
};

static const struct flag flags[] = {
	{ "socket", FLAG_STRING, offsetof(struct options, socket), CONFIG_CONTROL_SOCKET, "the relay's --control-socket" },
	{ "json", FLAG_BOOL, offsetof(struct options, json), "false", "print the relay's answer as it came: JSON" },
	{ "version", FLAG_BOOL, offsetof(struct options, version), "", "print the version of xderpctl and exit" },
	{ "help", FLAG_REFUSED, 0, "", "print this and exit; also -h", .boolean = true },
};
static const struct flag_table options = { "xderpctl", flags, ARRAY_SIZE(flags) };

/* What is wrong with the file goes to stderr. */
static json_t *check_file(const char *file)
{
	char *argv[] = { (char *)"xderpd", (char *)"--config", (char *)file, NULL };
	struct config *cfg = calloc(1, sizeof(*cfg));
	json_t *found = NULL;

	if (cfg && !config_parse(cfg, 3, argv, stderr)) {
		found = doctor_examine_settings(cfg);
		config_done(cfg);
	}
	free(cfg);
	return found;
}

static const struct command commands[] = {
	{ "status", "", "version, connections, shards, limits, and what is on and off and why", 0, 0, show_status },
	{ "peers", "", "logged-in connections: key, shard, transport, hours and minutes connected, flags (home, mesh, prober, not ideal, "
	  "watching, caps of its own), packets, address; with --json one object a line", 0, 0, show_peers, .line = show_peer },
	{ "check", "[FILE]", "look for what will hurt: limits of the system, files, certificate, kernel; exit status 1 if something is broken. "
	  "With a configuration file: before a relay is started with it, ports too", 0, 1, show_checks, .alone = check_file },
	{ "sources", "", "who connects: the 100 addresses (IPv4) and networks (IPv6, /56) with most connections, and how many of theirs were refused", 0, 0, show_sources },
	{ "drops", "", "packets dropped, connections closed and logins refused, by reason", 0, 0, show_drops },
	{ "deny", "[NETWORK...]", "refuse connections from these networks until the relay ends, and close those there are; list what is denied",
	  0, MAX_ARGS, show_denied },
	{ "allow", "NETWORK...", "take networks back that were denied", 1, MAX_ARGS, show_denied },
	{ "settings", "", "the settings in use, in the form of a configuration file", 0, 0, show_settings },
	{ "reload", "", "read settings and certificates again, as on SIGHUP; all or nothing", 0, 0, show_reload },
	{ "completion", "", "print completion for bash, of xderpd too; asks no relay", 0, 0, NULL },
	{ "drain", "", "stop accepting, let queued packets leave, tell clients, end; returns when the relay has ended", 0, 0,
	  show_drain, true },
};

static void completion(void)
{
	const char *names[ARRAY_SIZE(commands)];

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		names[i] = commands[i].name;
	printf("# bash completion of xderpd and xderpctl, made by: xderpctl completion\n");
	completion_bash(config_flags(), NULL, 0, stdout);
	completion_bash(&options, names, ARRAY_SIZE(names), stdout);
}

static void help(void)
{
	printf("xderpctl [FLAGS] COMMAND [ARGUMENTS]: asks a running xderpd.\n\nCommands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %s%s%s\n      %s\n", commands[i].name, *commands[i].args ? " " : "", commands[i].args, commands[i].help);
	printf("\nFlags, before or after the command:\n");
	flags_help(&options, stdout);
	printf("\nExit status: 0 done, 1 the relay refused or found a fault, 2 wrong usage, 3 no relay answers.\n");
}

/* Flags may stand between the command's words. 0, 1: help was asked for, -EINVAL. */
static int parse(struct options *o, int argc, char **argv)
{
	int rest, err;

	for (int i = 0; ; i += rest) {
		err = flags_parse(&options, o, argc - i, argv + i, &rest, stderr);
		if (err || i + rest >= argc)
			return err;
		if (o->nargs == MAX_ARGS) {
			fprintf(stderr, "xderpctl: more than %d arguments\n", MAX_ARGS);
			return -1;
		}
		o->args[o->nargs++] = argv[i + rest];
	}
}

static const struct command *find(const struct options *o)
{
	const struct command *c = NULL;

	for (size_t i = 0; o->nargs && i < ARRAY_SIZE(commands); i++)
		if (!strcmp(o->args[0], commands[i].name))
			c = &commands[i];
	if (!o->nargs)
		fprintf(stderr, "xderpctl: a command is needed (--help lists them)\n");
	else if (!c)
		fprintf(stderr, "xderpctl: there is no command \"%s\" (--help lists them)\n", o->args[0]);
	else if (o->nargs - 1 < c->min_args || o->nargs - 1 > c->max_args)
		fprintf(stderr, "xderpctl: the command is used like this: xderpctl %s %s\n", c->name, c->args);
	else
		return c;
	return NULL;
}

static json_t *make_request(const struct options *o)
{
	json_t *args = json_array();

	for (unsigned int i = 1; i < o->nargs; i++)
		json_array_append_new(args, json_string(o->args[i]));
	return json_pack("{ssso}", "command", o->args[0], "args", args);
}

static void print_line(const json_t *v)
{
	json_dumpf(v, stdout, JSON_COMPACT);
	printf("\n");
}

/* The first line of the answer, as it was wanted. Returns the exit status. */
static int show(const struct options *o, const struct command *c, const json_t *answer)
{
	const json_t *refused = json_object_get(answer, "error");

	if (o->json) {
		json_dumpf(answer, stdout, c->line ? JSON_COMPACT : JSON_INDENT(1));
		printf("\n");
	} else if (refused) {
		show_refusal(answer);
	} else {
		c->show(answer);
	}
	return refused || json_integer_value(json_object_get(answer, "fails")) ? EXIT_REFUSED : 0;
}

static int run_alone(const struct options *o, const struct command *c)
{
	json_t *answer = c->alone(o->args[1]);
	int status = answer ? show(o, c, answer) : EXIT_REFUSED;

	json_decref(answer);
	return status;
}

static int run(const struct options *o, const struct command *c)
{
	json_t *request = make_request(o), *answer;
	char err[512];
	FILE *link = link_ask(o->socket, request, err, sizeof(err));
	int status;
	bool refused;

	json_decref(request);
	answer = link ? link_next(link, err, sizeof(err)) : NULL;
	if (!answer) {
		fprintf(stderr, "xderpctl: %s\n", *err ? err : "the relay closed without an answer");
		return EXIT_NO_RELAY;
	}
	refused = json_object_get(answer, "error") != NULL;
	status = show(o, c, answer);
	json_decref(answer);
	if (c->waits && !refused)
		json_decref(link_next(link, err, sizeof(err)));
	while (c->line && (answer = link_next(link, err, sizeof(err)))) {
		if (o->json)
			print_line(answer);
		else
			c->line(answer);
		json_decref(answer);
	}
	fclose(link);
	return status;
}

int main(int argc, char **argv)
{
	struct options o = { .socket = CONFIG_CONTROL_SOCKET };
	const struct command *c;

	signal(SIGPIPE, SIG_IGN);	/* a relay that refuses us may close before it has read the request */
	switch (parse(&o, argc, argv)) {
	case 0:
		break;
	case 1:
		help();
		return 0;
	default:
		return EXIT_USAGE;
	}
	if (o.version) {
		printf("xderpctl %s\n", xderp_version);
		return 0;
	}
	c = find(&o);
	if (c && !c->show) {
		completion();
		return 0;
	}
	if (c && c->alone && o.nargs > 1)
		return run_alone(&o, c);
	return c ? run(&o, c) : EXIT_USAGE;
}
