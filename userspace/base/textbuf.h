/* SPDX-License-Identifier: BSD-3-Clause */
/* A growable piece of text for answers that are not packets. Never fails half-way: after an allocation
 * failed, or above TEXTBUF_MAX, nothing more is added and failed is set. */
#ifndef XDERP_TEXTBUF_H
#define XDERP_TEXTBUF_H

#include <stdbool.h>
#include <stddef.h>

#define TEXTBUF_MAX	(8U * 1024 * 1024)

struct textbuf {
	char *p;	/* owned; NUL-terminated if len > 0 */
	size_t len, cap;
	bool failed;
};

void textbuf_put(struct textbuf *b, const void *p, size_t n);
void textbuf_puts(struct textbuf *b, const char *s);
void textbuf_printf(struct textbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void textbuf_done(struct textbuf *b);

#endif
