/* SPDX-License-Identifier: BSD-3-Clause */
/* The Montgomery ladder of RFC 7748 with the four coordinates of its two points side by side: a step is three multiplications of
 * four pairs each, by the 52-bit multiply-add of AVX-512 IFMA.
 *
 * Elements of the field are five limbs of 51 bits. What is multiplied is below 2^52, as IFMA looks at no more; carry() makes that of
 * anything below 2^62. No branch and no address depends on a secret. */
#include "base/x25519.h"

#include <sodium.h>
#include <string.h>

_Static_assert(crypto_scalarmult_BYTES == X25519_LEN && crypto_scalarmult_SCALARBYTES == X25519_LEN, "libsodium's is X25519");

#ifdef __x86_64__
#include <immintrin.h>

#define OURS	__attribute__((target("avx512f,avx512vl,avx512ifma")))
#define INLINE	static inline __attribute__((always_inline, target("avx512f,avx512vl,avx512ifma")))
#define LIMBS	5
#define BITS	51
#define MASK	((1ULL << BITS) - 1)
#define A24	121665

/* --- one element, by 128-bit products: for the inversion at the end */

typedef unsigned __int128 u128;

struct fe {
	uint64_t l[LIMBS];
};

/* Sums of products, below 2^112, to limbs below 2^52. */
static inline struct fe fe_carry(const u128 t[static LIMBS])
{
	struct fe r;
	u128 c = 0;

	for (int i = 0; i < LIMBS; i++) {
		c += t[i];
		r.l[i] = (uint64_t)c & MASK;
		c >>= BITS;
	}
	c = r.l[0] + c * 19;
	r.l[0] = (uint64_t)c & MASK;
	r.l[1] += (uint64_t)(c >> BITS);
	return r;
}

static struct fe fe_mul(struct fe a, struct fe b)
{
	u128 t[LIMBS] = { 0 };

	for (int i = 0; i < LIMBS; i++)
		for (int j = 0; j < LIMBS; j++)
			t[(i + j) % LIMBS] += (u128)a.l[i] * (i + j < LIMBS ? b.l[j] : b.l[j] * 19);
	return fe_carry(t);
}

/* Nearly all that an inversion does, so written out: products of two different limbs count twice. */
static struct fe fe_squares(struct fe a, unsigned int n)
{
	while (n--) {
		uint64_t twice0 = a.l[0] * 2, twice1 = a.l[1] * 2, by38_2 = a.l[2] * 38, by19_4 = a.l[4] * 19, by38_4 = a.l[4] * 38;
		u128 t[LIMBS] = {
			(u128)a.l[0] * a.l[0] + (u128)a.l[1] * by38_4 + (u128)a.l[3] * by38_2,
			(u128)twice0 * a.l[1] + (u128)a.l[2] * by38_4 + (u128)a.l[3] * (a.l[3] * 19),
			(u128)twice0 * a.l[2] + (u128)a.l[1] * a.l[1] + (u128)a.l[3] * by38_4,
			(u128)twice0 * a.l[3] + (u128)twice1 * a.l[2] + (u128)a.l[4] * by19_4,
			(u128)twice0 * a.l[4] + (u128)twice1 * a.l[3] + (u128)a.l[2] * a.l[2],
		};

		a = fe_carry(t);
	}
	return a;
}

/* a^(p-2), p-2 = 2^255 - 21: powers 2^n - 1 first. */
static struct fe fe_invert(struct fe a)
{
	struct fe a2 = fe_squares(a, 1), a9 = fe_mul(fe_squares(a2, 2), a), a11 = fe_mul(a9, a2);
	struct fe n5 = fe_mul(fe_squares(a11, 1), a9), n10 = fe_mul(fe_squares(n5, 5), n5);
	struct fe n20 = fe_mul(fe_squares(n10, 10), n10), n40 = fe_mul(fe_squares(n20, 20), n20);
	struct fe n50 = fe_mul(fe_squares(n40, 10), n10), n100 = fe_mul(fe_squares(n50, 50), n50);
	struct fe n200 = fe_mul(fe_squares(n100, 100), n100), n250 = fe_mul(fe_squares(n200, 50), n50);

	return fe_mul(fe_squares(n250, 5), a11);
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));	/* this processor is little-endian */
	return v;
}

