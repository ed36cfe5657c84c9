/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/shard.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/feature.h"
#include "base/log.h"
#include "kern/splice.h"
#include "relay/ask.h"
#include "relay/mailbox.h"
#include "relay/mesh.h"
#include "relay/meshlink.h"
#include "relay/placement.h"
#include "relay/publish.h"
#include "relay/sendq.h"
#include "relay/spliced.h"
#include "relay/stund.h"
#include "relay/twinned.h"

/* Slots above the connections' name the listeners. */
#define LISTENER_SLOT	0xffffff00U
#define NOTICE_SLOT	0xfffffeffU
#define RETRY_NS	NS_PER_MS
#define SHARD_PAGE	4096U
#define TRIM_NS		NS_PER_S
#define TRIM_STEP	128U		/* blocks at a time, of some 40 KiB */
#define BUSY_PACKETS	10U	/* per turn: gathering them pays */
#define ACCEPT_PAUSE_NS	(100 * NS_PER_MS)
/* Memory for what is not packets: answers, ciphertext on its way, peers, subscriptions. Reserved apart, so
 * that full queues can't keep the relay from answering. */
#define OUT_MEMORY(cfg)	((cfg)->queue_memory + (cfg)->queue_memory / 2 + (64ULL << 20))

struct conn *shard_conn(struct shard *s, uint32_t slot, uint32_t gen)
{
	struct conn *c;

	if (slot / SHARD_CHUNK >= s->nchunks)
		return NULL;
	c = &s->chunks[slot / SHARD_CHUNK][slot % SHARD_CHUNK];
	return c->gen == gen && c->state != CONN_FREE ? c : NULL;
}

