/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <sodium.h>

#include "base/util.h"
#include "lib/unit.h"
#include "lib/vectors.h"
#include "wire/frame.h"
#include "wire/handshake.h"

#define HEX64	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ZERO64	"0000000000000000000000000000000000000000000000000000000000000000"
#define PSK	"\"meshKey\":\"" HEX64 "\""

static struct key server_priv, client_priv, client_pub;

static void fill(struct client_info *ci)
{
	memset(ci, 0xa5, sizeof(*ci));
}

static void assert_untouched(const struct client_info *ci)
{
	struct client_info before;

	fill(&before);
	assert_memory_equal(&before, ci, sizeof(before));
}

/* One row of client_info: a whole frame, and what derper made of it. */
static void golden(void **state)
{
	json_t *row = *state, *parsed = json_object_get(row, "parsed");
	bool accepted = !strcmp(t_str(row, "expect"), "accepted");
	struct t_bytes frame = t_hex(row, "frame_hex");
	struct t_bytes body = t_copy(frame.p + DERP_HDR_LEN, frame.n - DERP_HDR_LEN);
	struct t_bytes pub = t_hex(row, "client_pub");
	struct client_info ci;
	struct frame_head h;
	enum login_refusal r;

	assert_int_equal(1, frame_head(&h, frame.p, frame.n, FRAME_FROM_LOGIN));
	assert_int_equal(body.n, h.len);
	fill(&ci);
	r = client_info_open(&ci, body.p, body.n, &server_priv);
	assert_int_equal(accepted, r == LOGIN_OK);
	if (accepted) {
		assert_memory_equal(pub.p, ci.key.b, KEY_LEN);
		assert_int_equal(json_integer_value(json_object_get(parsed, "version")), ci.version);
		assert_int_equal(json_is_true(json_object_get(parsed, "canAckPings")), ci.can_ack_pings);
		assert_int_equal(json_is_true(json_object_get(parsed, "isProber")), ci.is_prober);
		assert_int_equal(json_is_true(json_object_get(parsed, "meshKeySet")), ci.has_mesh_key);
	} else {
		bool mesh = !strncmp(t_str(row, "name"), "mesh_key_", 9);

		assert_int_equal(mesh ? LOGIN_BAD_MESH_KEY : LOGIN_BAD_JSON, r);
		assert_untouched(&ci);
	}
	free(frame.p);
	free(body.p);
	free(pub.p);
}

/* Cut anywhere or changed in any bit, a body no longer opens. */
static void golden_damaged(void **state)
{
	struct t_bytes frame = t_hex(*state, "frame_hex");
	struct client_info ci;

	fill(&ci);
	for (size_t n = 0; n < frame.n - DERP_HDR_LEN; n++) {
		struct t_bytes cut = t_copy(frame.p + DERP_HDR_LEN, n);

		assert_int_equal(LOGIN_BAD_BOX, client_info_open(&ci, cut.p, n, &server_priv));
		free(cut.p);
	}
	/* The top bit of a Curve25519 key is ignored by RFC 7748, hence by the box. */
	for (size_t bit = 8 * DERP_HDR_LEN; bit < 8 * frame.n; bit++) {
		if (bit == 8 * (DERP_HDR_LEN + KEY_LEN) - 1)
			continue;
		frame.p[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_int_equal(LOGIN_BAD_BOX, client_info_open(&ci, frame.p + DERP_HDR_LEN,
								 frame.n - DERP_HDR_LEN, &server_priv));
		frame.p[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	assert_untouched(&ci);
	free(frame.p);
}

static void bad_frame(void **state)
{
	static const struct {
		const char *name;
		int head;
		enum login_refusal body;
	} rows[] = {
		{ "wrong_frame_type",     -EPERM, LOGIN_OK },
		{ "too_short_55",         -EMSGSIZE, LOGIN_OK },
		{ "length_56_empty_box",  1, LOGIN_BAD_BOX },
		{ "tampered_box",         1, LOGIN_BAD_BOX },
		{ "zero_client_key",      1, LOGIN_ZERO_KEY },
		{ "too_long_header_only", -EMSGSIZE, LOGIN_OK },
	};
	struct client_info ci;
	struct frame_head h;

	assert_int_equal(ARRAY_SIZE(rows),
			 json_array_size(json_object_get(*state, "client_info_bad_frames")));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		json_t *row = t_named(*state, "client_info_bad_frames", rows[i].name);
		struct t_bytes b = t_hex(row, "frame_hex");

		assert_int_equal(rows[i].head, frame_head(&h, b.p, b.n, FRAME_FROM_LOGIN));
		if (rows[i].head == 1)
			assert_int_equal(rows[i].body,
					 client_info_open(&ci, b.p + DERP_HDR_LEN, h.len, &server_priv));
		free(b.p);
	}
}

/* The points whose shared secret is zero whatever our key is (RFC 7748 section 6.1). */
static void low_order_keys(void **state)
{
	static const char *const hex[] = {
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	};
	uint8_t body[128] = { 0 };
	struct client_info ci;
	struct key k, shared;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hex); i++) {
		assert_int_equal(0, key_from_hex(&k, hex[i], KEY_HEX_LEN));
		memcpy(body, k.b, KEY_LEN);
		assert_int_equal(LOGIN_BAD_BOX, client_info_open(&ci, body, sizeof(body), &server_priv));
		assert_int_equal(-EINVAL, handshake_shared(&shared, &k, &server_priv));
	}
}

