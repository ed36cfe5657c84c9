/* SPDX-License-Identifier: BSD-3-Clause */
/* The fuzzer cannot guess a CRC, so each input is also tried with its last four bytes made right. */
#include <arpa/inet.h>

#include "base/util.h"
#include "lib/crc32.h"
#include "lib/fuzz.h"
#include "wire/stun.h"

static void check_response(const uint8_t *request, const struct sockaddr *src, size_t want_len,
			   const uint8_t *addr, size_t addr_len)
{
	uint8_t out[STUN_MAX_RESPONSE];

	CHECK(stun_response(out, request, src) == want_len);
	CHECK(get_be16(out) == STUN_BINDING_SUCCESS && get_be16(out + 2) == want_len - STUN_HDR_LEN);
	CHECK(!memcmp(out + 4, request + 4, 4 + STUN_TXID_LEN));
	CHECK(get_be16(out + 20) == STUN_ATTR_XOR_MAPPED_ADDRESS && get_be16(out + 22) == 4 + addr_len);
	CHECK(out[25] == (addr_len == 4 ? STUN_FAMILY_IPV4 : STUN_FAMILY_IPV6));
	CHECK((get_be16(out + 26) ^ 0x2112) == 0x1234);
	for (size_t i = 0; i < addr_len; i++)
		CHECK((out[28 + i] ^ out[4 + i]) == addr[i]);
}

static void check_request(const uint8_t *p, size_t n)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(0x1234) };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(0x1234) };
	uint8_t *b;

	if (!stun_is_request(p, n))
		return;
	CHECK(n >= 40 && n % 4 == 0 && p[0] == 0 && p[1] == 1);
	CHECK(memmem(p, n, STUN_SOFTWARE, STUN_SOFTWARE_LEN));
	CHECK(get_be32(p + n - 4) == (crc32_bitwise(p, n - 8) ^ STUN_FINGERPRINT_XOR));

	memcpy(&in.sin_addr, p + 8, 4);
	check_response(p, (struct sockaddr *)&in, 32, p + 8, 4);
	memcpy(&in6.sin6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
	memcpy(in6.sin6_addr.s6_addr + 12, p + 8, 4);
	check_response(p, (struct sockaddr *)&in6, 32, p + 8, 4);
	memset(&in6.sin6_addr, 0x20, 16);
	check_response(p, (struct sockaddr *)&in6, 44, in6.sin6_addr.s6_addr, 16);

	b = t_block(p, n);
	b[p[8] % n] ^= (uint8_t)(1U << p[9] % 8);
	CHECK(!stun_is_request(b, n));
	free(b);
	b = t_block(p, n - 1);
	CHECK(!stun_is_request(b, n - 1));
	free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint8_t *b;

	check_request(data, n);
	if (n < 8)
		return 0;
	b = t_block(data, n);
	put_be32(b + n - 4, crc32_bitwise(b, n - 8) ^ STUN_FINGERPRINT_XOR);
	check_request(b, n);
	free(b);
	return 0;
}
