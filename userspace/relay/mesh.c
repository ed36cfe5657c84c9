/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/mesh.h"

#include "relay/mailbox.h"
#include "relay/sendq.h"
#include "relay/shard.h"
#include "relay/twinned.h"

#define WALK_STEP	64U		/* PeerPresent frames made at a time */
#define WALK_ROOM	(16U * 1024)	/* a flood goes on while fewer control bytes than this wait */
#define CLOSE_MAX	1024U

static struct conn *watcher_conn(struct list *node)
{
	struct peer *p = list_entry(node, struct peer, watcher);

	return p->conn;
}

/* A watcher that can't keep up would see a wrong picture for ever: it reconnects and is flooded anew. */
static bool tell_watcher(struct conn *c, const uint8_t *frame, uint32_t len)
{
	if (sendq_control(c, frame, len))
		return true;
	conn_close(c, CLOSE_MESH_OVERFLOW);
	return false;
}

void mesh_announce_present(struct shard *s, const struct frame_present *p)
{
	struct msg m = { .type = MSG_PRESENT, .present = *p };

	if (__atomic_load_n(&s->relay->watchers, __ATOMIC_ACQUIRE))
		mailbox_broadcast(s, &m);
	mesh_peer_present(s, p);
}

void mesh_announce_gone(struct shard *s, const struct key *k, uint64_t hash, unsigned int what)
{
	struct msg m = { .type = MSG_GONE, .what = (uint8_t)what, .present.key = *k, .hash = hash };

	mailbox_broadcast(s, &m);
	mesh_peer_gone(s, k, hash, what);
}

void mesh_peer_present(struct shard *s, const struct frame_present *p)
{
	uint8_t frame[FRAME_PEER_PRESENT_LEN];

	if (list_empty(&s->watchers))
		return;
	frame_peer_present(frame, p);
	list_for_each_safe(it, tmp, &s->watchers)
		tell_watcher(watcher_conn(it), frame, sizeof(frame));
}

static void tell_receiver(struct gone_receiver *r, const struct key *src, void *ctx)
{
	struct shard *s = ctx;
	struct conn *c = container_of(r, struct peer, gone)->conn;
	uint8_t frame[FRAME_PEER_GONE_LEN];

	/* The last packets of src, if the kernel moved them, go before the news. */
	twinned_drain(c);
	frame_peer_gone(frame, src, DERP_GONE_DISCONNECTED);
	if (conn_is_relaying(c) && sendq_control(c, frame, sizeof(frame)))
		STAT_INC(&s->stats, gone_disconnected_frames);
}

bool mesh_subscribe(struct conn *c, const uint8_t *src, uint64_t hash, bool forwarded)
{
	struct shard *s = c->shard;
	struct conn_id id;
	struct key k;
	int r = gone_subscribe(s->gone, &c->peer->gone, src, hash);

	if (r <= 0 || forwarded)
		return r >= 0;
	/* A packet is written later than it is queued: the news that its sender left may have been here in between. */
	memcpy(k.b, src, KEY_LEN);
	if (!directory_find(s->relay->directory, &k, hash, &id))
		gone_announce(s->gone, &k, hash, tell_receiver, s);
	return true;
}

void mesh_peer_gone(struct shard *s, const struct key *k, uint64_t hash, unsigned int what)
{
	uint8_t frame[FRAME_PEER_GONE_LEN];
	struct conn_id id;

	if (what & MESH_GONE_REGION)
		gone_announce(s->gone, k, hash, tell_receiver, s);
	if (!(what & MESH_GONE_HERE) || list_empty(&s->watchers))
		return;
	/* The key may be back by now, on another shard whose PeerPresent overtook this: then it is not gone. */
	if (directory_find(s->relay->directory, k, hash, &id) && !id.link)
		return;
	frame_peer_gone(frame, k, DERP_GONE_DISCONNECTED);
	list_for_each_safe(it, tmp, &s->watchers)
		if (tell_watcher(watcher_conn(it), frame, sizeof(frame)))
			STAT_INC(&s->stats, gone_disconnected_frames);
}

void mesh_watch(struct conn *c)
{
	struct peer *p = c->peer;
	struct shard *s = c->shard;

	/* Ourselves, through the mesh list: nothing to tell. */
	if (key_equal(&p->key, &s->cfg->public_key))
		return;
	if (list_empty(&p->watcher)) {
		list_push_back(&s->watchers, &p->watcher);
		__atomic_add_fetch(&s->relay->watchers, 1, __ATOMIC_ACQ_REL);
		STAT_INC(&s->stats, watchers);
	}
	p->walk = 0;
	p->walking = true;
	s->walking = true;
}

void mesh_unwatch(struct conn *c)
{
	if (list_empty(&c->peer->watcher))
		return;
	list_remove(&c->peer->watcher);
	__atomic_sub_fetch(&c->shard->relay->watchers, 1, __ATOMIC_ACQ_REL);
	STAT_DEC(&c->shard->stats, watchers);
}

static void walk_one(struct conn *c)
{
	struct frame_present here[WALK_STEP];
	uint8_t frames[WALK_STEP * FRAME_PEER_PRESENT_LEN];
	struct peer *p = c->peer;
	unsigned int n;
	size_t len;

	while (p->ctl_bytes < WALK_ROOM) {
		n = directory_walk(c->shard->relay->directory, &p->walk, here, WALK_STEP);
		if (!n) {
			p->walking = false;
			return;
		}
		len = 0;
		for (unsigned int i = 0; i < n; i++)
			len += frame_peer_present(frames + len, &here[i]);
		if (!tell_watcher(c, frames, (uint32_t)len))
			return;
	}
}

void mesh_walk(struct shard *s)
{
	if (!s->walking)
		return;
	s->walking = false;
	list_for_each_safe(it, tmp, &s->watchers) {
		struct peer *p = list_entry(it, struct peer, watcher);

		if (p->walking) {
			s->walking = true;
			walk_one(p->conn);
		}
	}
}

void mesh_close_peer(struct shard *s, const struct key *k)
{
	struct conn_id ids[CLOSE_MAX];
	struct msg m = { .type = MSG_CLOSE };
	struct conn *c;
	unsigned int n;

	n = directory_members(s->relay->directory, k, key_hash(s->relay->directory, k), ids, CLOSE_MAX);
	for (unsigned int i = 0; i < n && i < CLOSE_MAX; i++) {
		m.slot = ids[i].slot;
		m.gen = ids[i].gen;
		if (ids[i].shard != s->id) {
			mailbox_send(s, ids[i].shard, &m);
			continue;
		}
		c = shard_conn(s, ids[i].slot, ids[i].gen);
		if (c)
			conn_finish(c, CLOSE_CLOSE_PEER);
	}
}
