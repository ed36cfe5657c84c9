/* SPDX-License-Identifier: BSD-3-Clause */
/* The CRC of STUN's FINGERPRINT (ITU-T V.42), another way than the relay makes it. */
#ifndef TEST_CRC32_H
#define TEST_CRC32_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t crc32_bitwise(const uint8_t *p, size_t n)
{
	uint32_t crc = ~0U;

	while (n--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (0xedb88320U & -(crc & 1));
	}
	return ~crc;
}

#endif
