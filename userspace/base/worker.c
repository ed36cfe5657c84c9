/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/worker.h"

#include <errno.h>
#include <stdlib.h>

/* Name services load modules with large frames; untouched pages cost nothing. */
#define STACK_SIZE	(1024UL * 1024)

struct worker {
	struct workers *w;
	pthread_t thread;
	bool busy;			/* runs a job */
	bool waited_for;		/* workers_stop's own */
};

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct job *head, **tail;	/* queued */
	unsigned int queued, idle;
	unsigned int threads;		/* started */
	unsigned int holders;		/* who still uses this struct: threads, and the owner */
	unsigned int max_threads, max_queued;
	bool stopped;
	struct worker worker[];		/* max_threads */
};

void inbox_init(struct inbox *in, void (*wake)(void *ctx), void *ctx)
{
	pthread_mutex_init(&in->lock, NULL);
	in->head = NULL;
	in->tail = &in->head;
	in->wake = wake;
	in->ctx = ctx;
}

static void free_all(struct job *j)
{
	struct job *next;

	for (; j; j = next) {
		next = j->next;
		j->free(j);
	}
}

void inbox_done(struct inbox *in)
{
	free_all(in->head);
	pthread_mutex_destroy(&in->lock);
}

static void post(struct inbox *in, struct job *j)
{
	j->next = NULL;
	pthread_mutex_lock(&in->lock);
	/* inbox_take looks at the head without the lock. */
	__atomic_store_n(in->tail, j, __ATOMIC_RELAXED);
	in->tail = &j->next;
	pthread_mutex_unlock(&in->lock);
	in->wake(in->ctx);
}

void inbox_take(struct inbox *in, void *owner)
{
	struct job *j, *next;

	if (!__atomic_load_n(&in->head, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&in->lock);
	j = in->head;
	__atomic_store_n(&in->head, NULL, __ATOMIC_RELAXED);
	in->tail = &in->head;
	pthread_mutex_unlock(&in->lock);
	for (; j; j = next) {
		next = j->next;
		j->done(j, owner);
	}
}

int workers_new(struct workers **ret, unsigned int max_threads, unsigned int max_queued)
{
	struct workers *w = calloc(1, sizeof(*w) + max_threads * sizeof(w->worker[0]));

	if (!w)
		return -ENOMEM;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->work, NULL);
	w->tail = &w->head;
	w->holders = 1;
	w->max_threads = max_threads;
	w->max_queued = max_queued;
	*ret = w;
	return 0;
}

/* With the lock, which it gives up. */
static void let_go(struct workers *w)
{
	bool last = --w->holders == 0;

	pthread_mutex_unlock(&w->lock);
	if (!last)
		return;
	pthread_cond_destroy(&w->work);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* With the lock. NULL: stopped. */
static struct job *next_job(struct workers *w)
{
	struct job *j;

	while (!w->head && !w->stopped) {
		w->idle++;
		pthread_cond_wait(&w->work, &w->lock);
		w->idle--;
	}
	if (w->stopped)
		return NULL;
	j = w->head;
	w->head = j->next;
	if (!w->head)
		w->tail = &w->head;
	w->queued--;
	return j;
}

static void *worker(void *arg)
{
	struct worker *self = arg;
	struct workers *w = self->w;
	struct job *j;

	pthread_mutex_lock(&w->lock);
	while ((j = next_job(w))) {
		self->busy = true;
		pthread_mutex_unlock(&w->lock);
		j->run(j);
		pthread_mutex_lock(&w->lock);
		self->busy = false;
		/* With the lock held: after workers_stop the inbox may be gone. */
		if (w->stopped)
			j->free(j);
		else
			post(j->to, j);
	}
	let_go(w);
	return NULL;
}

/* With the lock. */
static bool add_thread(struct workers *w)
{
	struct worker *self = &w->worker[w->threads];
	pthread_attr_t attr;
	bool ok;

	self->w = w;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	ok = !pthread_create(&self->thread, &attr, worker, self);
	pthread_attr_destroy(&attr);
	w->threads += ok;
	w->holders += ok;
	return ok;
}

bool workers_submit(struct workers *w, struct job *j)
{
	bool ok;

	pthread_mutex_lock(&w->lock);
	ok = !w->stopped && w->queued < w->max_queued;
	if (ok && w->queued >= w->idle && w->threads < w->max_threads)
		ok = add_thread(w) || w->threads;
	if (ok) {
		j->next = NULL;
		*w->tail = j;
		w->tail = &j->next;
		w->queued++;
		pthread_cond_signal(&w->work);
	}
	pthread_mutex_unlock(&w->lock);
	return ok;
}

/* Threads that run a job end with it, nobody knows when; the others are waited for, so that what libraries keep per thread is
 * gone when the process ends. */
void workers_stop(struct workers *w)
{
	struct job *queued;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stopped = true;
	queued = w->head;
	w->head = NULL;
	w->tail = &w->head;
	pthread_cond_broadcast(&w->work);
	for (unsigned int i = 0; i < w->threads; i++)
		if (w->worker[i].busy)
			pthread_detach(w->worker[i].thread);
		else
			w->worker[i].waited_for = true;
	pthread_mutex_unlock(&w->lock);
	free_all(queued);
	for (unsigned int i = 0; i < w->threads; i++)
		if (w->worker[i].waited_for)
			pthread_join(w->worker[i].thread, NULL);
	pthread_mutex_lock(&w->lock);
	let_go(w);
}
