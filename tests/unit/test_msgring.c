/* SPDX-License-Identifier: BSD-3-Clause */
/* TRANSFER_MSGS can be raised for a run under ThreadSanitizer (10 million take a minute). */
#include <stdarg.h>
#include <setjmp.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/msgring.h"

#ifndef TRANSFER_MSGS
#define TRANSFER_MSGS	300000
#endif

static struct msgring *ring_new(size_t bytes)
{
	struct msgring *r;

	assert_int_equal(msgring_new(&r, bytes), 0);
	return r;
}

static void fill(uint8_t *p, uint32_t len, uint32_t seq)
{
	for (uint32_t i = 0; i < len; i++)
		p[i] = (uint8_t)(seq * 31 + i);
}

static bool is_filled(const uint8_t *p, uint32_t len, uint32_t seq)
{
	for (uint32_t i = 0; i < len; i++)
		if (p[i] != (uint8_t)(seq * 31 + i))
			return false;
	return true;
}

static void push(struct msgring *r, uint32_t len, uint32_t seq)
{
	uint8_t *p = msgring_reserve(r, len, 0);

	assert_non_null(p);
	assert_int_equal((uintptr_t)p % 8, 0);
	fill(p, len, seq);
	msgring_commit(r, len);
}

static void pop_one(struct msgring *r, uint32_t len, uint32_t seq)
{
	uint32_t got;
	uint8_t *p = msgring_peek(r, &got);

	assert_non_null(p);
	assert_int_equal(got, len);
	assert_true(is_filled(p, len, seq));
	msgring_pop(r);
}

static void sizes_are_checked(void **state)
{
	struct msgring *r;

	(void)state;
	assert_int_equal(msgring_new(&r, 0), -EINVAL);
	assert_int_equal(msgring_new(&r, 1000), -EINVAL);
	r = ring_new(1024);
	assert_null(msgring_reserve(r, 513, 0));
	assert_non_null(msgring_reserve(r, 512, 0));
	msgring_free(r);
	msgring_free(NULL);
}

/* Each length from each place in the ring, the largest included, whenever the ring is empty. */
static void every_size_at_every_place(void **state)
{
	struct msgring *r = ring_new(256);

	(void)state;
	for (uint32_t len = 0; len <= 128; len++) {
		for (uint32_t round = 0; round < 70; round++) {
			push(r, len, round);
			assert_true(msgring_publish(r));
			pop_one(r, len, round);
			msgring_release(r);
			push(r, 0, 0);	/* shifts by the smallest record */
			msgring_publish(r);
			pop_one(r, 0, 0);
			msgring_release(r);
		}
	}
	msgring_free(r);
}

static void batch_is_invisible_until_published(void **state)
{
	struct msgring *r = ring_new(1024);
	uint32_t len;

	(void)state;
	assert_false(msgring_publish(r));
	push(r, 10, 1);
	push(r, 20, 2);
	assert_true(msgring_empty(r));
	assert_null(msgring_peek(r, &len));
	assert_true(msgring_publish(r));
	assert_false(msgring_publish(r));
	assert_false(msgring_empty(r));
	pop_one(r, 10, 1);
	pop_one(r, 20, 2);
	assert_true(msgring_empty(r));
	msgring_free(r);
}

static void commit_may_cut(void **state)
{
	struct msgring *r = ring_new(1024);

	(void)state;
	fill(msgring_reserve(r, 400, 0), 400, 3);
	msgring_commit(r, 5);
	push(r, 7, 4);
	msgring_publish(r);
	pop_one(r, 5, 3);
	pop_one(r, 7, 4);
	msgring_free(r);
}

static void full_until_released(void **state)
{
	struct msgring *r = ring_new(1024);
	unsigned int n;

	(void)state;
	for (n = 0; msgring_reserve(r, 56, 0); n++)
		push(r, 56, n);
	assert_int_equal(n, 16);	/* 64 bytes each: not one is lost to the wrap */
	msgring_publish(r);
	pop_one(r, 56, 0);
	assert_null(msgring_reserve(r, 56, 0));	/* popped memory is still lent */
	msgring_release(r);
	assert_non_null(msgring_reserve(r, 56, 0));
	assert_null(msgring_reserve(r, 57, 0));
	msgring_free(r);
}

static void headroom_stays_free(void **state)
{
	struct msgring *r = ring_new(1024);
	unsigned int n;

	(void)state;
	for (n = 0; msgring_reserve(r, 56, 256); n++)
		push(r, 56, n);
	assert_int_equal(n, 12);
	assert_non_null(msgring_reserve(r, 56, 0));
	assert_null(msgring_reserve(r, 0, SIZE_MAX));
	msgring_free(r);
}

struct transfer {
	struct msgring *r;
	uint32_t bad;
};

static uint32_t next_len(uint32_t *x)
{
	*x = *x * 1664525 + 1013904223;
	return (*x >> 8) % ((*x >> 28) ? 64 : 2049);
}

static void *producer(void *arg)
{
	struct msgring *r = ((struct transfer *)arg)->r;
	uint32_t x = 1;

	for (uint32_t i = 0; i < TRANSFER_MSGS; i++) {
		uint32_t len = next_len(&x);
		uint8_t *p;

		while (!(p = msgring_reserve(r, len, x & 1 ? 512 : 0))) {
			msgring_publish(r);
			sched_yield();
		}
		fill(p, len, i);
		msgring_commit(r, len);
		if (!(x >> 16 & 7))
			msgring_publish(r);
	}
	msgring_publish(r);
	return NULL;
}

static void *consumer(void *arg)
{
	struct transfer *tr = arg;
	uint32_t x = 1, len;

	for (uint32_t i = 0; i < TRANSFER_MSGS; i++) {
		const uint8_t *p;

		while (!(p = msgring_peek(tr->r, &len))) {
			msgring_release(tr->r);
			sched_yield();
		}
		tr->bad += len != next_len(&x) || !is_filled(p, len, i);
		msgring_pop(tr->r);
		if (!(x >> 16 & 15))
			msgring_release(tr->r);
	}
	return NULL;
}

static void two_threads(void **state)
{
	struct transfer tr = { .r = ring_new(4096) };
	pthread_t p, c;

	(void)state;
	assert_int_equal(pthread_create(&p, NULL, producer, &tr), 0);
	assert_int_equal(pthread_create(&c, NULL, consumer, &tr), 0);
	pthread_join(p, NULL);
	pthread_join(c, NULL);
	assert_int_equal(tr.bad, 0);
	assert_true(msgring_empty(tr.r));
	msgring_free(tr.r);
}

int main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test(sizes_are_checked),
		cmocka_unit_test(every_size_at_every_place),
		cmocka_unit_test(batch_is_invisible_until_published),
		cmocka_unit_test(commit_may_cut),
		cmocka_unit_test(full_until_released),
		cmocka_unit_test(headroom_stays_free),
		cmocka_unit_test(two_threads),
	};

	return cmocka_run_group_tests(t, NULL, NULL);
}
