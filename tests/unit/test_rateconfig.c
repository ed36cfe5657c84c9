/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/rateconfig.h"
#include "base/util.h"
#include "relay/limit.h"

static const struct file_case {
	const char *text, *says;	/* says NULL: it is good */
	uint64_t rate, burst;
} files[] = {
	{ "{}", NULL, 0, RATE_MIN_BURST },
	{ "{\"PerClientRateLimitBytesPerSec\": 0}", NULL, 0, RATE_MIN_BURST },
	{ "{\"PerClientRateLimitBytesPerSec\": 5, \"PerClientRateBurstBytes\": 1}", NULL, 5, RATE_MIN_BURST },
	{ "{\"PerClientRateLimitBytesPerSec\": 9223372036854775807, \"PerClientRateBurstBytes\": 100000}", NULL, INT64_MAX, 100000 },
	{ "", "line 1", 0, 0 },
	{ "{\"PerClientRateLimitBytesPerSec\": 1,\n}", "line 2", 0, 0 },
	{ "[]", "must hold an object", 0, 0 },
	{ "{\"PerClientRateLimitBytesPerSec\": 1.5}", "whole number", 0, 0 },
	{ "{\"PerClientRateLimitBytesPerSec\": -1}", "not negative", 0, 0 },
	{ "{\"PerClientRateLimitBytesPerSec\": 9223372036854775808}", "line 1", 0, 0 },
	{ "{\"PerClientRateLimitBytesPerSec\": 1, \"PerClientRateLimitBytesPerSec\": 2}", "line 1", 0, 0 },
	{ "{\"rate\": 1}", "unknown \"rate\"", 0, 0 },
};

static void load(void **state)
{
	const struct file_case *c = *state;
	char name[] = "/tmp/xderp-test.XXXXXX", err[512] = "";
	int fd = mkstemp(name), e;
	struct rate r;

	assert_true(fd >= 0);
	assert_int_equal(strlen(c->text), write(fd, c->text, strlen(c->text)));
	close(fd);
	e = rateconfig_load(&r, NULL, name, err, sizeof(err));
	unlink(name);
	if (c->says) {
		assert_true(e < 0);
		assert_non_null(strstr(err, c->says));
		assert_non_null(strstr(err, name));
		return;
	}
	assert_int_equal(0, e);
	assert_int_equal(c->rate, r.bytes_per_s);
	assert_int_equal(c->burst, r.burst);
}

static void charging(void **state)
{
	struct bucket b = { 0 };

	(void)state;
	/* 1,000 a second, 500 at once. */
	assert_int_equal(0, bucket_charge(&b, 1000, 500, 500, NS_PER_S));
	assert_in_range(bucket_charge(&b, 1000, 500, 100, NS_PER_S), 100 * NS_PER_MS, 101 * NS_PER_MS);
	assert_in_range(bucket_charge(&b, 1000, 500, 100, NS_PER_S), 200 * NS_PER_MS, 201 * NS_PER_MS);
	/* Paid back after 200 ms; another 50 ms later there are 50. */
	assert_int_equal(0, bucket_charge(&b, 1000, 500, 50, NS_PER_S + 250 * NS_PER_MS));
	/* Never more than the burst, however long nothing came; time that stands still gives nothing. */
	assert_int_equal(0, bucket_charge(&b, 1000, 500, 500, 100 * NS_PER_S));
	assert_true(bucket_charge(&b, 1000, 500, 1, 100 * NS_PER_S) > 0);
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(files) + 1];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		t[i] = (struct CMUnitTest){ files[i].text, load, NULL, NULL, (void *)(uintptr_t)&files[i] };
	t[ARRAY_SIZE(files)] = (struct CMUnitTest)cmocka_unit_test(charging);
	return cmocka_run_group_tests(t, NULL, NULL);
}
