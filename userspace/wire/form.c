/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/form.h"

#include <string.h>
#include <sys/types.h>

/* in[0..n) to out; its length, -1 if it is too long or no such thing. */
static ssize_t decode(uint8_t out[static FORM_MAX], const uint8_t *in, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		int hi, lo;

		if (len == FORM_MAX || in[i] == ';')
			return -1;
		out[len] = in[i] == '+' ? ' ' : in[i];
		if (in[i] == '%') {
			hi = i + 2 < n ? hex_digit(in[i + 1]) : -1;
			lo = i + 2 < n ? hex_digit(in[i + 2]) : -1;
			if (hi < 0 || lo < 0)
				return -1;
			out[len] = (uint8_t)(hi << 4 | lo);
			i += 2;
		}
		len++;
	}
	return (ssize_t)len;
}

size_t form_value(uint8_t ret[static FORM_MAX], struct view q, const char *name)
{
	const ssize_t name_len = (ssize_t)strlen(name);
	uint8_t key[FORM_MAX];
	const uint8_t *amp, *eq;
	ssize_t len;
	size_t n, k;

	for (;; q.p += n + 1, q.n -= n + 1) {
		amp = q.n ? memchr(q.p, '&', q.n) : NULL;
		n = amp ? (size_t)(amp - q.p) : q.n;
		eq = n ? memchr(q.p, '=', n) : NULL;
		k = eq ? (size_t)(eq - q.p) : n;
		if (decode(key, q.p, k) == name_len && !memcmp(key, name, (size_t)name_len)) {
			len = eq ? decode(ret, eq + 1, n - k - 1) : 0;
			if (len >= 0)
				return (size_t)len;
		}
		if (!amp)
			return 0;
	}
}
