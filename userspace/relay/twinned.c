/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/twinned.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/log.h"
#include "kern/twin.h"
#include "relay/forward.h"
#include "relay/mesh.h"
#include "relay/probe.h"
#include "relay/publish.h"
#include "relay/sendq.h"
#include "relay/shard.h"

#define BATCH_IOV	64U
#define LATE_NS		NS_PER_S	/* a claim comes within microseconds, unless its shard is not on a processor */

/* SendPackets on their way into a twin: of one connection, within one call of its input. */
struct twin_batch {
	struct iovec iov[BATCH_IOV];
	unsigned int n;
	size_t bytes;
	struct pktq owned;		/* packets in which some of them lie */
	/* To receive into when there is no buffer. Packets that come back to their sender may be for another twin of this shard, which is read
	 * first; what it has is for its own peer only. */
	uint8_t spare[2][RBUF_SIZE];
	unsigned int reading;		/* twins that are being read: 0 to 2 */
};

static struct splicer *splicer(const struct shard *s)
{
	return s->relay->splicer;
}

void twinned_init(struct shard *s)
{
	list_init(&s->twins_late);
}

void twinned_done(struct shard *s)
{
	free(s->twin_batch);
}

/* --- who has one */

static bool may_join(const struct conn *c)
{
	return c->transport.tls_minor && !c->ws && !c->link && !c->peer->mesh && !c->peer->hidden;
}

static struct twinned *join(struct conn *c)
{
	struct shard *s = c->shard;
	const struct splice_conn from = {
		.fd = -1, .key = c->peer->key.b, .shard = s->id, .slot = c->slot, .generation = c->gen,
	};
	struct twinned *t;
	uint8_t cls;
	int err;

	if (!s->twin_batch)
		s->twin_batch = calloc(1, sizeof(*s->twin_batch));
	t = s->twin_batch ? slab_alloc(&s->out, sizeof(*t), &cls) : NULL;
	if (!t)
		return NULL;
	*t = (struct twinned){ .conn = c, .shard = s, .slab_class = cls };
	list_init(&t->late);
	t->shared = twin_join(splicer(s), &from, &t->place, &t->fd, &err);
	if (t->shared) {
		fence_init(&t->fence, t->shared);
		return t;
	}
	log_limited(LOG_LEVEL_DEBUG, "twin_refused", "error=%s", strerror(-err));
	slab_free(&s->out, t, cls);
	return NULL;
}

void twinned_login(struct conn *c, bool dup)
{
	struct shard *s = c->shard;
	struct twinned *t;

	if (dup || !splicer(s) || !twin_wanted(splicer(s)) || !may_join(c))
		return;
	t = join(c);
	PROBE_TWIN(t ? TWIN_JOINED : TWIN_REFUSED, c->slot, s->id);
	if (!t) {
		STAT_INC(&s->stats, twin_refused);
		return;
	}
	c->peer->twinned = t;
	STAT_INC(&s->stats, twin_peers);
	/* One that logged in just now with the same key did not find us in the map, but it was in the directory before it looked. */
	if (!spliced_is_alone(c))
		splice_hold(t->shared);
}

/* --- what is left to do */

static bool is_late(const struct twinned *t)
{
	return twin_claimed(t->shared) != t->read;
}

static void note_late(struct twinned *t)
{
	if (list_empty(&t->late))
		list_push_back(&t->shard->twins_late, &t->late);
	t->shard->retry = true;
}

/* --- reading */

static enum pkt_class class_of(const uint8_t *frame, uint32_t len)
{
	const uint32_t head = DERP_HDR_LEN + DERP_KEY_LEN;

	return frame_is_disco(frame + head, len - head) ? PKT_DISCO : PKT_DATA;
}

/* 0: not even that is there. */
static uint32_t frame_len(const uint8_t *p, size_t n)
{
	return n < DERP_HDR_LEN ? 0 : DERP_HDR_LEN + get_be32(p + 1);
}

static uint64_t hash_of(struct twinned *t, const uint8_t *key)
{
	if (!t->src_hash || memcmp(t->src.b, key, KEY_LEN)) {
		memcpy(t->src.b, key, KEY_LEN);
		t->src_hash = key_hash(t->shard->relay->directory, &t->src);
	}
	return t->src_hash;
}

/* For our peer, by the kernel. */
static void take_packet(struct twinned *t, struct rbuf *b, uint8_t *frame, uint32_t len)
{
	struct shard *s = t->shard;
	const struct delivery d = {
		.frame = frame, .len = len, .class = class_of(frame, len), .src_hash = hash_of(t, frame + DERP_HDR_LEN),
		.queued_ns = s->now_ns, .rbuf = b,
	};

	__atomic_store_n(&t->shared->taken, t->shared->taken + 1, __ATOMIC_RELAXED);
	if (t->conn && conn_is_relaying(t->conn)) {
		STAT_INC(&s->stats, packets_twin);
		sendq_packet(t->conn, &d);
	} else {
		forward_count_drop(s, DROP_GONE_DISCONNECTED, d.class, packet_payload(frame, len));
	}
}

