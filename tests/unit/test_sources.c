/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of sources: what it counts, who makes room, and the same against a plain model over many random steps. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "lib/unit.h"
#include "relay/sources.h"

static const struct source_limits limits = { .conns = 3, .unauth = 2, .login_rate = 1, .login_burst = 2 };

static void address(uint8_t ip[static 16], const char *text)
{
	assert_int_equal(1, inet_pton(AF_INET6, text, ip));
}

static enum source_verdict enter(struct sources *t, const char *from, uint32_t *h)
{
	uint8_t ip[16];

	address(ip, from);
	return sources_enter(t, ip, &limits, h);
}

static void leave(struct sources *t, uint32_t h)
{
	sources_authenticated(t, h);
	sources_leave(t, h);
}

static void counts(void **state)
{
	struct sources *t;
	uint32_t h[4] = { 0 };

	(void)state;
	assert_int_equal(0, sources_new(&t, 8));
	assert_int_equal(SOURCE_WELCOME, enter(t, "::ffff:192.0.2.1", &h[0]));
	assert_int_equal(SOURCE_WELCOME, enter(t, "::ffff:192.0.2.1", &h[1]));
	assert_int_equal(SOURCE_UNAUTH, enter(t, "::ffff:192.0.2.1", &h[2]));
	assert_int_equal(SOURCE_WELCOME, enter(t, "::ffff:192.0.2.2", &h[2]));
	sources_authenticated(t, h[0]);
	assert_int_equal(SOURCE_WELCOME, enter(t, "::ffff:192.0.2.1", &h[3]));
	sources_authenticated(t, h[1]);
	assert_int_equal(SOURCE_CONNS, enter(t, "::ffff:192.0.2.1", &h[1]));
	sources_leave(t, h[0]);
	assert_int_equal(SOURCE_WELCOME, enter(t, "::ffff:192.0.2.1", &h[0]));
	sources_free(t);
}

static void networks(void **state)
{
	struct source_row rows[4];
	struct sources *t;
	uint32_t a, b;

	(void)state;
	assert_int_equal(0, sources_new(&t, 8));
	enter(t, "2001:db8:0:100::1", &a);
	enter(t, "2001:db8:0:1ff:ffff::2", &b);
	assert_int_equal(a, b);
	assert_int_equal(SOURCE_UNAUTH, enter(t, "2001:db8:0:155::", &a));
	assert_int_equal(SOURCE_WELCOME, enter(t, "2001:db8:0:200::1", &a));
	assert_int_not_equal(a, b);
	assert_int_equal(2, sources_top(t, rows, 4));
	assert_int_equal(56, rows[0].net.bits);
	assert_int_equal(2, rows[0].conns);
	assert_int_equal(1, rows[0].refused);
	assert_int_equal(1, rows[1].conns);
	sources_free(t);
}

/* Tokens come back with time, and are kept while the source is remembered, connected or not. */
static void logins(void **state)
{
	struct sources *t;
	uint64_t now = NS_PER_S;
	uint32_t h, again;

	(void)state;
	assert_int_equal(0, sources_new(&t, 8));
	enter(t, "::ffff:192.0.2.1", &h);
	assert_true(sources_login(t, h, &limits, now));
	assert_true(sources_login(t, h, &limits, now));
	assert_false(sources_login(t, h, &limits, now));
	leave(t, h);
	enter(t, "::ffff:192.0.2.1", &again);
	assert_int_equal(h, again);
	assert_false(sources_login(t, h, &limits, now + NS_PER_S / 2));
	assert_true(sources_login(t, h, &limits, now + 2 * NS_PER_S));
	assert_true(sources_login(t, h, &(struct source_limits){ 0 }, now));
	sources_free(t);
}

static void who_makes_room(void **state)
{
	struct sources_usage u;
	struct sources *t;
	uint32_t a, b, c, d = 0;

	(void)state;
	assert_int_equal(0, sources_new(&t, 3));
	enter(t, "::ffff:192.0.2.1", &a);
	enter(t, "::ffff:192.0.2.2", &b);
	enter(t, "::ffff:192.0.2.3", &c);
	assert_int_equal(SOURCE_UNKNOWN, enter(t, "::ffff:192.0.2.4", &d));
	assert_int_equal(0, d);
	leave(t, b);
	leave(t, a);
	assert_int_equal(SOURCE_WELCOME, enter(t, "::ffff:192.0.2.4", &d));
	assert_int_equal(b, d);			/* gone longest */
	assert_int_equal(SOURCE_WELCOME, enter(t, "::ffff:192.0.2.1", &d));
	assert_int_equal(a, d);			/* still known */
	assert_int_equal(SOURCE_UNKNOWN, enter(t, "::ffff:192.0.2.2", &d));
	sources_usage(t, &u);
	assert_int_equal(3, u.connected);
	assert_int_equal(3, u.known);
	sources_free(t);
	sources_free(NULL);
}

/* More sources than there is room for, in random order; who has connections is counted right at every step. */
static void model(void **state)
{
	enum { SOURCES = 200, ROOM = 64, STEPS = 200000 };
	static struct { uint32_t conns, unauth, handle[3]; } m[SOURCES];
	struct source_row rows[SOURCES];
	struct sources_usage u;
	uint32_t connected = 0, h = 0;
	uint64_t x = 88172645463325252ULL, sum = 0;
	struct sources *t;
	uint8_t ip[16];

	(void)state;
	memset(m, 0, sizeof(m));
	assert_int_equal(0, sources_new(&t, ROOM));
	address(ip, "::ffff:198.51.100.0");
	for (unsigned int i = 0; i < STEPS; i++) {
		unsigned int s, do_what;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		s = x % SOURCES;
		do_what = (unsigned int)(x >> 32) % 3;
		ip[15] = (uint8_t)s;
		if (do_what == 0) {
			enum source_verdict v = sources_enter(t, ip, &limits, &h);

			if (m[s].conns == 3)
				assert_int_equal(SOURCE_CONNS, v);
			else if (m[s].unauth == 2)
				assert_int_equal(SOURCE_UNAUTH, v);
			else
				assert_int_equal(m[s].conns || connected < ROOM ? SOURCE_WELCOME : SOURCE_UNKNOWN, v);
			if (v == SOURCE_WELCOME) {
				connected += !m[s].conns;
				m[s].handle[m[s].conns++] = h;
				m[s].unauth++;
				sum++;
			}
		} else if (do_what == 1 && m[s].unauth) {
			sources_authenticated(t, m[s].handle[0]);
			m[s].unauth--;
		} else if (do_what == 2 && m[s].conns > m[s].unauth) {
			sources_leave(t, m[s].handle[--m[s].conns]);
			connected -= !m[s].conns;
			sum--;
		}
	}
	sources_usage(t, &u);
	assert_int_equal(connected, u.connected);
	for (unsigned int i = 0, n = sources_top(t, rows, SOURCES); i < n; i++) {
		assert_int_equal(m[rows[i].net.net[15]].conns, rows[i].conns);
		assert_int_equal(m[rows[i].net.net[15]].unauth, rows[i].unauth);
		assert_true(!i || rows[i].conns <= rows[i - 1].conns);
		sum -= rows[i].conns;
	}
	assert_int_equal(0, sum);
	assert_int_equal(5, sources_top(t, rows, 5));
	sources_free(t);
}

int main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test(counts), cmocka_unit_test(networks), cmocka_unit_test(logins), cmocka_unit_test(who_makes_room),
		cmocka_unit_test(model),
	};

	return cmocka_run_group_tests(t, NULL, NULL);
}
