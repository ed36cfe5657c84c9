/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdarg.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "relay/pace.h"

#define PACE	50U

/* Turns with packets: how many connections brought how many, how many of those were in the turn before too; the first is at
 * this time, and the same comes again so many times, so long after one another. */
struct step {
	uint32_t last, packets, heard, again;
	uint64_t at;
	unsigned int times, every;
};

static const struct pace_case {
	const char *name;
	struct step step[6];
	uint64_t asked_at, left;
	unsigned int batch;
} cases[] = {
	{ "the first packet",			{ { 1, 1, 1, 0, 1000 } },				1010, 0, 1 },
	{ "a lone packet after a while",	{ { 1, 1, 1, 0, 1000 }, { 1, 1, 1, 1, 1100 } },		1110, 0, 1 },
	{ "several at once",			{ { 1, 3, 3, 0, 1000 } },				1010, 40, 3 },
	{ "the pace is over",			{ { 1, 3, 3, 0, 1000 } },				1050, 0, 3 },
	{ "one sender goes on",			{ { 1, 1, 1, 0, 1000 }, { 1, 1, 1, 1, 1020 } },		1030, 40, 1 },
	{ "one sender, at the pace",		{ { 1, 1, 1, 0, 1000 }, { 1, 1, 1, 1, 1050 } },		1060, 0, 1 },
	{ "two in turn",
		{ { 1, 1, 1, 0, 1000 }, { 2, 1, 1, 0, 1020 }, { 1, 1, 1, 0, 1040 }, { 2, 1, 1, 0, 1060 } },	1070, 0, 2 },
	{ "two in turn, and a third",
		{ { 1, 1, 1, 0, 1000 }, { 2, 1, 1, 0, 1020 }, { 1, 1, 1, 0, 1040 }, { 3, 1, 1, 0, 1060 } },	1070, 40, 2 },
	{ "two in turn, one of them twice",
		{ { 1, 1, 1, 0, 1000 }, { 2, 1, 1, 0, 1020 }, { 1, 1, 1, 0, 1040 }, { 1, 1, 1, 1, 1060 } },	1070, 40, 1 },
	{ "it was much, now it is little",	{ { 1, 9, 3, 0, 1000 }, { 2, 1, 1, 1, 1100 } },		1110, 0, 3 },
	{ "eight, in two parts",		{ { 1, 3, 3, 0, 1000 }, { 2, 5, 5, 0, 1040 } },		1050, 40, 8 },
	{ "the same eight, at once",
		{ { 1, 3, 3, 0, 1000 }, { 2, 5, 5, 0, 1040 }, { 2, 8, 8, 5, 1080 } },			1090, 40, 8 },
	{ "bulk sleeps longer",			{ { 1, 10, 2, 0, 1000 } },				1010, 115, UINT32_MAX },
	{ "one that sends two at once",		{ { 1, 2, 1, 0, 1000 } },				1010, 40, 1 },
	{ "nine from two",			{ { 1, 9, 2, 0, 1000 } },				1010, 40, 2 },
	{ "five from one",			{ { 1, 5, 1, 0, 1000 } },				1010, 40, 1 },
	{ "a trickle from one",			{ { 1, 1, 1, 1, 1000, 30, 30 } },			1880, 0, 1 },
	{ "what is just no trickle",		{ { 1, 3, 3, 2, 1000, 30, 50 } },			2460, 40, 4 },
	{ "a trickle that swells",		{ { 1, 1, 1, 1, 1000, 30, 30 }, { 1, 9, 9, 8, 1900, 10, 50 } },	2360, 40, 10 },
	{ "ten when they like",			{ { 1, 4, 4, 2, 1000, 5, 50 } },			1210, 40, 6 },
	{ "ten when they like, tried",		{ { 1, 4, 4, 2, 1000, 6, 50 } },			1260, 0, 6 },
	{ "and left alone for long",		{ { 1, 4, 4, 2, 1000, 1005, 50 } },			51210, 0, 6 },
	{ "and tried again",			{ { 1, 4, 4, 2, 1000, 1006, 50 } },			51260, 40, 6 },
	{ "most of them again",			{ { 1, 4, 4, 3, 1000, 30, 50 } },			2460, 40, 5 },
	{ "they bring several each meanwhile",	{ { 1, 4, 4, 2, 1000, 9, 50 }, { 1, 8, 4, 0, 1440 } },	1450, 40, 8 },
	{ "a pause in a stream",		{ { 1, 9, 9, 8, 1000, 30, 50 }, { 1, 9, 9, 8, 9000 } },	9010, 40, 10 },
	{ "bulk, and its pace is over",		{ { 1, 6, 1, 0, 1000 } },				1125, 0, UINT32_MAX },
};

static void run_case(void **state)
{
	const struct pace_case *c = *state;
	struct pace p = { 0 };

	for (const struct step *s = c->step; s < c->step + ARRAY_SIZE(c->step) && s->packets; s++) {
		const struct pace_turn t = { .packets = s->packets, .last = s->last, .heard = s->heard, .again = s->again };

		pace_note(&p, PACE, s->at, &t);
		for (unsigned int i = 1; i < s->times; i++)
			pace_note(&p, PACE, s->at + i * s->every, &t);
	}
	assert_int_equal(pace_left_ns(&p, PACE, c->asked_at), c->left);
	assert_int_equal(pace_batch(&p), c->batch);
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(cases)];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		t[i] = (struct CMUnitTest){ cases[i].name, run_case, NULL, NULL, (void *)&cases[i] };
	return cmocka_run_group_tests(t, NULL, NULL);
}
