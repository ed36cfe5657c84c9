/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/stun.h"

#include <string.h>

#include "base/util.h"

#define ATTR_HDR_LEN		4
#define FINGERPRINT_LEN		(ATTR_HDR_LEN + 4)

/* CRC-32 of ISO-HDLC, as FINGERPRINT wants it (RFC 8489 section 14.7). A nibble at a time: requests
 * are 40 bytes, a 1 KiB table would cost more in cache than it saves. */
static uint32_t crc32_ieee(const uint8_t *p, size_t n)
{
	static const uint32_t nibble[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
		0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};
	uint32_t crc = ~0U;

	while (n--) {
		crc ^= *p++;
		crc = crc >> 4 ^ nibble[crc & 15];
		crc = crc >> 4 ^ nibble[crc & 15];
	}
	return ~crc;
}

static bool is_software(uint16_t type, const uint8_t *value, size_t len)
{
	return type == STUN_ATTR_SOFTWARE && len == STUN_SOFTWARE_LEN &&
	       !memcmp(value, STUN_SOFTWARE, STUN_SOFTWARE_LEN);
}

/* Do the attributes fill p[0..n) exactly, name our software, and end in FINGERPRINT? */
static bool attributes_fit(const uint8_t *p, size_t n)
{
	bool software = false, ends_in_fingerprint = false;

	while (n) {
		size_t len, padded;

		if (n < ATTR_HDR_LEN)
			return false;
		len = get_be16(p + 2);
		padded = ATTR_HDR_LEN + ((len + 3) & ~(size_t)3);
		if (n < padded)
			return false;
		software |= is_software(get_be16(p), p + ATTR_HDR_LEN, len);
		ends_in_fingerprint = get_be16(p) == STUN_ATTR_FINGERPRINT && len == 4;
		p += padded;
		n -= padded;
	}
	return software && ends_in_fingerprint;
}

/* The length field of the header is not looked at: derper does not, and it is under the checksum. */
bool stun_is_request(const uint8_t *p, size_t n)
{
	uint32_t want;

	if (n < STUN_HDR_LEN || get_be16(p) != STUN_BINDING_REQUEST || get_be32(p + 4) != STUN_MAGIC)
		return false;
	if (!attributes_fit(p + STUN_HDR_LEN, n - STUN_HDR_LEN))
		return false;
	want = crc32_ieee(p, n - FINGERPRINT_LEN) ^ STUN_FINGERPRINT_XOR;
	return get_be32(p + n - 4) == want;
}

size_t stun_response(uint8_t out[static STUN_MAX_RESPONSE], const uint8_t *request,
		     const struct sockaddr *src)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)src;
	const struct sockaddr_in *in = (const struct sockaddr_in *)src;
	bool mapped = src->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
	bool v4 = src->sa_family == AF_INET || mapped;
	const uint8_t *addr = mapped ? in6->sin6_addr.s6_addr + 12 :
			      v4 ? (const uint8_t *)&in->sin_addr : in6->sin6_addr.s6_addr;
	uint16_t port = ntohs(src->sa_family == AF_INET ? in->sin_port : in6->sin6_port);
	size_t addr_len = v4 ? 4 : 16;
	uint8_t *attr = out + STUN_HDR_LEN;

	put_be16(out, STUN_BINDING_SUCCESS);
	put_be16(out + 2, (uint16_t)(ATTR_HDR_LEN + 4 + addr_len));
	put_be32(out + 4, STUN_MAGIC);
	memcpy(out + 8, request + 8, STUN_TXID_LEN);

	put_be16(attr, STUN_ATTR_XOR_MAPPED_ADDRESS);
	put_be16(attr + 2, (uint16_t)(4 + addr_len));
	attr[4] = 0;
	attr[5] = v4 ? STUN_FAMILY_IPV4 : STUN_FAMILY_IPV6;
	put_be16(attr + 6, port ^ (uint16_t)(STUN_MAGIC >> 16));
	for (size_t i = 0; i < addr_len; i++)
		attr[8 + i] = addr[i] ^ out[4 + i];	/* magic, then transaction id */
	return STUN_HDR_LEN + ATTR_HDR_LEN + 4 + addr_len;
}
