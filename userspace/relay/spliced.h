/* SPDX-License-Identifier: BSD-3-Clause */
/* What a shard does about connections that the kernel may serve (kern/splice.h): who joins, when a source goes to the programs, when
 * a stream is given to the kernel and taken back. Every function but those that say so is for the shard's own thread, and
 * takes connections that have nothing to do with it. */
#ifndef XDERP_SPLICED_H
#define XDERP_SPLICED_H

#include "relay/conn.h"

struct delivery;
struct shard;

/* A flow may have been pushed out of the map: if a packet comes by the shard all the same, it is opened again so long after the last time. */
#define SPLICED_FLOW_NS	NS_PER_S

/* Of a source of which packets go past its shard: how much of what the shard dealt with, as of the words passed and done, has arrived. */
struct fence {
	struct list link;		/* on the shard's list if not all of it is known to have */
	struct derp_conn *shared;
	uint64_t consumed;		/* bytes that the shard dealt with */
};

void fence_init(struct fence *f, struct derp_conn *shared);
/* More was dealt with. */
void fence_arrived(struct shard *s, struct fence *f);

enum spliced_source {
	SPLICED_QUIET,		/* the shard's; being looked at: would it pay? */
	SPLICED_WANTED,		/* when its receive has ended at a border between frames */
	SPLICED_ATTACHED,	/* its frames go through the programs */
	SPLICED_NEVER,		/* not on this connection */
};

struct spliced {
	struct conn *conn;
	struct derp_conn *shared;	/* memory of the map, place in it */
	uint32_t place;
	uint8_t slab_class;
	uint8_t source;			/* enum spliced_source */
	bool given;			/* the kernel writes its stream */
	bool taking;			/* taken back, but not all of what the kernel was given is written */
	bool wanted;			/* there are flows to it */
	bool widened;			/* it was given before */
	uint32_t flow_from;		/* place + 1 of the source whose flow was opened last */
	uint64_t flow_ns;		/* when that was */
	uint64_t base;			/* for splice_drained() */
	uint64_t undelivered;		/* of the kernel's bytes, when last looked at */
	uint64_t delay_ns;		/* how long it stays ours before it is given again */
	uint64_t give_ns;		/* when that is over */
	struct timer timer;		/* gives it, or looks whether it is ours */

	bool hung_up;			/* the client sends no more */
	bool drained;			/* the last receive did not fill its buffer */
	struct fence fence;		/* what was received since it was attached */
	uint32_t window_events, window_packets;	/* receives with packets, packets */
	uint64_t window_ns;
	unsigned int calm;		/* windows in a row that were quiet */

	struct list active;		/* on the shard's list once the kernel has served it */
	uint64_t frames_in, bytes_in, frames_out, redirected, drops, frames_given;	/* of the shared words, when last read */
};

void spliced_init(struct shard *s);

/* A peer is logged in, its facts are in the directory; dup: with others of its key. */
void spliced_login(struct conn *c, bool dup);
/* No other connection has its key. */
bool spliced_is_alone(struct conn *c);
/* n bytes came, with packets (0 and up) among them, and were dealt with. */
void spliced_received(struct conn *c, size_t n, uint64_t packets);
/* Its receive has ended; the next has not begun. */
void spliced_attach(struct conn *c);
/* place + 1 of a source whose packets may one day not come here any more, else 0. */
static inline uint32_t spliced_source(const struct conn *c)
{
	const struct spliced *sp = c->peer->spliced;

	return sp && sp->source == SPLICED_ATTACHED ? sp->place + 1 : 0;
}

/* May a receive be armed? One of a source that is attached is, when the program has left something to it. */
bool spliced_receives(const struct conn *c);
static inline bool spliced_receives_once(const struct conn *c)
{
	return c->peer && c->peer->spliced && c->peer->spliced->source == SPLICED_ATTACHED;
}
void spliced_on_hangup(struct conn *c, const struct io_event *ev);
/* The program has left something to connections of this shard. */
void spliced_notices(struct shard *s);

void spliced_take(struct conn *to);
/* Something is about to be queued for it: what the programs pass from now on comes behind. */
static inline void spliced_queueing(struct conn *to)
{
	if (to->peer->spliced && to->peer->spliced->given)
		spliced_take(to);
}
/* A packet of an attached source was queued for it. */
void spliced_open_flow(struct conn *to, const struct delivery *d);
/* All that was queued for it is written: the best time to give its stream away, since its sources are likely to be between packets. */
void spliced_sent(struct conn *c);
/* May we write into its socket? If not, conn_kernel_done() follows. */
bool spliced_may_write(struct conn *c);

/* It is about to end: nothing more from it or to it by the kernel. */
void spliced_hold(struct conn *c);
/* It has ended; the socket is still open. */
void spliced_leave(struct conn *c);
/* Now and then: -errno if its programs have stopped. */
int spliced_check(const struct conn *c);

/* Once a turn: what was received has arrived where it goes. */
void spliced_fence(struct shard *s);

#endif