/* A box of n JSON bytes: {"version":3,"x":"aaa..."}, as long as the frame table allows. */
static void large_bodies(void **state)
{
	static const size_t body_len[] = { 100, 4096, 65536, DERP_MAX_CLIENT_INFO };
	struct key server_pub;
	struct client_info ci;

	(void)state;
	handshake_public_key(&server_pub, &server_priv);
	for (size_t i = 0; i < ARRAY_SIZE(body_len); i++) {
		size_t n = body_len[i] - DERP_MIN_CLIENT_INFO - DERP_BOX_MAC_LEN;
		struct t_bytes body = { calloc(1, body_len[i]), body_len[i] };
		char *json = malloc(n);

		memset(json, 'a', n);
		memcpy(json, "{\"version\":3,\"x\":\"", 18);
		memcpy(json + n - 2, "\"}", 2);
		memcpy(body.p, client_pub.b, KEY_LEN);
		assert_int_equal(0, crypto_box_easy(body.p + DERP_MIN_CLIENT_INFO, (uint8_t *)json, n,
						    body.p + KEY_LEN, server_pub.b, client_priv.b));
		assert_int_equal(LOGIN_OK, client_info_open(&ci, body.p, body.n, &server_priv));
		assert_int_equal(3, ci.version);
		free(json);
		free(body.p);
	}
}

static void server_info(void **state)
{
	json_t *row = t_named(*state, "server_info", "to_client_a");
	struct t_bytes want = t_hex(row, "frame_hex"), nonce = t_hex(row, "nonce");
	struct key server_pub = t_key(*state, "server", "pub"), shared;
	uint8_t out[SERVER_INFO_LEN], again[SERVER_INFO_LEN], text[64];

	assert_int_equal(0, handshake_shared(&shared, &client_pub, &server_priv));
	server_info_seal_nonce(out, &shared, nonce.p);
	assert_int_equal(want.n, sizeof(out));
	assert_memory_equal(want.p, out, want.n);
	free(want.p);
	free(nonce.p);

	server_info_seal(out, &shared);
	server_info_seal(again, &shared);
	assert_memory_not_equal(out + DERP_HDR_LEN, again + DERP_HDR_LEN, DERP_NONCE_LEN);
	assert_int_equal(0, crypto_box_open_easy(text, out + DERP_HDR_LEN + DERP_NONCE_LEN,
						 sizeof(out) - DERP_HDR_LEN - DERP_NONCE_LEN,
						 out + DERP_HDR_LEN, server_pub.b, client_priv.b));
	assert_memory_equal("{\"version\":2}", text, 13);
}

static void public_keys(void **state)
{
	static const char *const who[] = { "server", "client_a", "client_b", "mesh_peer" };

	for (size_t i = 0; i < ARRAY_SIZE(who); i++) {
		struct key priv = t_key(*state, who[i], "priv"), want = t_key(*state, who[i], "pub"), pub;

		handshake_public_key(&pub, &priv);
		assert_true(key_equal(&want, &pub));
	}
}

