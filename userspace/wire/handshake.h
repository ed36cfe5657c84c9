/* SPDX-License-Identifier: BSD-3-Clause */
/* DERP login: the NaCl boxes of ClientInfo and ServerInfo and the JSON inside. docs/protocol.md section 5. */
#ifndef XDERP_HANDSHAKE_H
#define XDERP_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/key.h"
#include "derp_proto.h"

struct client_info {
	struct key key;			/* who logs in */
	bool has_mesh_key;
	struct key mesh_key;		/* secret: wipe when done */
	struct key shared;		/* seals the boxes of this client and of its server; secret: wipe when done */
	int64_t version;
	bool can_ack_pings;
	bool is_prober;
};

/* Why a login was refused; each has a metric label (login_refusal_name). */
enum login_refusal {
	LOGIN_OK,
	LOGIN_ZERO_KEY,			/* all-zero client key */
	LOGIN_BAD_BOX,			/* box does not open, or a low-order key */
	LOGIN_BAD_JSON,
	LOGIN_BAD_MESH_KEY,		/* meshKey present but not 64 hex digits */
	LOGIN_NO_MEMORY,
	LOGIN_REFUSAL_NR,
};
const char *login_refusal_name(enum login_refusal r);

/* body: the n bytes of a ClientInfo frame behind its header, n within the frame table's limits. */
enum login_refusal client_info_open(struct client_info *ret, const uint8_t *body, size_t n,
				    const struct key *server_priv);

/* The JSON alone (what the box held); used by client_info_open and by the fuzzer. */
enum login_refusal client_info_parse(struct client_info *ret, const char *json, size_t n);

/* client_info's shared, for who did not keep it. -EINVAL: a low-order key, whose shared secret anybody can compute. */
int handshake_shared(struct key *ret, const struct key *client, const struct key *server_priv);

/* A whole ServerInfo frame, {"version":2} sealed for the client that shares this with a random nonce. */
#define SERVER_INFO_LEN	(DERP_HDR_LEN + DERP_NONCE_LEN + DERP_BOX_MAC_LEN + sizeof("{\"version\":2}") - 1)
void server_info_seal(uint8_t out[static SERVER_INFO_LEN], const struct key *shared);
/* The same with a given nonce, for the golden vectors. */
void server_info_seal_nonce(uint8_t out[static SERVER_INFO_LEN], const struct key *shared,
			    const uint8_t nonce[static DERP_NONCE_LEN]);

/* --- the other side, for a relay that logs in to another (the mesh) */

/* A whole ClientInfo frame: version 2 and the mesh key, sealed for server with a random nonce. */
#define CLIENT_INFO_MESH_LEN (DERP_HDR_LEN + KEY_LEN + DERP_NONCE_LEN + DERP_BOX_MAC_LEN + \
			      sizeof("{\"meshKey\":\"\",\"version\":2}") - 1 + KEY_HEX_LEN)
int client_info_seal_mesh(uint8_t out[static CLIENT_INFO_MESH_LEN], const struct key *client_pub,
			  const struct key *client_priv, const struct key *server, const struct key *mesh_key);
/* body: of a ServerInfo frame. True if it is from that server and for us: what the box says has no use here. */
bool server_info_opens(const uint8_t *body, size_t n, const struct key *server, const struct key *client_priv);

/* Public from private (Curve25519 base point). */
void handshake_public_key(struct key *ret, const struct key *priv);

#endif
