/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames of a WebSocket client, each row also in every cut into two pieces; examples are those of RFC 6455 section 5.7. */
#include "lib/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "wire/ws.h"

#define MASK	"\x37\xfa\x21\x3d"
#define HELLO	"\x7f\x9f\x4d\x51\x58"	/* masked with it */

static const struct ws_case {
	const char *name, *frames;
	size_t n;
	const char *want;		/* d: stream bytes, P, O and C: control frames with their payload, !code: the end */
} cases[] = {
#define ROW(name, frames, want) { name, frames, sizeof(frames) - 1, want }
	ROW("a message", "\x82\x85" MASK HELLO, "dHello"),
	ROW("an empty one", "\x82\x80" MASK, ""),
	ROW("two", "\x82\x85" MASK HELLO "\x82\x85" MASK HELLO, "dHelloHello"),
	ROW("fragments", "\x02\x85" MASK HELLO "\x00\x85" MASK HELLO "\x80\x80" MASK, "dHelloHello"),
	ROW("a ping between fragments", "\x02\x85" MASK HELLO "\x89\x85" MASK HELLO "\x80\x85" MASK HELLO, "dHelloPHellodHello"),
	ROW("pong", "\x8a\x80" MASK, "O"),
	ROW("close", "\x88\x82" MASK "\x34\x12", "C\x03\xe8"),
	ROW("16-bit length", "\x82\xfe\x00\x7e" MASK
	    "7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!="
	    "7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa!=7\xfa", "d126"),
	ROW("unmasked", "\x82\x05Hello", "!1002"),
	ROW("text", "\x81\x85" MASK HELLO, "!1003"),
	ROW("text fragment", "\x01\x85" MASK HELLO, "!1003"),
	ROW("reserved bit: compressed", "\xc2\x85" MASK HELLO, "!1002"),
	ROW("reserved bit 3", "\x92\x85" MASK HELLO, "!1002"),
	ROW("opcode 3", "\x83\x80" MASK, "!1002"),
	ROW("opcode 11", "\x8b\x80" MASK, "!1002"),
	ROW("opcode 15", "\x8f\x80" MASK, "!1002"),
	ROW("continuation of nothing", "\x80\x85" MASK HELLO, "!1002"),
	ROW("a message inside another", "\x02\x85" MASK HELLO "\x82\x85" MASK HELLO, "dHello!1002"),
	ROW("fragmented ping", "\x09\x80" MASK, "!1002"),
	ROW("ping of 126 bytes", "\x89\xfe\x00\x7e" MASK, "!1002"),
	ROW("16-bit length that fits in 7", "\x82\xfe\x00\x7d" MASK, "!1002"),
	ROW("64-bit length that fits in 16", "\x82\xff\0\0\0\0\0\0\xff\xff" MASK, "!1002"),
	ROW("64-bit length with its highest bit", "\x82\xff\x80\0\0\0\0\1\0\0" MASK, "!1002"),
	ROW("32769 bytes", "\x82\xfe\x80\x01" MASK "x", "!1009"),
	ROW("32768 bytes begin", "\x82\xfe\x80\x00" MASK, ""),
	ROW("fragments of 32769 bytes", "\x02\x85" MASK HELLO "\x80\xfe\x7f\xfc" MASK "x", "dHello!1009"),
	ROW("2^63 - 1 bytes", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" MASK "x", "!1009"),
	ROW("a second message starts a new count", "\x82\x85" MASK HELLO "\x82\xfe\x80\x00" MASK, "dHello"),
#undef ROW
};

struct got {
	char text[256];
	size_t n;
	char last;
};

static void note(struct got *g, char what, const uint8_t *p, size_t n)
{
	if (what != 'd' || g->last != 'd')
		g->text[g->n++] = what;
	memcpy(g->text + g->n, p, n);
	g->n += n;
	g->last = what;
}

/* The piece is a heap block of its own, so that a byte too far is seen. Returns whether to go on. */
static bool feed(struct got *g, struct ws_stream *w, const char *p, size_t n)
{
	uint8_t *b = malloc(n ? n : 1);
	struct ws_piece f;
	int e;

	memcpy(b, p, n);
	ws_feed(w, b, n);
	while ((e = ws_next(w, &f)) > 0)
		note(g, e == WS_DATA ? 'd' : f.op == WS_PING ? 'P' : f.op == WS_PONG ? 'O' : 'C', f.p, f.n);
	if (e < 0)
		g->n += (size_t)snprintf(g->text + g->n, sizeof(g->text) - g->n, "!%d", -e);
	free(b);
	return e >= 0;
}

static void run_case(void **state)
{
	const struct ws_case *c = *state;
	static const char zeros[126];

	for (size_t cut = 0; cut <= c->n; cut++) {
		struct got g = { 0 };
		struct ws_stream w;

		assert_int_equal(0, ws_init(&w));
		if (feed(&g, &w, c->frames, cut))
			feed(&g, &w, c->frames + cut, c->n - cut);
		ws_done(&w);
		if (!strcmp(c->want, "d126")) {
			assert_int_equal(127, g.n);
			assert_memory_equal(zeros, g.text + 1, 126);
			continue;
		}
		assert_int_equal(strlen(c->want), g.n);
		assert_memory_equal(c->want, g.text, g.n);
	}
}

static void close_codes(void **state)
{
	static const struct { const char *p; size_t n; int want; } rows[] = {
		{ "", 0, 1005 }, { "\x03", 1, 1002 }, { "\x03\xe8", 2, 1000 }, { "\x03\xe9why", 5, 1001 }, { "\x03\xec", 2, 1002 },
		{ "\x03\xed", 2, 1002 }, { "\x03\xee", 2, 1002 }, { "\x03\xf7", 2, 1002 }, { "\x0b\xb7", 2, 1002 },
		{ "\x0b\xb8", 2, 3000 }, { "\x13\x87", 2, 4999 }, { "\x13\x88", 2, 1002 }, { "\x00\x00", 2, 1002 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(rows[i].want, ws_close_status((const uint8_t *)rows[i].p, rows[i].n));
}

/* Pieces stay where they are; the head is as short as it can be. */
static void own_frames(void **state)
{
	static char big[65535];
	struct iovec in[] = { { big, 100 }, { big + 100, 26 } }, out[3];
	struct ws_stream w;

	(void)state;
	assert_int_equal(0, ws_init(&w));
	assert_int_equal(1, ws_frame(&w, WS_CLOSE, NULL, 0, out));
	assert_int_equal(2, out[0].iov_len);
	assert_memory_equal("\x88\0", out[0].iov_base, 2);
	assert_int_equal(2, ws_frame(&w, WS_PONG, in, 1, out));
	assert_memory_equal("\x8a\x64", out[0].iov_base, 2);
	assert_ptr_equal(big, out[1].iov_base);
	assert_int_equal(100, out[1].iov_len);
	assert_int_equal(3, ws_frame(&w, WS_BINARY, in, 2, out));
	assert_int_equal(4, out[0].iov_len);
	assert_memory_equal("\x82\x7e\x00\x7e", out[0].iov_base, 4);
	assert_ptr_equal(big + 100, out[2].iov_base);
	assert_int_equal(26, out[2].iov_len);
	in[0].iov_len = sizeof(big);
	assert_int_equal(2, ws_frame(&w, WS_BINARY, in, 1, out));
	assert_memory_equal("\x82\x7e\xff\xff", out[0].iov_base, 4);
	ws_done(&w);
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(cases) + 2] = { cmocka_unit_test(close_codes), cmocka_unit_test(own_frames) };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		t[i + 2] = (struct CMUnitTest){ cases[i].name, run_case, NULL, NULL, (void *)&cases[i] };
	return cmocka_run_group_tests(t, NULL, NULL);
}
