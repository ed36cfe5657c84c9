/* SPDX-License-Identifier: BSD-3-Clause */
/* The packets of one generator thread: who sends to whom, when, and whether they arrive as sent. Senders and
 * receivers of a flow share a thread, so flow control and the check of order need no message and no lock. */
#ifndef BENCH_TRAFFIC_H
#define BENCH_TRAFFIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "client.h"
#include "measure.h"
#include "options.h"

enum phase {
	PHASE_QUIET,	/* nobody sends, arrivals are still checked */
	PHASE_RUN,
	PHASE_MEASURE,	/* as RUN, and latencies are kept */
	PHASE_STOP,
};

/* X(field): all since the start, written by the thread, read by anybody. */
#define TRAFFIC_COUNTERS(X) \
	X(offered)	/* due to be sent, whether or not the server took them */ \
	X(refused)	/* of these, not sent: the connection was backed up */ \
	X(delivered)	/* each once, intact, from the right source to the right client */ \
	X(bytes)	/* payload of these */ \
	X(duplicate) X(reordered) X(corrupt) X(misrouted) X(wrong_source) \
	X(disconnects) X(other_frames) \
	X(reads)	/* of a receiver: packets / reads tells how batched the run was */ \
	X(slow_offered) X(slow_delivered) X(slow_disconnects)

struct counters {
#define X(name) uint64_t name;
	TRAFFIC_COUNTERS(X)
#undef X
};

struct peer;

struct flow {
	struct peer *src, *dst;
	uint64_t sent;		/* number of the next packet */
	uint64_t next;		/* one above the highest that arrived */
	uint64_t seen;		/* bit i: next - 1 - i has arrived */
	uint64_t acked;		/* below this the sender has its credit back */
};

struct peer {
	struct client c;
	uint32_t first_flow, nflows;	/* what it sends; 0: it only receives */
	uint32_t turn;
	uint32_t outstanding;
	uint64_t progress_ns;		/* credit came back, or none was out */
	int64_t slow_credit;		/* bytes */
	bool slow, dirty, starts;	/* starts: sends without having been spoken to */
};

struct traffic {
	const struct options *o;
	const _Atomic unsigned int *phase_wanted;
	const double *interval_ns;	/* between writes of this thread; 0: closed loop. Set while QUIET. */
	enum phase phase;
	bool ready;			/* net is open */
	struct net net;
	struct peer *peer;
	struct flow *flow;
	uint32_t npeers, nflows, n;	/* n: of the mode's clients, this thread's share */
	uint32_t *sender;		/* open loop: who sends, in turn */
	uint32_t nsenders, sender_turn;
	struct peer **dirty;		/* have new credit */
	uint32_t ndirty;
	uint64_t start_ns, writes;	/* open loop: the schedule */
	uint64_t tick_ns;
	uint32_t rng;
	struct counters count;
	struct hist latency, lag;	/* lag: how late an open-loop write was */
};

/* The memory of t is zero but for o, phase_wanted, interval_ns; n clients and slow slow pairs are its share.
 * Logs all of them in. */
int traffic_open(struct traffic *t, uint32_t n, uint32_t slow);
void traffic_close(struct traffic *t);
/* Runs until the wanted phase differs from t->phase, enters it and returns it. */
enum phase traffic_run(struct traffic *t);

/* Where sequence numbers arrive; declared for the self-check. */
enum arrival { ARRIVAL_NEW, ARRIVAL_LATE, ARRIVAL_DUPLICATE };
enum arrival flow_arrival(struct flow *f, uint64_t seq);

#endif
