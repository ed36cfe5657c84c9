/* SPDX-License-Identifier: BSD-3-Clause */
/* The input is the JSON of a ClientInfo: judged by us and, where a tree can judge, by jansson. Now and
 * then it also travels in a box, and once more as the body of a frame that cannot open. */
#include <jansson.h>
#include <sodium.h>
#include <strings.h>

#include "lib/fuzz.h"
#include "wire/handshake.h"

static const struct key server_priv = { "server private key of the fuzz. " };
static const struct key client_priv = { "client private key of the fuzz. " };

/* jansson refuses what Go takes: numbers no double holds, bytes that are not UTF-8, lone surrogates. */
static bool is_jansson_limit(const json_error_t *e)
{
	switch (json_error_code(e)) {
	case json_error_invalid_utf8:
	case json_error_numeric_overflow:
	case json_error_null_byte_in_key:
	case json_error_stack_overflow:
		return true;
	default:
		return strstr(e->text, "Unicode") || strstr(e->text, "UTF-8");
	}
}

static unsigned int depth_of(json_t *v)
{
	unsigned int deepest = 0, d;
	const char *name;
	json_t *child;
	size_t i;

	json_array_foreach(v, i, child)
		if ((d = depth_of(child)) > deepest)
			deepest = d;
	json_object_foreach(v, name, child)
		if ((d = depth_of(child)) > deepest)
			deepest = d;
	return deepest + (json_is_array(v) || json_is_object(v));
}

/* The only member of that name in any case; *n counts them. */
static json_t *member(json_t *root, const char *want, unsigned int *n)
{
	json_t *v, *found = NULL;
	const char *name;

	*n = 0;
	json_object_foreach(root, name, v)
		if (!strcasecmp(name, want)) {
			found = v;
			(*n)++;
		}
	return found;
}

static bool bool_ok(json_t *v, bool got, bool accepted)
{
	if (v && !json_is_boolean(v) && !json_is_null(v))
		return !accepted;
	return !accepted || got == json_is_true(v);
}

static void check_fields(json_t *root, const struct client_info *ci, enum login_refusal r)
{
	unsigned int n[4];
	json_t *version = member(root, "version", &n[0]), *mesh = member(root, "meshKey", &n[1]);
	json_t *pings = member(root, "CanAckPings", &n[2]), *prober = member(root, "IsProber", &n[3]);
	bool ok = r == LOGIN_OK, fine = true;
	struct key k;

	if (n[0] > 1 || n[1] > 1 || n[2] > 1 || n[3] > 1)
		return;		/* the tree lost their order */
	CHECK(bool_ok(pings, ci->can_ack_pings, ok) && bool_ok(prober, ci->is_prober, ok));
	fine = (!version || json_is_integer(version) || json_is_null(version)) &&
	       (!pings || json_is_boolean(pings) || json_is_null(pings)) &&
	       (!prober || json_is_boolean(prober) || json_is_null(prober)) &&
	       (!mesh || (json_is_string(mesh) && !key_from_hex(&k, json_string_value(mesh),
								json_string_length(mesh))));
	CHECK(ok == fine);
	if (!ok)
		return;
	CHECK(ci->version == (int64_t)json_integer_value(version));
	CHECK(ci->has_mesh_key == (mesh && !key_is_zero(&k)));
	CHECK(!mesh || key_equal(&k, &ci->mesh_key));
}

static enum login_refusal check_json(struct client_info *ci, const uint8_t *data, size_t n)
{
	enum login_refusal r = client_info_parse(ci, (const char *)data, n);
	json_error_t e;
	json_t *root = json_loadb((const char *)data, n,
				  JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &e);

	CHECK(r == LOGIN_OK || r == LOGIN_BAD_JSON || r == LOGIN_BAD_MESH_KEY);
	if (memchr(data, '\0', n))	/* no JSON text holds one; jansson 2.14 overlooks it behind a number */
		CHECK(r == LOGIN_BAD_JSON);
	else if (!root && json_error_code(&e) != json_error_duplicate_key && !is_jansson_limit(&e))
		CHECK(r == LOGIN_BAD_JSON);
	else if (json_is_null(root))
		CHECK(r == LOGIN_OK);
	else if (root && !json_is_object(root))
		CHECK(r == LOGIN_BAD_JSON);
	else if (root && depth_of(root) <= 64)
		check_fields(root, ci, r);
	json_decref(root);
	return r;
}

static void check_box(const uint8_t *json, size_t n, enum login_refusal want)
{
	size_t body_len = DERP_MIN_CLIENT_INFO + DERP_BOX_MAC_LEN + n;
	uint8_t *body = malloc(body_len), *nonce = body + KEY_LEN;
	struct key client_pub, server_pub;
	struct client_info ci;

	handshake_public_key(&client_pub, &client_priv);
	handshake_public_key(&server_pub, &server_priv);
	memcpy(body, client_pub.b, KEY_LEN);
	memset(nonce, 7, DERP_NONCE_LEN);
	CHECK(!crypto_box_easy(body + DERP_MIN_CLIENT_INFO, json, n, nonce, server_pub.b, client_priv.b));
	CHECK(client_info_open(&ci, body, body_len, &server_priv) == want);
	CHECK(want != LOGIN_OK || key_equal(&ci.key, &client_pub));
	body[body_len - 1] ^= 1;
	CHECK(client_info_open(&ci, body, body_len, &server_priv) == LOGIN_BAD_BOX);
	free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct client_info ci = { 0 };
	enum login_refusal r = check_json(&ci, data, n);

	if (n % 32 == 1 && n < 4096) {	/* the curve is slow under ASan */
		check_box(data, n, r);
		r = client_info_open(&ci, data, n, &server_priv);
		CHECK(r == LOGIN_BAD_BOX || r == LOGIN_ZERO_KEY);
	}
	return 0;
}
