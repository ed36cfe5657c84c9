/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/urlpath.h"

#include <stdbool.h>
#include <string.h>

/* The byte at in.p[*i], decoded; *i moves to its last one. */
static uint8_t decode_byte(struct view in, size_t *i)
{
	int hi, lo;

	if (in.p[*i] != '%' || *i + 2 >= in.n)
		return in.p[*i];
	hi = hex_digit(in.p[*i + 1]);
	lo = hex_digit(in.p[*i + 2]);
	if (hi < 0 || lo < 0)
		return '%';
	*i += 2;
	return (uint8_t)(hi << 4 | lo);
}

void urlpath_decode(struct textbuf *out, struct view in)
{
	for (size_t i = 0; i < in.n; i++) {
		uint8_t c = decode_byte(in, &i);

		if (c == '/' && in.p[i] != '/')
			textbuf_puts(out, "%2F");
		else
			textbuf_put(out, &c, 1);
	}
}

/* What Go leaves alone when it makes a path of bytes. */
static bool is_plain(uint8_t c)
{
	return c && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~$&+,/:;=@", c);
}

void urlpath_encode_byte(struct textbuf *out, uint8_t c)
{
	if (is_plain(c))
		textbuf_put(out, &c, 1);
	else
		textbuf_printf(out, "%%%02X", c);
}

void urlpath_escape(struct textbuf *out, struct view in)
{
	bool valid = true;

	for (size_t i = 0; i < in.n; i++)
		valid = valid && (is_plain(in.p[i]) || (in.p[i] && strchr("!'()*[]%", in.p[i])));
	for (size_t i = 0; i < in.n; i++) {
		if (valid)
			textbuf_put(out, in.p + i, 1);
		else
			urlpath_encode_byte(out, decode_byte(in, &i));
	}
}

void urlpath_clean(struct textbuf *out, struct view in)
{
	size_t i = 0, seg;

	while (i < in.n) {
		while (i < in.n && in.p[i] == '/')
			i++;
		for (seg = i; i < in.n && in.p[i] != '/'; )
			i++;
		if (i == seg || (i - seg == 1 && in.p[seg] == '.'))
			continue;
		if (i - seg == 2 && !memcmp(in.p + seg, "..", 2)) {
			while (out->len && out->p[--out->len] != '/')
				;
			continue;
		}
		textbuf_puts(out, "/");
		textbuf_put(out, in.p + seg, i - seg);
	}
	if (!out->len || in.p[in.n - 1] == '/')
		textbuf_puts(out, "/");
}
