/* SPDX-License-Identifier: BSD-3-Clause */
/* A shard: one thread, one io engine, its connections, pools and timers. Only its own thread touches
 * it, except: asleep, mail_*from, ask_seen and stats (atomic), io_wake(io) and inbox. */
#ifndef XDERP_SHARD_H
#define XDERP_SHARD_H

#include <pthread.h>
#include <stddef.h>

#include "base/worker.h"
#include "net/listen.h"
#include "relay/conn.h"
#include "relay/mailbox.h"
#include "relay/pace.h"
#include "relay/relay.h"

#define SHARD_MAX_LISTENERS	4	/* main, plain port, UDP for STUN */
#define SHARD_EVENTS		256U	/* completions handled per turn */
#define SHARD_BATCH		64U	/* a moderated sleep ends early with so many receives */
#define SHARD_TIMERS		256U	/* timers fired per turn */
#define SHARD_CHUNK		256U	/* connections made at a time */

enum listener_kind { LISTEN_MAIN, LISTEN_PLAIN, LISTEN_STUN };

struct listener {
	int fd;
	enum listener_kind kind;
	bool armed;
	uint64_t pause_ns;		/* not armed before: accepting failed, most likely for want of descriptors */
};

struct shard {
	uint16_t id;
	struct relay *relay;
	const struct config *cfg;
	struct io *io;
	uint64_t now_ns;		/* start of the turn, or of the event under way */
	struct timer_wheel wheel;
	struct slab mem;		/* packets and half frames */
	struct slab out;		/* ciphertext, answers, peers, subscriptions */
	struct gone_table *gone;

	struct conn **chunks;		/* of SHARD_CHUNK connections each; slot = index */
	uint32_t nchunks, max_chunks;
	uint32_t *free_slots;		/* stack */
	uint32_t nfree;
	uint32_t max_conns, max_unauth, max_handshakes;

	struct list dirty;		/* connections to flush */
	struct list dead;		/* closed and free of completions: released at the end of the turn */
	struct list starved;		/* connections whose receive found no buffer */
	struct list watchers;
	/* Peers whose facts changed, and those of them being written to the BPF map (publish.c). */
	struct list touched, publishing;
	struct timer publish;
	struct timer trim;		/* while memory could go back to the kernel */
	/* Sources of the splice whose bytes are not known to have arrived, and connections that the kernel has served (spliced.h). */
	struct list unfenced, spliced;
	struct timer fence, splice_tick;
	uint64_t splice_tick_ns;
	bool notices_armed;
	bool notices_left;		/* there were too many for one turn */
	/* Twins of TLS peers (twinned.h). */
	struct twin_batch *twin_batch;	/* owned; made for the first of them */
	struct list twins_late;		/* those with something claimed that has not come, and those that have left */
	bool twins_wrote;		/* in this turn: the program may have notices */
	bool walking;			/* some watcher's flood is not over */
	bool clearing;			/* keys of a broken link are being forgotten */
	bool draining;
	bool retry;			/* something waits for memory: don't sleep long */
	bool stun_again;		/* datagrams were left for the next turn */
	uint64_t drain_until_ns;
	uint64_t turn_ns;		/* now_ns when the last events came in */
	bool fresh;			/* now_ns was read since the last sleep */
	struct pace pace;
	uint32_t per_turn;		/* packets in a turn that had any: moving average, times 16 */
	bool busy;			/* it is high */
	struct pace_turn brought;	/* by this turn so far */
	struct bucket accept;

	struct inbox inbox;		/* what workers did for this shard */
	struct mail_out mail[RELAY_MAX_SHARDS];
	struct slab mail_mem;		/* parcels: bounded by MAILBOX_PACKETS per shard, and by what must not be lost */
	uint64_t mail_sent[RELAY_MAX_SHARDS];	/* packets and messages for each, without those dropped again */
	uint64_t mail_to;		/* bit per shard that there is unpublished mail for */
	uint64_t mail_waiting;		/* bit per shard whose mail is still to be taken */
	struct parcel *mail_done;	/* of other shards, to go home at the end of the turn */

	struct listener listeners[SHARD_MAX_LISTENERS];
	unsigned int nlisteners;

	pthread_t thread;
	uint32_t ask_seen;		/* atomic: the last request of admin that this shard has done */
	int start_err;			/* of the thread, valid once started */
	/* What other shards write, on a line of its own. */
	uint64_t mail_from __attribute__((aligned(64)));	/* atomic: bit per shard that has sent something */
	uint64_t mail_back_from;	/* atomic: the same, for parcels that came home */
	uint32_t asleep;		/* atomic */
	struct shard_stats stats __attribute__((aligned(64)));
};

#define SHARD_LINE(field)	(offsetof(struct shard, field) / 64)
_Static_assert(SHARD_LINE(mail_from) > SHARD_LINE(ask_seen) && SHARD_LINE(asleep) == SHARD_LINE(mail_from),
	       "what others write disturbs nothing that the shard works with");
_Static_assert(SHARD_LINE(stats) > SHARD_LINE(asleep) && sizeof(struct shard) % 64 == 0, "nor its counters, nor theirs");

/* Memory for a larger table of connections, and after shard_adopt the smaller one. */
struct shard_room {
	struct conn **chunks;
	uint32_t *free_slots;
	uint32_t max_chunks;
};
/* Main thread: what the shard needs for these settings. Zero if it has room enough. -ENOMEM. */
int shard_prepare(const struct shard *s, const struct config *next, struct shard_room *ret);
void shard_room_free(struct shard_room *r);
/* The shard's thread, between two turns: other settings from now on. */
void shard_adopt(struct shard *s, const struct config *next, struct shard_room *room);

/* Options of connections, by these settings. */
struct accepted_opts shard_accepted_opts(const struct config *cfg);

int shard_new(struct shard **ret, struct relay *r, uint16_t id);
void shard_free(struct shard *s);
void *shard_run(void *shard);

/* The connection, or NULL if that generation is over. */
struct conn *shard_conn(struct shard *s, uint32_t slot, uint32_t gen);
/* A free connection struct with a slot of its own, or NULL: table full. */
struct conn *shard_conn_new(struct shard *s);
void shard_conn_free(struct shard *s, struct conn *c);

/* A packet leaves a queue: its waiting time goes into the moving average. */
static inline void shard_note_queue_time(struct shard *s, uint64_t queued_ns)
{
	uint64_t us = s->now_ns > queued_ns ? (s->now_ns - queued_ns) / 1000 : 0;

	STAT_SET(&s->stats, avg_queue_us, s->stats.avg_queue_us - s->stats.avg_queue_us / 10 + us / 10);
}

#endif
