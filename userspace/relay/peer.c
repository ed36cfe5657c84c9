/* SPDX-License-Identifier: BSD-3-Clause */
/* A logged-in connection: what the relay does with each frame, and how the peer leaves.
 * docs/protocol.md section 6. */
#include <errno.h>
#include <time.h>

#include "relay/forward.h"
#include "relay/mesh.h"
#include "relay/meshlink.h"
#include "relay/publish.h"
#include "relay/rate.h"
#include "relay/sendq.h"
#include "relay/shard.h"
#include "relay/spliced.h"
#include "relay/twinned.h"

#define HOME_MOVE_NS	(5 * NS_PER_S)	/* earlier, choosing a home is part of connecting */

static void note_preferred(struct conn *c, bool home)
{
	struct shard_stats *st = &c->shard->stats;
	bool late = c->shard->now_ns - c->peer->login_ns > HOME_MOVE_NS;

	if (c->peer->home == home)
		return;
	c->peer->home = home;
	STAT_SET(&c->peer->facts, home_since, home ? time(NULL) : 0);
	publish_touch(c);
	if (home) {
		STAT_INC(st, home_conns);
		if (late)
			STAT_INC(st, home_moves_in);
	} else {
		STAT_DEC(st, home_conns);
		if (late)
			STAT_INC(st, home_moves_out);
	}
}

static void ping(struct conn *c, const uint8_t *data)
{
	struct shard_stats *st = &c->shard->stats;
	uint8_t frame[FRAME_PONG_LEN];

	STAT_INC(st, got_ping);
	if (c->peer->pong_waiting) {
		STAT_INC(st, pong_coalesced);
		return;
	}
	frame_pong(frame, data);
	if (sendq_control(c, frame, sizeof(frame))) {
		c->peer->pong_waiting = true;
		STAT_INC(st, sent_pong);
	}
}

/* A whole frame. It lies in rbuf, or in the packet owned, which is taken over. */
static void dispatch(struct conn *c, uint8_t *frame, uint32_t len, struct rbuf *rbuf, struct pkt *owned)
{
	uint8_t *body = frame + DERP_HDR_LEN;
	struct key key;

	switch (frame[0]) {
	case DERP_SEND_PACKET:
		forward_send_packet(c, frame, len, rbuf, owned);
		return;
	case DERP_FORWARD_PACKET:
		forward_mesh_packet(c, frame, len, rbuf, owned);
		return;
	case DERP_NOTE_PREFERRED:
		note_preferred(c, body[0] != 0);
		break;
	case DERP_PING:
		ping(c, body);
		break;
	case DERP_WATCH_CONNS:
		mesh_watch(c);
		break;
	case DERP_PEER_PRESENT:
	case DERP_PEER_GONE:
		memcpy(key.b, body, KEY_LEN);
		meshlink_peer(c->link, &key, frame[0] == DERP_PEER_PRESENT);
		break;
	case DERP_CLOSE_PEER:
		memcpy(key.b, body, KEY_LEN);
		mesh_close_peer(c->shard, &key);
		break;
	}
	if (owned)
		pkt_free(&c->shard->mem, owned);
}

static void skip_unknown(struct conn *c, const struct frame_head *h)
{
	struct shard_stats *st = &c->shard->stats;

	STAT_INC(st, unknown_frames);
	STAT_ADD(st, unknown_frame_bytes, h->len);
	if (h->len > c->shard->cfg->max_skip)
		conn_close(c, CLOSE_SKIP_LIMIT);
	else
		c->skip = h->len;
}

/* Torn across reads: room for all of it, known to be within its limit. */
static void start_assembly(struct conn *c, const uint8_t *hdr, const struct frame_head *h)
{
	c->assembling = pkt_new(&c->shard->mem, DERP_HDR_LEN + h->len, PKT_DATA);
	if (c->assembling) {
		memcpy(c->assembling->data, hdr, DERP_HDR_LEN);
		c->assembled = DERP_HDR_LEN;
		STAT_INC(&c->shard->stats, frames_reassembled);
	} else if (h->type == DERP_SEND_PACKET || h->type == DERP_FORWARD_PACKET) {
		forward_refuse(c, h->type, h->len);
		c->skip = h->len;
	} else {
		conn_close(c, CLOSE_NO_MEMORY);
	}
}