/* Without the top bit, and not reduced. */
static struct fe fe_load(const uint8_t p[static X25519_LEN])
{
	return (struct fe){ {
		load64(p) & MASK, load64(p + 6) >> 3 & MASK, load64(p + 12) >> 6 & MASK, load64(p + 19) >> 1 & MASK,
		load64(p + 24) >> 12 & MASK,
	} };
}

/* Reduced. */
static void fe_store(uint8_t ret[static X25519_LEN], struct fe a)
{
	uint64_t c = 0, out[4];

	/* Limbs below 2^51 but for a carry, then the quotient by p: 0 or 1. */
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < LIMBS; i++) {
			c += a.l[i];
			a.l[i] = c & MASK;
			c >>= BITS;
		}
		a.l[0] += 19 * c;
		c = 0;
	}
	c = 19;
	for (int i = 0; i < LIMBS; i++)
		c = (c + a.l[i]) >> BITS;
	c *= 19;
	for (int i = 0; i < LIMBS; i++) {
		c += a.l[i];
		a.l[i] = c & MASK;
		c >>= BITS;
	}
	out[0] = a.l[0] | a.l[1] << 51;
	out[1] = a.l[1] >> 13 | a.l[2] << 38;
	out[2] = a.l[2] >> 26 | a.l[3] << 25;
	out[3] = a.l[3] >> 39 | a.l[4] << 12;
	memcpy(ret, out, sizeof(out));
}

/* --- four elements at a time: l[i] has limb i of each */

struct vec {
	__m256i l[LIMBS];
};

INLINE struct vec carry(struct vec a)
{
	const __m256i mask = _mm256_set1_epi64x((long long)MASK);
	__m256i c[LIMBS];

	for (int i = 0; i < LIMBS; i++) {
		c[i] = _mm256_srli_epi64(a.l[i], BITS);
		a.l[i] = _mm256_and_si256(a.l[i], mask);
	}
	a.l[0] = _mm256_add_epi64(a.l[0], _mm256_mul_epu32(c[LIMBS - 1], _mm256_set1_epi64x(19)));
	for (int i = 1; i < LIMBS; i++)
		a.l[i] = _mm256_add_epi64(a.l[i], c[i - 1]);
	return a;
}

/* Limb i of a times all of b: the lower 52 bits of a product count at its place, the upper ones twice at the next. */
#define LOW(i, j)	lo[(i) + (j)] = _mm256_madd52lo_epu64(lo[(i) + (j)], a.l[i], b.l[j])
#define HIGH(i, j)	hi[(i) + (j) + 1] = _mm256_madd52hi_epu64(hi[(i) + (j) + 1], a.l[i], b.l[j])
#define ROW(i)		do { \
		LOW(i, 0); LOW(i, 1); LOW(i, 2); LOW(i, 3); LOW(i, 4); \
		HIGH(i, 0); HIGH(i, 1); HIGH(i, 2); HIGH(i, 3); HIGH(i, 4); \
	} while (0)

/* Sums of five halves below 2^52, the upper ones doubled: below 2^56; the upper limbs, times 19, below 2^61. */
INLINE struct vec mul(struct vec a, struct vec b)
{
	const __m256i zero = _mm256_setzero_si256();
	__m256i lo[2 * LIMBS], hi[2 * LIMBS], t;
	struct vec r;

	for (int i = 0; i < 2 * LIMBS; i++)
		lo[i] = hi[i] = zero;
	ROW(0);
	ROW(1);
	ROW(2);
	ROW(3);
	ROW(4);
	for (int i = 0; i < LIMBS; i++) {
		t = _mm256_add_epi64(lo[i + LIMBS], _mm256_slli_epi64(hi[i + LIMBS], 1));
		t = _mm256_add_epi64(_mm256_add_epi64(t, _mm256_slli_epi64(t, 1)), _mm256_slli_epi64(t, 4));
		r.l[i] = _mm256_add_epi64(_mm256_add_epi64(lo[i], _mm256_slli_epi64(hi[i], 1)), t);
	}
	return carry(r);
}

/* (a, b, c, d) to (a + b, a - b, c + d, c - d), with 2p added to what is subtracted from. */
INLINE struct vec sums(struct vec v)
{
	for (int i = 0; i < LIMBS; i++) {
		const __m256i p2 = _mm256_set1_epi64x(2 * (long long)(i ? MASK : MASK - 18));
		__m256i other = _mm256_shuffle_epi32(v.l[i], 0x4e), sum = _mm256_add_epi64(v.l[i], other);

		v.l[i] = _mm256_mask_sub_epi64(sum, 0xa, _mm256_add_epi64(other, p2), v.l[i]);
	}
	return carry(v);
}

