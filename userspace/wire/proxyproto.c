/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/proxyproto.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"

/* --- version 1: a line of text */

static const char v1_begin[] = "PROXY ";
#define V1_BEGIN_LEN	(sizeof(v1_begin) - 1)

/* The field at *p, which ends in the character end, into ret[0..size) with a zero behind it; *p moves behind end. */
static bool take_field(char *ret, size_t size, const char **p, char end)
{
	const char *stop = strchr(*p, end);
	size_t n = stop ? (size_t)(stop - *p) : 0;

	if (!n || n >= size)
		return false;
	memcpy(ret, *p, n);
	ret[n] = '\0';
	*p = stop + 1;
	return true;
}

static bool take_address(uint8_t ip[static 16], int family, const char **p)
{
	char text[INET6_ADDRSTRLEN];

	if (!take_field(text, sizeof(text), p, ' '))
		return false;
	if (family == AF_INET6)
		return inet_pton(family, text, ip) == 1;
	memset(ip, 0, 10);
	ip[10] = ip[11] = 0xff;
	return inet_pton(family, text, ip + 12) == 1;
}

/* Digits, no zero in front of others. */
static bool take_port(uint16_t *ret, const char **p, char end)
{
	unsigned int v = 0;
	char text[6];

	if (!take_field(text, sizeof(text), p, end) || (text[0] == '0' && text[1]))
		return false;
	for (const char *d = text; *d; d++) {
		if (*d < '0' || *d > '9')
			return false;
		v = v * 10 + (unsigned int)(*d - '0');
	}
	*ret = (uint16_t)v;
	return v <= UINT16_MAX;
}

/* line: what stands behind "PROXY ", up to and with the CR. */
static int read_line(struct proxyproto *ret, const char *line)
{
	uint8_t to[16];
	uint16_t to_port;
	int family;

	/* What else is on the line of an unknown one is not for us. */
	if (!strncmp(line, "UNKNOWN", 7) && (line[7] == ' ' || line[7] == '\r'))
		return 1;
	family = !strncmp(line, "TCP4 ", 5) ? AF_INET : !strncmp(line, "TCP6 ", 5) ? AF_INET6 : AF_UNSPEC;
	line += 5;
	if (family == AF_UNSPEC || !take_address(ret->ip, family, &line) || !take_address(to, family, &line) ||
	    !take_port(&ret->port, &line, ' ') || !take_port(&to_port, &line, '\r') || *line)
		return -EPROTO;
	ret->has_source = true;
	return 1;
}

static int parse_v1(struct proxyproto *ret, const uint8_t *buf, size_t n)
{
	const uint8_t *lf = memchr(buf, '\n', min_of(n, (size_t)PROXYPROTO_V1_MAX));
	char line[PROXYPROTO_V1_MAX];
	size_t len;

	if (!lf)
		return n < PROXYPROTO_V1_MAX ? 0 : -EMSGSIZE;
	len = (size_t)(lf - buf);
	if (len <= V1_BEGIN_LEN || lf[-1] != '\r' || memchr(buf, '\0', len))
		return -EPROTO;
	ret->len = len + 1;
	memcpy(line, buf + V1_BEGIN_LEN, len - V1_BEGIN_LEN);
	line[len - V1_BEGIN_LEN] = '\0';
	return read_line(ret, line);
}

/* --- version 2: a block */

#define V2_BEGIN_LEN	12U
#define V2_HEAD_LEN	16U
#define V2_INET_LEN	12U
#define V2_INET6_LEN	36U
#define V2_UNIX_LEN	216U
#define TLV_HEAD_LEN	3U
#define TLV_CRC32C	0x03
#define CRC_LEN		4U

static const uint8_t v2_begin[V2_BEGIN_LEN] = "\r\n\r\n\0\r\nQUIT\n";

enum { V2_LOCAL, V2_PROXY, V2_COMMANDS };
enum { V2_UNSPEC, V2_INET, V2_INET6, V2_UNIX, V2_FAMILIES };
enum { V2_ANY, V2_STREAM, V2_DGRAM, V2_PROTOCOLS };

