/* SPDX-License-Identifier: BSD-3-Clause */
#include "traffic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/clock.h"
#include "base/util.h"
#include "direct.h"
#include "fleet.h"
#include "payload.h"
#include "wire/frame.h"

#define TICK_NS		(10 * NS_PER_MS)
#define TICKS_PER_S	100
#define WRITE_OFF_NS	(500 * NS_PER_MS)	/* what is out that long without any progress is lost */
#define BACKLOG		(1U << 20)		/* open loop: bytes a connection may be behind */
#define WRITES_PER_TURN	256			/* open loop: then arrivals are looked at */
#define SLOW_RCVBUF	(32 * 1024)		/* else the kernel hides a slow reader for seconds */

static inline void bump(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static uint32_t draw(struct traffic *t, uint32_t below)
{
	t->rng ^= t->rng << 13;
	t->rng ^= t->rng >> 17;
	t->rng ^= t->rng << 5;
	return (uint32_t)((uint64_t)t->rng * below >> 32);
}

static bool is_sending(const struct traffic *t)
{
	return t->phase == PHASE_RUN || t->phase == PHASE_MEASURE;
}

/* --- who talks to whom */

static void add_flow(struct traffic *t, uint32_t src, uint32_t dst)
{
	struct peer *p = &t->peer[src];

	if (!p->nflows++)
		p->first_flow = t->nflows;
	t->flow[t->nflows++] = (struct flow){ .src = p, .dst = &t->peer[dst] };
}

static void add_flows(struct traffic *t)
{
	const struct options *o = t->o;

	for (uint32_t i = 0; i < t->n; i++) {
		if (o->fan_in)
			add_flow(t, i, t->n);
		else if (o->fan_out)
			add_flow(t, 0, i + 1);
		else if (o->random)
			for (uint32_t k = 0; k < t->n; k++)
				add_flow(t, i, k);	/* also to itself; never drawn, but numbers stay simple */
		else
			add_flow(t, i, t->n + i);
	}
	for (uint32_t i = 0; o->bidi && i < t->n; i++)
		add_flow(t, t->n + i, i);
}

static int build(struct traffic *t, uint32_t slow)
{
	const struct options *o = t->o;
	uint32_t regular = o->random ? t->n : o->fan_in || o->fan_out ? t->n + 1 : 2 * t->n;
	uint32_t flows = (o->random ? t->n * t->n : 2 * t->n) + slow;

	t->npeers = regular + 2 * slow;
	t->peer = calloc(t->npeers, sizeof(*t->peer));
	t->flow = calloc(flows, sizeof(*t->flow));
	t->sender = calloc(t->npeers, sizeof(*t->sender));
	t->dirty = calloc(t->npeers, sizeof(*t->dirty));
	if (!t->peer || !t->flow || !t->sender || !t->dirty)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->npeers; i++)
		client_init(&t->peer[i].c, &t->net);
	add_flows(t);
	for (uint32_t i = 0; i < regular; i++)
		if (t->peer[i].nflows)
			t->sender[t->nsenders++] = i;
	for (uint32_t i = 0; i < t->npeers; i++)
		t->peer[i].starts = i < regular && t->peer[i].nflows && !(o->pingpong && i >= t->n);
	for (uint32_t i = regular; i < t->npeers; i += 2) {
		t->peer[i].slow = t->peer[i + 1].slow = true;
		t->peer[i + 1].c.rcvbuf = SLOW_RCVBUF;
		add_flow(t, i, i + 1);
	}
	return 0;
}

static int log_in(struct traffic *t)
{
	struct client **ref = calloc(t->npeers, sizeof(struct client *));
	struct fleet f = { .client = ref, .n = t->npeers, .at_once = t->o->concurrency, .keep = true };
	int err;

	if (!ref)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->npeers; i++)
		ref[i] = &t->peer[i].c;
	err = t->o->direct ? direct_run(&t->net, ref, t->npeers) : fleet_run(&f, &t->net);
	free(ref);
	return err;
}

