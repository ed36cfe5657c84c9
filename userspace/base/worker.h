/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads for what has no asynchronous form (name resolution, a question to another program): a shard submits a job, a worker
 * runs it, and the result waits in the shard's inbox until the shard takes it. Threads start when they are needed, up to a
 * limit; jobs beyond it wait in a queue with a limit of its own. */
#ifndef XDERP_WORKER_H
#define XDERP_WORKER_H

#include <pthread.h>
#include <stdbool.h>

/* Finished jobs of one thread. */
struct inbox {
	pthread_mutex_t lock;
	struct job *head, **tail;
	void (*wake)(void *ctx);	/* from any thread, after each job */
	void *ctx;
};

void inbox_init(struct inbox *in, void (*wake)(void *ctx), void *ctx);
/* No worker may post to it any more (workers_stop). Frees what was not taken. */
void inbox_done(struct inbox *in);

/* First member of the submitter's own struct, which belongs to the workers until done() or free() is called with it. */
struct job {
	struct job *next;
	struct inbox *to;
	void (*run)(struct job *j);			/* on a worker; may block, must end by itself */
	void (*done)(struct job *j, void *owner);	/* on the owner's thread, from inbox_take; frees j */
	void (*free)(struct job *j);			/* nobody waits for it any more */
};

/* Call done() of all that is finished. */
void inbox_take(struct inbox *in, void *owner);

struct workers;

int workers_new(struct workers **ret, unsigned int max_threads, unsigned int max_queued);
/* Any thread. False: the queue is full, or no thread could be started; the job stays the caller's. */
bool workers_submit(struct workers *w, struct job *j);
/* Takes NULL. No job is posted after it returns. It does not wait for jobs that run: their threads end with them. */
void workers_stop(struct workers *w);

#endif
