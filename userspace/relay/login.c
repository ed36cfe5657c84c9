/* SPDX-License-Identifier: BSD-3-Clause */
/* DERP login: ServerKey out, ClientInfo in, ServerInfo out, then the connection is a peer. docs/protocol.md section 5. */
#include <errno.h>
#include <sodium.h>
#include <time.h>

#include "base/log.h"
#include "net/listen.h"
#include "relay/admission.h"
#include "relay/arrival.h"
#include "relay/mesh.h"
#include "relay/probe.h"
#include "relay/rate.h"
#include "relay/sendq.h"
#include "relay/shard.h"
#include "relay/spliced.h"
#include "relay/twinned.h"
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

/* A login that waits for a verdict, and what the client sent behind it meanwhile. */
struct verdict_wait {
	struct client_info ci;
	struct pktq held;
	size_t bytes;
	uint8_t slab_class;
};

/* Reading stops with the first bytes held; what the kernel had handed out by then still comes. */
#define HOLD_MAX	(2U * 1024 * 1024)

static uint8_t present_flags(const struct peer *p)
{
	unsigned int f = (p->mesh ? DERP_PRESENT_MESH : 0) | (p->prober ? DERP_PRESENT_PROBER : 0) |
			 (p->not_ideal ? DERP_PRESENT_NOT_IDEAL : 0);

	return (uint8_t)(f ? f : DERP_PRESENT_REGULAR);
}

