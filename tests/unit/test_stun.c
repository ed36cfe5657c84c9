/* SPDX-License-Identifier: BSD-3-Clause */
#include <arpa/inet.h>

#include "base/util.h"
#include "lib/crc32.h"
#include "lib/unit.h"
#include "lib/vectors.h"
#include "wire/stun.h"

#define PLAIN "000100142112a442303132333435363738393a3b802200087461696c6e6f646580280004e13efd83"

/* Of the prefixes only the plain request, which some rows have bytes behind, may pass. */
static void check_request(const struct t_bytes *b, bool want)
{
	struct t_bytes plain = t_unhex(PLAIN);

	assert_int_equal(want, stun_is_request(b->p, b->n));
	for (size_t n = 0; n < b->n; n++) {
		struct t_bytes cut = t_copy(b->p, n);

		assert_int_equal(n == plain.n && !memcmp(cut.p, plain.p, n),
				 stun_is_request(cut.p, n));
		free(cut.p);
	}
	free(plain.p);
}

/* One row of stun_variants: what a running derper did with these bytes. */
static void variant(void **state)
{
	struct t_bytes b = t_hex(*state, "hex");

	check_request(&b, !strcmp(t_str(*state, "result"), "answered"));
	free(b.p);
}

static void bad_requests(void **state)
{
	json_t *rows = json_object_get(json_object_get(*state, "stun"), "bad"), *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		struct t_bytes b = t_hex(row, "hex");

		check_request(&b, false);
		free(b.p);
	}
	assert_int_equal(5, i);
}

static void every_bit_counts(void **state)
{
	struct t_bytes b = t_hex(json_object_get(*state, "stun"), "request_hex");

	for (size_t bit = 0; bit < 8 * b.n; bit++) {
		b.p[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_false(stun_is_request(b.p, b.n));
		b.p[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	assert_true(stun_is_request(b.p, b.n));
	free(b.p);
}

/* Rows no golden vector has; the checksum is right in each of them. */
#define HEAD	"000100142112a442303132333435363738393a3b"
#define OURS	"802200087461696c6e6f6465"

static const struct chain_case {
	const char *name, *hex;		/* all but the four bytes of the checksum */
	bool want;
} chain_cases[] = {
	{ "plain",                       HEAD OURS "80280004", true },
	{ "padded attribute",            HEAD "0024000101000000" OURS "80280004", true },
	{ "empty attribute",             HEAD "00240000" OURS "80280004", true },
	{ "other magic",                 "000100142112a443303132333435363738393a3b" OURS "80280004", false },
	{ "top bits set",                "c00100142112a442303132333435363738393a3b" OURS "80280004", false },
	{ "success response",            "010100142112a442303132333435363738393a3b" OURS "80280004", false },
	{ "software cut short",          HEAD "802200077461696c6e6f6400" "80280004", false },
	{ "software under another type", HEAD "802300087461696c6e6f6465" "80280004", false },
	{ "last is not FINGERPRINT",     HEAD OURS "80290004", false },
	{ "fingerprint of length 3",     HEAD OURS "80280003", false },
	{ "fingerprint of length 5",     HEAD OURS "80280005", false },
	{ "attribute past the end",      HEAD OURS "002400ff" "80280004", false },
	{ "three stray bytes",           HEAD OURS "000000" "80280004", false },
};

static void chain(void **state)
{
	const struct chain_case *c = *state;
	char hex[256];
	struct t_bytes b;

	snprintf(hex, sizeof(hex), "%s00000000", c->hex);
	b = t_unhex(hex);
	put_be32(b.p + b.n - 4, crc32_bitwise(b.p, b.n - 8) ^ STUN_FINGERPRINT_XOR);
	check_request(&b, c->want);
	free(b.p);
}

static void expect_response(json_t *root, const char *want_hex, const struct sockaddr *src)
{
	struct t_bytes request = t_hex(json_object_get(root, "stun"), "request_hex");
	struct t_bytes want = t_unhex(want_hex);
	uint8_t out[STUN_MAX_RESPONSE];

	assert_int_equal(want.n, stun_response(out, request.p, src));
	assert_memory_equal(want.p, out, want.n);
	free(request.p);
	free(want.p);
}

static void response_ipv4(void **state)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(41641) };
	json_t *row = json_object_get(json_object_get(*state, "stun"), "response_v4");

	inet_pton(AF_INET, "203.0.113.7", &in.sin_addr);
	expect_response(*state, t_str(row, "hex"), (struct sockaddr *)&in);
}

static void response_ipv6(void **state)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(443) };
	json_t *row = json_object_get(json_object_get(*state, "stun"), "response_v6");

	inet_pton(AF_INET6, "2001:db8::9", &in6.sin6_addr);
	expect_response(*state, t_str(row, "hex"), (struct sockaddr *)&in6);
}

/* derper answers family 2 here when its socket is dual-stack; clients take both, family 1 is shorter. */
static void response_mapped_is_family_1(void **state)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(41641) };
	json_t *row = json_object_get(json_object_get(*state, "stun"), "response_v4");

	inet_pton(AF_INET6, "::ffff:203.0.113.7", &in6.sin6_addr);
	expect_response(*state, t_str(row, "hex"), (struct sockaddr *)&in6);
}

int main(void)
{
	json_t *root = t_load_vectors(), *variants = json_object_get(root, "stun_variants");
	const struct CMUnitTest fixed[] = {
		{ "bad requests", bad_requests, NULL, NULL, root },
		{ "every bit counts", every_bit_counts, NULL, NULL, root },
		{ "answer to IPv4", response_ipv4, NULL, NULL, root },
		{ "answer to IPv6", response_ipv6, NULL, NULL, root },
		{ "answer to mapped IPv4", response_mapped_is_family_1, NULL, NULL, root },
	};
	struct CMUnitTest t[ARRAY_SIZE(fixed) + ARRAY_SIZE(chain_cases) + 12];
	size_t n = 0, i;
	json_t *row;
	int failed;

	if (json_array_size(variants) != 12)
		t_die("stun_variants");
	json_array_foreach(variants, i, row)
		t[n++] = (struct CMUnitTest){ t_str(row, "name"), variant, NULL, NULL, row };
	for (i = 0; i < ARRAY_SIZE(chain_cases); i++)
		t[n++] = (struct CMUnitTest){ chain_cases[i].name, chain, NULL, NULL,
					      (void *)&chain_cases[i] };
	memcpy(t + n, fixed, sizeof(fixed));
	failed = cmocka_run_group_tests(t, NULL, NULL);
	json_decref(root);
	return failed;
}
