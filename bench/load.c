/* SPDX-License-Identifier: BSD-3-Clause */
#include "load.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/util.h"
#include "fleet.h"
#include "traffic.h"

#define DRAIN_NS	(2 * NS_PER_S)
#define DRAIN_STEP_NS	(20 * NS_PER_MS)
#define COUNT_STEP_NS	NS_PER_MS
#define SEARCH_START	20000.0
#define SEARCH_TRIES	40
#define SEARCH_EXACT	1.03	/* ends when the lowest bad rate is within 3 % of the highest good one */

struct load;

struct worker {
	struct load *load;
	pthread_t thread;
	unsigned int index;
	int err;
	struct traffic t;
};

struct load {
	const struct options *o;
	_Atomic unsigned int phase;
	double interval_ns;
	sem_t entered;		/* posted by each worker once it is in the wanted phase */
	unsigned int running;
	struct crowd *crowd;	/* connected beside the load; NULL: none */
	struct worker *worker;
};

/* An edge of the measured span. */
struct edge {
	struct cpu_sample cpu;
	struct counters count;
};

static unsigned int share(unsigned int total, unsigned int parts, unsigned int i)
{
	return total / parts + (i < total % parts);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	const struct options *o = w->load->o;

	if (o->pin)
		w->err = pin_thread(o->pin, w->index);
	if (!w->err)
		w->err = traffic_open(&w->t, share(options_clients(o), o->threads, w->index),
				      share(o->slow, o->threads, w->index));
	sem_post(&w->load->entered);
	while (!w->err && traffic_run(&w->t) != PHASE_STOP)
		sem_post(&w->load->entered);
	return NULL;
}

static void wait_for_workers(struct load *l)
{
	for (unsigned int i = 0; i < l->running; i++)
		while (sem_wait(&l->entered) == -1)
			;
}

static void set_phase(struct load *l, enum phase phase)
{
	atomic_store_explicit(&l->phase, phase, memory_order_release);
	wait_for_workers(l);
}

static void load_close(struct load *l)
{
	atomic_store_explicit(&l->phase, PHASE_STOP, memory_order_release);
	for (unsigned int i = 0; i < l->running; i++) {
		pthread_join(l->worker[i].thread, NULL);
		traffic_close(&l->worker[i].t);
	}
	free(l->worker);
	crowd_close(l->crowd);
	sem_destroy(&l->entered);
}

static int load_open(struct load *l, const struct options *o)
{
	struct worker *w;
	int err;

	memset(l, 0, sizeof(*l));
	l->o = o;
	sem_init(&l->entered, 0, 0);
	if (o->threads > options_clients(o) || (o->random && o->random / o->threads < 2))
		return -EINVAL;
	if (o->idle) {
		err = crowd_open(&l->crowd, o, o->idle);
		if (err)
			return err;
	}
	l->worker = calloc(o->threads, sizeof(*l->worker));
	if (!l->worker)
		return -ENOMEM;
	for (unsigned int i = 0; i < o->threads; i++) {
		w = &l->worker[i];
		w->load = l;
		w->index = i;
		w->t.o = o;
		w->t.phase_wanted = &l->phase;
		w->t.interval_ns = &l->interval_ns;
		err = pthread_create(&w->thread, NULL, worker_main, w);
		if (err)
			return -err;
		l->running++;
	}
	wait_for_workers(l);
	for (unsigned int i = 0; i < o->threads; i++)
		if (l->worker[i].err)
			return l->worker[i].err;
	return 0;
}

static void set_rate(struct load *l, double pps)
{
	l->interval_ns = pps > 0 ? 1e9 * l->o->burst * l->o->threads / pps : 0;
}

static void add_counters(struct counters *sum, const struct counters *c)
{
#define X(name) sum->name += __atomic_load_n(&c->name, __ATOMIC_RELAXED);
	TRAFFIC_COUNTERS(X)
#undef X
}

static struct counters counters_of(const struct load *l)
{
	struct counters sum = { 0 };

	for (unsigned int i = 0; i < l->running; i++)
		add_counters(&sum, &l->worker[i].t.count);
	return sum;
}

static int take(struct load *l, struct edge *ret)
{
	ret->count = counters_of(l);
	return cpu_sample(&ret->cpu, (pid_t)l->o->server_pid);
}

static void sleep_ns(uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S) };

	while (nanosleep(&ts, &ts) == -1 && errno == EINTR)
		;
}

/* Until everything has arrived or nothing moves any more. */
static void drain(struct load *l)
{
	struct counters c, before = counters_of(l);
	uint64_t since = clock_now_ns(), end = since + DRAIN_NS;

	for (uint64_t now = since; now < end && now - since < DRAIN_NS / 4; now = clock_now_ns()) {
		sleep_ns(DRAIN_STEP_NS);
		c = counters_of(l);
		if (c.delivered + c.refused == c.offered)
			return;
		if (c.delivered != before.delivered)
			since = clock_now_ns();
		before = c;
	}
}

