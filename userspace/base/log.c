/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"

/* Below PIPE_BUF, so that lines of several threads into one pipe stay whole. */
#define LINE_MAX_BYTES	2048

struct line {
	size_t n;
	bool cut;
	char text[LINE_MAX_BYTES];
};

/* One conversion of the caller's format. */
struct spec {
	char text[32];		/* normalised: every '*' replaced by its value */
	int prec;		/* -1: none */
	enum { LEN_INT, LEN_LONG, LEN_LLONG, LEN_SIZE } len;
	char conv;
};

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

static int max_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	__atomic_store_n(&max_level, (int)level, __ATOMIC_RELAXED);
}

/* Room is kept for "...\n". Whole pieces only: half an escape would be another text. */
static void put(struct line *l, const char *p, size_t n)
{
	if (l->cut || n > sizeof(l->text) - 4 - l->n) {
		l->cut = true;
		return;
	}
	memcpy(l->text + l->n, p, n);
	l->n += n;
}

static bool is_plain(unsigned char c)
{
	return c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
}

static void put_escaped(struct line *l, unsigned char c)
{
	char hex[5];

	if (c == '"' || c == '\\')
		put(l, (char[]){ '\\', (char)c }, 2);
	else if (c == '\n')
		put(l, "\\n", 2);
	else if (c >= ' ' && c < 0x7f)
		put(l, (char *)&c, 1);
	else
		put(l, hex, (size_t)snprintf(hex, sizeof(hex), "\\x%02x", c));
}

static void put_value(struct line *l, const char *s, size_t n)
{
	bool plain = n > 0;

	for (size_t i = 0; i < n && plain; i++)
		plain = is_plain((unsigned char)s[i]);
	if (plain && n < sizeof(l->text) - 4 - l->n) {
		put(l, s, n);
		return;
	}
	if (!plain)
		put(l, "\"", 1);
	for (size_t i = 0; i < n && !l->cut; i++)
		put_escaped(l, (unsigned char)s[i]);
	if (!plain)
		put(l, "\"", 1);
}

static void put_time(struct line *l)
{
	char text[40], ms[16];
	struct timespec ts;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	put(l, text, strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm));
	snprintf(ms, sizeof(ms), ".%03uZ ", (unsigned int)(ts.tv_nsec / 1000000) % 1000);
	put(l, ms, strlen(ms));
}

/* A va_list is an array type on some machines and can't be passed by address as a parameter. */
struct args {
	va_list ap;
};

/* Read the conversion at p (behind its '%'); returns the first byte behind it. */
static const char *spec_read(struct spec *ret, const char *p, struct args *a)
{
	char *o = ret->text, *end = ret->text + sizeof(ret->text) - 12;

	*ret = (struct spec){ .prec = -1 };
	*o++ = '%';
	for (; *p && strchr("-+ #0123456789.*", *p) && o < end; p++) {
		int v;

		if (*p != '*') {
			*o++ = *p;
			if (*p == '.')
				ret->prec = (int)strtol(p + 1, NULL, 10);
			continue;
		}
		v = va_arg(a->ap, int);
		if (p[-1] == '.')
			ret->prec = v;
		if (p[-1] == '.' && v < 0)
			o--;		/* a negative precision counts as none */
		else
			o += snprintf(o, sizeof(ret->text) - (size_t)(o - ret->text), "%d", v);
		if (o > end)
			o = end;
	}
	for (; *p && strchr("hlzjtq", *p); p++) {
		if (*p == 'l')
			ret->len = ret->len == LEN_LONG ? LEN_LLONG : LEN_LONG;
		else if (*p == 'j' || *p == 'q')
			ret->len = LEN_LLONG;
		else if (*p == 'z' || *p == 't')
			ret->len = LEN_SIZE;
		if (*p != 'h')
			*o++ = *p;
	}
	ret->conv = *p;
	*o++ = *p;
	*o = '\0';
	return *p ? p + 1 : p;
}

