/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/spliced.h"

#include <errno.h>
#include <sys/socket.h>

#include "kern/splice.h"
#include "relay/conn_send.h"
#include "relay/forward.h"
#include "relay/mailbox.h"
#include "relay/mesh.h"
#include "relay/publish.h"
#include "relay/rate.h"
#include "relay/sendq.h"
#include "relay/shard.h"
#include "relay/twinned.h"

#define GIVE_MIN_NS	(2 * NS_PER_MS)
#define GIVE_MAX_NS	NS_PER_S
#define PAYS		16U		/* frames the kernel must have moved for the change of hands to have been worth it */
#define POLL_NS		NS_PER_MS	/* the resolution of timers */
#define TICK_MIN_NS	NS_PER_S
#define TICK_MAX_NS	(64 * NS_PER_S)

/* A source is quiet if so many windows in a row had few packets in each receive. */
#define WINDOW_NS	(100 * NS_PER_MS)
#define CALM_WINDOWS	10U

#define SHARED(sp, field)	__atomic_load_n(&(sp)->shared->field, __ATOMIC_RELAXED)

static struct splicer *splicer(const struct conn *c)
{
	return c->shard->relay->splicer;
}

/* --- who may */

static bool may_join(const struct conn *c)
{
	const struct peer *p = c->peer;

	return splicer(c) && splice_mode(splicer(c)) != SPLICE_OFF && c->transport.kind == TRANSPORT_PLAIN && !c->ws && !c->link && !p->mesh && !p->prober && !p->hidden &&
	       !rate_is_limited(c);
}

bool spliced_is_alone(struct conn *c)
{
	struct conn_id id;

	return directory_members(c->shard->relay->directory, &c->peer->key, c->peer->hash, &id, 1) == 1;
}

static void on_timer(struct timer *t, void *ctx);

static void join(struct conn *c)
{
	struct shard *s = c->shard;
	const struct splice_conn from = {
		.fd = c->fd, .key = c->peer->key.b, .shard = s->id, .slot = c->slot, .generation = c->gen,
	};
	struct spliced *sp;
	uint8_t cls;
	int err;

	sp = slab_alloc(&s->out, sizeof(*sp), &cls);
	if (!sp)
		return;
	*sp = (struct spliced){ .conn = c, .slab_class = cls, .delay_ns = GIVE_MIN_NS, .window_ns = s->now_ns };
	sp->shared = splice_join(splicer(c), &from, &sp->place, &err);
	if (!sp->shared) {
		STAT_INC(&s->stats, splice_refused);
		slab_free(&s->out, sp, cls);
		return;
	}
	timer_init(&sp->timer, on_timer);
	fence_init(&sp->fence, sp->shared);
	list_init(&sp->active);
	c->peer->spliced = sp;
	STAT_INC(&s->stats, splice_peers);
	/* One that logged in just now with the same key did not find us in the map, but it was in the directory before it looked. */
	if (!spliced_is_alone(c))
		splice_hold(sp->shared);
	if (splice_mode(splicer(c)) == SPLICE_ON)
		sp->source = SPLICED_WANTED;
}

void spliced_login(struct conn *c, bool dup)
{
	if (!splicer(c))
		return;
	if (dup)
		splice_hold_key(splicer(c), c->peer->key.b);
	else if (may_join(c))
		join(c);
}

/* --- sources */

static bool at_border(const struct conn *c)
{
	return !c->hdr_len && !c->assembling && !c->skip;
}

static void want_source(struct conn *c)
{
	if (at_border(c) && c->receiving)
		conn_pause(c);
}

static void close_window(struct conn *c)
{
	struct spliced *sp = c->peer->spliced;

	/* Several packets in one receive: gathering pays, and so it does where the shard is busy with others. */
	if (2 * sp->window_packets > 3 * sp->window_events || c->shard->busy)
		sp->calm = 0;
	else if (sp->window_events)
		sp->calm++;
	sp->window_events = sp->window_packets = 0;
	sp->window_ns = c->shard->now_ns;
	if (sp->calm < CALM_WINDOWS)
		return;
	sp->calm = 0;
	if (sp->source == SPLICED_QUIET) {
		sp->source = SPLICED_WANTED;
	} else {
		/* Back to the kernel. The program may find it bulk again at the same moment: no harm. */
		sp->shared->pressure = 0;
		__atomic_store_n(&sp->shared->bulk, 0, __ATOMIC_RELEASE);
	}
}

