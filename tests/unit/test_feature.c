/* SPDX-License-Identifier: BSD-3-Clause */
/* The list of what the relay can do here. */
#include "lib/unit.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/feature.h"
#include "base/log.h"

static struct feature got[FEATURE_MAX + 1];

static const struct feature *find(const char *name)
{
	unsigned int n = feature_list(got, FEATURE_MAX + 1);

	for (unsigned int i = 0; i < n; i++)
		if (!strcmp(got[i].name, name))
			return &got[i];
	return NULL;
}

static void said_anew(void **state)
{
	unsigned int n;

	(void)state;
	feature_set("ktls", "off", "kernel has no %s module", "tls");
	n = feature_list(got, FEATURE_MAX);
	assert_string_equal("off", find("ktls")->state);
	assert_string_equal("kernel has no tls module", find("ktls")->reason);
	feature_set("ktls", "on", "%s", "");
	assert_string_equal("on", find("ktls")->state);
	assert_string_equal("", find("ktls")->reason);
	assert_int_equal(n, feature_list(got, FEATURE_MAX));
}

static void order_is_of_the_first(void **state)
{
	unsigned int n;

	(void)state;
	n = feature_list(got, FEATURE_MAX);
	feature_set("first", "on", "%s", "");
	feature_set("second", "on", "%s", "");
	feature_set("first", "off", "%s", "");
	assert_int_equal(n + 2, feature_list(got, FEATURE_MAX));
	assert_string_equal("first", got[n].name);
	assert_string_equal("second", got[n + 1].name);
	assert_int_equal(1, feature_list(got, 1));
}

static void too_long_is_cut(void **state)
{
	char text[1000];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	feature_set("long", text, "%s", text);
	assert_int_equal(sizeof(got->state) - 1, strlen(find("long")->state));
	assert_int_equal(sizeof(got->reason) - 1, strlen(find("long")->reason));
}

static void *set_many(void *arg)
{
	for (int i = 0; i < 2000; i++)
		feature_set("shared", i & 1 ? "on" : "off", "%s", (const char *)arg);
	return NULL;
}

static void from_many_threads(void **state)
{
	static char *const reasons[] = { (char *)"one", (char *)"two" };
	pthread_t t[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(0, pthread_create(&t[i], NULL, set_many, reasons[i]));
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	assert_string_equal("on", find("shared")->state);
}

/* Last: it fills the table. */
static void full_table_drops(void **state)
{
	char name[24];

	(void)state;
	for (int i = 0; i < FEATURE_MAX + 10; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		feature_set(name, "on", "%s", "");
	}
	assert_int_equal(FEATURE_MAX, feature_list(got, FEATURE_MAX + 1));
	feature_set("ktls", "off", "%s", "still changes");
	assert_string_equal("still changes", find("ktls")->reason);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(said_anew),
		cmocka_unit_test(order_is_of_the_first),
		cmocka_unit_test(too_long_is_cut),
		cmocka_unit_test(from_many_threads),
		cmocka_unit_test(full_table_drops),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
