/* SPDX-License-Identifier: BSD-3-Clause */
/* Who hears that a peer left. */
#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "relay/gone.h"

#define RECEIVERS	50U
#define SOURCES		3000U

static struct slab mem;
static struct gone_table *t;
static struct gone_receiver r[RECEIVERS];
static unsigned int told[RECEIVERS];

static int setup(void **state)
{
	(void)state;
	slab_init(&mem, 64U << 20);
	for (unsigned int i = 0; i < RECEIVERS; i++)
		gone_receiver_init(&r[i]);
	memset(told, 0, sizeof(told));
	return gone_table_new(&t, &mem);
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < RECEIVERS; i++)
		gone_unsubscribe_all(t, &r[i]);
	assert_int_equal(0, gone_count(t));
	assert_int_equal(0, mem.used);
	gone_table_free(t);
	slab_done(&mem);
	return 0;
}

static struct key src(unsigned int n)
{
	struct key k = { { 1 } };

	memcpy(k.b + 1, &n, sizeof(n));
	return k;
}

static uint64_t hash(unsigned int n)
{
	return n * 0x9e3779b97f4a7c15ULL + 1;
}

static int subscribe(unsigned int receiver, unsigned int source)
{
	struct key k = src(source);

	return gone_subscribe(t, &r[receiver], k.b, hash(source));
}

static void tell(struct gone_receiver *who, const struct key *k, void *ctx)
{
	(void)k;
	(void)ctx;
	told[who - r]++;
}

static void announce(unsigned int source)
{
	struct key k = src(source);

	gone_announce(t, &k, hash(source), tell, NULL);
}

static void test_receivers_only(void **state)
{
	(void)state;
	subscribe(1, 7);
	subscribe(2, 8);
	announce(7);
	assert_int_equal(0, told[0]);
	assert_int_equal(1, told[1]);
	assert_int_equal(0, told[2]);
}

/* A second departure is not told, however often the peer was heard again. */
static void test_once_per_pair(void **state)
{
	(void)state;
	subscribe(1, 7);
	subscribe(1, 9);
	subscribe(1, 7);
	announce(7);
	subscribe(1, 9);
	subscribe(1, 7);
	announce(7);
	assert_int_equal(1, told[1]);
}

static void test_closed_receiver(void **state)
{
	(void)state;
	subscribe(1, 7);
	gone_unsubscribe_all(t, &r[1]);
	announce(7);
	assert_int_equal(0, told[1]);
	gone_receiver_init(&r[1]);
	subscribe(1, 7);
	announce(7);
	assert_int_equal(1, told[1]);
}

static void test_many(void **state)
{
	(void)state;
	for (unsigned int s = 0; s < SOURCES; s++)
		for (unsigned int i = 0; i < RECEIVERS; i++)
			assert_int_equal(1, subscribe(i, s));
	assert_int_equal(SOURCES * RECEIVERS, gone_count(t));
	for (unsigned int s = 0; s < SOURCES; s++)
		announce(s);
	for (unsigned int i = 0; i < RECEIVERS; i++)
		assert_int_equal(SOURCES, told[i]);
}

static void test_limit(void **state)
{
	(void)state;
	for (unsigned int s = 0; s < GONE_MAX_PER_CONN; s++)
		assert_int_equal(1, subscribe(0, s));
	assert_int_equal(-ENOSPC, subscribe(0, GONE_MAX_PER_CONN));
	assert_int_equal(0, subscribe(0, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_receivers_only, setup, teardown),
		cmocka_unit_test_setup_teardown(test_once_per_pair, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closed_receiver, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limit, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