static int add_chunk(struct shard *s)
{
	struct conn *chunk;
	uint32_t base = s->nchunks * SHARD_CHUNK;

	if (s->nchunks == s->max_chunks)
		return -ENOSPC;
	chunk = calloc(SHARD_CHUNK, sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	s->chunks[s->nchunks++] = chunk;
	for (uint32_t i = SHARD_CHUNK; i-- > 0; )
		s->free_slots[s->nfree++] = base + i;
	return 0;
}

struct conn *shard_conn_new(struct shard *s)
{
	struct conn *c;
	uint32_t slot, gen;

	if (s->stats.conns >= s->max_conns || (!s->nfree && add_chunk(s)))
		return NULL;
	slot = s->free_slots[--s->nfree];
	c = &s->chunks[slot / SHARD_CHUNK][slot % SHARD_CHUNK];
	gen = c->gen;
	memset(c, 0, sizeof(*c));
	c->shard = s;
	c->slot = slot;
	c->gen = gen;
	return c;
}

void shard_conn_free(struct shard *s, struct conn *c)
{
	c->state = CONN_FREE;
	s->free_slots[s->nfree++] = c->slot;
}

/* --- completions */

static void listener_event(struct shard *s, const struct io_event *ev)
{
	struct listener *l = &s->listeners[ev->tag.slot - LISTENER_SLOT];

	if (ev->last)
		l->armed = false;
	if (l->kind == LISTEN_STUN) {
		if (ev->res > 0)
			stund_readable(s, l->fd);
	} else if (ev->res >= 0) {
		conn_accept(s, ev->res, l->kind == LISTEN_MAIN);
	} else if (ev->res != -ECANCELED) {
		log_limited(LOG_LEVEL_ERROR, "accept_error", "error=%s shard=%u", strerror(-ev->res), s->id);
		l->pause_ns = s->now_ns + ACCEPT_PAUSE_NS;
	}
}

static void conn_event(struct conn *c, const struct io_event *ev)
{
	switch (ev->op) {
	case IO_RECV:
		conn_on_recv(c, ev);
		break;
	case IO_SEND:
		conn_on_send(c, ev);
		break;
	case IO_HANGUP:
		spliced_on_hangup(c, ev);
		break;
	case IO_WRITABLE:
		conn_on_writable(c, ev);
		break;
	default:
		assert(!"no such operation on a connection");
	}
}

/* For the pace: who speaks in this turn, and who did so in the one before. */
static void note_heard(struct shard *s, struct conn *c)
{
	uint32_t turn = (uint32_t)s->stats.turns;

	s->brought.last = c->slot;
	if (c->heard_turn == turn)
		return;
	s->brought.heard++;
	s->brought.again += c->heard_turn == turn - 1;
	c->heard_turn = turn;
}

static void shard_complete(void *ctx, const struct io_event *ev)
{
	struct shard *s = ctx;
	struct conn *c;

	if (!s->fresh) {
		s->now_ns = clock_now_ns();
		s->fresh = true;
	}
	if (ev->tag.slot == NOTICE_SLOT) {
		spliced_notices(s);
		s->notices_armed = !ev->last;
		return;
	}
	if (ev->tag.slot >= LISTENER_SLOT) {
		listener_event(s, ev);
		return;
	}
	c = &s->chunks[ev->tag.slot / SHARD_CHUNK][ev->tag.slot % SHARD_CHUNK];
	if (ev->last)
		c->inflight--;
	if (ev->op == IO_RECV)
		note_heard(s, c);
	if (c->gen == ev->tag.gen)
		conn_event(c, ev);
	else
		conn_reap(c);
	if (ev->buf)
		rbuf_unref(ev->buf);
}

/* --- the turn */

static void arm_listeners(struct shard *s)
{
	for (unsigned int i = 0; i < s->nlisteners; i++) {
		struct listener *l = &s->listeners[i];
		struct io_tag tag = { .slot = LISTENER_SLOT + i };

		if (l->armed || l->fd < 0)
			continue;
		if (s->now_ns < l->pause_ns) {
			s->retry = true;
			continue;
		}
		l->armed = true;
		if (l->kind == LISTEN_STUN)
			io_readable(s->io, l->fd, tag);
		else
			io_accept(s->io, l->fd, tag);
	}
}

static void arm_notices(struct shard *s)
{
	if (!s->relay->splicer || s->notices_armed)
		return;
	s->notices_armed = true;
	io_readable(s->io, splice_notice_fd(s->relay->splicer, s->id), (struct io_tag){ .slot = NOTICE_SLOT });
}

static void close_listeners(struct shard *s)
{
	for (unsigned int i = 0; i < s->nlisteners; i++) {
		struct listener *l = &s->listeners[i];

		if (l->fd < 0)
			continue;
		io_cancel(s->io, l->fd, (struct io_tag){ .slot = LISTENER_SLOT + i });
		close(l->fd);
		l->fd = -1;
	}
}

static void rearm_starved(struct shard *s)
{
	struct list *it;
	struct list batch;

	list_init(&batch);
	list_move_all(&batch, &s->starved);
	while ((it = list_pop_front(&batch)))
		conn_rearm(list_entry(it, struct conn, starved));
}

static void flush_dirty(struct shard *s)
{
	struct list batch, *it;

	/* Flushing may mark again (an error, a retry): that is for the next turn. */
	list_init(&batch);
	list_move_all(&batch, &s->dirty);
	while ((it = list_pop_front(&batch)))
		conn_flush(list_entry(it, struct conn, dirty));
}

static void release_dead(struct shard *s)
{
	struct list *it;

	while ((it = list_pop_front(&s->dead)))
		conn_reap(list_entry(it, struct conn, dirty));
}

static void start_drain(struct shard *s)
{
	uint8_t frame[FRAME_RESTARTING_LEN];
	struct conn *c;

	s->draining = true;
	s->drain_until_ns = s->now_ns + s->cfg->drain_timeout_ns;
	close_listeners(s);
	frame_restarting(frame, 0, 30000);
	for (uint32_t slot = 0; slot < s->nchunks * SHARD_CHUNK; slot++) {
		c = &s->chunks[slot / SHARD_CHUNK][slot % SHARD_CHUNK];
		if (c->state == CONN_FREE || c->state == CONN_DEAD)
			continue;
		if (conn_is_relaying(c) && !c->link)
			sendq_control(c, frame, sizeof(frame));
		if (c->state == CONN_EXPECT_PROXY || c->state == CONN_HANDSHAKE)
			conn_close(c, CLOSE_DRAIN);
		else
			conn_finish(c, CLOSE_DRAIN);
	}
}

static void abandon(struct shard *s)
{
	for (uint32_t slot = 0; slot < s->nchunks * SHARD_CHUNK; slot++) {
		struct conn *c = &s->chunks[slot / SHARD_CHUNK][slot % SHARD_CHUNK];

		if (c->state != CONN_FREE && c->state != CONN_DEAD)
			conn_close(c, CLOSE_DRAIN);
	}
}

static bool drained(struct shard *s)
{
	if (!s->draining)
		return false;
	if (!s->stats.conns)
		return true;
	if (s->now_ns < s->drain_until_ns)
		return false;
	abandon(s);
	/* What the kernel never gives back must not keep us: the process ends. */
	return s->now_ns >= s->drain_until_ns + NS_PER_S;
}

static uint64_t packets_in(const struct shard *s)
{
	return s->stats.packets_received + s->stats.packets_forwarded_in;
}

/* How long to sleep: not at all while work waits. "Asleep" is said before the rings are looked into. */
static uint64_t sleep_ns(struct shard *s)
{
	uint64_t ns;

	if (!list_empty(&s->dirty) || s->stun_again || s->clearing || s->notices_left)
		return 0;
	__atomic_store_n(&s->asleep, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (mailbox_pending(s) || ask_pending(s) || __atomic_load_n(&s->relay->draining, __ATOMIC_RELAXED) != s->draining)
		return 0;
	ns = timer_sleep_ns(&s->wheel, s->now_ns);
	if (s->retry || !list_empty(&s->starved))
		ns = min_of(ns, RETRY_NS);
	if (s->draining)
		ns = min_of(ns, 50 * NS_PER_MS);
	return ns;
}

/* Memory of a burst goes back once it was not needed for a second: the next burst would only have to fault it in again. */
static void on_trim(struct timer *t, void *ctx)
{
	struct shard *s = ctx;
	bool more = slab_trim(&s->mem, TRIM_STEP) == TRIM_STEP;

	more |= slab_trim(&s->out, TRIM_STEP) == TRIM_STEP;
	if (s->mem.over || s->out.over)
		timer_arm(&s->wheel, t, s->now_ns + (more ? NS_PER_MS : TRIM_NS));
}

static void gauges(struct shard *s)
{
	if ((s->mem.over || s->out.over) && !timer_armed(&s->trim))
		timer_arm(&s->wheel, &s->trim, s->now_ns + TRIM_NS);
	STAT_SET(&s->stats, gone_subscriptions, gone_count(s->gone));
	if (s->cfg->busy_poll_ns) {
		STAT_SET(&s->stats, busy_polls, io_busy_polls(s->io)->tried);
		STAT_SET(&s->stats, busy_polls_found, io_busy_polls(s->io)->found);
	}
	STAT_SET(&s->stats, queue_memory_used, s->mem.used + s->out.used + s->mail_mem.used);
}

static void read_stun(struct shard *s)
{
	if (!s->stun_again)
		return;
	s->stun_again = false;
	for (unsigned int i = 0; i < s->nlisteners; i++)
		if (s->listeners[i].kind == LISTEN_STUN && s->listeners[i].fd >= 0)
			stund_readable(s, s->listeners[i].fd);
}

/* This turn brought some. */
static void note_packets(struct shard *s)
{
	pace_note(&s->pace, s->cfg->pace_ns, s->now_ns, &s->brought);
	s->per_turn += (uint32_t)min_of(s->brought.packets, 64ULL) - s->per_turn / 16;
	s->busy = s->per_turn > 16 * BUSY_PACKETS;
}

/* One turn: what other shards sent, what is due, then one send per destination, then the kernel. */
static int turn(struct shard *s)
{
	uint64_t timeout, before, sends = s->stats.sends;
	struct io_pace pace = { 0 };
	int n;

	s->turn_ns = s->now_ns;
	s->now_ns = clock_now_ns();
	s->fresh = false;
	s->retry = false;
	if (!s->draining && __atomic_load_n(&s->relay->draining, __ATOMIC_ACQUIRE))
		start_drain(s);
	ask_turn(s);
	inbox_take(&s->inbox, s);
	mailbox_receive(s);
	timer_run(&s->wheel, s->now_ns, SHARD_TIMERS, s);
	mesh_walk(s);
	meshlinks_clear(s);
	read_stun(s);
	if (!s->draining)
		arm_listeners(s);
	rearm_starved(s);
	twinned_turn(s);
	flush_dirty(s);
	release_dead(s);
	mailbox_publish(s);
	spliced_fence(s);
	arm_notices(s);
	gauges(s);

	timeout = sleep_ns(s);
	if (timeout && s->pace.streaming) {
		pace.ns = pace_left_ns(&s->pace, s->cfg->pace_ns, clock_now_ns());
		/* Sends complete while they are submitted. */
		pace.events = min_of(pace_batch(&s->pace), SHARD_BATCH) + (unsigned int)(s->stats.sends - sends);
	}
	before = packets_in(s);
	s->brought = (struct pace_turn){ 0 };
	n = io_turn(s->io, timeout, &pace, SHARD_EVENTS, shard_complete, s);
	__atomic_store_n(&s->asleep, 0, __ATOMIC_RELAXED);
	release_dead(s);
	s->brought.packets = packets_in(s) - before;
	if (s->brought.packets)
		note_packets(s);
	STAT_INC(&s->stats, turns);
	STAT_ADD(&s->stats, events, n > 0 ? n : 0);
	return n;
}

static void show_busy_poll(const struct shard *s, unsigned int us)
{
	const char *missing = io_busy_poll_missing(s->io);

	if (!us)
		feature_set("busy_poll", "off", "--busy-poll=0");
	else if (*missing)
		feature_set("busy_poll", "shards", "%u us before they sleep; network cards are not asked: %s", us, missing);
	else
		feature_set("busy_poll", "on", "%u us before shards sleep, and as long of network cards by the kernel", us);
}

static int open_io(struct shard *s)
{
	struct io_opts o = { .engine = s->cfg->io, .busy_poll_us = (unsigned int)(s->cfg->busy_poll_ns / NS_PER_US) };
	const char *why = "";
	int err = io_open(&s->io, &o, &why);

	if (err)
		return err;
	feature_set("io", io_name(s->io), "%s", *why ? why : "best");
	show_busy_poll(s, o.busy_poll_us);
	return 0;
}

void *shard_run(void *shard)
{
	struct shard *s = shard;

	/* The default slack is 50 us, and the pace not much longer. */
	prctl(PR_SET_TIMERSLACK, 1000UL);
	placement_enter(s->cfg, s->id);
	s->start_err = open_io(s);
	s->now_ns = clock_now_ns();
	timer_wheel_init(&s->wheel, s->now_ns);
	pthread_barrier_wait(&s->relay->started);
	if (s->start_err)
		return NULL;
	meshlinks_start(s);
	while (!drained(s)) {
		if (turn(s) < 0) {
			log_event(LOG_LEVEL_ERROR, "io_broken", "shard=%u error=%s", s->id, strerror(errno));
			break;
		}
	}
	ask_leave(s);
	return NULL;
}

/* Any thread: a worker has finished something for us. */
static void wake(void *shard)
{
	struct shard *s = shard;

	io_wake(s->io);
}

/* --- settings */

static uint32_t share(uint32_t of_all, const struct relay *r)
{
	return (of_all + r->nshards - 1) / r->nshards;
}

static uint32_t chunks_for(const struct config *cfg, const struct relay *r)
{
	return (share(cfg->max_conns, r) + SHARD_CHUNK - 1) / SHARD_CHUNK;
}

static void set_limits(struct shard *s, const struct config *cfg)
{
	s->cfg = cfg;
	s->max_conns = share(cfg->max_conns, s->relay);
	s->max_unauth = share(cfg->max_unauth, s->relay);
	s->max_handshakes = share(cfg->max_handshakes, s->relay);
}

struct accepted_opts shard_accepted_opts(const struct config *cfg)
{
	return (struct accepted_opts){
		.keepalive_s = (unsigned int)(cfg->keepalive_ns / NS_PER_S),
		.notsent_lowat = (unsigned int)cfg->notsent_lowat,
	};
}

/* For connections from now on. */
static void set_up_listeners(struct shard *s)
{
	struct accepted_opts o = shard_accepted_opts(s->cfg);

	for (unsigned int i = 0; i < s->nlisteners; i++)
		if (s->listeners[i].kind != LISTEN_STUN && s->listeners[i].fd >= 0)
			accepted_setup(s->listeners[i].fd, &o);
}

int shard_prepare(const struct shard *s, const struct config *next, struct shard_room *ret)
{
	uint32_t n = chunks_for(next, s->relay);

	if (n <= s->max_chunks)
		return 0;
	*ret = (struct shard_room){
		.chunks = calloc(n, sizeof(struct conn *)),
		.free_slots = malloc((size_t)n * SHARD_CHUNK * sizeof(uint32_t)),
		.max_chunks = n,
	};
	return ret->chunks && ret->free_slots ? 0 : -ENOMEM;
}

void shard_room_free(struct shard_room *r)
{
	free(r->chunks);
	free(r->free_slots);
}

void shard_adopt(struct shard *s, const struct config *next, struct shard_room *room)
{
	struct shard_room old = { .chunks = s->chunks, .free_slots = s->free_slots };

	set_limits(s, next);
	set_up_listeners(s);
	/* What is given out already stays: a lower limit holds for what comes. */
	s->mem.limit = next->queue_memory;
	s->out.limit = OUT_MEMORY(next);
	if (!room->max_chunks)
		return;
	memcpy(room->chunks, s->chunks, s->nchunks * sizeof(struct conn *));
	memcpy(room->free_slots, s->free_slots, s->nfree * sizeof(uint32_t));
	s->chunks = room->chunks;
	s->free_slots = room->free_slots;
	s->max_chunks = room->max_chunks;
	*room = old;
}

int shard_new(struct shard **ret, struct relay *r, uint16_t id)
{
	/* Pages of its own: those are of the node where they are written to first. */
	struct shard *s = aligned_alloc(SHARD_PAGE, (sizeof(*s) + SHARD_PAGE - 1) / SHARD_PAGE * SHARD_PAGE);
	const struct config *cfg = r->cfg;
	int err = -ENOMEM;

	if (!s)
		return err;
	memset(s, 0, sizeof(*s));
	s->id = id;
	s->relay = r;
	set_limits(s, cfg);
	s->max_chunks = chunks_for(cfg, r);
	slab_init(&s->mem, cfg->queue_memory);
	slab_init(&s->out, OUT_MEMORY(cfg));
	slab_init(&s->mail_mem, UINT64_MAX);
	for (unsigned int i = 0; i < RELAY_MAX_SHARDS; i++)
		s->mail[i].oldest = &s->mail[i].head;
	inbox_init(&s->inbox, wake, s);
	list_init(&s->dirty);
	list_init(&s->dead);
	list_init(&s->starved);
	list_init(&s->watchers);
	publish_init(s);
	timer_init(&s->trim, on_trim);
	spliced_init(s);
	twinned_init(s);
	s->chunks = calloc(s->max_chunks, sizeof(struct conn *));
	s->free_slots = malloc((size_t)s->max_chunks * SHARD_CHUNK * sizeof(uint32_t));
	if (!s->chunks || !s->free_slots || gone_table_new(&s->gone, &s->out)) {
		shard_free(s);
		return err;
	}
	*ret = s;
	return 0;
}

/* The thread has ended. Connections are gone or abandoned: the process frees the rest. */
void shard_free(struct shard *s)
{
	if (!s)
		return;
	for (unsigned int i = 0; i < s->nlisteners; i++)
		if (s->listeners[i].fd >= 0)
			close(s->listeners[i].fd);
	if (s->io)
		io_close(s->io);
	for (uint32_t i = 0; i < s->nchunks; i++)
		free(s->chunks[i]);
	free(s->chunks);
	free(s->free_slots);
	gone_table_free(s->gone);
	twinned_done(s);
	inbox_done(&s->inbox);
	slab_done(&s->mem);
	slab_done(&s->out);
	slab_done(&s->mail_mem);
	free(s);
}