static void sleep_with_progress(struct load *l, double seconds)
{
	uint64_t end = clock_now_ns() + (uint64_t)(seconds * 1e9), now;
	struct edge a, b;

	if (!l->o->progress || take(l, &a)) {
		sleep_ns((uint64_t)(seconds * 1e9));
		return;
	}
	while ((now = clock_now_ns()) < end) {
		sleep_ns(min_of(end - now, NS_PER_S));
		if (take(l, &b))
			return;
		fprintf(stderr, "%9.0f packets/s, server %5.1f %%, generator %5.1f %%, %llu wrong\n",
			(double)(b.count.delivered - a.count.delivered) * 1e9 /
				(double)(b.cpu.wall_ns - a.cpu.wall_ns),
			100.0 * (double)(b.cpu.server_ns - a.cpu.server_ns) / (double)(b.cpu.wall_ns - a.cpu.wall_ns),
			100.0 * (double)(b.cpu.self_ns - a.cpu.self_ns) / (double)(b.cpu.wall_ns - a.cpu.wall_ns),
			(unsigned long long)(b.count.corrupt + b.count.duplicate + b.count.reordered +
					     b.count.misrouted + b.count.wrong_source));
		a = b;
	}
}

/* Until so many more have been delivered; -ETIMEDOUT if none is for long. */
static int wait_for_packets(struct load *l, uint64_t n)
{
	uint64_t seen = counters_of(l).delivered, goal = seen + n, now, last = clock_now_ns();

	while (seen < goal) {
		sleep_ns(COUNT_STEP_NS);
		now = counters_of(l).delivered;
		if (now != seen)
			last = clock_now_ns();
		else if (clock_now_ns() - last > DRAIN_NS)
			return -ETIMEDOUT;
		seen = now;
	}
	return 0;
}

static int span(struct load *l, double seconds, uint64_t packets)
{
	if (packets)
		return wait_for_packets(l, packets);
	sleep_with_progress(l, seconds);
	return 0;
}

/* Warm up, measure between from and to, stop, wait for what is under way; after then holds the whole trial. */
static int trial(struct load *l, struct edge *from, struct edge *to, struct counters *after)
{
	const struct options *o = l->o;
	int err;

	set_phase(l, PHASE_RUN);
	err = span(l, o->warmup, o->packets / 5);
	set_phase(l, PHASE_MEASURE);
	if (!err)
		err = take(l, from);
	if (!err)
		err = span(l, o->duration, o->packets);
	if (!err)
		err = take(l, to);
	set_phase(l, PHASE_QUIET);
	drain(l);
	*after = counters_of(l);
	return err;
}

static struct hist *histogram(const struct load *l, bool lag)
{
	struct hist *h = calloc(1, sizeof(*h));

	for (unsigned int i = 0; h && i < l->running; i++)
		hist_merge(h, lag ? &l->worker[i].t.lag : &l->worker[i].t.latency);
	return h;
}

static bool is_wrong(const struct counters *c)
{
	return c->duplicate || c->reordered || c->corrupt || c->misrouted || c->wrong_source || c->disconnects;
}

static void report_latencies(struct load *l, struct report *r)
{
	struct hist *h = histogram(l, false), *lag = histogram(l, true);

	if (h && lag)
		report_latency(r, h);
	if (h && lag && lag->n)
		report_add(r, "generator_lag_p99", "us", (double)hist_quantile(lag, 0.99) / 1e3);
	free(h);
	free(lag);
}

static void report_span(struct load *l, struct report *r, const struct edge *from, const struct edge *to)
{
	double s = (double)(to->cpu.wall_ns - from->cpu.wall_ns) / 1e9;
	double packets = (double)(to->count.delivered - from->count.delivered);
	struct mem_sample mem;

	report_add(r, "offered_per_second", "", (double)(to->count.offered - from->count.offered) / s);
	report_add(r, "packets_per_second", "", packets / s);
	report_add(r, "payload_rate", "Mbit/s", (double)(to->count.bytes - from->count.bytes) * 8 / s / 1e6);
	if (to->count.reads > from->count.reads)
		report_add(r, "packets_per_read", "", packets / (double)(to->count.reads - from->count.reads));
	report_cpu(r, &from->cpu, &to->cpu, packets);
	if (l->o->server_pid && !mem_sample(&mem, (pid_t)l->o->server_pid))
		report_add(r, "server_rss", "KiB", (double)mem.rss / 1024);
	report_latencies(l, r);
}

