/* SPDX-License-Identifier: BSD-3-Clause */
/* DERP login: ServerKey out, ClientInfo in, ServerInfo out, then the connection is a peer. docs/protocol.md section 5. */
#include <errno.h>
#include <sodium.h>
#include <time.h>

#include "base/log.h"
#include "net/listen.h"
#include "relay/mesh.h"
#include "relay/probe.h"
#include "relay/sendq.h"
#include "relay/shard.h"
#include "wire/handshake.h"

static void refuse(struct conn *c, enum login_refusal why)
{
	struct shard_stats *st = &c->shard->stats;
	char from[LISTEN_TEXT_LEN];

	STAT_INC(st, login_refused[why]);
	if (why == LOGIN_ZERO_KEY)
		STAT_INC(st, zero_key_logins);
	sockaddr_text(from, &c->src.sa);
	log_limited(LOG_LEVEL_WARN, "login_refused", "reason=%s from=%s", login_refusal_name(why), from);
	conn_close(c, CLOSE_LOGIN_REFUSED);
}

static uint8_t present_flags(const struct peer *p)
{
	unsigned int f = (p->mesh ? DERP_PRESENT_MESH : 0) | (p->prober ? DERP_PRESENT_PROBER : 0) |
			 (p->not_ideal ? DERP_PRESENT_NOT_IDEAL : 0);

	return (uint8_t)(f ? f : DERP_PRESENT_REGULAR);
}

static struct peer *peer_new(struct conn *c, const struct client_info *ci)
{
	const struct config *cfg = c->shard->cfg;
	struct peer *p;
	uint8_t cls;

	p = slab_alloc(&c->shard->out, sizeof(*p), &cls);
	if (!p)
		return NULL;
	*p = (struct peer){
		.conn = c,
		.key = ci->key,
		.hash = key_hash(c->shard->relay->directory, &ci->key),
		.mesh = ci->has_mesh_key && cfg->has_mesh_key && !key_is_zero(&ci->mesh_key) &&
			key_equal_secret(&ci->mesh_key, &cfg->mesh_key),
		.prober = ci->is_prober,
		.not_ideal = c->not_ideal,
		.login_ns = c->shard->now_ns,
		.facts = {
			.connected_at = (uint64_t)time(NULL),
			.transport = c->ktls ? DERP_KTLS : c->transport.kind == TRANSPORT_PLAIN ? DERP_PLAIN : DERP_TLS,
		},
		.slab_class = cls,
	};
	gone_receiver_init(&p->gone);
	list_init(&p->watcher);
	list_init(&p->touched);
	return p;
}

static void count_login(struct conn *c, bool dup)
{
	struct shard_stats *st = &c->shard->stats;
	struct peer *p = c->peer;

	STAT_INC(st, logins);
	STAT_INC(st, derp_conns);
	if (dup)
		STAT_INC(st, dup_client_conns);
	if (p->mesh)
		STAT_INC(st, mesh_conns);
	if (p->not_ideal)
		STAT_INC(st, not_ideal_conns);
	PROBE_LOGIN(c->slot, c->shard->id);
}

/* Registered first, as derper does: once ServerInfo is out, whoever sends to this key finds it. */
static void admit(struct conn *c, const struct client_info *ci)
{
	struct shard *s = c->shard;
	struct directory_member m = { .id = conn_id(c) };
	uint8_t frame[SERVER_INFO_LEN];
	struct peer *p = peer_new(c, ci);
	bool dup = false;
	int err;

	if (!p) {
		conn_close(c, CLOSE_NO_MEMORY);
		return;
	}
	m.facts = &p->facts;
	m.present.key = p->key;
	m.present.flags = present_flags(p);
	sockaddr_to_16(m.present.ip, &m.present.port, &c->src.sa);
	err = server_info_seal(frame, &p->key, &s->cfg->private_key);
	if (!err)
		err = conn_write(c, frame, sizeof(frame));
	if (!err)
		err = directory_add(s->relay->directory, &m, p->hash, s->cfg->max_conns_per_key, &p->node, &dup);
	if (err) {
		slab_free(&s->out, p, p->slab_class);
		if (err == -EMLINK)
			log_limited(LOG_LEVEL_WARN, "connection_refused", "reason=key_limit limit=%u",
				    s->cfg->max_conns_per_key);
		conn_close(c, err == -EMLINK ? CLOSE_KEY_LIMIT :
			      err == -ENOMEM ? CLOSE_NO_MEMORY : CLOSE_LOGIN_REFUSED);
		return;
	}
	conn_enter_relaying(c, p);
	count_login(c, dup);
	mesh_announce_present(s, &m.present);
}

static void open_client_info(struct conn *c, const uint8_t *body, size_t n)
{
	struct client_info ci;
	enum login_refusal why;

	why = client_info_open(&ci, body, n, &c->shard->cfg->private_key);
	if (why == LOGIN_OK)
		admit(c, &ci);
	else
		refuse(c, why);
	sodium_memzero(&ci, sizeof(ci));
}

static void bad_frame(struct conn *c, int err)
{
	conn_close(c, err == -EPERM ? CLOSE_NOT_PERMITTED : CLOSE_BAD_FRAME_LENGTH);
}

/* Torn: what came is kept, and no more. */
size_t login_collect(struct conn *c, const uint8_t *p, size_t n, enum frame_sender who, struct frame_head *h, int *r)
{
	size_t need = DERP_HDR_LEN, take;

	if (c->in_len >= DERP_HDR_LEN) {
		frame_head(h, c->in, c->in_len, who);
		need += h->len;
	}
	take = min_of(n, need - c->in_len);
	*r = conn_stash(c, p, take);
	if (*r)
		return n;
	*r = frame_head(h, c->in, c->in_len, who);
	if (*r == 1 && c->in_len < DERP_HDR_LEN + h->len)
		*r = 0;
	return take;
}

size_t login_input(struct conn *c, struct rbuf *b, uint8_t *p, size_t n)
{
	struct frame_head h;
	size_t take;
	int r;

	(void)b;
	if (!c->in_len) {
		r = frame_head(&h, p, n, FRAME_FROM_LOGIN);
		if (r < 0) {
			bad_frame(c, r);
			return n;
		}
		if (r && n >= DERP_HDR_LEN + (size_t)h.len) {
			open_client_info(c, p + DERP_HDR_LEN, h.len);
			return DERP_HDR_LEN + h.len;
		}
	}
	take = login_collect(c, p, n, FRAME_FROM_LOGIN, &h, &r);
	if (r == -ENOMEM)
		conn_close(c, CLOSE_NO_MEMORY);
	else if (r < 0)
		bad_frame(c, r);
	else if (r) {
		open_client_info(c, c->in + DERP_HDR_LEN, h.len);
		conn_unstash(c);
	}
	return take;
}
