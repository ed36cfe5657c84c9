/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/frame.h"

#include <errno.h>

#include "base/util.h"

_Static_assert(KEY_LEN == DERP_KEY_LEN, "a key is a key");

#define FROM_PEER	(FRAME_FROM_CLIENT | FRAME_FROM_MESH)

static const struct frame_rule {
	uint32_t min, max;	/* body length */
	unsigned int who;	/* FRAME_FROM_*; 0: the server has no use for it, its body is skipped */
} rules[256] = {
	[DERP_CLIENT_INFO]    = { DERP_MIN_CLIENT_INFO, DERP_MAX_CLIENT_INFO, FRAME_FROM_LOGIN },
	[DERP_SEND_PACKET]    = { DERP_KEY_LEN, DERP_MAX_SEND_BODY, FROM_PEER },
	[DERP_NOTE_PREFERRED] = { 1, 1, FROM_PEER },
	[DERP_FORWARD_PACKET] = { 2 * DERP_KEY_LEN, DERP_MAX_FWD_BODY, FRAME_FROM_MESH },
	[DERP_WATCH_CONNS]    = { 0, 0, FRAME_FROM_MESH },
	[DERP_CLOSE_PEER]     = { DERP_KEY_LEN, DERP_KEY_LEN, FRAME_FROM_MESH },
	[DERP_PING]           = { DERP_PING_LEN, DERP_MAX_PING, FROM_PEER | FRAME_FROM_RELAY },
	/* A relay of another version may say more; older ones say less of a peer. */
	[DERP_SERVER_KEY]     = { DERP_MAGIC_LEN + DERP_KEY_LEN, DERP_MAX_FROM_RELAY, FRAME_FROM_RELAY },
	[DERP_SERVER_INFO]    = { DERP_NONCE_LEN + DERP_BOX_MAC_LEN, DERP_MAX_FROM_RELAY, FRAME_FROM_RELAY },
	[DERP_KEEP_ALIVE]     = { 0, DERP_MAX_FROM_RELAY, FRAME_FROM_RELAY },
	[DERP_PEER_GONE]      = { DERP_KEY_LEN, DERP_MAX_FROM_RELAY, FRAME_FROM_RELAY },
	[DERP_PEER_PRESENT]   = { DERP_KEY_LEN, DERP_MAX_FROM_RELAY, FRAME_FROM_RELAY },
};

int frame_head(struct frame_head *ret, const uint8_t *buf, size_t n, enum frame_sender who)
{
	const struct frame_rule *r;
	bool known;
	uint32_t len;

	if (n < DERP_HDR_LEN)
		return 0;
	r = &rules[buf[0]];
	len = get_be32(buf + 1);
	known = r->who & who;
	if (!known && (who == FRAME_FROM_LOGIN || r->who & FRAME_FROM_MESH))
		return -EPERM;
	if (known && (len < r->min || len > r->max))
		return -EMSGSIZE;

	*ret = (struct frame_head){ .type = buf[0], .known = known, .len = len };
	return 1;
}

bool frame_is_disco(const uint8_t *payload, size_t n)
{
	return n >= DERP_DISCO_MIN_LEN && !memcmp(payload, DERP_DISCO_MAGIC, DERP_DISCO_MAGIC_LEN);
}

void frame_send_to_recv(uint8_t *frame, const struct key *src)
{
	frame[0] = DERP_RECV_PACKET;
	memcpy(frame + DERP_HDR_LEN, src->b, KEY_LEN);
}

uint8_t *frame_forward_to_recv(uint8_t *frame, uint32_t body_len)
{
	uint8_t *recv = frame + KEY_LEN;

	/* The new head covers the tail of the old source key: move the key first. */
	memcpy(recv + DERP_HDR_LEN, frame + DERP_HDR_LEN, KEY_LEN);
	frame_put_head(recv, DERP_RECV_PACKET, body_len - KEY_LEN);
	return recv;
}

void frame_put_head(uint8_t out[static DERP_HDR_LEN], uint8_t type, uint32_t len)
{
	out[0] = type;
	put_be32(out + 1, len);
}

size_t frame_server_key(uint8_t out[static FRAME_SERVER_KEY_LEN], const struct key *server)
{
	frame_put_head(out, DERP_SERVER_KEY, DERP_MAGIC_LEN + KEY_LEN);
	memcpy(out + DERP_HDR_LEN, DERP_MAGIC, DERP_MAGIC_LEN);
	memcpy(out + DERP_HDR_LEN + DERP_MAGIC_LEN, server->b, KEY_LEN);
	return FRAME_SERVER_KEY_LEN;
}

size_t frame_peer_gone(uint8_t out[static FRAME_PEER_GONE_LEN], const struct key *peer, uint8_t reason)
{
	frame_put_head(out, DERP_PEER_GONE, KEY_LEN + 1);
	memcpy(out + DERP_HDR_LEN, peer->b, KEY_LEN);
	out[DERP_HDR_LEN + KEY_LEN] = reason;
	return FRAME_PEER_GONE_LEN;
}

size_t frame_peer_present(uint8_t out[static FRAME_PEER_PRESENT_LEN], const struct frame_present *p)
{
	uint8_t *body = out + DERP_HDR_LEN;

	frame_put_head(out, DERP_PEER_PRESENT, DERP_PEER_PRESENT_LEN);
	memcpy(body, p->key.b, KEY_LEN);
	memcpy(body + KEY_LEN, p->ip, sizeof(p->ip));
	put_be16(body + KEY_LEN + sizeof(p->ip), p->port);
	body[DERP_PEER_PRESENT_LEN - 1] = p->flags;
	return FRAME_PEER_PRESENT_LEN;
}

size_t frame_pong(uint8_t out[static FRAME_PONG_LEN], const uint8_t data[static DERP_PING_LEN])
{
	frame_put_head(out, DERP_PONG, DERP_PING_LEN);
	memcpy(out + DERP_HDR_LEN, data, DERP_PING_LEN);
	return FRAME_PONG_LEN;
}

size_t frame_forward(uint8_t out[static FRAME_FORWARD_LEN], const struct key *src, const struct key *dst, uint32_t n)
{
	frame_put_head(out, DERP_FORWARD_PACKET, 2 * KEY_LEN + n);
	memcpy(out + DERP_HDR_LEN, src->b, KEY_LEN);
	memcpy(out + DERP_HDR_LEN + KEY_LEN, dst->b, KEY_LEN);
	return FRAME_FORWARD_LEN;
}

size_t frame_watch_conns(uint8_t out[static DERP_HDR_LEN])
{
	frame_put_head(out, DERP_WATCH_CONNS, 0);
	return DERP_HDR_LEN;
}

size_t frame_keep_alive(uint8_t out[static FRAME_KEEP_ALIVE_LEN])
{
	frame_put_head(out, DERP_KEEP_ALIVE, 0);
	return FRAME_KEEP_ALIVE_LEN;
}

size_t frame_restarting(uint8_t out[static FRAME_RESTARTING_LEN], uint32_t reconnect_in_ms,
			uint32_t try_for_ms)
{
	frame_put_head(out, DERP_RESTARTING, 8);
	put_be32(out + DERP_HDR_LEN, reconnect_in_ms);
	put_be32(out + DERP_HDR_LEN + 4, try_for_ms);
	return FRAME_RESTARTING_LEN;
}
