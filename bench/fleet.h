/* SPDX-License-Identifier: BSD-3-Clause */
/* Many logins: to keep (every load needs clients; idle fleets are nothing else), or to measure logins. */
#ifndef BENCH_FLEET_H
#define BENCH_FLEET_H

#include "client.h"
#include "measure.h"
#include "report.h"

struct fleet {
	struct client **client;		/* borrowed; each initialised and closed */
	unsigned int n, at_once;
	bool keep;			/* false: leave as soon as logged in */
	unsigned int started, done, failed;
	int last_error;
	struct hist *latency;		/* of a whole login; may be NULL */
};

/* Log all of them in. Returns 0; a failed login is counted, and an error (the first one met) if keep is set. */
int fleet_run(struct fleet *f, struct net *net);

/* Clients that log in, and stay, and do nothing else. */
struct crowd;
int crowd_open(struct crowd **ret, const struct options *o, unsigned int n);
void crowd_close(struct crowd *w);	/* takes NULL */

/* The modes --idle and --storm, start to end. */
int fleet_idle(const struct options *o, struct report *r);
int fleet_storm(const struct options *o, struct report *r);

#endif
