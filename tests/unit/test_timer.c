/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/timer.h"

#define NR	400
#define TICK	TIMER_TICK_NS

struct node {
	struct timer t;
	bool want;		/* the oracle: armed, for t.when_ns */
	unsigned int fired;
};

struct world {
	struct timer_wheel w;
	struct node nodes[NR];
	uint64_t now, last;	/* last: when the wheel ran before this run */
	bool random_moves;
};

static uint64_t seed = 88172645463325252ULL;

static uint64_t rnd(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

/* Spans of every level and beyond the wheel (2^32 ticks). */
static uint64_t random_delay(void)
{
	return rnd(1ULL << (10 + rnd(48)));
}

static void arm(struct world *wo, struct node *n, uint64_t when)
{
	timer_arm(&wo->w, &n->t, when);
	n->want = true;
}

static void fire(struct timer *t, void *ctx)
{
	struct world *wo = ctx;
	struct node *n = container_of(t, struct node, t);
	struct node *other = &wo->nodes[rnd(NR)];

	assert_true(n->want);
	assert_true(t->when_ns <= wo->now);
	assert_false(timer_armed(t));
	n->want = false;
	n->fired++;
	if (!wo->random_moves)
		return;
	switch (rnd(4)) {
	case 0:
		arm(wo, n, wo->now + random_delay());
		break;
	case 1:
		arm(wo, other, wo->now + random_delay());
		break;
	case 2:
		timer_disarm(&wo->w, &other->t);
		other->want = false;
		break;
	}
}

static struct world *world_new(uint64_t now)
{
	struct world *wo = test_calloc(1, sizeof(*wo));

	wo->now = wo->last = now;
	timer_wheel_init(&wo->w, now);
	for (int i = 0; i < NR; i++)
		timer_init(&wo->nodes[i].t, fire);
	return wo;
}

static unsigned int oracle_armed(const struct world *wo, uint64_t *first)
{
	unsigned int n = 0;

	*first = UINT64_MAX;
	for (int i = 0; i < NR; i++) {
		assert_int_equal(wo->nodes[i].want, timer_armed(&wo->nodes[i].t));
		if (!wo->nodes[i].want)
			continue;
		n++;
		*first = min_of(*first, wo->nodes[i].t.when_ns);
	}
	return n;
}

static void check_oracle(const struct world *wo, bool caught_up)
{
	uint64_t first, sleep;

	assert_int_equal(oracle_armed(wo, &first), wo->w.armed);
	sleep = timer_sleep_ns(&wo->w, wo->now);
	if (first == UINT64_MAX) {
		assert_true(sleep == UINT64_MAX);
		return;
	}
	assert_true(!sleep || wo->now + sleep < first + TICK);
	if (caught_up)
		assert_true(first + TICK > wo->now);	/* nothing is a tick late */
}

static void bitmap_is_exact(const struct timer_wheel *w)
{
	for (int l = 0; l < TIMER_LEVELS; l++)
		for (int i = 0; i < TIMER_SLOTS; i++)
			assert_int_equal(w->busy[l][i / 64] >> i % 64 & 1,
					 !list_empty(&w->slots[l][i]));
}

static void random_against_oracle(void **state)
{
	struct world *wo = world_new(rnd(1ULL << 50));

	(void)state;
	wo->random_moves = true;
	for (int step = 0; step < 200000; step++) {
		struct node *n = &wo->nodes[rnd(NR)];

		switch (rnd(4)) {
		case 0:
			arm(wo, n, wo->now + random_delay());
			break;
		case 1:
			timer_disarm(&wo->w, &n->t);
			n->want = false;
			break;
		default: {
			uint64_t sleep = timer_sleep_ns(&wo->w, wo->now);
			unsigned int max = rnd(3) ? UINT32_MAX : (unsigned int)rnd(4);

			if (rnd(2) && sleep != UINT64_MAX)
				wo->now += sleep;
			else
				wo->now += random_delay() >> rnd(30);
			/* What fire() arms may be due at once: run until nothing is. */
			if (timer_run(&wo->w, wo->now, max, wo) > max)
				fail();
			if (max == UINT32_MAX)
				while (timer_run(&wo->w, wo->now, max, wo))
					;
			check_oracle(wo, max == UINT32_MAX);
			break;
		}
		}
		if (step % 512 == 0)
			bitmap_is_exact(&wo->w);
	}
	test_free(wo);
}

static void bounded_run_resumes(void **state)
{
	struct world *wo = world_new(12345);
	unsigned int left = NR;

	(void)state;
	for (int i = 0; i < NR; i++)
		arm(wo, &wo->nodes[i], wo->now + (uint64_t)i * TICK);
	wo->now += (uint64_t)(NR + 1) * TICK;
	while (left) {
		assert_int_equal(timer_run(&wo->w, wo->now, 7, wo), min_of(7U, left));
		left -= min_of(7U, left);
		assert_true(timer_sleep_ns(&wo->w, wo->now) == (left ? 0 : UINT64_MAX));
	}
	for (int i = 0; i < NR; i++)
		assert_int_equal(wo->nodes[i].fired, 1);
	test_free(wo);
}

static void past_fires_at_next_run(void **state)
{
	struct world *wo = world_new(5 * TICK + 3);

	(void)state;
	arm(wo, &wo->nodes[0], 1);
	assert_true(timer_sleep_ns(&wo->w, wo->now) == 0);
	assert_int_equal(timer_run(&wo->w, wo->now, 10, wo), 1);
	test_free(wo);
}

static void rearm_now(struct timer *t, void *ctx)
{
	struct world *wo = ctx;

	timer_arm(&wo->w, t, wo->now);
}

static void rearming_for_now_does_not_spin(void **state)
{
	struct world *wo = world_new(0);

	(void)state;
	wo->nodes[0].t.fire = rearm_now;
	timer_arm(&wo->w, &wo->nodes[0].t, 0);
	assert_int_equal(timer_run(&wo->w, wo->now, 1000, wo), 1);
	assert_int_equal(timer_run(&wo->w, wo->now, 1000, wo), 1);
	test_free(wo);
}

static void disarm_next(struct timer *t, void *ctx)
{
	struct world *wo = ctx;
	struct node *n = container_of(t, struct node, t);

	timer_disarm(&wo->w, &n[1].t);
}

static void fire_may_disarm_same_tick(void **state)
{
	struct world *wo = world_new(0);

	(void)state;
	wo->nodes[0].t.fire = disarm_next;
	arm(wo, &wo->nodes[0], TICK);
	arm(wo, &wo->nodes[1], TICK);
	arm(wo, &wo->nodes[2], TICK);
	wo->now = TICK;
	assert_int_equal(timer_run(&wo->w, wo->now, 10, wo), 2);
	assert_int_equal(wo->nodes[1].fired, 0);
	assert_int_equal(wo->nodes[2].fired, 1);
	assert_int_equal(wo->w.armed, 0);
	test_free(wo);
}

static void long_sleep_is_cheap(void **state)
{
	struct world *wo = world_new(7);

	(void)state;
	/* 100,000 sleeps of a year each: 4e14 ticks. */
	for (int i = 0; i < 100000; i++) {
		arm(wo, &wo->nodes[0], wo->now + 365ULL * 86400 * 1000000000);
		wo->now = wo->nodes[0].t.when_ns % (UINT64_MAX / 4) + TICK;
		if (wo->now < wo->nodes[0].t.when_ns) {	/* time would wrap: start over */
			timer_wheel_init(&wo->w, wo->now);
			timer_init(&wo->nodes[0].t, fire);
			continue;
		}
		assert_int_equal(timer_run(&wo->w, wo->now, 10, wo), 1);
	}
	test_free(wo);
}

int main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test(random_against_oracle),
		cmocka_unit_test(bounded_run_resumes),
		cmocka_unit_test(past_fires_at_next_run),
		cmocka_unit_test(rearming_for_now_does_not_spin),
		cmocka_unit_test(fire_may_disarm_same_tick),
		cmocka_unit_test(long_sleep_is_cheap),
	};

	return cmocka_run_group_tests(t, NULL, NULL);
}