static bool has_mesh_rights(const struct config *cfg, const struct client_info *ci)
{
	return ci->has_mesh_key && cfg->has_mesh_key && !key_is_zero(&ci->mesh_key) &&
	       key_equal_secret(&ci->mesh_key, &cfg->mesh_key);
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
		.mesh = has_mesh_rights(cfg, ci),
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

/* Good until the end of the turn. */
static struct admission *current_admission(struct shard *s)
{
	return __atomic_load_n(&s->relay->admission, __ATOMIC_ACQUIRE);
}

static bool has_caps(const struct key_caps *c)
{
	return c->has_rate || c->conns;
}

void login_cap(struct conn *c, const struct key_caps *caps)
{
	struct shard_stats *st = &c->shard->stats;
	struct peer *p = c->peer;

	if (has_caps(&p->caps))
		STAT_DEC(st, capped_conns);
	p->caps = *caps;
	if (has_caps(&p->caps))
		STAT_INC(st, capped_conns);
	if (rate_is_limited(c))
		spliced_hold(c);
}

/* Registered first, as derper does: once ServerInfo is out, whoever sends to this key finds it. */
static void admit(struct conn *c, const struct client_info *ci)
{
	struct shard *s = c->shard;
	struct directory_member m = { .id = conn_id(c) };
	uint8_t frame[SERVER_INFO_LEN];
	struct peer *p = peer_new(c, ci);
	const struct key_caps *caps = NULL;
	unsigned int max_conns;
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
	if (!p->mesh)
		caps = admission_caps(current_admission(s), &p->key);
	max_conns = caps && caps->conns ? caps->conns : s->cfg->max_conns_per_key;
	server_info_seal(frame, &ci->shared);
	err = conn_write(c, frame, sizeof(frame));
	if (!err)
		err = directory_add(s->relay->directory, &m, p->hash, max_conns, &p->node, &dup);
	if (err) {
		slab_free(&s->out, p, p->slab_class);
		if (err == -EMLINK)
			log_limited(LOG_LEVEL_WARN, "connection_refused", "reason=key_limit limit=%u", max_conns);
		conn_close(c, err == -EMLINK ? CLOSE_KEY_LIMIT :
			      err == -ENOMEM ? CLOSE_NO_MEMORY : CLOSE_LOGIN_REFUSED);
		return;
	}
	conn_enter_relaying(c, p);
	if (caps)
		login_cap(c, caps);
	count_login(c, dup);
	spliced_login(c, dup);
	twinned_login(c, dup);
	mesh_announce_present(s, &m.present);
}

static void count_verdict(struct conn *c, const struct key *k, enum admission_outcome o, const char *why)
{
	char from[LISTEN_TEXT_LEN], hex[KEY_HEX_LEN + 1];

	STAT_INC(&c->shard->stats, admissions[o]);
	if (o == ADMISSION_ALLOWED)
		return;
	sockaddr_text(from, &c->src.sa);
	key_to_hex(hex, k);
	if (admission_allows(o))
		log_limited(LOG_LEVEL_WARN, "client_allowed_unverified", "key=nodekey:%s from=%s reason=%s", hex, from, why);
	else
		log_limited(LOG_LEVEL_WARN, "client_rejected", "key=nodekey:%s from=%s reason=%s", hex, from, why);
}

void login_forget(struct conn *c)
{
	struct verdict_wait *w = c->waiting;
	struct shard *s = c->shard;
	struct pkt *p;

	while ((p = pktq_pop(&w->held)))
		pkt_free(&s->mem, p);
	slab_free(&s->out, w, w->slab_class);
	c->waiting = NULL;
	STAT_DEC(&s->stats, conns_verifying);
}

static void let_in(struct conn *c)
{
	struct verdict_wait *w = c->waiting;
	struct shard *s = c->shard;
	struct pkt *p;

	/* It worked before. */
	if (handshake_shared(&w->ci.shared, &w->ci.key, &s->cfg->private_key) == 0)
		admit(c, &w->ci);
	sodium_memzero(&w->ci.shared, sizeof(w->ci.shared));
	while (conn_is_relaying(c) && (p = pktq_pop(&w->held))) {
		conn_replay(c, p->data, p->len);
		pkt_free(&s->mem, p);
	}
	if (c->waiting)
		login_forget(c);
	if (conn_is_relaying(c))
		conn_rearm(c);
}

static void verdict(struct shard *s, struct conn_id id, const struct key *k, enum admission_outcome o, const char *why)
{
	struct conn *c = shard_conn(s, id.slot, id.gen);

	if (!c || c->state != CONN_EXPECT_VERDICT)
		return;
	count_verdict(c, k, o, why);
	if (admission_allows(o))
		let_in(c);
	else
		conn_close(c, CLOSE_NOT_ADMITTED);
}

void login_late(struct conn *c)
{
	struct key k = c->waiting->ci.key;

	verdict(c->shard, conn_id(c), &k, admission_late(current_admission(c->shard)), "no verdict in time");
}

size_t login_hold(struct conn *c, struct rbuf *b, uint8_t *p, size_t n)
{
	struct verdict_wait *w = c->waiting;
	struct pkt *k = w->bytes + n > HOLD_MAX ? NULL : pkt_new(&c->shard->mem, (uint32_t)n, PKT_CTL);

	(void)b;
	if (!k) {
		conn_close(c, CLOSE_NO_MEMORY);
		return n;
	}
	memcpy(k->data, p, n);
	pktq_push(&w->held, k);
	w->bytes += n;
	conn_pause(c);
	return n;
}

static void wait_for_verdict(struct conn *c, const struct client_info *ci)
{
	struct shard *s = c->shard;
	struct verdict_wait *w;
	uint8_t cls;

	w = slab_alloc(&s->out, sizeof(*w), &cls);
	if (!w) {
		conn_close(c, CLOSE_NO_MEMORY);
		return;
	}
	*w = (struct verdict_wait){ .ci = *ci, .slab_class = cls };
	/* Without rights its mesh key is of no use any more. */
	w->ci.has_mesh_key = false;
	sodium_memzero(&w->ci.mesh_key, sizeof(w->ci.mesh_key));
	/* Worked out again then: this memory is not for keys. */
	sodium_memzero(&w->ci.shared, sizeof(w->ci.shared));
	c->waiting = w;
	STAT_INC(&s->stats, conns_verifying);
	conn_enter_verdict(c);
}

/* Mesh clients are trusted: no tailnet knows them. */
static void check_in(struct conn *c, const struct client_info *ci)
{
	struct shard *s = c->shard;
	struct admission *a = current_admission(s);
	enum admission_outcome o;
	const char *why;

	if (!a || has_mesh_rights(s->cfg, ci)) {
		admit(c, ci);
		return;
	}
	o = admission_ask(a, s, conn_id(c), &ci->key, &c->src.sa, verdict, &why);
	if (o == ADMISSION_ASKED) {
		wait_for_verdict(c, ci);
		return;
	}
	count_verdict(c, &ci->key, o, why);
	if (admission_allows(o))
		admit(c, ci);
	else
		conn_close(c, CLOSE_NOT_ADMITTED);
}

static void open_client_info(struct conn *c, const uint8_t *body, size_t n)
{
	struct client_info ci;
	enum login_refusal why;

	if (!arrival_may_login(c))
		return;
	why = client_info_open(&ci, body, n, &c->shard->cfg->private_key);
	if (why == LOGIN_OK)
		check_in(c, &ci);
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