static void report_counts(struct report *r, const struct options *o, const struct counters *c)
{
	double lost = (double)c->offered - (double)c->delivered;

	report_add(r, "offered", "", (double)c->offered);
	report_add(r, "refused", "", (double)c->refused);
	report_add(r, "delivered", "", (double)c->delivered);
	report_add(r, "lost", "", lost);
	report_add(r, "lost_share", "%", c->offered ? 100 * lost / (double)c->offered : 0);
	report_add(r, "duplicate", "", (double)c->duplicate);
	report_add(r, "reordered", "", (double)c->reordered);
	report_add(r, "corrupt", "", (double)c->corrupt);
	report_add(r, "misrouted", "", (double)c->misrouted);
	report_add(r, "wrong_source", "", (double)c->wrong_source);
	report_add(r, "disconnects", "", (double)c->disconnects);
	report_add(r, "other_frames", "", (double)c->other_frames);
	if (!o->slow)
		return;
	report_add(r, "slow_offered", "", (double)c->slow_offered);
	report_add(r, "slow_delivered", "", (double)c->slow_delivered);
	report_add(r, "slow_disconnects", "", (double)c->slow_disconnects);
}

int load_run(const struct options *o, struct report *r)
{
	struct counters after;
	struct edge from, to;
	struct load l;
	int err;

	err = load_open(&l, o);
	if (err)
		goto out;
	set_rate(&l, o->rate);
	err = trial(&l, &from, &to, &after);
	if (err)
		goto out;
	report_span(&l, r, &from, &to);
	report_counts(r, o, &after);
	err = is_wrong(&after);
out:
	load_close(&l);
	return err;
}

enum verdict { RATE_CLEAN, RATE_LOSSY, RATE_UNTRIED };	/* untried: the generator did not keep up */

/* It had no time left while the server had: what was lost, it did not take. */
static bool is_generator_bound(const struct load *l, const struct edge *from, const struct edge *to)
{
	double wall = (double)(to->cpu.wall_ns - from->cpu.wall_ns);

	return (double)(to->cpu.self_ns - from->cpu.self_ns) > 0.97 * wall * l->o->threads &&
	       (double)(to->cpu.server_ns - from->cpu.server_ns) < 0.95 * wall;
}

static enum verdict judge_rate(const struct load *l, const struct counters *was, const struct counters *is,
			       const struct edge *from, const struct edge *to, double rate)
{
	double s = (double)(to->cpu.wall_ns - from->cpu.wall_ns) / 1e9;
	double offered = (double)(to->count.offered - from->count.offered) / s;
	uint64_t lost = is->offered - was->offered - (is->delivered - was->delivered);

	fprintf(stderr, "%9.0f packets/s: %llu of %llu lost\n", rate, (unsigned long long)lost,
		(unsigned long long)(is->offered - was->offered));
	if (offered >= 0.98 * rate)
		return !lost ? RATE_CLEAN : is_generator_bound(l, from, to) ? RATE_UNTRIED : RATE_LOSSY;
	fprintf(stderr, "%9.0f packets/s: the generator cannot do more than %.0f\n", rate, offered);
	return RATE_UNTRIED;
}

static double next_rate(double good, double bad)
{
	if (!(bad > 0))
		return 2 * good;
	return good > 0 ? (good + bad) / 2 : bad / 2;
}

int load_search(const struct options *o, struct report *r)
{
	double good = 0, bad = 0, doubt = 0, rate = o->rate > 0 ? o->rate : SEARCH_START;
	struct edge from, to;
	struct counters was, is = { 0 };
	struct report best = { 0 };
	enum verdict verdict, limit = RATE_CLEAN;
	struct load l;
	int err;

	err = load_open(&l, o);
	for (int i = 0; !err && i < SEARCH_TRIES && !(bad > 0 && good * SEARCH_EXACT >= bad); i++) {
		was = counters_of(&l);
		set_rate(&l, rate);
		err = trial(&l, &from, &to, &is);
		if (err)
			break;
		verdict = judge_rate(&l, &was, &is, &from, &to, rate);
		if (verdict == RATE_CLEAN) {
			good = rate;
			best.n = 0;
			report_span(&l, &best, &from, &to);
		} else if (doubt != rate) {	/* one loss may be a neighbour's fault: a rate is bad the second time */
			doubt = rate;
			continue;
		} else {
			bad = rate;
			limit = verdict;
		}
		rate = next_rate(good, bad);
	}
	if (!err) {
		report_add(r, "loss_free_rate", "packets/s", good);
		report_add(r, "generator_bound", "", limit == RATE_UNTRIED);
		for (unsigned int i = 0; i < best.n; i++)
			report_add(r, best.row[i].name, best.row[i].unit, best.row[i].value);
		err = is_wrong(&is);
	}
	load_close(&l);
	return err;
}
