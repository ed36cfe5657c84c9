/* SPDX-License-Identifier: BSD-3-Clause */
/* xderp-bench: load on any DERP relay, every byte of every packet checked. bench/README.md says how to use it. */
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "fleet.h"
#include "load.h"
#include "options.h"
#include "payload.h"
#include "report.h"
#include "selfcheck.h"

enum { EXIT_GOOD, EXIT_WRONG, EXIT_USAGE, EXIT_BROKEN };

static void raise_limit(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == -1)
		return;
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
}

static int run(const struct options *o, struct report *r)
{
	if (o->storm)
		return fleet_storm(o, r);
	if (!options_clients(o))
		return fleet_idle(o, r);
	return o->search ? load_search(o, r) : load_run(o, r);
}

int main(int argc, char **argv)
{
	struct report r = { 0 };
	struct options o;
	int err;

	if (options_parse(&o, argc, argv))
		return EXIT_USAGE;
	if (o.help) {
		options_help();
		return EXIT_GOOD;
	}
	if (sodium_init() == -1)
		return EXIT_BROKEN;
	payload_init();
	if (o.self_check)
		return selfcheck() ? EXIT_WRONG : EXIT_GOOD;
	raise_limit();
	signal(SIGPIPE, SIG_IGN);	/* OpenSSL writes without MSG_NOSIGNAL */
	if (o.pin && pin_thread(o.pin, 0)) {
		fprintf(stderr, "xderp-bench: --pin %s: no such processors\n", o.pin);
		return EXIT_USAGE;
	}
	err = run(&o, &r);
	if (err < 0) {
		fprintf(stderr, "xderp-bench: %s: %s\n", o.server ? o.server : "direct", strerror(-err));
		return EXIT_BROKEN;
	}
	report_print(&r, &o);
	if (o.json) {
		int failed = report_json(&r, &o, o.json);

		if (failed) {
			fprintf(stderr, "xderp-bench: %s: %s\n", o.json, strerror(-failed));
			return EXIT_BROKEN;
		}
	}
	return err ? EXIT_WRONG : EXIT_GOOD;
}
