/* SPDX-License-Identifier: BSD-3-Clause */
/* Jobs come back to whoever submitted them, a stuck one holds up nobody while there are threads, and stopping waits for none. */
#include <semaphore.h>
#include <stdlib.h>

#include "base/util.h"
#include "base/worker.h"
#include "lib/unit.h"

static struct inbox in;
static sem_t woken, gate, freed;
static unsigned int done_count;

struct task {
	struct job job;
	bool stuck;		/* waits for the gate */
	unsigned int value;
};

static void run(struct job *j)
{
	struct task *t = container_of(j, struct task, job);

	if (t->stuck)
		sem_wait(&gate);
	t->value *= 2;
}

static void free_task(struct job *j)
{
	free(container_of(j, struct task, job));
	sem_post(&freed);
}

static void done(struct job *j, void *owner)
{
	struct task *t = container_of(j, struct task, job);

	assert_ptr_equal(&in, owner);
	done_count += t->value;
	free(t);
}

static void wake(void *ctx)
{
	assert_ptr_equal(&woken, ctx);
	sem_post(&woken);
}

static bool submit(struct workers *w, unsigned int value, bool stuck)
{
	struct task *t = malloc(sizeof(*t));

	*t = (struct task){ .job = { .to = &in, .run = run, .done = done, .free = free_task },
			    .stuck = stuck, .value = value };
	if (workers_submit(w, &t->job))
		return true;
	free(t);
	return false;
}

static int set_up(void **state)
{
	(void)state;
	done_count = 0;
	sem_init(&woken, 0, 0);
	sem_init(&gate, 0, 0);
	sem_init(&freed, 0, 0);
	inbox_init(&in, wake, &woken);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	inbox_done(&in);
	return 0;
}

static void take(unsigned int n)
{
	while (n--)
		sem_wait(&woken);
	inbox_take(&in, &in);
}

static void test_all_come_back(void **state)
{
	struct workers *w;

	(void)state;
	assert_int_equal(0, workers_new(&w, 3, 1000));
	for (unsigned int i = 1; i <= 100; i++)
		assert_true(submit(w, i, false));
	take(100);
	assert_int_equal(2 * 5050, done_count);
	workers_stop(w);
}

static void test_stuck_ones_hold_up_nobody(void **state)
{
	struct workers *w;

	(void)state;
	assert_int_equal(0, workers_new(&w, 3, 1000));
	assert_true(submit(w, 0, true));
	assert_true(submit(w, 0, true));
	for (unsigned int i = 1; i <= 10; i++)
		assert_true(submit(w, i, false));
	take(10);
	assert_int_equal(110, done_count);
	sem_post(&gate);
	sem_post(&gate);
	take(2);
	workers_stop(w);
}

static void test_queue_has_a_limit(void **state)
{
	unsigned int taken = 0;
	struct workers *w;

	(void)state;
	assert_int_equal(0, workers_new(&w, 1, 2));
	while (submit(w, 1, true))
		taken++;
	/* Two wait; the first may still be among them. */
	assert_in_range(taken, 2, 3);
	for (unsigned int i = 0; i < taken; i++)
		sem_post(&gate);
	take(taken);
	assert_int_equal(2 * taken, done_count);
	workers_stop(w);
}

/* What runs is freed when it ends, what waits at once, what is finished with the inbox. */
static void test_stop(void **state)
{
	struct workers *w;

	(void)state;
	assert_int_equal(0, workers_new(&w, 1, 10));
	assert_true(submit(w, 1, false));
	sem_wait(&woken);
	assert_true(submit(w, 1, true));
	assert_true(submit(w, 1, true));
	workers_stop(w);
	sem_post(&gate);
	sem_wait(&freed);
	sem_wait(&freed);
	assert_int_equal(0, done_count);
}

static void test_nothing_submitted(void **state)
{
	struct workers *w;

	(void)state;
	assert_int_equal(0, workers_new(&w, 1, 10));
	workers_stop(w);
	workers_stop(NULL);
}

int main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test_setup_teardown(test_all_come_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stuck_ones_hold_up_nobody, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_queue_has_a_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stop, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nothing_submitted, set_up, tear_down),
	};

	return cmocka_run_group_tests(t, NULL, NULL);
}
