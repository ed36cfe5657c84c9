/* SPDX-License-Identifier: BSD-3-Clause */
/* Wake-up moderation: while packets come thick, a shard sleeps out the rest of a pace before its next turn, so that
 * several wake-ups become one and sends carry more. Alone or one at a time, packets never wait. One thread. */
#ifndef XDERP_PACE_H
#define XDERP_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
	uint64_t busy_ns;	/* when the last turn with packets began */
	uint32_t talker[2];	/* who was heard last in it, and in the one before */
	bool streaming;		/* more packets are to be expected within a pace */
};

/* n packets, at least one, came in the turn that began at now_ns, the last of them from slot. */
static inline void pace_note(struct pace *p, uint64_t pace_ns, uint64_t now_ns, uint64_t n, uint32_t slot)
{
	bool soon = now_ns - p->busy_ns < pace_ns;
	/* Two peers with one packet in flight speak in turn: nothing comes while they wait for us. */
	bool in_turn = slot == p->talker[1] && slot != p->talker[0];

	p->streaming = n > 1 || (soon && !in_turn);
	p->busy_ns = now_ns;
	p->talker[1] = p->talker[0];
	p->talker[0] = slot;
}

/* How much of the pace is left at now_ns; 0: don't wait. */
static inline uint64_t pace_left_ns(const struct pace *p, uint64_t pace_ns, uint64_t now_ns)
{
	uint64_t since = now_ns - p->busy_ns;

	return p->streaming && since < pace_ns ? pace_ns - since : 0;
}

#endif
