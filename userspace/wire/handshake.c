/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/handshake.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "wire/frame.h"

_Static_assert(crypto_box_PUBLICKEYBYTES == KEY_LEN, "Curve25519 keys");
_Static_assert(crypto_box_BEFORENMBYTES == KEY_LEN, "a shared key is as long as the others");
_Static_assert(crypto_box_NONCEBYTES == DERP_NONCE_LEN && crypto_box_MACBYTES == DERP_BOX_MAC_LEN,
	       "the NaCl box of DERP is libsodium's");

static const char server_info_json[] = "{\"version\":2}";
_Static_assert(DERP_VERSION == 2, "server_info_json says 2");

const char *login_refusal_name(enum login_refusal r)
{
	static const char *const names[LOGIN_REFUSAL_NR] = {
		[LOGIN_OK]           = "ok",
		[LOGIN_ZERO_KEY]     = "zero_key",
		[LOGIN_BAD_BOX]      = "bad_box",
		[LOGIN_BAD_JSON]     = "bad_json",
		[LOGIN_BAD_MESH_KEY] = "bad_mesh_key",
		[LOGIN_NO_MEMORY]    = "no_memory",
	};

	return names[r];
}

/* box[0..n) holds n - 16 bytes of text; the one allocation of this room, as only a hostile client sends
 * more than a few hundred bytes and the stack is no place for 256 KiB. */
static enum login_refusal open_box(struct client_info *ret, const uint8_t *box, size_t n,
				   const uint8_t *nonce, const struct key *shared)
{
	enum login_refusal r = LOGIN_BAD_BOX;
	size_t text_len = n - DERP_BOX_MAC_LEN;
	uint8_t *text;

	text = malloc(text_len + 1);	/* never malloc(0) */
	if (!text)
		return LOGIN_NO_MEMORY;
	if (crypto_box_open_easy_afternm(text, box, n, nonce, shared->b) == 0)
		r = client_info_parse(ret, (const char *)text, text_len);
	sodium_memzero(text, text_len);
	free(text);
	return r;
}

int handshake_shared(struct key *ret, const struct key *client, const struct key *server_priv)
{
	return crypto_box_beforenm(ret->b, client->b, server_priv->b) ? -EINVAL : 0;
}

enum login_refusal client_info_open(struct client_info *ret, const uint8_t *body, size_t n,
				    const struct key *server_priv)
{
	const uint8_t *nonce = body + KEY_LEN, *box = nonce + DERP_NONCE_LEN;
	enum login_refusal r = LOGIN_BAD_BOX;
	struct key client, shared;

	if (n < DERP_MIN_CLIENT_INFO)
		return LOGIN_BAD_BOX;
	memcpy(client.b, body, KEY_LEN);
	if (key_is_zero(&client))
		return LOGIN_ZERO_KEY;
	if (n < DERP_MIN_CLIENT_INFO + DERP_BOX_MAC_LEN)
		return LOGIN_BAD_BOX;

	if (handshake_shared(&shared, &client, server_priv) == 0)
		r = open_box(ret, box, n - DERP_MIN_CLIENT_INFO, nonce, &shared);
	if (r == LOGIN_OK) {
		ret->key = client;
		ret->shared = shared;
	}
	sodium_memzero(&shared, sizeof(shared));
	return r;
}

void server_info_seal_nonce(uint8_t out[static SERVER_INFO_LEN], const struct key *shared,
			    const uint8_t nonce[static DERP_NONCE_LEN])
{
	uint8_t *box = out + DERP_HDR_LEN + DERP_NONCE_LEN;

	frame_put_head(out, DERP_SERVER_INFO, SERVER_INFO_LEN - DERP_HDR_LEN);
	memcpy(out + DERP_HDR_LEN, nonce, DERP_NONCE_LEN);
	/* Fails only for texts that don't fit into memory. */
	crypto_box_easy_afternm(box, (const uint8_t *)server_info_json, sizeof(server_info_json) - 1, nonce, shared->b);
}

void server_info_seal(uint8_t out[static SERVER_INFO_LEN], const struct key *shared)
{
	uint8_t nonce[DERP_NONCE_LEN];

	randombytes_buf(nonce, sizeof(nonce));
	server_info_seal_nonce(out, shared, nonce);
}

int client_info_seal_mesh(uint8_t out[static CLIENT_INFO_MESH_LEN], const struct key *client_pub,
			  const struct key *client_priv, const struct key *server, const struct key *mesh_key)
{
	uint8_t *nonce = out + DERP_HDR_LEN + KEY_LEN, *box = nonce + DERP_NONCE_LEN;
	char hex[KEY_HEX_LEN + 1], json[sizeof("{\"meshKey\":\"\",\"version\":2}") + KEY_HEX_LEN];
	int n, err;

	key_to_hex(hex, mesh_key);
	n = snprintf(json, sizeof(json), "{\"meshKey\":\"%s\",\"version\":2}", hex);
	frame_put_head(out, DERP_CLIENT_INFO, CLIENT_INFO_MESH_LEN - DERP_HDR_LEN);
	memcpy(out + DERP_HDR_LEN, client_pub->b, KEY_LEN);
	randombytes_buf(nonce, DERP_NONCE_LEN);
	err = crypto_box_easy(box, (const uint8_t *)json, (unsigned long long)n, nonce, server->b, client_priv->b);
	sodium_memzero(hex, sizeof(hex));
	sodium_memzero(json, sizeof(json));
	return err ? -EINVAL : 0;
}

bool server_info_opens(const uint8_t *body, size_t n, const struct key *server, const struct key *client_priv)
{
	uint8_t text[512];

	if (n < DERP_NONCE_LEN + DERP_BOX_MAC_LEN || n > DERP_NONCE_LEN + DERP_BOX_MAC_LEN + sizeof(text))
		return false;
	return !crypto_box_open_easy(text, body + DERP_NONCE_LEN, n - DERP_NONCE_LEN, body, server->b, client_priv->b);
}

void handshake_public_key(struct key *ret, const struct key *priv)
{
	crypto_scalarmult_base(ret->b, priv->b);
}