static void refusals_have_names(void **state)
{
	(void)state;
	for (int r = LOGIN_OK; r < LOGIN_REFUSAL_NR; r++)
		assert_non_null(login_refusal_name((enum login_refusal)r));
}

enum { MESH_ON = 1, PINGS = 2, PROBER = 4 };

/* Outcomes agree with Go's encoding/json, except those marked. */
static const struct json_case {
	const char *name, *json;
	size_t n;			/* 0: up to the NUL */
	enum login_refusal want;
	int64_t version;
	unsigned int flags;
} json_cases[] = {
	{ "last wins across case",      "{\"version\":1,\"VERSION\":2,\"version\":3}", 0, LOGIN_OK, 3, 0 },
	{ "last wins, other case last", "{\"VERSION\":1,\"version\":3,\"Version\":2}", 0, LOGIN_OK, 2, 0 },
	{ "wrong duplicate first",      "{\"version\":\"x\",\"version\":2}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "wrong mesh duplicate first", "{\"meshKey\":\"\"," PSK "}", 0, LOGIN_BAD_MESH_KEY, 0, 0 },
	{ "mesh key replaced by zero",  "{" PSK ",\"meshkey\":\"" ZERO64 "\"}", 0, LOGIN_OK, 0, 0 },
	{ "zero mesh key replaced",     "{\"meshkey\":\"" ZERO64 "\"," PSK "}", 0, LOGIN_OK, 0, MESH_ON },
	{ "null keeps the version",     "{\"version\":5,\"version\":null}", 0, LOGIN_OK, 5, 0 },
	{ "null keeps a bool",          "{\"CanAckPings\":true,\"canackpings\":null}", 0, LOGIN_OK, 0, PINGS },
	{ "bool last wins",             "{\"IsProber\":true,\"isprober\":false}", 0, LOGIN_OK, 0, 0 },
	{ "bool as number",             "{\"IsProber\":1}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "bool as string",             "{\"CanAckPings\":\"true\"}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "version negative",           "{\"version\":-7}", 0, LOGIN_OK, -7, 0 },
	{ "version minus zero",         "{\"version\":-0}", 0, LOGIN_OK, 0, 0 },
	{ "version INT64_MAX",          "{\"version\":9223372036854775807}", 0, LOGIN_OK, INT64_MAX, 0 },
	{ "version INT64_MAX + 1",      "{\"version\":9223372036854775808}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "version INT64_MIN",          "{\"version\":-9223372036854775808}", 0, LOGIN_OK, INT64_MIN, 0 },
	{ "version INT64_MIN - 1",      "{\"version\":-9223372036854775809}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "version 2.0",                "{\"version\":2.0}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "version 2e0",                "{\"version\":2e0}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "version true",               "{\"version\":true}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "version object",             "{\"version\":{}}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "leading zero",               "{\"x\":01}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "plus sign",                  "{\"x\":+1}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "bare point",                 "{\"x\":1.}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "bare exponent",              "{\"x\":1e+}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "lone minus",                 "{\"x\":-}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "huge number unused",         "{\"x\":123456789012345678901234567890e999}", 0, LOGIN_OK, 0, 0 },
	{ "mesh key as array",          "{\"meshKey\":[1]}", 0, LOGIN_BAD_MESH_KEY, 0, 0 },
	{ "mesh key bad, syntax bad",   "{\"meshKey\":5", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "mesh key 63 digits",         "{\"meshKey\":\"" "123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" "\"}", 0, LOGIN_BAD_MESH_KEY, 0, 0 },
	{ "mesh key 66 digits",         "{\"meshKey\":\"" HEX64 "00\"}", 0, LOGIN_BAD_MESH_KEY, 0, 0 },
	{ "mesh key with an escape",    "{\"meshKey\":\"\\u0030123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}", 0, LOGIN_OK, 0, MESH_ON },
	{ "mesh key with a NUL",        "{\"meshKey\":\"\\u0000123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}", 0, LOGIN_BAD_MESH_KEY, 0, 0 },
	{ "name with an escape",        "{\"\\u0076ersion\":4}", 0, LOGIN_OK, 4, 0 },
	{ "name and a NUL",             "{\"version\\u0000\":\"x\"}", 0, LOGIN_OK, 0, 0 },
	{ "name that begins ours",      "{\"versio\":\"x\",\"versions\":\"x\"}", 0, LOGIN_OK, 0, 0 },
	{ "empty name",                 "{\"\":\"x\"}", 0, LOGIN_OK, 0, 0 },
	{ "name over 64 bytes",         "{\"" HEX64 HEX64 "\":\"x\"}", 0, LOGIN_OK, 0, 0 },
	{ "name not ASCII",             "{\"v\\u00e9rsion\":\"x\",\"v\xc3\xa9rsion\":\"x\"}", 0, LOGIN_OK, 0, 0 },
	{ "name 256 above ours",        "{\"\\u0176ersion\":\"x\"}", 0, LOGIN_OK, 0, 0 },
	{ "all escapes",                "{\"x\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD83D\\uDE00\"}", 0, LOGIN_OK, 0, 0 },
	{ "lone surrogate",             "{\"x\":\"\\ud800\"}", 0, LOGIN_OK, 0, 0 },
	{ "invalid UTF-8",              "{\"x\":\"\xff\xfe\"}", 0, LOGIN_OK, 0, 0 },
	{ "unknown escape",             "{\"x\":\"\\x41\"}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "short \\u",                  "{\"x\":\"\\u12g4\"}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "newline in a string",        "{\"x\":\"\n\"}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "NUL in a string",            "{\"x\":\"\0\"}", 9, LOGIN_BAD_JSON, 0, 0 },
	{ "nested values skipped",      "{\"x\":[{\"version\":\"no\"},[],[[1,2.5e-3]],{},null,false,\"s\"],\"version\":6}", 0, LOGIN_OK, 6, 0 },
	{ "null",                       " null\t\r\n", 0, LOGIN_OK, 0, 0 },
	{ "null, garbage",              "nullx", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "null in capitals",           "NULL", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "true",                       "true", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "number",                     "2", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "string",                     "\"x\"", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "two objects",                "{}{}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "trailing NUL",               "{}", 3, LOGIN_BAD_JSON, 0, 0 },
	{ "trailing comma",             "{\"version\":2,}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "leading comma",              "{,\"version\":2}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "array, trailing comma",      "{\"x\":[1,]}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "missing colon",              "{\"version\" 2}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "name not a string",          "{version:2}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "single quotes",              "{'version':2}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "comment",                    "{/**/}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "byte order mark",            "\xef\xbb\xbf{}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "form feed is no space",      "\f{}", 0, LOGIN_BAD_JSON, 0, 0 },
	{ "space everywhere",           " { \"version\" : 2 , \"CanAckPings\" : true , \"IsProber\" : true } ", 0, LOGIN_OK, 2, PINGS | PROBER },
};

static void json_case(void **state)
{
	const struct json_case *c = *state;
	struct t_bytes b = t_copy(c->json, c->n ? c->n : strlen(c->json));
	struct client_info ci;

	fill(&ci);
	assert_int_equal(c->want, client_info_parse(&ci, (char *)b.p, b.n));
	if (c->want == LOGIN_OK) {
		assert_int_equal(c->version, ci.version);
		assert_int_equal(!!(c->flags & MESH_ON), ci.has_mesh_key);
		assert_int_equal(!!(c->flags & PINGS), ci.can_ack_pings);
		assert_int_equal(!!(c->flags & PROBER), ci.is_prober);
	} else {
		assert_untouched(&ci);
	}
	for (size_t n = 0; n < b.n; n++) {
		struct t_bytes cut = t_copy(b.p, n);
		enum login_refusal r = client_info_parse(&ci, (char *)cut.p, n);

		/* No row but these is whole before its last byte that is not white space. */
		if (r == LOGIN_OK)
			assert_true(c->json[n + strspn(c->json + n, " \t\r\n")] == '\0' ||
				    !strncmp(c->json, "{}", 2) || !strcmp(c->json, "nullx"));
		free(cut.p);
	}
	free(b.p);
}

/* Our own limit, not Go's 10000: 64 levels inside the outer object. */
static void nesting(void **state)
{
	struct client_info ci;
	char json[400], open[66], close[66];
	size_t n;

	(void)state;
	memset(open, '[', sizeof(open));
	memset(close, ']', sizeof(close));
	for (int depth = 63; depth <= 65; depth++) {
		snprintf(json, sizeof(json), "{\"x\":%.*s%.*s}", depth, open, depth, close);
		assert_int_equal(depth <= 64 ? LOGIN_OK : LOGIN_BAD_JSON,
				 client_info_parse(&ci, json, strlen(json)));
	}
	n = (size_t)snprintf(json, sizeof(json), "{\"x\":[[]");
	for (size_t i = 0; i < 65; i++)
		n += (size_t)snprintf(json + n, sizeof(json) - n, ",[]");
	snprintf(json + n, sizeof(json) - n, "]}");		/* wide is not deep */
	assert_int_equal(LOGIN_OK, client_info_parse(&ci, json, strlen(json)));
}

/* What we send as a mesh client opens as such; what a server answers opens for us and for nobody else. */
static void mesh_client(void **state)
{
	struct key server_pub, other_priv, mesh;
	uint8_t frame[CLIENT_INFO_MESH_LEN], info[SERVER_INFO_LEN];
	struct client_info ci;
	struct frame_head h;

	(void)state;
	handshake_public_key(&server_pub, &server_priv);
	memset(other_priv.b, 0x5a, KEY_LEN);
	memset(mesh.b, 0xab, KEY_LEN);
	assert_int_equal(0, client_info_seal_mesh(frame, &client_pub, &client_priv, &server_pub, &mesh));
	assert_int_equal(1, frame_head(&h, frame, sizeof(frame), FRAME_FROM_LOGIN));
	assert_int_equal(sizeof(frame), DERP_HDR_LEN + h.len);
	assert_int_equal(LOGIN_OK, client_info_open(&ci, frame + DERP_HDR_LEN, h.len, &server_priv));
	assert_true(ci.has_mesh_key && key_equal(&ci.mesh_key, &mesh) && key_equal(&ci.key, &client_pub));
	assert_int_equal(2, ci.version);

	server_info_seal(info, &ci.shared);
	assert_true(server_info_opens(info + DERP_HDR_LEN, sizeof(info) - DERP_HDR_LEN, &server_pub, &client_priv));
	assert_false(server_info_opens(info + DERP_HDR_LEN, sizeof(info) - DERP_HDR_LEN, &server_pub, &other_priv));
	assert_false(server_info_opens(info + DERP_HDR_LEN, sizeof(info) - DERP_HDR_LEN - 1, &server_pub, &client_priv));
	assert_false(server_info_opens(info + DERP_HDR_LEN, 10, &server_pub, &client_priv));
}

int main(void)
{
	json_t *root = t_load_vectors(), *infos = json_object_get(root, "client_info");
	const struct CMUnitTest fixed[] = {
		{ "bad frames", bad_frame, NULL, NULL, root },
		{ "damaged body", golden_damaged, NULL, NULL, t_named(root, "client_info", "mesh_v1.96") },
		{ "low-order keys", low_order_keys, NULL, NULL, NULL },
		{ "large bodies", large_bodies, NULL, NULL, NULL },
		{ "ServerInfo", server_info, NULL, NULL, root },
		{ "public keys", public_keys, NULL, NULL, root },
		{ "refusals have names", refusals_have_names, NULL, NULL, NULL },
		{ "nesting", nesting, NULL, NULL, NULL },
		{ "mesh client", mesh_client, NULL, NULL, NULL },
	};
	struct CMUnitTest t[24 + ARRAY_SIZE(json_cases) + ARRAY_SIZE(fixed)];
	size_t n = 0, i;
	json_t *row;
	int failed;

	if (sodium_init() < 0 || json_array_size(infos) != 24)
		t_die("sodium_init or client_info");
	server_priv = t_key(root, "server", "priv");
	client_priv = t_key(root, "client_a", "priv");
	client_pub = t_key(root, "client_a", "pub");
	json_array_foreach(infos, i, row)
		t[n++] = (struct CMUnitTest){ t_str(row, "name"), golden, NULL, NULL, row };
	for (i = 0; i < ARRAY_SIZE(json_cases); i++)
		t[n++] = (struct CMUnitTest){ json_cases[i].name, json_case, NULL, NULL,
					      (void *)&json_cases[i] };
	memcpy(t + n, fixed, sizeof(fixed));
	failed = cmocka_run_group_tests(t, NULL, NULL);
	json_decref(root);
	return failed;
}
