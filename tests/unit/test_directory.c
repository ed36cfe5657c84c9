/* SPDX-License-Identifier: BSD-3-Clause */
/* The directory: who is active, in derper's order of duplicates, and lookups while others write. */
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "relay/directory.h"

static struct directory *d;

static int setup(void **state)
{
	(void)state;
	return sodium_init() < 0 || directory_new(&d, NULL);
}

static int teardown(void **state)
{
	(void)state;
	directory_free(d);
	return 0;
}

static struct key key_of(uint32_t n)
{
	struct key k = { { 0 } };

	memcpy(k.b, &n, sizeof(n));
	k.b[31] = 1;
	return k;
}

static struct directory_member member(uint32_t key, uint32_t slot)
{
	return (struct directory_member){
		.id = { .shard = (uint16_t)(slot % 3), .slot = slot, .gen = slot & 0xffffff },
		.present = { .key = key_of(key), .flags = 1, .port = (uint16_t)slot },
	};
}

static int add(uint32_t key, uint32_t slot, uint32_t *node, bool *dup)
{
	struct directory_member m = member(key, slot);

	return directory_add(d, &m, key_hash(d, &m.present.key), 8, node, dup);
}

/* Slot of the active connection, or -1. */
static long active(uint32_t key)
{
	struct key k = key_of(key);
	struct conn_id id;

	return directory_find(d, &k, key_hash(d, &k), &id) ? (long)id.slot : -1;
}

/* A script: +n connects n, -n closes it, !n lets it speak; then who is active. All have one key. */
static const struct dup_case {
	const char *name, *script;
	long want;
} dup_cases[] = {
	{ "alone", "+1", 1 },
	{ "newest is active", "+1 +2", 2 },
	{ "older speaks", "+1 +2 !1", 1 },
	{ "both speak", "+1 +2 !1 !2", 2 },
	{ "active leaves, one left", "+1 +2 -2", 1 },
	{ "other leaves", "+1 +2 -1", 2 },
	{ "all leave", "+1 +2 -2 -1", -1 },
	{ "three silent: the first counts as having spoken", "+1 +2 +3 -3", 1 },
	{ "three, the second spoke", "+1 +2 !2 +3 -3", 2 },
	{ "three, the middle leaves", "+1 +2 +3 -2", 3 },
	{ "four, later ones are on record at once", "+1 +2 +3 +4 -4", 3 },
	{ "four, most recent speaker of those left", "+1 +2 +3 +4 !1 !2 -2", 1 },
	{ "back to one, then a second again", "+1 +2 -2 +3 +4 -4", 1 },
};

static void run_dup(void **state)
{
	const struct dup_case *c = *state;
	uint32_t node = 0;
	bool dup, last = false;

	for (const char *p = c->script; *p; p += p[2] ? 3 : 2) {
		uint32_t slot = (uint32_t)(p[1] - '0');
		struct directory_member m = member(7, slot);

		if (*p == '+')
			assert_int_equal(0, add(7, slot, &node, &dup));
		else if (*p == '!')
			directory_note_activity(d, node, m.id);
		else
			last = directory_remove(d, node, m.id);
	}
	assert_int_equal(c->want, active(7));
	assert_int_equal(c->want == -1, last);
}

static void test_totals(void **state)
{
	struct relay_totals t;
	uint32_t node, other;
	bool dup;

	(void)state;
	add(1, 1, &node, &dup);
	assert_false(dup);
	add(1, 2, &node, &dup);
	assert_true(dup);
	add(2, 3, &other, &dup);
	directory_totals(d, &t);
	assert_int_equal(2, t.clients_local);
	assert_int_equal(1, t.dup_client_keys);
	assert_int_equal(2, t.dup_client_conns);
	directory_remove(d, node, member(1, 1).id);
	directory_totals(d, &t);
	assert_int_equal(0, t.dup_client_keys);
	assert_int_equal(0, t.dup_client_conns);
}

static void test_limit(void **state)
{
	uint32_t node;
	bool dup;

	(void)state;
	for (uint32_t i = 1; i <= 8; i++)
		assert_int_equal(0, add(1, i, &node, &dup));
	assert_int_equal(-EMLINK, add(1, 9, &node, &dup));
	assert_int_equal(8, active(1));
}

/* Across several growths of the table: all are found, those removed are not, a walk sees each once. */
static void test_many(void **state)
{
	enum { N = 20000 };
	static uint32_t nodes[N];
	struct frame_present here[64];
	uint32_t cursor = 0, seen = 0, n;
	bool dup;

	(void)state;
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(0, add(i, i, &nodes[i], &dup));
	for (uint32_t i = 0; i < N; i += 2)
		assert_true(directory_remove(d, nodes[i], member(i, i).id));
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(i % 2 ? (long)i : -1, active(i));
	while ((n = directory_walk(d, &cursor, here, 64)))
		seen += n;
	assert_int_equal(N / 2, seen);
}

/* Keys 0..99 stay; a writer adds and removes others meanwhile. A reader must always find the former. */
static void *writer(void *arg)
{
	static uint32_t nodes[5000];
	bool dup;

	(void)arg;
	for (int round = 0; round < 100; round++) {
		for (uint32_t i = 0; i < 5000; i++)
			add(1000 + i, 1000 + i, &nodes[i], &dup);
		for (uint32_t i = 0; i < 5000; i++)
			directory_remove(d, nodes[i], member(1000 + i, 1000 + i).id);
	}
	return NULL;
}

static void test_lookups_while_writing(void **state)
{
	uint32_t node, wrong = 0;
	pthread_t t;
	bool dup;

	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		add(i, i, &node, &dup);
	assert_int_equal(0, pthread_create(&t, NULL, writer, NULL));
	for (uint32_t i = 0; i < 1000000; i++)
		wrong += active(i % 100) != (long)(i % 100);
	pthread_join(t, NULL);
	assert_int_equal(0, wrong);
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(dup_cases) + 4] = {
		cmocka_unit_test_setup_teardown(test_totals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lookups_while_writing, setup, teardown),
	};

	for (size_t i = 0; i < ARRAY_SIZE(dup_cases); i++)
		t[4 + i] = (struct CMUnitTest){ dup_cases[i].name, run_dup, setup, teardown, (void *)&dup_cases[i] };
	return cmocka_run_group_tests(t, NULL, NULL);
}