static size_t assemble(struct conn *c, const uint8_t *p, size_t n)
{
	struct pkt *k = c->assembling;
	size_t take = min_of(n, k->len - c->assembled);

	memcpy(k->data + c->assembled, p, take);
	c->assembled += (uint32_t)take;
	if (c->assembled == k->len) {
		c->assembling = NULL;
		dispatch(c, k->data, k->len, NULL, k);
	}
	return take;
}

static bool check_head(struct conn *c, struct frame_head *h, const uint8_t *hdr)
{
	int r = frame_head(h, hdr, DERP_HDR_LEN, c->link ? FRAME_FROM_RELAY :
						 c->peer->mesh ? FRAME_FROM_MESH : FRAME_FROM_CLIENT);

	if (r < 0) {
		conn_close(c, r == -EPERM ? CLOSE_NOT_PERMITTED : CLOSE_BAD_FRAME_LENGTH);
		return false;
	}
	/* On the head, before the body is there, as derper does. */
	if (!c->link)
		directory_note_activity(c->shard->relay->directory, c->peer->node, conn_id(c));
	rate_charge(c, h->len);
	if (!h->known)
		skip_unknown(c, h);
	return h->known;
}

/* The five bytes of a head came in pieces. */
static size_t finish_head(struct conn *c, const uint8_t *p, size_t n)
{
	size_t take = min_of(n, (size_t)DERP_HDR_LEN - c->hdr_len);
	struct frame_head h;

	memcpy(c->hdr + c->hdr_len, p, take);
	c->hdr_len += (uint8_t)take;
	if (c->hdr_len < DERP_HDR_LEN)
		return take;
	c->hdr_len = 0;
	if (!check_head(c, &h, c->hdr))
		return take;
	if (h.len)
		start_assembly(c, c->hdr, &h);
	else
		dispatch(c, c->hdr, DERP_HDR_LEN, NULL, NULL);
	return take;
}

size_t peer_input(struct conn *c, struct rbuf *b, uint8_t *p, size_t n)
{
	struct frame_head h;
	size_t take;

	if (c->skip) {
		take = min_of(n, c->skip);
		c->skip -= take;
		return take;
	}
	if (c->assembling)
		return assemble(c, p, n);
	if (c->hdr_len || n < DERP_HDR_LEN)
		return finish_head(c, p, n);
	if (!check_head(c, &h, p))
		return DERP_HDR_LEN;
	if (n >= DERP_HDR_LEN + (size_t)h.len) {
		dispatch(c, p, DERP_HDR_LEN + h.len, b, NULL);
		return DERP_HDR_LEN + h.len;
	}
	start_assembly(c, p, &h);
	return DERP_HDR_LEN;
}

void peer_hide(struct conn *c)
{
	struct shard *s = c->shard;
	struct peer *p = c->peer;
	enum directory_left left;

	if (p->hidden)
		return;
	twinned_hold(c);
	p->hidden = true;
	spliced_hold(c);
	note_preferred(c, false);
	mesh_unwatch(c);
	list_remove(&p->touched);
	login_cap(c, &(struct key_caps){ 0 });
	STAT_DEC(&s->stats, derp_conns);
	if (p->mesh)
		STAT_DEC(&s->stats, mesh_conns);
	if (p->not_ideal)
		STAT_DEC(&s->stats, not_ideal_conns);
	left = directory_remove(s->relay->directory, p->node, conn_id(c));
	if (left != DIRECTORY_HERE)
		mesh_announce_gone(s, &p->key, p->hash, MESH_GONE_HERE | (left == DIRECTORY_GONE ? MESH_GONE_REGION : 0));
}

void peer_leave(struct conn *c, enum drop_reason why)
{
	peer_hide(c);
	gone_unsubscribe_all(c->shard->gone, &c->peer->gone);
	sendq_drop_all(c, why);
}

void peer_free(struct conn *c)
{
	sendq_release(c);
	slab_free(&c->shard->out, c->peer, c->peer->slab_class);
	c->peer = NULL;
}
