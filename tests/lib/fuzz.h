/* SPDX-License-Identifier: BSD-3-Clause */
/* What every fuzz target needs: a check that survives NDEBUG, and libFuzzer's entry. */
#ifndef XDERP_TESTS_FUZZ_H
#define XDERP_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(x) do { \
	if (!(x)) { \
		fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
		abort(); \
	} \
} while (0)

/* A heap block of exactly n bytes, so that ASan sees one byte too far. */
static inline uint8_t *t_block(const uint8_t *p, size_t n)
{
	uint8_t *b = malloc(n);

	CHECK(b || !n);
	if (n)
		memcpy(b, p, n);
	return b;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#endif
