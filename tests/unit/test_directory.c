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

/* A script again, with forwarders: >n link n has the key, <n no more; digits 0..7 are connections, links 0..7 have slots 100..107.
 * What the last step left, and who is active. */
static const struct forwarder_case {
	const char *name, *script;
	long want;
	int left;
} forwarder_cases[] = {
	{ "one", ">0", 100, -1 },
	{ "told twice", ">0 >0 <0", -1, DIRECTORY_GONE },
	{ "oldest first", ">2 >1 >3", 102, -1 },
	{ "next oldest", ">2 >1 >3 <2", 101, DIRECTORY_REMOTE },
	{ "a younger one goes", ">2 >1 >3 <1", 102, DIRECTORY_REMOTE },
	{ "comes again as youngest", ">2 >1 <2 >2", 101, -1 },
	{ "not known to have it", ">2 <1", 102, DIRECTORY_REMOTE },
	{ "local wins", ">2 +1", 1, -1 },
	{ "local first", "+1 >2", 1, -1 },
	{ "local goes", "+1 >2 -1", 102, DIRECTORY_REMOTE },
	{ "remote goes", "+1 >2 <2", 1, DIRECTORY_HERE },
	{ "local goes, comes again", "+1 >2 -1 +3", 3, -1 },
	{ "duplicates go", "+1 +2 >2 -1 -2", 102, DIRECTORY_REMOTE },
	{ "all go", "+1 >2 -1 <2", -1, DIRECTORY_GONE },
	{ "moves to another node and back", "+1 >2 -1 <2 +1", 1, -1 },
};

static void run_forwarder(void **state)
{
	const struct forwarder_case *c = *state;
	struct key k = key_of(7);
	uint32_t node = 0;
	int how = -1;
	bool dup;

	for (unsigned int i = 0; i < 8; i++)
		directory_link_up(d, i, (struct conn_id){ .shard = 63, .slot = 100 + i, .gen = 0xffffff });
	for (const char *p = c->script; *p; p += p[2] ? 3 : 2) {
		uint32_t n = (uint32_t)(p[1] - '0');
		enum directory_left l = DIRECTORY_HERE;

		how = -1;
		if (*p == '+')
			assert_int_equal(0, add(7, n, &node, &dup));
		else if (*p == '-')
			how = (int)directory_remove(d, node, member(7, n).id);
		else if (*p == '>')
			assert_in_range(directory_add_forwarder(d, &k, key_hash(d, &k), n, 10), 0, 1);
		else if (*p == '<')
			directory_remove_forwarder(d, &k, key_hash(d, &k), n, &l), how = (int)l;
	}
	assert_int_equal(c->want, active(7));
	assert_int_equal(c->left, how);
}

static void test_link_id(void **state)
{
	struct conn_id id = { .shard = 63, .slot = 0xfffffffe, .gen = 0xffffff }, got;
	struct key k = key_of(1);

	(void)state;
	directory_link_up(d, 15, id);
	assert_int_equal(1, directory_add_forwarder(d, &k, key_hash(d, &k), 15, 1));
	assert_true(directory_find(d, &k, key_hash(d, &k), &got));
	assert_true(got.link);
	assert_true(conn_id_equal(id, got));
}

/* What a broken link leaves behind: 1000 keys of its own, 1000 that another node has too, 1000 that are here. */
static void test_drop_link(void **state)
{
	static uint32_t nodes[1000];
	struct key gone[DIRECTORY_STEP], k;
	uint32_t cursor = 0, keys = 0, steps = 0;
	struct relay_totals t;
	unsigned int n;
	bool dup, more;

	(void)state;
	directory_link_up(d, 0, (struct conn_id){ .slot = 100 });
	directory_link_up(d, 1, (struct conn_id){ .slot = 101 });
	for (uint32_t i = 0; i < 3000; i++) {
		k = key_of(i);
		assert_int_equal(1, directory_add_forwarder(d, &k, key_hash(d, &k), 0, 3000));
		if (i >= 1000 && i < 2000)
			assert_int_equal(1, directory_add_forwarder(d, &k, key_hash(d, &k), 1, 3000));
		if (i >= 2000)
			assert_int_equal(0, add(i, i, &nodes[i - 2000], &dup));
	}
	k = key_of(3000);
	assert_int_equal(-ENOSPC, directory_add_forwarder(d, &k, key_hash(d, &k), 0, 3000));
	directory_totals(d, &t);
	assert_int_equal(2000, t.clients_remote);
	assert_int_equal(1000, t.clients_local);
	assert_int_equal(1000, t.multiforwarder_created);
	do {
		more = directory_drop_link(d, 0, &cursor, gone, &n);
		for (unsigned int i = 0; i < n; i++) {
			uint32_t nr;

			memcpy(&nr, gone[i].b, sizeof(nr));
			assert_true(nr < 1000);
		}
		keys += n;
		steps++;
	} while (more);
	assert_int_equal(1000, keys);
	assert_true(steps >= 3000 / DIRECTORY_STEP);
	for (uint32_t i = 0; i < 3000; i++)
		assert_int_equal(i < 1000 ? -1 : i < 2000 ? 101 : (long)i, active(i));
	directory_totals(d, &t);
	assert_int_equal(1000, t.clients_remote);
	assert_int_equal(1000, t.multiforwarder_deleted);
	/* There is room again. */
	assert_int_equal(1, directory_add_forwarder(d, &k, key_hash(d, &k), 1, 3000));
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

enum { FIXED = 6 };

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(dup_cases) + ARRAY_SIZE(forwarder_cases) + FIXED] = {
		cmocka_unit_test_setup_teardown(test_totals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lookups_while_writing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_link_id, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drop_link, setup, teardown),
	};

	for (size_t i = 0; i < ARRAY_SIZE(dup_cases); i++)
		t[FIXED + i] = (struct CMUnitTest){ dup_cases[i].name, run_dup, setup, teardown, (void *)&dup_cases[i] };
	for (size_t i = 0; i < ARRAY_SIZE(forwarder_cases); i++)
		t[FIXED + ARRAY_SIZE(dup_cases) + i] = (struct CMUnitTest){ forwarder_cases[i].name, run_forwarder, setup, teardown,
									    (void *)&forwarder_cases[i] };
	return cmocka_run_group_tests(t, NULL, NULL);
}