static void watch(struct conn *c, uint64_t packets)
{
	struct spliced *sp = c->peer->spliced;

	sp->window_packets += (uint32_t)packets;
	sp->window_events += packets > 0;
	if (c->shard->now_ns - sp->window_ns >= WINDOW_NS)
		close_window(c);
}

static bool rings_are_empty(struct shard *s)
{
	for (uint16_t i = 0; i < s->relay->nshards; i++)
		if (i != s->id && !mailbox_received(s, i))
			return false;
	return true;
}

static void set_done(struct fence *f)
{
	__atomic_store_n(&f->shared->done, f->consumed, __ATOMIC_RELEASE);
}

void fence_init(struct fence *f, struct derp_conn *shared)
{
	*f = (struct fence){ .shared = shared };
	list_init(&f->link);
}

/* What was received has arrived: in queues of this shard at once, at others when they have taken their mail. Taking a packet takes the
 * destination's stream back. */
void fence_arrived(struct shard *s, struct fence *f)
{
	if (rings_are_empty(s))
		set_done(f);
	else if (list_empty(&f->link))
		list_push_back(&s->unfenced, &f->link);
}

void spliced_received(struct conn *c, size_t n, uint64_t packets)
{
	struct spliced *sp = c->peer->spliced;

	if (!sp)
		return;
	sp->drained = n < RBUF_SIZE;
	switch (sp->source) {
	case SPLICED_QUIET:
		watch(c, packets);
		break;
	case SPLICED_ATTACHED:
		sp->fence.consumed += n;
		fence_arrived(c->shard, &sp->fence);
		if (SHARED(sp, bulk))
			watch(c, packets);
		break;
	}
	if (sp->source == SPLICED_WANTED)
		want_source(c);
}

static void note_active(struct spliced *sp)
{
	struct shard *s = sp->conn->shard;

	if (!list_empty(&sp->active))
		return;
	list_push_back(&s->spliced, &sp->active);
	s->splice_tick_ns = TICK_MIN_NS;
	timer_arm(&s->wheel, &s->splice_tick, s->now_ns + TICK_MIN_NS);
}

void spliced_attach(struct conn *c)
{
	struct spliced *sp = c->peer ? c->peer->spliced : NULL;

	if (!sp || sp->source != SPLICED_WANTED || !sp->drained || !at_border(c) || !conn_is_relaying(c))
		return;
	if (splice_attach(splicer(c), sp->place, c->fd)) {
		sp->source = SPLICED_NEVER;
		STAT_INC(&c->shard->stats, splice_refused);
		return;
	}
	sp->source = SPLICED_ATTACHED;
	c->was_source = true;
	c->inflight++;
	io_hangup(c->shard->io, c->fd, conn_tag(c));
	STAT_INC(&c->shard->stats, splice_sources);
	note_active(sp);
}

bool spliced_receives(const struct conn *c)
{
	const struct spliced *sp = c->peer ? c->peer->spliced : NULL;

	return !sp || sp->source != SPLICED_ATTACHED || sp->hung_up ||
	       __atomic_load_n(&sp->shared->passed, __ATOMIC_SEQ_CST) != sp->fence.consumed;
}

void spliced_on_hangup(struct conn *c, const struct io_event *ev)
{
	if (ev->res == -ECANCELED || !c->peer || !c->peer->spliced)
		return;
	c->peer->spliced->hung_up = true;
	conn_rearm(c);
}

static void on_notice(void *ctx, const struct derp_conn *k)
{
	struct conn *c = shard_conn(ctx, k->slot, k->slot_generation);

	if (c && !twinned_notice(c, k))
		conn_rearm(c);
}

void spliced_notices(struct shard *s)
{
	s->notices_left = splice_notices(s->relay->splicer, s->id, on_notice, s);
}

void spliced_fence(struct shard *s)
{
	struct list *it;

	if (list_empty(&s->unfenced))
		return;
	if (!rings_are_empty(s)) {
		timer_arm(&s->wheel, &s->fence, s->now_ns + POLL_NS);
		return;
	}
	while ((it = list_pop_front(&s->unfenced)))
		set_done(list_entry(it, struct fence, link));
}