static void take_frame(struct twinned *t, struct rbuf *b, uint8_t *frame, uint32_t len)
{
	if (frame[0] == DERP_RECV_PACKET) {
		take_packet(t, b, frame, len);
	} else if (frame[0] == DERP_TWIN_DROPPED || !t->conn) {
		forward_count_drop(t->shard, t->conn ? DROP_TWIN_FULL : DROP_GONE_DISCONNECTED, class_of(frame, len),
				   packet_payload(frame, len));
	} else {
		forward_direct(t->conn, frame, len, b, NULL);
		t->fence.consumed += len;
	}
}

/* Returns how many of the n bytes were whole frames. */
static size_t take_frames(struct twinned *t, struct rbuf *b, uint8_t *p, size_t n)
{
	size_t used = 0;
	uint32_t len;

	while ((len = frame_len(p + used, n - used)) && len <= n - used) {
		/* The program let no other through. */
		assert(len >= DERP_HDR_LEN + DERP_KEY_LEN && len <= DERP_HDR_LEN + DERP_TWIN_FRAME_MAX);
		take_frame(t, b, p + used, len);
		used += len;
	}
	return used;
}

/* A frame that was cut by the end of the buffer before goes in front of what is received next. */
static void drain(struct twinned *t)
{
	struct twin_batch *mine = t->shard->twin_batch;
	const uint64_t goal = twin_claimed(t->shared);
	struct rbuf *b = NULL, *next;
	uint8_t *p = NULL, *to, *spare;
	size_t have = 0, used;
	ssize_t n = 0;

	assert(mine->reading < ARRAY_SIZE(mine->spare));
	spare = mine->spare[mine->reading++];
	while ((int64_t)(goal - t->read) > 0 || have) {
		next = rbuf_get(io_rbufs(t->shard->io));
		to = next ? next->data : spare;
		memmove(to, p ? p : to, have);
		if (b)
			rbuf_unref(b);
		b = next;
		n = recv(t->fd, to + have, RBUF_SIZE - have, MSG_DONTWAIT);
		if (n <= 0)
			break;
		t->read += (uint64_t)n;
		used = take_frames(t, b, to, have + (size_t)n);
		have += (size_t)n - used;
		p = to + used;
	}
	if (b)
		rbuf_unref(b);
	mine->reading--;
	__atomic_store_n(&t->shared->read, t->read, __ATOMIC_RELEASE);
}

static void note_drops(struct twinned *t)
{
	uint64_t drops = __atomic_load_n(&t->shared->drops, __ATOMIC_RELAXED);

	if (drops == t->drops || !t->conn)
		return;
	STAT_ADD(&t->conn->peer->facts, drops, drops - t->drops);
	t->drops = drops;
	publish_note(t->conn);
}

static void drain_once(struct twinned *t)
{
	if (t->draining)
		return;
	t->draining = true;
	drain(t);
	note_drops(t);
	t->draining = false;
	if (is_late(t))
		note_late(t);
}

void twinned_drain(struct conn *c)
{
	struct twinned *t = c->peer ? c->peer->twinned : NULL;

	if (t && is_late(t))
		drain_once(t);
}

/* --- writing */

static bool in_order(const struct twinned *t)
{
	return __atomic_load_n(&t->shared->passed, __ATOMIC_RELAXED) == __atomic_load_n(&t->shared->done, __ATOMIC_RELAXED);
}

bool twinned_takes(struct conn *from, uint32_t len)
{
	const struct twinned *t = from->peer->twinned;

	/* What is not in order would only come back. */
	return t && !t->broken && len <= DERP_TWIN_FRAME_MAX && !__atomic_load_n(&t->shared->held, __ATOMIC_RELAXED) && in_order(t);
}

void twinned_write(struct conn *from, uint8_t *frame, uint32_t len, struct pkt *owned)
{
	struct twin_batch *b = from->shard->twin_batch;
	struct iovec *last;

	if (b->n == BATCH_IOV || b->bytes + len > TWIN_WRITE_MAX)
		twinned_flush(from);
	last = b->n ? &b->iov[b->n - 1] : NULL;
	if (last && (uint8_t *)last->iov_base + last->iov_len == frame)
		last->iov_len += len;
	else
		b->iov[b->n++] = (struct iovec){ frame, len };
	b->bytes += len;
	if (owned)
		pktq_push(&b->owned, owned);
}

void twinned_pass(struct conn *from, uint32_t len)
{
	struct twinned *t = from->peer->twinned;

	if (t)
		__atomic_add_fetch(&t->shared->passed, len, __ATOMIC_SEQ_CST);
}

void twinned_passed(struct conn *from, uint32_t len)
{
	struct twinned *t = from->peer->twinned;

	if (!t)
		return;
	t->fence.consumed += len;
	fence_arrived(from->shard, &t->fence);
}

/* What the kernel did not take, from so many bytes on. */
static void send_rest(struct conn *from, const struct twin_batch *b, size_t skip)
{
	for (unsigned int i = 0; i < b->n; i++) {
		uint8_t *p = b->iov[i].iov_base;
		size_t n = b->iov[i].iov_len, off = min_of(skip, n);
		uint32_t len;

		skip -= off;
		for (; (len = frame_len(p + off, n - off)); off += len) {
			twinned_pass(from, len);
			forward_direct(from, p + off, len, NULL, NULL);
			twinned_passed(from, len);
		}
	}
}