/* The text was cut from a format that the compiler checked at the call of log_event. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void put_number(struct line *l, const struct spec *s, struct args *a)
{
	char text[128];
	int n;

	if (strchr("fFeEgGaA", s->conv))
		n = snprintf(text, sizeof(text), s->text, va_arg(a->ap, double));
	else if (s->conv == 'p')
		n = snprintf(text, sizeof(text), s->text, va_arg(a->ap, void *));
	else if (s->len == LEN_LONG)
		n = snprintf(text, sizeof(text), s->text, va_arg(a->ap, long));
	else if (s->len == LEN_LLONG)
		n = snprintf(text, sizeof(text), s->text, va_arg(a->ap, long long));
	else if (s->len == LEN_SIZE)
		n = snprintf(text, sizeof(text), s->text, va_arg(a->ap, size_t));
	else
		n = snprintf(text, sizeof(text), s->text, va_arg(a->ap, int));
	if (n > 0)
		put(l, text, min_of((size_t)n, sizeof(text) - 1));
}
#pragma GCC diagnostic pop

static void put_spec(struct line *l, const struct spec *s, struct args *a, int err)
{
	const char *str;
	char c;

	switch (s->conv) {
	case '%':
		put(l, "%", 1);
		break;
	case 'c':
		c = (char)va_arg(a->ap, int);
		put_value(l, &c, 1);
		break;
	case 's':
		str = va_arg(a->ap, const char *);
		if (!str)
			str = "(null)";
		put_value(l, str, s->prec < 0 ? strlen(str) : strnlen(str, (size_t)s->prec));
		break;
	case 'm':
		str = strerrordesc_np(err);
		put_value(l, str ? str : "?", strlen(str ? str : "?"));
		break;
	default:
		put_number(l, s, a);
	}
}

static void put_format(struct line *l, const char *fmt, struct args *a, int err)
{
	struct spec s;

	while (*fmt && !l->cut) {
		size_t n = strcspn(fmt, "%");

		put(l, fmt, n);
		fmt += n;
		if (!*fmt)
			break;
		fmt = spec_read(&s, fmt + 1, a);
		put_spec(l, &s, a, err);
	}
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
	int err = errno;
	struct args a;
	struct line l;
	ssize_t n;

	if ((int)level > __atomic_load_n(&max_level, __ATOMIC_RELAXED))
		return;
	l.n = 0;
	l.cut = false;
	if (!getenv("JOURNAL_STREAM"))
		put_time(&l);
	put(&l, "level=", 6);
	put(&l, level_names[level], strlen(level_names[level]));
	put(&l, " event=", 7);
	put_value(&l, event, strlen(event));
	if (*fmt)
		put(&l, " ", 1);
	va_start(a.ap, fmt);
	put_format(&l, fmt, &a, err);
	va_end(a.ap);
	if (l.cut) {
		memcpy(l.text + l.n, "...", 3);
		l.n += 3;
	}
	l.text[l.n++] = '\n';
	/* One write per line: threads don't mix. There is nobody to tell if it fails. */
	n = write(STDERR_FILENO, l.text, l.n);
	(void)n;
	errno = err;
}

bool log_limit_pass(struct log_limit *l, uint32_t *suppressed)
{
	uint64_t now = clock_now_ns(), seen, next;

	seen = __atomic_load_n(&l->window, __ATOMIC_RELAXED);
	do {
		uint64_t start = seen & ~0xffULL;

		/* Signed: another thread may have opened a window after our look at the clock. */
		if (!seen || (int64_t)(now - start) >= (int64_t)LOG_LIMIT_PERIOD_NS) {
			next = (now & ~0xffULL) + 1;
		} else if ((seen & 0xff) < LOG_LIMIT_BURST) {
			next = seen + 1;
		} else {
			__atomic_fetch_add(&l->suppressed, 1, __ATOMIC_RELAXED);
			return false;
		}
	} while (!__atomic_compare_exchange_n(&l->window, &seen, next, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));

	*suppressed = __atomic_exchange_n(&l->suppressed, 0, __ATOMIC_RELAXED);
	return true;
}