/* Only to wake up: the turn does it. */
static void on_fence(struct timer *t, void *ctx)
{
	(void)t;
	(void)ctx;
}

/* --- destinations */

static void look_again(struct spliced *sp, uint64_t delay_ns)
{
	struct shard *s = sp->conn->shard;

	timer_arm(&s->wheel, &sp->timer, s->now_ns + delay_ns);
}

static void give_later(struct spliced *sp)
{
	sp->give_ns = sp->conn->shard->now_ns + sp->delay_ns;
	look_again(sp, sp->delay_ns);
}

void spliced_take(struct conn *to)
{
	struct spliced *sp = to->peer->spliced;

	splice_take(sp->shared);
	sp->given = false;
	sp->taking = true;
	STAT_INC(&to->shard->stats, splice_taken);
	/* A stream that the shard wants back all the time is the shard's. */
	if (SHARED(sp, frames_out) - sp->frames_given >= PAYS)
		sp->delay_ns = GIVE_MIN_NS;
	else
		sp->delay_ns = min_of(2 * sp->delay_ns, GIVE_MAX_NS);
	give_later(sp);
}

static void give(struct conn *c)
{
	struct spliced *sp = c->peer->spliced;

	if (SHARED(sp, held))
		return;
	if (!sp->widened)
		splice_widen(c->fd);
	sp->widened = true;
	if (c->sending || c->blocked || !conn_nothing_to_send(c) || splice_give(sp->shared, c->fd, &sp->base)) {
		give_later(sp);
		return;
	}
	timer_disarm(&c->shard->wheel, &sp->timer);
	sp->given = true;
	sp->frames_given = SHARED(sp, frames_out);
	STAT_INC(&c->shard->stats, splice_given);
	note_active(sp);
}

void spliced_sent(struct conn *c)
{
	struct spliced *sp = c->peer ? c->peer->spliced : NULL;

	if (sp && sp->wanted && !sp->given && !sp->taking && c->shard->now_ns >= sp->give_ns && conn_is_relaying(c))
		give(c);
}

bool spliced_may_write(struct conn *c)
{
	struct spliced *sp = c->peer ? c->peer->spliced : NULL;
	uint64_t left;

	if (!sp || !sp->taking)
		return true;
	left = splice_undelivered(sp->shared, c->fd, sp->base);
	if (!left) {
		sp->taking = false;
		return true;
	}
	/* The peer does take what it is sent: its patience starts anew. */
	if (left < sp->undelivered)
		timer_disarm(&c->shard->wheel, &c->write_timer);
	sp->undelivered = left;
	look_again(sp, POLL_NS);
	return false;
}

static void on_timer(struct timer *t, void *ctx)
{
	struct spliced *sp = container_of(t, struct spliced, timer);
	struct conn *c = sp->conn;

	(void)ctx;
	if (c->waits_kernel) {
		if (spliced_may_write(c)) {
			conn_kernel_done(c);
			give_later(sp);
		} else {
			conn_kernel_waits(c);
		}
	} else if (sp->taking && !spliced_may_write(c)) {
		/* Nothing to write, but it can't be given again before that. */
	} else if (!sp->given && sp->wanted) {
		give(c);
	}
}

void spliced_open_flow(struct conn *to, const struct delivery *d)
{
	struct spliced *sp = to->peer->spliced;

	if (!sp || SHARED(sp, held) || d->head)
		return;
	if (d->source == sp->flow_from && to->shard->now_ns - sp->flow_ns < SPLICED_FLOW_NS)
		return;
	/* Who gets its packets by the kernel must be told when it goes. */
	if (!mesh_subscribe(to, d->frame + DERP_HDR_LEN, d->src_hash, d->forwarded))
		return;
	if (splice_open_flow(splicer(to), d->source - 1, sp->place))
		return;
	sp->flow_from = d->source;
	sp->flow_ns = to->shard->now_ns;
	STAT_INC(&to->shard->stats, splice_flows);
	if (!sp->wanted) {
		sp->wanted = true;
		give_later(sp);
	}
}

/* --- the end */

void spliced_hold(struct conn *c)
{
	struct spliced *sp = c->peer->spliced;

	if (!sp)
		return;
	splice_hold(sp->shared);
	if (sp->given)
		spliced_take(c);
}

