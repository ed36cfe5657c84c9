/* SPDX-License-Identifier: BSD-3-Clause */
/* What a shard does about the twins of TLS peers (kern/twin.h): SendPackets of a peer go into its twin, what the kernel moved there for the
 * peer is taken from it. All else goes the usual way, and so does every packet that can't go this one: for the order of packets
 * it makes no difference which way they went. Every function is for the shard's own thread and takes connections that
 * have no twin. */
#ifndef XDERP_TWINNED_H
#define XDERP_TWINNED_H

#include "relay/conn.h"
#include "relay/spliced.h"

struct twin_batch;

struct twinned {
	struct conn *conn;		/* NULL: it has left */
	struct shard *shard;
	struct derp_conn *shared;	/* memory of the map, place in it */
	uint32_t place;
	int fd;				/* owned */
	uint8_t slab_class;
	bool broken;			/* nothing is written into it any more */
	bool draining;			/* on the stack */
	struct fence fence;
	uint64_t written;		/* bytes that the kernel took */
	uint64_t read;			/* as in shared */
	uint64_t drops;			/* of shared, when last read */
	uint32_t flow_from, flow_generation;	/* place + 1 of the source whose flow was opened last, and which one that was */
	uint64_t flow_ns;		/* when that was */
	struct key src;			/* whom the last packet was from */
	uint64_t src_hash;		/* 0: there was none */
	struct list late;		/* on the shard's list while something claimed has not come, or it has left */
	uint64_t left_ns;		/* when it has left */
};

void twinned_init(struct shard *s);
void twinned_done(struct shard *s);

/* A peer is logged in, its facts are in the directory; dup: with others of its key. */
void twinned_login(struct conn *c, bool dup);

/* Will a SendPacket of so many bytes be taken by twinned_write()? */
bool twinned_takes(struct conn *from, uint32_t len);
/* The frame stays where it is until twinned_flush(). owned: it lies there, taken over. */
void twinned_write(struct conn *from, uint8_t *frame, uint32_t len, struct pkt *owned);
/* Writes what there is, before the memory that it lies in goes. */
void twinned_flush(struct conn *from);
/* A SendPacket of so many bytes goes another way, and when it has been sent on its way. */
void twinned_pass(struct conn *from, uint32_t len);
void twinned_passed(struct conn *from, uint32_t len);

/* place + 1 of a source whose packets may one day not come here any more, else 0. */
static inline uint32_t twinned_source(const struct conn *c)
{
	const struct twinned *t = c->peer->twinned;

	return t && !t->broken ? t->place + 1 : 0;
}

/* A packet of a source with a twin was queued for it. */
void twinned_open_flow(struct conn *to, const struct delivery *d);

/* What the kernel has moved so far is queued for the peer: before anything else is that has to come behind. */
void twinned_drain(struct conn *c);
/* The program has moved something here. */
static inline bool twinned_notice(struct conn *c, const struct derp_conn *k)
{
	bool is = c->peer && c->peer->twinned && c->peer->twinned->shared == k;

	if (is)
		twinned_drain(c);
	return is;
}

/* It is about to end: nothing more from it or to it by the kernel. */
void twinned_hold(struct conn *c);
/* It has ended. */
void twinned_leave(struct conn *c);

/* Once a turn, before sending. */
void twinned_turn(struct shard *s);

#endif
