/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/key.h"

#include <errno.h>

#include "base/util.h"

bool key_is_zero(const struct key *k)
{
	static const struct key zero;

	return key_equal_secret(k, &zero);
}

bool key_equal_secret(const struct key *a, const struct key *b)
{
	volatile uint8_t diff = 0;	/* volatile: no early exit may be invented */

	for (size_t i = 0; i < KEY_LEN; i++)
		diff |= a->b[i] ^ b->b[i];
	return diff == 0;
}

void key_to_hex(char ret[static KEY_HEX_LEN + 1], const struct key *k)
{
	static const char digit[] = "0123456789abcdef";

	for (size_t i = 0; i < KEY_LEN; i++) {
		ret[2 * i] = digit[k->b[i] >> 4];
		ret[2 * i + 1] = digit[k->b[i] & 15];
	}
	ret[KEY_HEX_LEN] = '\0';
}

int key_from_hex(struct key *ret, const char *hex, size_t n)
{
	struct key k;

	if (n != KEY_HEX_LEN)
		return -EINVAL;
	for (size_t i = 0; i < KEY_LEN; i++) {
		int hi = hex_digit((uint8_t)hex[2 * i]);
		int lo = hex_digit((uint8_t)hex[2 * i + 1]);

		if (hi < 0 || lo < 0)
			goto fail;
		k.b[i] = (uint8_t)(hi << 4 | lo);
	}
	*ret = k;
	explicit_bzero(&k, sizeof(k));
	return 0;
fail:
	explicit_bzero(&k, sizeof(k));
	return -EINVAL;
}

void key_to_short(char ret[static KEY_SHORT_LEN], const struct key *k)
{
	static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = (uint32_t)k->b[0] << 24 | (uint32_t)k->b[1] << 16 |
			(uint32_t)k->b[2] << 8 | k->b[3];

	ret[0] = '[';
	for (unsigned int i = 0; i < 5; i++)
		ret[1 + i] = digit[bits >> (26 - 6 * i) & 63];
	ret[6] = ']';
	ret[7] = '\0';
}
