/* SPDX-License-Identifier: BSD-3-Clause */
/* What the BPF map shows of a peer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "relay/publish.h"

static const struct peer_facts facts = {
	.connected_at = 1000, .home_since = 2000, .frames_in = 1, .bytes_in = 2, .frames_out = 3, .bytes_out = 4,
	.drops = 5, .transport = DERP_TLS,
};
static const struct peer_facts not_home = { .connected_at = 1000, .transport = DERP_PLAIN };

#define KEY	{ .b = { 0x35, 0x83, 0x72, 0xd7 } }	/* base64 begins with NYNy1 */
#define V4	{ [10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 1 }
#define V6_LONG	{ 0x20, 0x01, 0x0d, 0xb8, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x66, 0x66 }

static const struct publish_case {
	const char *name;
	struct directory_member m;
	uint32_t duplicates;
	struct derp_peer want;
} cases[] = {
	{ "IPv4, home, counters",
	  { .id = { 2, 7, 9 }, .facts = &facts, .present = { KEY, V4, 4711, DERP_PRESENT_REGULAR } }, 0,
	  { .short_key = "[NYNy1]", .address = "192.0.2.1:4711", .shard = 2, .slot = 7, .generation = 9,
	    .transport = DERP_TLS, .home = true, .connected_at = 1000, .home_since = 2000, .frames_in = 1,
	    .bytes_in = 2, .frames_out = 3, .bytes_out = 4, .drops = 5 } },
	{ "longest IPv6, all flags, duplicates",
	  { .facts = &not_home, .present = { KEY, V6_LONG, 65535, DERP_PRESENT_MESH | DERP_PRESENT_PROBER | DERP_PRESENT_NOT_IDEAL } }, 3,
	  { .short_key = "[NYNy1]", .address = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535", .mesh = true,
	    .prober = true, .not_ideal = true, .duplicates = 3, .connected_at = 1000 } },
	{ "IPv6 any",
	  { .facts = &not_home, .present = { KEY, { 0 }, 0, DERP_PRESENT_PROBER } }, 0,
	  { .short_key = "[NYNy1]", .address = "[::]:0", .prober = true, .connected_at = 1000 } },
};

static void run_case(void **state)
{
	const struct publish_case *c = *state;
	struct derp_peer got;

	/* Whole values are compared, so that bytes nobody set are found, too. */
	memset(&got, 0xaa, sizeof(got));
	publish_entry(&got, &c->m, c->duplicates);
	assert_string_equal(got.address, c->want.address);
	assert_memory_equal(&got, &c->want, sizeof(got));
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(cases)];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		t[i] = (struct CMUnitTest){ cases[i].name, run_case, NULL, NULL, (void *)&cases[i] };
	return cmocka_run_group_tests(t, NULL, NULL);
}