int traffic_open(struct traffic *t, uint32_t n, uint32_t slow)
{
	int err;

	prctl(PR_SET_TIMERSLACK, 1);	/* else an open-loop write may be 50 us late */
	t->n = n;
	t->rng = 0x2545f491;
	err = net_open(&t->net, t->o, false);
	if (err)
		return err;
	t->ready = true;
	err = build(t, slow);
	if (!err)
		err = log_in(t);
	/* Slow receivers are read by the clock, not when something is there. */
	for (uint32_t i = 0; !err && i < t->npeers; i++)
		if (t->peer[i].slow && !t->peer[i].nflows)
			epoll_ctl(t->net.epoll, EPOLL_CTL_DEL, t->peer[i].c.fd, NULL);
	return err;
}

void traffic_close(struct traffic *t)
{
	for (uint32_t i = 0; t->peer && i < t->npeers; i++)
		client_close(&t->peer[i].c);
	free(t->peer);
	free(t->flow);
	free(t->sender);
	free(t->dirty);
	if (t->ready)
		net_close(&t->net);
}

static void lose_peer(struct traffic *t, struct peer *p)
{
	bump(p->slow ? &t->count.slow_disconnects : &t->count.disconnects, 1);
	client_close(&p->c);
}

/* --- sending */

static struct flow *pick_flow(struct traffic *t, struct peer *p)
{
	uint32_t self = (uint32_t)(p - t->peer), to;

	if (p->nflows == 1)
		return &t->flow[p->first_flow];
	if (!t->o->random)
		return &t->flow[p->first_flow + p->turn++ % p->nflows];
	to = draw(t, p->nflows - 1);
	return &t->flow[p->first_flow + (to < self ? to : to + 1)];
}

static uint32_t put_packet(struct traffic *t, struct peer *p, uint64_t due_ns)
{
	const struct options *o = t->o;
	struct flow *f = pick_flow(t, p);
	uint32_t len = o->sizes[o->nsizes > 1 ? draw(t, o->nsizes) : 0];
	uint8_t *out = client_append(&p->c, DERP_HDR_LEN + DERP_KEY_LEN + len);

	/* Without a relay a packet leaves as it is to arrive. */
	frame_put_head(out, o->direct ? DERP_RECV_PACKET : DERP_SEND_PACKET, DERP_KEY_LEN + len);
	memcpy(out + DERP_HDR_LEN, (o->direct ? f->src : f->dst)->c.pub.b, DERP_KEY_LEN);
	payload_build(out + DERP_HDR_LEN + DERP_KEY_LEN, len, (uint32_t)(f - t->flow), f->sent, due_ns);
	f->sent++;
	return len;
}

static void flush(struct traffic *t, struct peer *p)
{
	if (client_flush(&p->c))
		lose_peer(t, p);
}

/* Closed loop: send as long as the window has room for a whole burst and the last write went through. */
static void pump(struct traffic *t, struct peer *p)
{
	const struct options *o = t->o;
	uint64_t now;

	if (*t->interval_ns > 0 || !is_sending(t) || p->slow)
		return;
	while (p->c.state == CLIENT_READY && p->outstanding + o->burst <= o->window && !client_unsent(&p->c)) {
		now = clock_now_ns();
		if (!p->outstanding)
			p->progress_ns = now;
		for (unsigned int i = 0; i < o->burst; i++)
			put_packet(t, p, now);
		p->outstanding += o->burst;
		bump(&t->count.offered, o->burst);
		flush(t, p);
	}
}

static void mark_dirty(struct traffic *t, struct peer *p)
{
	if (p->dirty)
		return;
	p->dirty = true;
	t->dirty[t->ndirty++] = p;
}

static void pump_dirty(struct traffic *t)
{
	for (uint32_t i = 0; i < t->ndirty; i++) {
		t->dirty[i]->dirty = false;
		pump(t, t->dirty[i]);
	}
	t->ndirty = 0;
}

static uint64_t next_due(const struct traffic *t)
{
	return t->start_ns + (uint64_t)((double)t->writes * *t->interval_ns);
}

