/* SPDX-License-Identifier: BSD-3-Clause */
/* What this process can and cannot do on this machine, and why: one line per feature, written by the module that found
 * out, shown by xderpctl status and /metrics and logged when it changes. Any thread; not for the packet path. */
#ifndef XDERP_FEATURE_H
#define XDERP_FEATURE_H

#define FEATURE_MAX	64	/* names; more are dropped */
#define FEATURE_REASON_LEN	200

struct feature {
	char name[24];		/* "ktls"; [a-z0-9_-] */
	char state[24];		/* "on", "off", or which of several: "epoll" */
	char reason[FEATURE_REASON_LEN];	/* a sentence or figures: "kernel has no tls module"; may be empty */
};

/* Say it, or say it anew. All three are copied. */
void feature_set(const char *name, const char *state, const char *reason, ...)
	__attribute__((format(printf, 3, 4)));

/* All features in the order in which they were first set, at most max. Returns how many. */
unsigned int feature_list(struct feature *ret, unsigned int max);

#endif
