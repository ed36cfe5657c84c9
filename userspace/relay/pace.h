/* SPDX-License-Identifier: BSD-3-Clause */
/* Wake-up moderation: while packets come thick, a shard sleeps out the rest of a pace before its next turn, so that
 * several wake-ups become one and sends carry more. Alone, one at a time or in a trickle, packets never wait. One thread. */
#ifndef XDERP_PACE_H
#define XDERP_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/util.h"

/* Sleeps last this many times the pace while turns bring many packets, five and more from each connection: their senders have
 * more in flight than they wait for, so that a longer sleep costs them nothing and saves wake-ups. */
#define PACE_BULK(ns)		((ns) * 5 / 2)
#define PACE_BULK_PACKETS	6
#define PACE_BULK_EACH		5

/* A pace must be worth its delay: it has to last for two and a half packets, at the rate of the last ones. */
#define PACE_WORTH(each_ns)	((each_ns) * 5 / 2)
#define PACE_MEMORY	8		/* turns that the rate is a mean of, the latest weighing most */

/* Where each connection brings one packet, a pace pays if all who are expected are heard in it, or most of those heard before it
 * again: they speak as soon as they are served. When so many paces in a row were for nothing, their senders speak when they like,
 * and a pace saves a wake-up but costs all of them its length. The next turns do without, then it is tried again. */
#define PACE_MOST(heard)	((heard) * 3 / 4)
#define PACE_MISSES	4
#define PACE_REST	1000

/* What a turn brought. */
struct pace_turn {
	uint64_t packets;	/* at least one */
	uint32_t last;		/* slot that the last of them came from */
	unsigned int heard;	/* connections that were heard in it */
	unsigned int again;	/* of them, those that were in the turn before it, too */
};

struct pace {
	uint64_t busy_ns;	/* when the last turn with packets began */
	uint64_t each_ns;	/* mean time from packet to packet, where a pause counts as one pace */
	uint32_t talker[2];	/* who was heard last in it, and in the one before */
	unsigned int heard;	/* connections, in it */
	unsigned int expected;	/* when so many have been heard there is nobody left to wait for */
	bool streaming;		/* more packets are to be expected within a pace */
	bool bulk;
	uint16_t misses;	/* paces in a row that were for nothing */
	uint16_t rest;		/* turns that still do without one */
};

/* The turn that began at now_ns. */
static inline void pace_note(struct pace *p, uint64_t pace_ns, uint64_t now_ns, const struct pace_turn *t)
{
	uint64_t since = now_ns - p->busy_ns;
	bool soon = since < pace_ns;
	/* Two peers with one packet in flight speak in turn: nothing comes while they wait for us. */
	bool in_turn = t->last == p->talker[1] && t->last != p->talker[0];
	bool single = t->packets < (uint64_t)2 * t->heard;

	p->each_ns = (p->each_ns * (PACE_MEMORY - 1) + min_of(since, pace_ns) / t->packets) / PACE_MEMORY;
	if (single && p->rest) {
		p->rest--;
	} else if (single && p->streaming) {
		p->misses = t->heard < p->expected && t->again < PACE_MOST(p->heard) ? p->misses + 1 : 0;
		if (p->misses == PACE_MISSES) {
			p->misses = 0;
			p->rest = PACE_REST;
		}
	}
	p->streaming = (t->packets > 1 || (soon && !in_turn)) && PACE_WORTH(p->each_ns) <= pace_ns &&
		       !(single && p->rest);
	p->bulk = t->packets >= max_of(PACE_BULK_EACH * t->heard, PACE_BULK_PACKETS);
	p->expected = t->heard + p->heard - t->again;
	p->heard = t->heard;
	p->busy_ns = now_ns;
	p->talker[1] = p->talker[0];
	p->talker[0] = t->last;
}

/* How much of the pace is left at now_ns; 0: don't wait. */
static inline uint64_t pace_left_ns(const struct pace *p, uint64_t pace_ns, uint64_t now_ns)
{
	uint64_t since = now_ns - p->busy_ns, whole = p->bulk ? PACE_BULK(pace_ns) : pace_ns;

	return p->streaming && since < whole ? whole - since : 0;
}

/* How many receives end the wait early. */
static inline unsigned int pace_batch(const struct pace *p)
{
	return p->bulk ? UINT32_MAX : p->expected;
}

#endif