/* Open loop: everything that is due is offered now, however late we are, with the time it was due. */
static void pace(struct traffic *t, uint64_t now)
{
	const struct options *o = t->o;
	struct peer *p;
	uint64_t due;

	for (unsigned int k = 0; k < WRITES_PER_TURN && (due = next_due(t)) <= now; k++) {
		p = &t->peer[t->sender[t->sender_turn++ % t->nsenders]];
		t->writes++;
		if (t->phase == PHASE_MEASURE)
			hist_add(&t->lag, now - due);
		bump(&t->count.offered, o->burst);
		if (p->c.state != CLIENT_READY || client_unsent(&p->c) > BACKLOG) {
			bump(&t->count.refused, o->burst);
			continue;
		}
		for (unsigned int i = 0; i < o->burst; i++)
			put_packet(t, p, due);
		flush(t, p);
		now = clock_now_ns();
	}
}

/* --- arriving */

enum arrival flow_arrival(struct flow *f, uint64_t seq)
{
	uint64_t step, back;

	if (seq >= f->next) {
		step = seq - f->next + 1;
		f->seen = step > 63 ? 1 : f->seen << step | 1;
		f->next = seq + 1;
		return ARRIVAL_NEW;
	}
	back = f->next - 1 - seq;
	if (back > 63)		/* wrong either way; which of the two is forgotten */
		return ARRIVAL_LATE;
	if (f->seen >> back & 1)
		return ARRIVAL_DUPLICATE;
	f->seen |= 1ULL << back;
	return ARRIVAL_LATE;
}

static void give_credit(struct traffic *t, struct flow *f, uint64_t now)
{
	struct peer *p = f->src;

	if (f->next > f->acked) {	/* what was skipped is lost: its credit comes back too */
		p->outstanding -= (uint32_t)(f->next - f->acked);
		f->acked = f->next;
		p->progress_ns = now;
	}
	mark_dirty(t, t->o->pingpong ? f->dst : p);
}

static uint64_t *judge(struct traffic *t, struct peer *p, const uint8_t *src, const struct payload_head *h)
{
	struct flow *f = &t->flow[h->flow];

	if (f->dst != p)
		return &t->count.misrouted;
	if (memcmp(src, f->src->c.pub.b, DERP_KEY_LEN))
		return &t->count.wrong_source;
	switch (flow_arrival(f, h->seq)) {
	case ARRIVAL_DUPLICATE:
		return &t->count.duplicate;
	case ARRIVAL_LATE:
		bump(&t->count.reordered, 1);
		break;
	case ARRIVAL_NEW:
		break;
	}
	return p->slow ? &t->count.slow_delivered : &t->count.delivered;
}

static void on_packet(struct traffic *t, struct peer *p, const uint8_t *body, uint32_t len, uint64_t now)
{
	struct payload_head h;
	uint64_t *verdict;

	if (len < DERP_KEY_LEN || payload_check(&h, body + DERP_KEY_LEN, len - DERP_KEY_LEN) ||
	    h.flow >= t->nflows || h.seq >= t->flow[h.flow].sent) {
		bump(&t->count.corrupt, 1);
		return;
	}
	verdict = judge(t, p, body, &h);
	bump(verdict, 1);
	if (verdict != &t->count.delivered)
		return;
	bump(&t->count.bytes, h.len);
	if (t->phase == PHASE_MEASURE)
		hist_add(&t->latency, now - min_of(now, h.sent_ns));
	if (!(*t->interval_ns > 0))
		give_credit(t, &t->flow[h.flow], now);
}

static void on_frame(struct client *c, uint8_t type, const uint8_t *body, uint32_t len, uint64_t now)
{
	struct traffic *t = container_of(c->net, struct traffic, net);

	switch (type) {
	case DERP_RECV_PACKET:
		on_packet(t, container_of(c, struct peer, c), body, len, now);
		return;
	case DERP_KEEP_ALIVE:
		return;
	case DERP_PEER_GONE:
	case DERP_PONG:
	case DERP_HEALTH:
	case DERP_RESTARTING:
		bump(&t->count.other_frames, 1);
		return;
	default:		/* nothing a server says to a client: the stream is torn */
		bump(&t->count.corrupt, 1);
	}
}

