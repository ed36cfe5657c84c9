/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/poison.h"
#include "base/slab.h"
#include "base/util.h"

#define LIMIT	(64ULL << 20)

static void every_size_fits_its_class(void **state)
{
	struct slab s;
	uint8_t cls, last = 0;

	(void)state;
	slab_init(&s, LIMIT);
	for (size_t n = 0; n <= SLAB_MAX; n += n < 70000 ? 1 : 61) {
		uint8_t *p = slab_alloc(&s, n, &cls);

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % 64, 0);
		assert_true(cls >= last);
		assert_true(slab_class_size(cls) >= n);
		if (cls)
			assert_true(slab_class_size(cls - 1) < n);
		p[0] = p[slab_class_size(cls) - 1] = 1;
		assert_int_equal(s.used, slab_class_size(cls));
		slab_free(&s, p, cls);
		last = cls;
	}
	assert_int_equal(last, SLAB_CLASSES - 1);
	assert_int_equal(s.used, 0);
	assert_non_null(slab_alloc(&s, SLAB_MAX, &cls));
	assert_null(slab_alloc(&s, SLAB_MAX + 1, &cls));
	assert_int_equal(s.exhausted, 0);
	slab_done(&s);
}

static void largest_frame_has_a_class(void **state)
{
	struct slab s;
	uint8_t cls;

	(void)state;
	slab_init(&s, LIMIT);
	assert_non_null(slab_alloc(&s, 65605 + 128, &cls));
	assert_int_equal(slab_class_size(cls), 68096);
	slab_done(&s);
}

static void reuse_is_last_in_first_out(void **state)
{
	struct slab s;
	uint8_t cls;
	void *a, *b;

	(void)state;
	slab_init(&s, LIMIT);
	a = slab_alloc(&s, 500, &cls);
	b = slab_alloc(&s, 500, &cls);
	slab_free(&s, a, cls);
	slab_free(&s, b, cls);
	assert_ptr_equal(slab_alloc(&s, 500, &cls), b);
	assert_ptr_equal(slab_alloc(&s, 500, &cls), a);
	slab_free(&s, NULL, cls);
	slab_done(&s);
}

/* The limit covers what is mapped, is never passed, and freeing makes room again. */
static void limit_holds(void **state)
{
	static void *got[100000];
	struct slab s;
	uint8_t cls;

	(void)state;
	for (uint8_t c = 0; c < SLAB_CLASSES; c++) {
		size_t size = slab_class_size(c), n = 0;

		slab_init(&s, 1 << 20);
		while ((got[n] = slab_alloc(&s, size, &cls)))
			n++;
		assert_int_equal(cls, c);
		assert_true(n >= 3);
		assert_true(s.mapped <= s.limit);
		assert_int_equal(s.exhausted, 1);
		assert_int_equal(s.used, n * size);
		slab_free(&s, got[0], c);
		assert_ptr_equal(slab_alloc(&s, size, &cls), got[0]);
		assert_null(slab_alloc(&s, size, &cls));
		assert_int_equal(s.exhausted, 2);
		slab_done(&s);
	}
}

static size_t resident(const struct slab *s, void *p, size_t size)
{
	unsigned char vec[SLAB_MAX / 4096 + 2];
	uintptr_t from = (uintptr_t)p & ~4095UL, to = ((uintptr_t)p + size + 4095) & ~4095UL;
	size_t n = 0;

	(void)s;
	assert_int_equal(mincore((void *)from, to - from, vec), 0);
	for (size_t i = 0; i < (to - from) / 4096; i++)
		n += vec[i] & 1;
	return n * 4096;
}

/* What is used again and again keeps its pages, however much it is. */
static void pages_in_use_stay(void **state)
{
	static void *got[100];
	struct slab s;
	uint8_t cls;

	(void)state;
	slab_init(&s, LIMIT);
	for (unsigned int round = 0; round < 5; round++) {
		/* Once more were needed: those go, the others don't. */
		size_t n = round == 0 ? 100 : 60;

		for (size_t i = 0; i < n; i++) {
			got[i] = slab_alloc(&s, SLAB_MAX, &cls);
			memset(got[i], 1, SLAB_MAX);
		}
		for (size_t i = n; i-- > 0; )
			slab_free(&s, got[i], cls);
		assert_int_equal(slab_trim(&s, 1000), round == 1 ? 40 - (2 << 20) / SLAB_MAX : 0);
		assert_true(s.over);
	}
	slab_done(&s);
}

