/* SPDX-License-Identifier: BSD-3-Clause */
/* A timer lives on the lowest level that can tell its tick from now's: level 0 has a slot per tick,
 * each level above a slot per 256 slots of the one below. When time enters a slot of a higher level
 * its timers are placed anew (cascade). A bitmap per level finds the next slot that matters, so that
 * neither a long sleep nor an empty wheel costs a step per tick. */
#include "base/timer.h"

#include <string.h>

#define SLOT_BITS	8
#define SLOT_MASK	(TIMER_SLOTS - 1)
#define WORDS		(TIMER_SLOTS / 64)
#define MAX_DELTA	((1ULL << (SLOT_BITS * TIMER_LEVELS)) - 1)

_Static_assert(TIMER_SLOTS == 1 << SLOT_BITS, "slot count");

static void list_splice_back(struct list *dst, struct list *src)
{
	if (list_empty(src))
		return;
	src->next->prev = dst->prev;
	dst->prev->next = src->next;
	src->prev->next = dst;
	dst->prev = src->prev;
	list_init(src);
}

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ns)
{
	for (unsigned int level = 0; level < TIMER_LEVELS; level++)
		for (unsigned int i = 0; i < TIMER_SLOTS; i++)
			list_init(&w->slots[level][i]);
	memset(w->busy, 0, sizeof(w->busy));
	list_init(&w->due);
	w->tick = now_ns / TIMER_TICK_NS;
	w->armed = 0;
}

void timer_init(struct timer *t, void (*fire)(struct timer *t, void *ctx))
{
	list_init(&t->node);
	t->when_ns = 0;
	t->fire = fire;
}

bool timer_armed(const struct timer *t)
{
	return !list_empty(&t->node);
}

/* Rounded up: a timer is never early. */
static uint64_t tick_of(uint64_t when_ns)
{
	return when_ns / TIMER_TICK_NS + (when_ns % TIMER_TICK_NS != 0);
}

static void place(struct timer_wheel *w, struct timer *t)
{
	uint64_t tick = tick_of(t->when_ns);
	unsigned int level = 0, slot;

	if (tick <= w->tick) {
		list_push_back(&w->due, &t->node);
		return;
	}
	/* Beyond the wheel's span it waits in the farthest slot and is placed anew from there. */
	if (tick - w->tick > MAX_DELTA)
		tick = w->tick + MAX_DELTA;
	while ((tick - w->tick) >> (SLOT_BITS * (level + 1)))
		level++;
	slot = tick >> (SLOT_BITS * level) & SLOT_MASK;
	list_push_back(&w->slots[level][slot], &t->node);
	w->busy[level][slot / 64] |= 1ULL << slot % 64;
}

/* Take t off its list. If it was alone there, its neighbour is the list's head: when that is a slot
 * of ours (and not the due list), the slot's bit goes. */
static void unlink_timer(struct timer_wheel *w, struct timer *t)
{
	struct list *head = t->node.next;
	uintptr_t off = (uintptr_t)head - (uintptr_t)w->slots;

	list_remove(&t->node);
	if (off < sizeof(w->slots) && list_empty(head)) {
		size_t i = off / sizeof(*head);

		w->busy[i / TIMER_SLOTS][i % TIMER_SLOTS / 64] &= ~(1ULL << i % 64);
	}
}

void timer_arm(struct timer_wheel *w, struct timer *t, uint64_t when_ns)
{
	timer_disarm(w, t);
	t->when_ns = when_ns;
	w->armed++;
	place(w, t);
}

void timer_disarm(struct timer_wheel *w, struct timer *t)
{
	if (!timer_armed(t))
		return;
	unlink_timer(w, t);
	w->armed--;
}

/* Slots from pos to the next busy one, going round: 1..TIMER_SLOTS, or 0 if the level is empty. */
static unsigned int next_busy(const uint64_t busy[static WORDS], unsigned int pos)
{
	unsigned int first = (pos + 1) & SLOT_MASK;

	for (unsigned int i = 0; i <= WORDS; i++) {
		unsigned int word = (first / 64 + i) % WORDS;
		uint64_t bits = busy[word];

		if (i == 0)
			bits &= ~0ULL << first % 64;
		if (bits) {
			unsigned int slot = word * 64 + (unsigned int)__builtin_ctzll(bits);

			return ((slot - first) & SLOT_MASK) + 1;
		}
	}
	return 0;
}

/* The next tick at which timers fire or cascade, or UINT64_MAX. */
static uint64_t next_tick(const struct timer_wheel *w)
{
	uint64_t ret = UINT64_MAX;

	for (unsigned int level = 0; level < TIMER_LEVELS; level++) {
		uint64_t pos = w->tick >> (SLOT_BITS * level);
		unsigned int d = next_busy(w->busy[level], pos & SLOT_MASK);

		if (d)
			ret = min_of(ret, (pos + d) << (SLOT_BITS * level));
	}
	return ret;
}

static void take_slot(struct timer_wheel *w, unsigned int level, struct list *to)
{
	unsigned int slot = w->tick >> (SLOT_BITS * level) & SLOT_MASK;

	list_splice_back(to, &w->slots[level][slot]);
	w->busy[level][slot / 64] &= ~(1ULL << slot % 64);
}

/* Timers of the tick just entered go to the due list; slots of higher levels that begin here are
 * placed anew, the highest first because it may fill the lower ones. */
static void enter_tick(struct timer_wheel *w)
{
	struct list *n, moved;

	list_init(&moved);
	for (unsigned int level = TIMER_LEVELS - 1; level > 0; level--) {
		if (w->tick & ((1ULL << (SLOT_BITS * level)) - 1))
			continue;
		take_slot(w, level, &moved);
		while ((n = list_pop_front(&moved)))
			place(w, list_entry(n, struct timer, node));
	}
	take_slot(w, 0, &w->due);
}

static void advance(struct timer_wheel *w, uint64_t to)
{
	while (w->tick < to) {
		uint64_t next = next_tick(w);

		w->tick = min_of(next, to);
		if (next <= to)
			enter_tick(w);
	}
}

unsigned int timer_run(struct timer_wheel *w, uint64_t now_ns, unsigned int max, void *ctx)
{
	unsigned int fired = 0;
	struct list batch, *n;

	advance(w, now_ns / TIMER_TICK_NS);
	/* A list of its own: what fire() arms for the past waits for the next run. */
	list_init(&batch);
	list_splice_back(&batch, &w->due);
	while (fired < max && (n = list_pop_front(&batch))) {
		struct timer *t = list_entry(n, struct timer, node);

		w->armed--;
		fired++;
		t->fire(t, ctx);
	}
	list_splice_back(&batch, &w->due);
	list_splice_back(&w->due, &batch);
	return fired;
}

uint64_t timer_sleep_ns(const struct timer_wheel *w, uint64_t now_ns)
{
	uint64_t tick, when;

	if (!w->armed)
		return UINT64_MAX;
	if (!list_empty(&w->due))
		return 0;
	tick = next_tick(w);
	if (tick > UINT64_MAX / TIMER_TICK_NS)
		return UINT64_MAX;
	when = tick * TIMER_TICK_NS;
	return when > now_ns ? when - now_ns : 0;
}