static void on_event(struct traffic *t, struct peer *p, uint32_t events)
{
	if (p->c.state != CLIENT_READY)		/* lost earlier in this batch */
		return;
	if (events & EPOLLOUT) {
		flush(t, p);
		pump(t, p);
	}
	if (p->c.state == CLIENT_READY && events & ~(uint32_t)EPOLLOUT) {
		bump(&t->count.reads, 1);
		if (client_read(&p->c, 0, on_frame))
			lose_peer(t, p);
	}
	pump_dirty(t);
}

/* --- the clock */

static void slow_step(struct traffic *t, struct peer *p)
{
	const struct options *o = t->o;
	uint32_t read = o->slow_read ? max_of(o->slow_read / TICKS_PER_S, 1U) : 0;

	if (p->c.state != CLIENT_READY)
		return;
	if (!p->nflows) {
		if (read && client_read(&p->c, read, on_frame))
			lose_peer(t, p);
		return;
	}
	if (!is_sending(t) || client_unsent(&p->c) > BACKLOG)
		return;
	/* Twice what is read, so that the server has to drop. */
	p->slow_credit += 2 * (int64_t)max_of(o->slow_read, 65536U) / TICKS_PER_S;
	while (p->slow_credit > 0) {
		p->slow_credit -= put_packet(t, p, clock_now_ns());
		bump(&t->count.slow_offered, 1);
	}
	flush(t, p);
}

/* A closed loop whose last packets were dropped would wait for ever. Nothing is forgotten: should they arrive
 * after all, they are judged as any other. */
static void write_off(struct traffic *t, struct peer *p, uint64_t now)
{
	struct flow *f;

	if (!p->outstanding || p->slow || now - p->progress_ns < WRITE_OFF_NS)
		return;
	for (uint32_t i = 0; i < p->nflows; i++) {
		f = &t->flow[p->first_flow + i];
		f->acked = f->sent;
	}
	p->outstanding = 0;
	mark_dirty(t, p);
}

static void tick(struct traffic *t, uint64_t now)
{
	t->tick_ns = now + TICK_NS;
	for (uint32_t i = 0; i < t->npeers; i++)
		if (t->peer[i].slow)
			slow_step(t, &t->peer[i]);
		else if (!(*t->interval_ns > 0))
			write_off(t, &t->peer[i], now);
	pump_dirty(t);
}

static void enter_phase(struct traffic *t, enum phase phase)
{
	bool was_sending = is_sending(t);

	t->phase = phase;
	if (!is_sending(t) || was_sending)
		return;
	memset(&t->latency, 0, sizeof(t->latency));
	memset(&t->lag, 0, sizeof(t->lag));
	t->start_ns = clock_now_ns();
	t->writes = 0;
	for (uint32_t i = 0; i < t->npeers; i++)
		if (t->peer[i].starts)
			pump(t, &t->peer[i]);
}

static void wait_and_read(struct traffic *t)
{
	bool paced = *t->interval_ns > 0 && is_sending(t);
	uint64_t now = clock_now_ns(), until = t->tick_ns;
	struct epoll_event ev[64];
	struct timespec ts = { 0 };
	int n;

	if (paced)
		until = min_of(until, next_due(t));
	if (until > now)
		ts.tv_nsec = (long)min_of(until - now, TICK_NS);
	n = epoll_pwait2(t->net.epoll, ev, ARRAY_SIZE(ev), &ts, NULL);
	for (int i = 0; i < n; i++)
		on_event(t, container_of(ev[i].data.ptr, struct peer, c), ev[i].events);
	now = clock_now_ns();
	if (paced)
		pace(t, now);
	if (now >= t->tick_ns)
		tick(t, now);
}

enum phase traffic_run(struct traffic *t)
{
	unsigned int wanted;

	while ((wanted = atomic_load_explicit(t->phase_wanted, memory_order_acquire)) == t->phase)
		wait_and_read(t);
	enter_phase(t, wanted);
	return t->phase;
}
