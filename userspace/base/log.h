/* SPDX-License-Identifier: BSD-3-Clause */
/* One line per event on stderr: level, event word, then key=value pairs. Thread-safe, never blocks on
 * a lock held across a write for long; errno is kept. Values with spaces or quotes are quoted and
 * control bytes escaped by log_event itself, so what a client sends can't forge a line. */
#ifndef XDERP_LOG_H
#define XDERP_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR,	/* a human must act */
	LOG_LEVEL_WARN,		/* will hurt soon */
	LOG_LEVEL_INFO,		/* lifecycle */
	LOG_LEVEL_DEBUG,	/* off by default */
};

void log_set_level(enum log_level level);

/* log_event(LOG_LEVEL_INFO, "listening", "addr=%s shards=%u", addr, n): prints
 *   level=info event=listening addr=[::]:443 shards=2
 * with a timestamp in front unless stderr is the journal (JOURNAL_STREAM). Each %s value is escaped. */
void log_event(enum log_level level, const char *event, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Repeats: at most burst lines per period for this call site; when the next one is let through after
 * a suppression it carries suppressed=N. State is a static of the call site, shared by all threads. */
struct log_limit {
	uint64_t window;	/* start of the period in ns; its low byte counts the lines in it */
	uint32_t suppressed;
};
#define LOG_LIMIT_BURST		5
#define LOG_LIMIT_PERIOD_NS	(10ULL * 1000 * 1000 * 1000)
bool log_limit_pass(struct log_limit *l, uint32_t *suppressed);

#define log_limited(level, event, fmt, ...) do {					\
	static struct log_limit log_limit_here;						\
	uint32_t log_suppressed;							\
	if (log_limit_pass(&log_limit_here, &log_suppressed)) {				\
		if (log_suppressed)							\
			log_event(level, event, fmt " suppressed=%u", ##__VA_ARGS__,	\
				  log_suppressed);					\
		else									\
			log_event(level, event, fmt, ##__VA_ARGS__);			\
	}										\
} while (0)

#endif
