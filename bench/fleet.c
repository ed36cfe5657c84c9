/* SPDX-License-Identifier: BSD-3-Clause */
#include "fleet.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "base/clock.h"
#include "base/util.h"

#define LOGIN_TIMEOUT_MS	10000

static int settle(struct fleet *f, struct client *c, int r)
{
	if (r < 0) {
		f->failed++;
		f->last_error = r;
		client_close(c);
		return f->keep ? r : 0;
	}
	if (f->latency)
		hist_add(f->latency, clock_now_ns() - c->began_ns);
	f->done++;
	if (!f->keep)
		client_close(c);
	return 0;
}

static int start_more(struct fleet *f)
{
	struct client *c;
	int err = 0;

	while (!err && f->started < f->n && f->started - f->done - f->failed < f->at_once) {
		c = f->client[f->started++];
		err = client_start(c);
		if (err)
			err = settle(f, c, err);
	}
	return err;
}

int fleet_run(struct fleet *f, struct net *net)
{
	struct epoll_event ev[64];
	struct client *c;
	int n, r, err;

	for (;;) {
		err = start_more(f);
		if (err || f->done + f->failed == f->n)
			return err;
		n = epoll_wait(net->epoll, ev, ARRAY_SIZE(ev), LOGIN_TIMEOUT_MS);
		if (n == 0)
			return -ETIMEDOUT;
		for (int i = 0; i < n; i++) {
			c = ev[i].data.ptr;
			if (c->state == CLIENT_READY)	/* kept; what it hears now is read by nobody */
				continue;
			r = client_login(c);
			err = r ? settle(f, c, r) : 0;
			if (err)
				return err;
		}
	}
}

struct crowd {
	struct net net;
	unsigned int n;
	struct client *all;
	struct client **ref;
	struct fleet fleet;
};

void crowd_close(struct crowd *w)
{
	if (!w)
		return;
	for (unsigned int i = 0; w->all && i < w->n; i++)
		client_close(&w->all[i]);
	free(w->all);
	free(w->ref);
	net_close(&w->net);
	free(w);
}

static int crowd_new(struct crowd **ret, const struct options *o, unsigned int n, bool keep)
{
	struct crowd *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	err = net_open(&w->net, o, true);
	if (err) {
		free(w);
		return err;
	}
	w->n = n;
	w->all = calloc(n, sizeof(*w->all));
	w->ref = calloc(n, sizeof(*w->ref));
	if (!w->all || !w->ref) {
		crowd_close(w);
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < n; i++) {
		client_init(&w->all[i], &w->net);
		w->ref[i] = &w->all[i];
	}
	w->fleet = (struct fleet){ .client = w->ref, .n = n, .at_once = o->concurrency, .keep = keep };
	*ret = w;
	return 0;
}

int crowd_open(struct crowd **ret, const struct options *o, unsigned int n)
{
	int err = crowd_new(ret, o, n, true);

	if (err)
		return err;
	err = fleet_run(&(*ret)->fleet, &(*ret)->net);
	if (err) {
		crowd_close(*ret);
		*ret = NULL;
	}
	return err;
}

static void wait_s(double s)
{
	struct timespec ts = { .tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9) };

	nanosleep(&ts, NULL);
}

/* One login before the count begins: tables, heaps and certificates that every server sets up once. */
static int warm_up(const struct options *o)
{
	struct crowd *w = NULL;
	int err;

	err = crowd_open(&w, o, 1);
	crowd_close(w);
	if (!err)
		wait_s(o->warmup);
	return err;
}

static void report_memory(struct report *r, const struct mem_sample *start, const struct mem_sample *from,
			  const struct mem_sample *to, double n)
{
	report_add(r, "rss_start", "KiB", (double)start->rss / 1024);
	report_add(r, "anon_start", "KiB", (double)start->anon / 1024);
	report_add(r, "rss_before", "KiB", (double)from->rss / 1024);
	report_add(r, "rss_after", "KiB", (double)to->rss / 1024);
	report_add(r, "rss_each", "B", ((double)to->rss - (double)from->rss) / n);
	report_add(r, "anon_each", "B", ((double)to->anon - (double)from->anon) / n);
	report_add(r, "pss_each", "B", ((double)to->pss - (double)from->pss) / n);
	report_add(r, "tcp_memory_each", "B", ((double)to->tcp - (double)from->tcp) / n);
}

int fleet_idle(const struct options *o, struct report *r)
{
	struct mem_sample start = { 0 }, before = { 0 }, after = { 0 };
	struct cpu_sample from, rest, to;
	pid_t pid = (pid_t)o->server_pid;
	struct crowd *w = NULL;
	int err;

	err = pid ? mem_sample(&start, pid) : 0;
	if (!err)
		err = warm_up(o);
	if (err)
		return err;
	err = crowd_new(&w, o, o->idle, true);
	if (err || (pid && (err = mem_sample(&before, pid))) || (err = cpu_sample(&from, pid)))
		goto out;
	err = fleet_run(&w->fleet, &w->net);
	if (err || (err = cpu_sample(&rest, pid)))
		goto out;
	wait_s(o->duration);
	err = cpu_sample(&to, pid);
	if (!err && pid)
		err = mem_sample(&after, pid);
	if (err)
		goto out;
	report_add(r, "connections", "", w->fleet.done);
	report_memory(r, &start, &before, &after, o->idle);
	report_add(r, "login_server_cpu_each", "us", (double)(rest.server_ns - from.server_ns) / 1e3 / o->idle);
	report_add(r, "idle_server_cpu", "%", 100 * (double)(to.server_ns - rest.server_ns) /
		   (double)(to.wall_ns - rest.wall_ns));
out:
	crowd_close(w);
	return err;
}

int fleet_storm(const struct options *o, struct report *r)
{
	pid_t pid = (pid_t)o->server_pid;
	struct cpu_sample from, to;
	struct hist *h;
	struct crowd *w = NULL;
	double n;
	int err;

	err = warm_up(o);
	if (err)
		return err;
	h = calloc(1, sizeof(*h));
	err = crowd_new(&w, o, o->storm, false);
	if (!h || err)
		goto out;
	w->fleet.latency = h;
	err = cpu_sample(&from, pid);
	if (!err)
		err = fleet_run(&w->fleet, &w->net);
	if (!err)
		err = cpu_sample(&to, pid);
	if (err)
		goto out;
	n = w->fleet.done;
	report_add(r, "logins", "", n);
	report_add(r, "logins_failed", "", w->fleet.failed);
	report_add(r, "logins_per_second", "", n * 1e9 / (double)(to.wall_ns - from.wall_ns));
	report_cpu(r, &from, &to, n);
	report_latency(r, h);
	if (w->fleet.failed)
		fprintf(stderr, "xderp-bench: a login failed: %s\n", strerror(-w->fleet.last_error));
out:
	crowd_close(w);
	free(h);
	return err;
}
