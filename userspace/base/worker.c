/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/worker.h"

#include <errno.h>
#include <stdlib.h>

/* Name services load modules with large frames; untouched pages cost nothing. */
#define STACK_SIZE	(1024UL * 1024)

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct job *head, **tail;	/* queued */
	unsigned int queued, idle, threads;
	unsigned int max_threads, max_queued;
	bool stopped;
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
	struct workers *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->work, NULL);
	w->tail = &w->head;
	w->max_threads = max_threads;
	w->max_queued = max_queued;
	*ret = w;
	return 0;
}

static void destroy(struct workers *w)
{
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
	struct workers *w = arg;
	struct job *j;
	bool last;

	pthread_mutex_lock(&w->lock);
	while ((j = next_job(w))) {
		pthread_mutex_unlock(&w->lock);
		j->run(j);
		pthread_mutex_lock(&w->lock);
		/* With the lock held: after workers_stop the inbox may be gone. */
		if (w->stopped)
			j->free(j);
		else
			post(j->to, j);
	}
	last = --w->threads == 0;
	pthread_mutex_unlock(&w->lock);
	if (last)
		destroy(w);
	return NULL;
}

/* With the lock. */
static bool add_thread(struct workers *w)
{
	pthread_attr_t attr;
	pthread_t t;
	bool ok;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	ok = !pthread_create(&t, &attr, worker, w);
	pthread_attr_destroy(&attr);
	w->threads += ok;
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

void workers_stop(struct workers *w)
{
	struct job *queued;
	bool none;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stopped = true;
	queued = w->head;
	w->head = NULL;
	w->tail = &w->head;
	none = !w->threads;
	pthread_cond_broadcast(&w->work);
	pthread_mutex_unlock(&w->lock);
	free_all(queued);
	if (none)
		destroy(w);
}
