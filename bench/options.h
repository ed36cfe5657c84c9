/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of xderp-bench, parsed once. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define OPTIONS_SIZES	256

struct options {
	const char *server;	/* host:port */
	const char *path;
	const char *sni;	/* NULL: the host, if it is a name */
	bool tls, verify, insecure, fast_start;

	/* exactly one of these is set, but for idle, which may go with a load */
	unsigned int pairs, fan_in, fan_out, random, idle, storm;
	bool pingpong, bidi, direct;

	const char *size;
	uint32_t sizes[OPTIONS_SIZES];	/* drawn from evenly: weights are repetitions */
	unsigned int nsizes;
	uint32_t max_size;
	unsigned int window, burst;
	double rate;		/* packets per second of all senders; 0: closed loop */
	bool search;
	unsigned int slow, slow_read;
	unsigned int concurrency;

	double duration, warmup;
	unsigned int packets;	/* > 0: the span ends by them, not by time */
	unsigned int threads, server_pid;
	const char *pin, *json;
	bool progress, self_check, help;
};

/* Complains on stderr and returns -EINVAL if the line makes no sense. Strings are borrowed from argv. */
int options_parse(struct options *ret, int argc, char **argv);
void options_help(void);
const char *options_mode(const struct options *o);
/* What the load's mode counts; 0: no load. */
unsigned int options_clients(const struct options *o);

#endif
