/* SPDX-License-Identifier: BSD-3-Clause */
#include "report.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

void report_add(struct report *r, const char *name, const char *unit, double value)
{
	assert(r->n < REPORT_ROWS);
	r->row[r->n++] = (struct report_row){ name, unit, value };
}

void report_latency(struct report *r, const struct hist *h)
{
	report_add(r, "latency_p50", "us", (double)hist_quantile(h, 0.5) / 1e3);
	report_add(r, "latency_p90", "us", (double)hist_quantile(h, 0.9) / 1e3);
	report_add(r, "latency_p95", "us", (double)hist_quantile(h, 0.95) / 1e3);
	report_add(r, "latency_p99", "us", (double)hist_quantile(h, 0.99) / 1e3);
	report_add(r, "latency_p999", "us", (double)hist_quantile(h, 0.999) / 1e3);
	report_add(r, "latency_max", "us", (double)h->max / 1e3);
}

void report_cpu(struct report *r, const struct cpu_sample *from, const struct cpu_sample *to, double n)
{
	double wall = (double)(to->wall_ns - from->wall_ns), each = n > 0 ? n * 1e3 : 1e300;
	double server = (double)(to->server_ns - from->server_ns), self = (double)(to->self_ns - from->self_ns);
	double machine = (double)(to->machine_ns - from->machine_ns);
	/* A kernel thread that ended meanwhile takes its time with it. */
	double kernel = to->kernel_ns > from->kernel_ns ? (double)(to->kernel_ns - from->kernel_ns) : 0;

	report_add(r, "measured", "s", wall / 1e9);
	report_add(r, "server_cpu", "%", 100 * server / wall);
	report_add(r, "server_cpu_each", "us", server / each);
	report_add(r, "generator_cpu", "%", 100 * self / wall);
	report_add(r, "generator_cpu_each", "us", self / each);
	report_add(r, "kernel_cpu", "%", 100 * kernel / wall);
	report_add(r, "kernel_cpu_each", "us", kernel / each);
	report_add(r, "machine_cpu", "%", 100 * machine / wall);
	report_add(r, "machine_cpu_each", "us", machine / each);
	/* Interrupts of this load, but also neighbours: a large value spoils the run. */
	report_add(r, "other_cpu", "%", 100 * (machine - server - self - kernel) / wall);
	report_add(r, "stolen", "%", 100 * (double)(to->stolen_ns - from->stolen_ns) / wall);
	report_add(r, "switches_each", "", (double)(to->switches - from->switches) / (n > 0 ? n : 1e300));
}

void report_print(const struct report *r, const struct options *o)
{
	printf("%s, %s, size %s, window %u, burst %u\n", options_mode(o), o->tls ? "TLS" : "plain", o->size,
	       o->window, o->burst);
	for (unsigned int i = 0; i < r->n; i++)
		printf("  %-22s %16.2f %s\n", r->row[i].name, r->row[i].value, r->row[i].unit);
}

static void json_options(FILE *f, const struct options *o)
{
	fprintf(f, "{\n  \"mode\": \"%s\", \"clients\": %u, \"idle\": %u, \"direct\": %s, \"tls\": %s, \"size\": \"%s\",\n", options_mode(o), options_clients(o) + o->storm,
		o->idle, o->direct ? "true" : "false", o->tls ? "true" : "false", o->size);
	fprintf(f, "  \"window\": %u, \"burst\": %u, \"rate\": %.17g, \"bidi\": %s, \"search\": %s,\n", o->window,
		o->burst, o->rate, o->bidi ? "true" : "false", o->search ? "true" : "false");
	fprintf(f, "  \"threads\": %u, \"slow\": %u, \"duration_s\": %.17g, \"warmup_s\": %.17g,\n", o->threads,
		o->slow, o->duration, o->warmup);
}

int report_json(const struct report *r, const struct options *o, const char *path)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return -errno;
	json_options(f, o);
	fprintf(f, "  \"results\": {\n");
	for (unsigned int i = 0; i < r->n; i++)
		fprintf(f, "    \"%s\": %.17g%s\n", r->row[i].name, r->row[i].value, i + 1 < r->n ? "," : "");
	fprintf(f, "  }\n}\n");
	return fclose(f) ? -errno : 0;
}
