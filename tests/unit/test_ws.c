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
	ROW("32769 bytes", "\x82\xfe\x80\x01" MASK, "!1009"),
	ROW("32768 bytes begin", "\x82\xfe\x80\x00" MASK, ""),
	ROW("fragments of 32769 bytes", "\x02\x85" MASK HELLO "\x80\xfe\x7f\xfc" MASK, "dHello!1009"),
	ROW("2^63 - 1 bytes", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" MASK, "!1009"),
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
static bool feed(struct got *g, struct ws_reader *r, const char *p, size_t n)
{
	uint8_t *b = malloc(n ? n : 1);
	struct ws_piece f;
	size_t used;
	int e = 0;

	memcpy(b, p, n);
	for (size_t at = 0; at < n && e >= 0; at += used) {
		e = ws_read(r, b + at, n - at, &used, &f);
		assert_true(used > 0 && used <= n - at);
		if (e == WS_DATA)
			note(g, 'd', f.p, f.n);
		else if (e == WS_CONTROL)
			note(g, f.op == WS_PING ? 'P' : f.op == WS_PONG ? 'O' : 'C', f.p, f.n);
		else if (e < 0)
			g->n += (size_t)sprintf(g->text + g->n, "!%d", -e);
	}
	free(b);
	return e >= 0;
}

static void run_case(void **state)
{
	const struct ws_case *c = *state;
	static const char zeros[126];

	for (size_t cut = 0; cut <= c->n; cut++) {
		struct ws_reader r = { 0 };
		struct got g = { 0 };

		if (feed(&g, &r, c->frames, cut))
			feed(&g, &r, c->frames + cut, c->n - cut);
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

static void heads(void **state)
{
	uint8_t h[WS_MAX_OUT_HEAD];

	(void)state;
	assert_int_equal(2, ws_head(h, WS_PONG, 125));
	assert_memory_equal("\x8a\x7d", h, 2);
	assert_int_equal(4, ws_head(h, WS_BINARY, 126));
	assert_memory_equal("\x82\x7e\x00\x7e", h, 4);
	assert_int_equal(4, ws_head(h, WS_BINARY, 65535));
	assert_memory_equal("\x82\x7e\xff\xff", h, 4);
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(cases) + 2] = { cmocka_unit_test(close_codes), cmocka_unit_test(heads) };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		t[i + 2] = (struct CMUnitTest){ cases[i].name, run_case, NULL, NULL, (void *)&cases[i] };
	return cmocka_run_group_tests(t, NULL, NULL);
}