static void fold(struct spliced *sp);

/* What the kernel was given and did not write goes with the socket. Its number follows from its bytes. */
static void count_lost(struct spliced *sp)
{
	struct conn *c = sp->conn;
	uint64_t bytes = sp->taking ? splice_undelivered(sp->shared, c->fd, sp->base) : 0;
	uint64_t all = SHARED(sp, redirected), n;

	if (!bytes || bytes > all)
		return;
	n = (bytes * SHARED(sp, frames_out) + all - 1) / all;
	bytes -= min_of(bytes, n * (DERP_HDR_LEN + DERP_KEY_LEN));
	STAT_ADD(&c->shard->stats, splice_lost, n);
	STAT_ADD(&c->shard->stats, splice_lost_bytes, bytes);
	STAT_ADD(&c->shard->stats, packets_dropped[DROP_GONE_DISCONNECTED][KIND_OTHER], n);
	STAT_ADD(&c->shard->stats, bytes_dropped[DROP_GONE_DISCONNECTED][KIND_OTHER], bytes);
}

void spliced_leave(struct conn *c)
{
	struct spliced *sp = c->peer->spliced;
	struct shard *s = c->shard;

	if (!sp)
		return;
	count_lost(sp);
	timer_disarm(&s->wheel, &sp->timer);
	list_remove(&sp->fence.link);
	list_remove(&sp->active);
	STAT_DEC(&s->stats, splice_peers);
	if (sp->source == SPLICED_ATTACHED)
		STAT_DEC(&s->stats, splice_sources);
	splice_leave(splicer(c), sp->place);
	slab_free(&s->out, sp, sp->slab_class);
	c->peer->spliced = NULL;
}

int spliced_check(const struct conn *c)
{
	const struct spliced *sp = c->peer->spliced;
	socklen_t len = sizeof(int);
	int err;

	if (!sp || sp->source != SPLICED_ATTACHED)
		return 0;
	return getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) ? -errno : -err;
}

/* --- accounts */

static uint64_t moved(uint64_t *last, uint64_t now)
{
	uint64_t n = now - *last;

	*last = now;
	return n;
}

static void fold(struct spliced *sp)
{
	struct peer_facts *f = &sp->conn->peer->facts;
	uint64_t frames = moved(&sp->frames_out, SHARED(sp, frames_out));
	uint64_t bytes = moved(&sp->redirected, SHARED(sp, redirected));

	STAT_ADD(f, frames_out, frames);
	STAT_ADD(f, bytes_out, bytes - min_of(bytes, frames * (DERP_HDR_LEN + DERP_KEY_LEN)));
	STAT_ADD(f, frames_in, moved(&sp->frames_in, SHARED(sp, frames_in)));
	STAT_ADD(f, bytes_in, moved(&sp->bytes_in, SHARED(sp, bytes_in)));
}

/* Once a second while the kernel moves anything, more and more seldom when it does not. */
static void on_tick(struct timer *t, void *ctx)
{
	struct shard *s = ctx;
	struct spliced *sp;
	struct list *it;
	bool any = false;

	for (it = s->spliced.next; it != &s->spliced; it = it->next) {
		sp = list_entry(it, struct spliced, active);
		uint64_t drops = moved(&sp->drops, SHARED(sp, drops));
		uint64_t before = sp->frames_in + sp->frames_out;

		fold(sp);
		STAT_ADD(&sp->conn->peer->facts, drops, drops);
		any |= drops || sp->frames_in + sp->frames_out != before;
		publish_note(sp->conn);
		/* A full queue is the shard's: it drops the oldest, and does not wait for ever. */
		if (drops && sp->given) {
			sp->delay_ns = GIVE_MAX_NS / 2;
			spliced_take(sp->conn);
			conn_mark_dirty(sp->conn);
		}
	}
	s->splice_tick_ns = any ? TICK_MIN_NS : min_of(2 * s->splice_tick_ns, TICK_MAX_NS);
	if (!list_empty(&s->spliced))
		timer_arm(&s->wheel, t, s->now_ns + s->splice_tick_ns);
}

void spliced_init(struct shard *s)
{
	list_init(&s->unfenced);
	list_init(&s->spliced);
	timer_init(&s->fence, on_fence);
	timer_init(&s->splice_tick, on_tick);
}
