/* SPDX-License-Identifier: BSD-3-Clause */
/* DERP frames: heads checked against one table, builders for what the server sends. Pure: no
 * sockets, clock, malloc or log. docs/protocol.md section 4 and 6. */
#ifndef XDERP_FRAME_H
#define XDERP_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/key.h"
#include "derp_proto.h"

/* Who sent it: which rows of the table apply. */
enum frame_sender {
	FRAME_FROM_LOGIN  = 1U << 0,	/* before ClientInfo was accepted */
	FRAME_FROM_CLIENT = 1U << 1,
	FRAME_FROM_MESH   = 1U << 2,
	FRAME_FROM_RELAY  = 1U << 3,	/* another relay that we logged in to */
};

struct frame_head {
	uint8_t type;
	bool known;		/* false: skip len bytes, whatever they are */
	uint32_t len;		/* body bytes, header excluded */
};

/* Read the head of the next frame in buf[0..n); its body need not be there yet. Returns 1; 0 if n
 * is too small; -EPERM if this sender may not send this type (a client using a mesh frame, anything but
 * ClientInfo before login, what is for a relay from one); -EMSGSIZE if the length is outside the table. Unknown types after login,
 * and those the server ignores (Pong, KeepAlive, a second ClientInfo ...), are not errors: known=false. */
int frame_head(struct frame_head *ret, const uint8_t *buf, size_t n, enum frame_sender who);

/* Payload of a packet: is it a disco packet? */
bool frame_is_disco(const uint8_t *payload, size_t n);

/* SendPacket -> RecvPacket in place: frame points at the type byte of a whole SendPacket frame, same
 * length afterwards. */
void frame_send_to_recv(uint8_t *frame, const struct key *src);

/* ForwardPacket -> RecvPacket in place; returns where the RecvPacket frame begins: frame + 32. The
 * whole frame is body_len + DERP_HDR_LEN bytes before, 32 fewer after. */
uint8_t *frame_forward_to_recv(uint8_t *frame, uint32_t body_len);

/* Builders: write one whole frame to out, return its length. */
#define FRAME_SERVER_KEY_LEN	(DERP_HDR_LEN + DERP_MAGIC_LEN + DERP_KEY_LEN)
#define FRAME_PEER_GONE_LEN	(DERP_HDR_LEN + DERP_KEY_LEN + 1)
#define FRAME_PEER_PRESENT_LEN	(DERP_HDR_LEN + DERP_PEER_PRESENT_LEN)
#define FRAME_PONG_LEN		(DERP_HDR_LEN + DERP_PING_LEN)
#define FRAME_KEEP_ALIVE_LEN	DERP_HDR_LEN
#define FRAME_RESTARTING_LEN	(DERP_HDR_LEN + 8)

struct frame_present {
	struct key key;
	uint8_t ip[16];		/* IPv4 as ::ffff:a.b.c.d */
	uint16_t port;		/* host order */
	uint8_t flags;		/* DERP_PRESENT_* */
};

void frame_put_head(uint8_t out[static DERP_HDR_LEN], uint8_t type, uint32_t len);
size_t frame_server_key(uint8_t out[static FRAME_SERVER_KEY_LEN], const struct key *server);
size_t frame_peer_gone(uint8_t out[static FRAME_PEER_GONE_LEN], const struct key *peer, uint8_t reason);
size_t frame_peer_present(uint8_t out[static FRAME_PEER_PRESENT_LEN], const struct frame_present *p);
size_t frame_pong(uint8_t out[static FRAME_PONG_LEN], const uint8_t data[static DERP_PING_LEN]);
/* A ForwardPacket frame without its payload of n bytes. */
#define FRAME_FORWARD_LEN	(DERP_HDR_LEN + 2 * DERP_KEY_LEN)
size_t frame_forward(uint8_t out[static FRAME_FORWARD_LEN], const struct key *src, const struct key *dst, uint32_t n);
size_t frame_watch_conns(uint8_t out[static DERP_HDR_LEN]);
size_t frame_keep_alive(uint8_t out[static FRAME_KEEP_ALIVE_LEN]);
size_t frame_restarting(uint8_t out[static FRAME_RESTARTING_LEN], uint32_t reconnect_in_ms, uint32_t try_for_ms);

#endif
