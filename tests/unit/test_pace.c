/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdarg.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "relay/pace.h"

#define PACE	50U

/* A turn with packets: from whom the last of them came, and when. */
struct step {
	uint32_t slot, packets;
	uint64_t at;
};

static const struct pace_case {
	const char *name;
	struct step step[6];
	uint64_t asked_at, left;
} cases[] = {
	{ "the first packet",			{ { 1, 1, 1000 } },					1010, 0 },
	{ "a lone packet after a while",	{ { 1, 1, 1000 }, { 1, 1, 1100 } },			1110, 0 },
	{ "several at once",			{ { 1, 3, 1000 } },					1010, 40 },
	{ "the pace is over",			{ { 1, 3, 1000 } },					1050, 0 },
	{ "one sender goes on",			{ { 1, 1, 1000 }, { 1, 1, 1020 } },			1030, 40 },
	{ "one sender, at the pace",		{ { 1, 1, 1000 }, { 1, 1, 1050 } },			1060, 0 },
	{ "two in turn",	{ { 1, 1, 1000 }, { 2, 1, 1020 }, { 1, 1, 1040 }, { 2, 1, 1060 } },	1070, 0 },
	{ "two in turn, and a third",
		{ { 1, 1, 1000 }, { 2, 1, 1020 }, { 1, 1, 1040 }, { 3, 1, 1060 } },			1070, 40 },
	{ "two in turn, one of them twice",
		{ { 1, 1, 1000 }, { 2, 1, 1020 }, { 1, 1, 1040 }, { 1, 1, 1060 } },			1070, 40 },
	{ "it was much, now it is little",	{ { 1, 9, 1000 }, { 2, 1, 1100 } },			1110, 0 },
};

static void run_case(void **state)
{
	const struct pace_case *c = *state;
	struct pace p = { 0 };

	for (const struct step *s = c->step; s < c->step + ARRAY_SIZE(c->step) && s->packets; s++)
		pace_note(&p, PACE, s->at, s->packets, s->slot);
	assert_int_equal(pace_left_ns(&p, PACE, c->asked_at), c->left);
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(cases)];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		t[i] = (struct CMUnitTest){ cases[i].name, run_case, NULL, NULL, (void *)&cases[i] };
	return cmocka_run_group_tests(t, NULL, NULL);
}