static void failed(struct conn *from, int err)
{
	struct twinned *t = from->peer->twinned;

	/* Its destination has just gone, or there was no memory for it. */
	if (err == EPIPE || err == ENOMEM || err == EAGAIN)
		return;
	t->broken = true;
	STAT_INC(&from->shard->stats, twin_broken);
	PROBE_TWIN(TWIN_BROKEN, from->slot, from->shard->id);
}

static void write_batch(struct conn *from, const struct twin_batch *b)
{
	struct twinned *t = from->peer->twinned;
	struct msghdr msg = { .msg_iov = (struct iovec *)b->iov, .msg_iovlen = b->n };
	ssize_t n = sendmsg(t->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	size_t took = n > 0 ? (size_t)n : 0;

	from->shard->twins_wrote = true;
	if (n < 0)
		failed(from, errno);
	t->written += took;
	if (t->shared->decided != t->written)
		twin_undo(splicer(from->shard), t->shared, (uint32_t)(t->shared->decided - t->written));
	/* What was left to us is there by now, before anything that we send another way. */
	if (is_late(t))
		drain_once(t);
	if (took < b->bytes)
		send_rest(from, b, took);
	if (!in_order(t))
		fence_arrived(from->shard, &t->fence);
}

void twinned_flush(struct conn *from)
{
	struct twin_batch *b = from->shard->twin_batch;
	struct pkt *p;

	if (!from->peer->twinned || !b->n)
		return;
	write_batch(from, b);
	b->n = 0;
	b->bytes = 0;
	while ((p = pktq_pop(&b->owned)))
		pkt_free(&from->shard->mem, p);
}

void twinned_open_flow(struct conn *to, const struct delivery *d)
{
	struct twinned *t = to->peer->twinned;
	uint32_t generation;

	if (!t || d->head || __atomic_load_n(&t->shared->held, __ATOMIC_RELAXED))
		return;
	generation = splice_generation(splicer(to->shard), d->source - 1);
	/* It may have been pushed out of the map since. */
	if (t->flow_from == d->source && t->flow_generation == generation && to->shard->now_ns - t->flow_ns < SPLICED_FLOW_NS)
		return;
	/* Who gets its packets by the kernel must be told when it goes. */
	if (!mesh_subscribe(to, d->frame + DERP_HDR_LEN, d->src_hash, d->forwarded))
		return;
	if (splice_open_flow(splicer(to->shard), d->source - 1, t->place))
		return;
	t->flow_from = d->source;
	t->flow_generation = generation;
	t->flow_ns = to->shard->now_ns;
	STAT_INC(&to->shard->stats, twin_flows);
}

/* --- the end */

void twinned_hold(struct conn *c)
{
	struct twinned *t = c->peer->twinned;

	if (!t)
		return;
	twinned_flush(c);
	twin_hold(splicer(c->shard), t->place);
	twinned_drain(c);
}

static void finish(struct twinned *t)
{
	struct shard *s = t->shard;

	list_remove(&t->late);
	list_remove(&t->fence.link);
	twin_leave(splicer(s), t->place, t->fd);
	slab_free(&s->out, t, t->slab_class);
}

void twinned_leave(struct conn *c)
{
	struct twinned *t = c->peer->twinned;

	if (!t)
		return;
	STAT_DEC(&c->shard->stats, twin_peers);
	c->peer->twinned = NULL;
	t->conn = NULL;
	t->left_ns = c->shard->now_ns;
	if (is_late(t) || t->draining)
		note_late(t);
	else
		finish(t);
}

/* Its packets did not come: with their number known, and their bytes. */
static void give_up(struct twinned *t)
{
	const struct derp_conn *k = t->shared;
	uint64_t n = __atomic_load_n(&k->frames_out, __ATOMIC_RELAXED) - k->taken, bytes = twin_claimed(k) - t->read;
	struct shard_stats *st = &t->shard->stats;

	STAT_ADD(st, packets_dropped[DROP_GONE_DISCONNECTED][KIND_OTHER], n);
	STAT_ADD(st, bytes_dropped[DROP_GONE_DISCONNECTED][KIND_OTHER], bytes - min_of(bytes, n * (DERP_HDR_LEN + DERP_KEY_LEN)));
}

static void look_again(struct twinned *t)
{
	if (is_late(t))
		drain_once(t);
	if (t->conn || (is_late(t) && t->shard->now_ns - t->left_ns < LATE_NS))
		return;
	if (is_late(t))
		give_up(t);
	finish(t);
}

void twinned_turn(struct shard *s)
{
	struct list batch, *it;

	if (s->twins_wrote || s->notices_left) {
		s->twins_wrote = false;
		spliced_notices(s);
	}
	if (list_empty(&s->twins_late))
		return;
	list_init(&batch);
	list_move_all(&batch, &s->twins_late);
	while ((it = list_pop_front(&batch))) {
		struct twinned *t = list_entry(it, struct twinned, late);

		look_again(t);
	}
}