/* From (x2, z2, x3, z3) to those of the doubled and of the added point; by is (1, a24, 1, x1). */
INLINE struct vec step(struct vec s, struct vec by)
{
	struct vec t = sums(s), m, l, r;

	/* A, B, C, D to AA, BB, CB, DA */
	for (int i = 0; i < LIMBS; i++)
		r.l[i] = _mm256_permute4x64_epi64(t.l[i], 0x14);
	m = mul(t, r);
	/* ., E = AA - BB, CB + DA, CB - DA: their factors are BB, AA + a24 E, CB + DA, x1 (CB - DA) */
	l = sums(m);
	for (int i = 0; i < LIMBS; i++)
		r.l[i] = _mm256_mask_permutex_epi64(l.l[i], 0x1, m.l[i], 0x01);
	r = mul(r, by);
	for (int i = 0; i < LIMBS; i++) {
		r.l[i] = _mm256_mask_add_epi64(r.l[i], 0x2, r.l[i], _mm256_permute4x64_epi64(m.l[i], 0x00));
		l.l[i] = _mm256_mask_mov_epi64(l.l[i], 0x1, m.l[i]);
	}
	return mul(l, carry(r));
}

OURS static int own(uint8_t ret[static X25519_LEN], const uint8_t scalar[static X25519_LEN], const uint8_t point[static X25519_LEN])
{
	struct fe x1 = fe_load(point), x2, z2;
	unsigned int bit, before = 0;
	uint8_t e[X25519_LEN], any = 0;
	struct vec s, by;

	memcpy(e, scalar, sizeof(e));
	e[0] &= 0xf8;
	e[31] = (e[31] & 0x7f) | 0x40;
	for (int i = 0; i < LIMBS; i++) {
		s.l[i] = _mm256_set_epi64x(!i, (long long)x1.l[i], 0, !i);
		by.l[i] = _mm256_set_epi64x((long long)x1.l[i], !i, i ? 0 : A24, !i);
	}
	for (int at = 254; at >= 0; at--) {
		bit = e[at / 8] >> (at % 8) & 1;
		for (int i = 0; i < LIMBS; i++)
			s.l[i] = _mm256_mask_permutex_epi64(s.l[i], (__mmask8)-(bit ^ before), s.l[i], 0x4e);
		before = bit;
		s = step(s, by);
	}
	/* The last bit is 0: nothing to swap back. */
	for (int i = 0; i < LIMBS; i++) {
		x2.l[i] = (uint64_t)_mm256_extract_epi64(s.l[i], 0);
		z2.l[i] = (uint64_t)_mm256_extract_epi64(s.l[i], 1);
	}
	fe_store(ret, fe_mul(x2, fe_invert(z2)));
	sodium_memzero(e, sizeof(e));
	sodium_memzero(&s, sizeof(s));
	sodium_memzero(&x2, sizeof(x2));
	sodium_memzero(&z2, sizeof(z2));
	for (int i = 0; i < X25519_LEN; i++)
		any |= ret[i];
	return any ? 0 : -1;
}

bool x25519_is_own(void)
{
	return __builtin_cpu_supports("avx512ifma") && __builtin_cpu_supports("avx512vl");
}

#else

static int own(uint8_t ret[static X25519_LEN], const uint8_t scalar[static X25519_LEN], const uint8_t point[static X25519_LEN])
{
	return crypto_scalarmult(ret, scalar, point);
}

bool x25519_is_own(void)
{
	return false;
}

#endif

int x25519(uint8_t ret[static X25519_LEN], const uint8_t scalar[static X25519_LEN], const uint8_t point[static X25519_LEN])
{
	return x25519_is_own() ? own(ret, scalar, point) : crypto_scalarmult(ret, scalar, point);
}

void x25519_public(uint8_t ret[static X25519_LEN], const uint8_t scalar[static X25519_LEN])
{
	static const uint8_t base[X25519_LEN] = { 9 };

	if (!x25519_is_own() || own(ret, scalar, base))
		crypto_scalarmult_base(ret, scalar);
}