static void pages_go_back_after_a_peak(void **state)
{
	static void *got[200];
	size_t peak = 0, after = 0;
	struct slab s;
	uint8_t cls;

	(void)state;
	slab_init(&s, LIMIT);
	for (size_t i = 0; i < ARRAY_SIZE(got); i++) {
		got[i] = slab_alloc(&s, SLAB_MAX, &cls);
		memset(got[i], 1, SLAB_MAX);
		peak += resident(&s, got[i], SLAB_MAX);
	}
	assert_false(s.over);
	for (size_t i = 0; i < ARRAY_SIZE(got); i++)
		slab_free(&s, got[i], cls);
	assert_true(s.over);
	/* Not before a time has passed in which they were free; then in steps. */
	assert_int_equal(slab_trim(&s, 1000), 0);
	for (size_t i = 0; i < ARRAY_SIZE(got); i++)
		after += resident(&s, got[i], SLAB_MAX);
	assert_int_equal(after, peak);
	while (s.over && slab_trim(&s, 30))
		;
	assert_false(s.over);
	assert_int_equal(slab_trim(&s, 30), 0);
	after = 0;
	for (size_t i = 0; i < ARRAY_SIZE(got); i++)
		after += resident(&s, got[i], SLAB_MAX);
	assert_true(peak > 50 << 20);
	assert_true(after < 5 << 20);
	/* The warm ones come first, and all of them come again. */
	assert_true(resident(&s, slab_alloc(&s, SLAB_MAX, &cls), SLAB_MAX) >= SLAB_MAX);
	for (size_t i = 1; i < ARRAY_SIZE(got); i++)
		assert_non_null(slab_alloc(&s, SLAB_MAX, &cls));
	assert_int_equal(s.mapped, ARRAY_SIZE(got) * (SLAB_MAX + 4096));
	slab_done(&s);
}

/* Blocks never overlap and keep their bytes while others come and go. */
static void random_use_keeps_bytes(void **state)
{
	static struct {
		uint8_t *p, cls;
		size_t n;
	} held[300];
	struct slab s;

	(void)state;
	srandom(1);
	slab_init(&s, LIMIT);
	for (int step = 0; step < 60000; step++) {
		size_t i = (size_t)random() % ARRAY_SIZE(held);

		if (held[i].p) {
			assert_int_equal(held[i].p[0], (uint8_t)i);
			assert_int_equal(held[i].p[held[i].n - 1], (uint8_t)i);
			slab_free(&s, held[i].p, held[i].cls);
			held[i].p = NULL;
			continue;
		}
		held[i].n = 1 + (size_t)random() % (1U << (1 + random() % 18));
		held[i].p = slab_alloc(&s, held[i].n, &held[i].cls);
		if (!held[i].p)
			continue;
		held[i].n = slab_class_size(held[i].cls);
		held[i].p[0] = held[i].p[held[i].n - 1] = (uint8_t)i;
	}
	slab_done(&s);
}

static void free_blocks_are_poisoned(void **state)
{
#ifdef POISON_ON
	struct slab s;
	uint8_t cls, *p;

	slab_init(&s, LIMIT);
	p = slab_alloc(&s, 128, &cls);
	assert_int_equal(__asan_address_is_poisoned(p), 0);
	assert_int_equal(__asan_address_is_poisoned(p + 128), 1);
	slab_free(&s, p, cls);
	assert_int_equal(__asan_address_is_poisoned(p), 1);
	assert_int_equal(__asan_address_is_poisoned(p + 127), 1);
	slab_done(&s);
#else
	skip();
#endif
	(void)state;
}

int main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test(every_size_fits_its_class),
		cmocka_unit_test(largest_frame_has_a_class),
		cmocka_unit_test(reuse_is_last_in_first_out),
		cmocka_unit_test(limit_holds),
		cmocka_unit_test(pages_go_back_after_a_peak),
		cmocka_unit_test(pages_in_use_stay),
		cmocka_unit_test(random_use_keeps_bytes),
		cmocka_unit_test(free_blocks_are_poisoned),
	};

	return cmocka_run_group_tests(t, NULL, NULL);
}
