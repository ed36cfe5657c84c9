/* SPDX-License-Identifier: BSD-3-Clause */
/* X25519: the vectors of RFC 7748, and ours against libsodium's. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "lib/unit.h"

#include "base/x25519.h"

static void from_hex(uint8_t ret[static X25519_LEN], const char *hex)
{
	assert_int_equal(0, sodium_hex2bin(ret, X25519_LEN, hex, 2 * X25519_LEN, NULL, NULL, NULL));
}

/* RFC 7748 section 5.2 */
static void vectors(void **state)
{
	static const char *const cases[][3] = {
		{ "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
		  "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
		  "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552" },
		{ "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
		  "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
		  "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957" },
	};
	uint8_t scalar[X25519_LEN], point[X25519_LEN], want[X25519_LEN], got[X25519_LEN];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		from_hex(scalar, cases[i][0]);
		from_hex(point, cases[i][1]);
		from_hex(want, cases[i][2]);
		assert_int_equal(0, x25519(got, scalar, point));
		assert_memory_equal(want, got, X25519_LEN);
	}
}

static void iterated(void **state)
{
	uint8_t k[X25519_LEN] = { 9 }, u[X25519_LEN] = { 9 }, want[X25519_LEN], r[X25519_LEN];

	(void)state;
	for (int i = 1; i <= 1000; i++) {
		assert_int_equal(0, x25519(r, k, u));
		memcpy(u, k, sizeof(u));
		memcpy(k, r, sizeof(k));
		if (i == 1) {
			from_hex(want, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
			assert_memory_equal(want, k, X25519_LEN);
		}
	}
	from_hex(want, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
	assert_memory_equal(want, k, X25519_LEN);
}

static void same_as_libsodium(const uint8_t scalar[static X25519_LEN], const uint8_t point[static X25519_LEN])
{
	uint8_t want[X25519_LEN], got[X25519_LEN];
	int r = crypto_scalarmult(want, scalar, point);

	assert_int_equal(r, x25519(got, scalar, point));
	if (!r)
		assert_memory_equal(want, got, X25519_LEN);
}

/* Bytes of all kinds: random, and nearly all zeros or ones, where carries run far and points are not reduced or of low order. */
static void fill(uint8_t p[static X25519_LEN], int kind, int i)
{
	randombytes_buf(p, X25519_LEN);
	if (kind) {
		memset(p, kind == 1 ? 0 : 0xff, X25519_LEN);
		p[i % X25519_LEN] ^= (uint8_t)(i / X25519_LEN);
	}
}

static void against_libsodium(void **state)
{
	uint8_t scalar[X25519_LEN], point[X25519_LEN], want[X25519_LEN], got[X25519_LEN];

	(void)state;
	for (int i = 0; i < X25519_LEN * 256; i++) {
		fill(scalar, i % 7 % 3, i);
		fill(point, i % 3, i / 3);
		same_as_libsodium(scalar, point);
		if (i % 16)
			continue;
		crypto_scalarmult_base(want, scalar);
		x25519_public(got, scalar);
		assert_memory_equal(want, got, X25519_LEN);
	}
}

/* Around p, 2p and 2^255, and the points of low order that are not small numbers. */
static void odd_points(void **state)
{
	static const char *const low[] = {
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	};
	uint8_t scalar[X25519_LEN], point[X25519_LEN], ret[X25519_LEN];

	(void)state;
	for (int top = 0; top < 2; top++) {
		for (int i = 0; i < 256; i++) {
			memset(point, 0xff, sizeof(point));
			point[0] = (uint8_t)i;
			point[31] = top ? 0xff : 0x7f;
			randombytes_buf(scalar, sizeof(scalar));
			same_as_libsodium(scalar, point);
		}
		for (size_t i = 0; i < 2; i++) {
			from_hex(point, low[i]);
			point[31] |= top ? 0x80 : 0;
			assert_int_equal(-1, x25519(ret, scalar, point));
		}
		memset(point, 0, sizeof(point));
		point[31] = top ? 0x80 : 0;
		assert_int_equal(-1, x25519(ret, scalar, point));
		point[0] = 1;
		assert_int_equal(-1, x25519(ret, scalar, point));
	}
}

/* The result may be put where the scalar or the point was. */
static void in_place(void **state)
{
	uint8_t scalar[X25519_LEN], point[X25519_LEN] = { 9 }, want[X25519_LEN];

	(void)state;
	randombytes_buf(scalar, sizeof(scalar));
	assert_int_equal(0, x25519(want, scalar, point));
	assert_int_equal(0, x25519(point, scalar, point));
	assert_memory_equal(want, point, X25519_LEN);
	x25519_public(scalar, scalar);
	assert_memory_equal(want, scalar, X25519_LEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors),
		cmocka_unit_test(iterated),
		cmocka_unit_test(against_libsodium),
		cmocka_unit_test(odd_points),
		cmocka_unit_test(in_place),
	};

	if (sodium_init() < 0)
		return 1;
	if (!x25519_is_own())
		puts("x25519: no AVX-512 IFMA here: only libsodium's is tested");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