/* Castagnoli's polynomial, a bit at a time: few senders add a checksum, and none for more than a header. */
static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t n)
{
	while (n--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (0x82f63b78U & -(crc & 1));
	}
	return crc;
}

/* The sum is over the whole header, with zeros where the sum stands. */
static bool sum_fits(const uint8_t *buf, size_t len, const uint8_t *sum)
{
	static const uint8_t zeros[CRC_LEN];
	uint32_t crc = crc32c(~0U, buf, (size_t)(sum - buf));

	crc = crc32c(crc, zeros, CRC_LEN);
	crc = crc32c(crc, sum + CRC_LEN, len - (size_t)(sum + CRC_LEN - buf));
	return ~crc == get_be32(sum);
}

/* TLVs fill the rest of the header exactly; of a checksum there is at most one. */
static int read_tlvs(const uint8_t *buf, size_t len, size_t at)
{
	const uint8_t *sum = NULL;

	while (at < len) {
		size_t n;

		if (len - at < TLV_HEAD_LEN)
			return -EPROTO;
		n = get_be16(buf + at + 1);
		if (n > len - at - TLV_HEAD_LEN)
			return -EPROTO;
		if (buf[at] == TLV_CRC32C) {
			if (n != CRC_LEN || sum)
				return -EPROTO;
			sum = buf + at + TLV_HEAD_LEN;
		}
		at += TLV_HEAD_LEN + n;
	}
	return sum && !sum_fits(buf, len, sum) ? -EPROTO : 1;
}

static void take_source(struct proxyproto *ret, unsigned int family, const uint8_t *p)
{
	if (family == V2_INET) {
		memset(ret->ip, 0, 10);
		ret->ip[10] = ret->ip[11] = 0xff;
		memcpy(ret->ip + 12, p, 4);
		ret->port = get_be16(p + 8);
	} else {
		memcpy(ret->ip, p, 16);
		ret->port = get_be16(p + 32);
	}
	ret->has_source = true;
}

static int parse_v2(struct proxyproto *ret, const uint8_t *buf, size_t n)
{
	static const size_t address_len[V2_FAMILIES] = {
		[V2_INET] = V2_INET_LEN, [V2_INET6] = V2_INET6_LEN, [V2_UNIX] = V2_UNIX_LEN,
	};
	unsigned int command, family, protocol;
	size_t len;

	if (n < V2_HEAD_LEN)
		return 0;
	command = buf[12] & 0xf;
	family = buf[13] >> 4;
	protocol = buf[13] & 0xf;
	len = V2_HEAD_LEN + get_be16(buf + 14);
	if (buf[12] >> 4 != 2 || command >= V2_COMMANDS)
		return -EPROTO;
	/* A proxy that speaks for itself may put anything behind the head. */
	if (command == V2_PROXY && (family >= V2_FAMILIES || protocol >= V2_PROTOCOLS || len - V2_HEAD_LEN < address_len[family]))
		return -EPROTO;
	if (len > PROXYPROTO_MAX)
		return -EMSGSIZE;
	if (n < len)
		return 0;
	ret->len = len;
	/* Of an unspecified family nobody knows where its TLVs begin. */
	if (command == V2_LOCAL || family == V2_UNSPEC)
		return 1;
	if ((family == V2_INET || family == V2_INET6) && protocol == V2_STREAM)
		take_source(ret, family, buf + V2_HEAD_LEN);
	return read_tlvs(buf, len, V2_HEAD_LEN + address_len[family]);
}

int proxyproto_parse(struct proxyproto *ret, const uint8_t *buf, size_t n)
{
	struct proxyproto p = { 0 };
	int r;

	if (!memcmp(buf, v1_begin, min_of(n, V1_BEGIN_LEN)))
		r = n < V1_BEGIN_LEN ? 0 : parse_v1(&p, buf, n);
	else if (!memcmp(buf, v2_begin, min_of(n, (size_t)V2_BEGIN_LEN)))
		r = n < V2_BEGIN_LEN ? 0 : parse_v2(&p, buf, n);
	else
		return -EPROTO;
	if (r == 1)
		*ret = p;
	return r;
}
