/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernel moves frames between plain sockets (bpf/splice.bpf.c). A connection that joins gets a place in derp_conns, memory
 * that programs and the daemon share:
 *
 * - One writer per stream. Its owner says who writes into the socket, the kernel or the shard; only the shard changes it. It gives
 *   the stream away when it has nothing left to send (splice_give), takes it back at any time (splice_take), and writes again when
 *   splice_drained() says that what the kernel was given before has been written.
 * - Order. The programs count what they leave to the shard (passed); the shard says how much of it has arrived at its
 *   destination's queue (done). Until both agree, nothing of that source is redirected. A shard takes a stream back before it
 *   queues for it, so "arrived" is enough.
 *
 * Any thread, privileges or not, after splice_open(); calls for one connection come from its shard. */
#ifndef XDERP_KERN_SPLICE_H
#define XDERP_KERN_SPLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "derp_maps.h"

enum splice_mode { SPLICE_AUTO, SPLICE_ON, SPLICE_OFF };

struct splice_opts {
	enum splice_mode mode;
	unsigned int shards;
	unsigned int peers;		/* connections that have a place */
	unsigned int queue_limit;	/* frames that wait in the kernel for one destination */
	unsigned int bulk_pressure;	/* derp_settings */
	unsigned int twin_limit;	/* packets that wait in the twin of one TLS peer; 0: they have none (kern/twin.h) */
};

struct splicer;
struct pins;

/* Loads and pins, and moves real frames between sockets of its own to see that it works here. -errno and a sentence. Main
 * thread, with privileges. */
int splice_open(struct splicer **ret, struct pins *pins, const struct splice_opts *o, char *why, size_t len);
void splice_close(struct splicer *s);
/* Is it for all connections that can, or for those for which it pays? */
enum splice_mode splice_mode(const struct splicer *s);

/* A connection: a connected TCP socket, whose it is, and how its shard finds it again. */
struct splice_conn {
	int fd;
	const uint8_t *key;		/* DERP_KEY_LEN bytes */
	uint32_t shard, slot, generation;
};

/* From here on the kernel may be made its writer. The shard is its owner. NULL, and *err: -ENOSPC, no place; -EEXIST, another
 * socket of that key has joined. */
struct derp_conn *splice_join(struct splicer *s, const struct splice_conn *c, uint32_t *place, int *err);
/* What it sends goes through the program from here on, until it is closed. The last receive must have ended at a border between
 * frames, must not have filled its buffer (the rest of a segment that it began would come again), and none may be under
 * way. From here on data wakes up nobody who waits for it: splice_notices() tells. -errno: it is as before. */
int splice_attach(struct splicer *s, uint32_t place, int fd);
/* Before it is closed; c is over. */
void splice_leave(struct splicer *s, uint32_t place);

/* Right before a socket that was attached is closed: reads what was left to it. The kernel frees that without the socket's lock,
 * and warns that its accounts don't add up. */
void splice_discard(int fd);

/* The packets of source for destination need not pass the shard any more, when all else agrees. -EXDEV: only one of them is a twin. */
int splice_open_flow(struct splicer *s, uint32_t source, uint32_t destination);
/* Which of the connections that had it has this place now. */
uint32_t splice_generation(const struct splicer *s, uint32_t place);
/* Any shard: no connection of that key may be spliced any more. */
void splice_hold_key(struct splicer *s, const uint8_t key[static DERP_KEY_LEN]);
static inline void splice_hold(struct derp_conn *c)
{
	__atomic_store_n(&c->held, 1, __ATOMIC_SEQ_CST);
}
/* Everything is left to the shards, or no more so. NULL is taken. */
void splice_enable(struct splicer *s, bool on);

/* Bytes that were ever written into the socket, from an unknown start; -EAGAIN: it moves too fast to say. */
int splice_written(int fd, uint64_t *ret);
/* Before it is given for the first time: a send buffer that the kernel's worker does not fill at once. */
void splice_widen(int fd);
/* All that the shard sent is written. *base: for splice_drained. */
int splice_give(struct derp_conn *c, int fd, uint64_t *base);
void splice_take(struct derp_conn *c);
/* Has the kernel written all that it was given before it was taken back? */
bool splice_drained(const struct derp_conn *c, int fd, uint64_t base);
/* Frame bytes that it was given and did not write. */
uint64_t splice_undelivered(const struct derp_conn *c, int fd, uint64_t base);

/* The program left something to connections of this shard: calls for each of them, SPLICE_NOTICES at most, and forgets it. A call may be
 * one too many. True: there may be more. The descriptor is readable when there are any. */
#define SPLICE_NOTICES	256U
int splice_notice_fd(const struct splicer *s, unsigned int shard);
bool splice_notices(struct splicer *s, unsigned int shard, void (*call)(void *ctx, const struct derp_conn *c), void *ctx);

/* Sums over all CPUs; zeroes for NULL. */
void splice_stats(const struct splicer *s, struct derp_stats *ret);

/* Move frames between sockets made for it (kern/splice_trial.c). -errno and a sentence. */
int splice_trial(struct splicer *s, char *why, size_t len);

#endif
