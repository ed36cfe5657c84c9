/* SPDX-License-Identifier: BSD-3-Clause */
/* Headers of the PROXY protocol, each fed by every prefix, in a block of exactly that size. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "lib/unit.h"
#include "lib/vectors.h"
#include "wire/proxyproto.h"

#define S	(-EPROTO)
#define BIG	(-EMSGSIZE)

/* Version 2 in hex: the signature, and the addresses 192.0.2.1 and 203.0.113.7, ports 4660 and 443. */
#define SIG	"0d0a0d0a000d0a515549540a"
#define V4	"c0000201" "cb007107" "1234" "01bb"
#define V6	"20010db8000000000000000000000001" "20010db8000000000000000000000002" "1234" "01bb"
#define U27	"2f61000000000000000000000000000000000000000000000000" "00"
#define UNIX	U27 U27 U27 U27 U27 U27 U27 U27
#define Z107	"01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456"

static const struct header_case {
	const char *name, *text;	/* version 1 */
	const char *hex;		/* version 2 */
	int want;
	const char *ip;			/* NULL: none given */
	uint16_t port;
} cases[] = {
	{ "TCP4", "PROXY TCP4 192.0.2.1 203.0.113.7 4660 443\r\n", NULL, 1, "::ffff:192.0.2.1", 4660 },
	{ "TCP6", "PROXY TCP6 2001:db8::1 2001:db8::2 4660 443\r\n", NULL, 1, "2001:db8::1", 4660 },
	{ "TCP6 mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", NULL, 1, "::ffff:192.0.2.1", 1 },
	{ "longest TCP6", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65535\r\n",
	  NULL, 1, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535 },
	{ "port 0", "PROXY TCP4 192.0.2.1 203.0.113.7 0 0\r\n", NULL, 1, "::ffff:192.0.2.1", 0 },
	{ "UNKNOWN", "PROXY UNKNOWN\r\n", NULL, 1 },
	{ "UNKNOWN and more", "PROXY UNKNOWN ffff::1 anything at all 1 2 3\r\n", NULL, 1 },
	{ "UNKNOWNS", "PROXY UNKNOWNS\r\n", NULL, S },
	{ "no family", "PROXY \r\n", NULL, S },
	{ "another family", "PROXY UDP4 192.0.2.1 203.0.113.7 1 2\r\n", NULL, S },
	{ "lower case", "proxy TCP4 192.0.2.1 203.0.113.7 1 2\r\n", NULL, S },
	{ "family and address differ", "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", NULL, S },
	{ "address and family differ", "PROXY TCP6 192.0.2.1 203.0.113.7 1 2\r\n", NULL, S },
	{ "bad destination", "PROXY TCP4 192.0.2.1 203.0.113 1 2\r\n", NULL, S },
	{ "two spaces", "PROXY TCP4  192.0.2.1 203.0.113.7 1 2\r\n", NULL, S },
	{ "port too large", "PROXY TCP4 192.0.2.1 203.0.113.7 65536 2\r\n", NULL, S },
	{ "port of six digits", "PROXY TCP4 192.0.2.1 203.0.113.7 100000 2\r\n", NULL, S },
	{ "port with a zero in front", "PROXY TCP4 192.0.2.1 203.0.113.7 01 2\r\n", NULL, S },
	{ "port with a sign", "PROXY TCP4 192.0.2.1 203.0.113.7 +1 2\r\n", NULL, S },
	{ "no ports", "PROXY TCP4 192.0.2.1 203.0.113.7\r\n", NULL, S },
	{ "one port", "PROXY TCP4 192.0.2.1 203.0.113.7 1\r\n", NULL, S },
	{ "bad port of the destination", "PROXY TCP4 192.0.2.1 203.0.113.7 1 x\r\n", NULL, S },
	{ "something behind the ports", "PROXY TCP4 192.0.2.1 203.0.113.7 1 2 3\r\n", NULL, S },
	{ "CR in the middle", "PROXY TCP4 192.0.2.1 203.0.113.7 1 2\r3\r\n", NULL, S },
	{ "LF alone", "PROXY TCP4 192.0.2.1 203.0.113.7 1 2\n", NULL, S },
	{ "nothing but LF", "PROXY \n", NULL, S },
	{ "no end in 107 bytes", "PROXY " Z107, NULL, BIG },
	{ "HTTP", "GET / HTTP/1.1\r\n\r\n", NULL, S },
	{ "almost", "PROXX TCP4 192.0.2.1 203.0.113.7 1 2\r\n", NULL, S },

	{ "IPv4", NULL, SIG "21" "11" "000c" V4, 1, "::ffff:192.0.2.1", 0x1234 },
	{ "IPv6", NULL, SIG "21" "21" "0024" V6, 1, "2001:db8::1", 0x1234 },
	{ "UNIX", NULL, SIG "21" "31" "00d8" UNIX, 1 },
	{ "UNSPEC", NULL, SIG "21" "00" "0000", 1 },
	{ "UNSPEC with bytes", NULL, SIG "21" "00" "0005" "0300ffff00", 1 },
	{ "LOCAL", NULL, SIG "20" "00" "0000", 1 },
	{ "LOCAL with an address, which says nothing", NULL, SIG "20" "11" "000c" V4, 1 },
	{ "LOCAL of no known family", NULL, SIG "20" "ff" "0001" "00", 1 },
	{ "datagrams", NULL, SIG "21" "12" "000c" V4, 1 },
	{ "IPv4 of no said protocol", NULL, SIG "21" "10" "000c" V4, 1 },
	{ "TLVs", NULL, SIG "21" "11" "0016" V4 "010002" "6832" "ea0002" "abcd", 1, "::ffff:192.0.2.1", 0x1234 },
	{ "empty TLV", NULL, SIG "21" "11" "000f" V4 "040000", 1, "::ffff:192.0.2.1", 0x1234 },
	/* Sums of another implementation, one that makes e3069283 of "123456789". */
	{ "checksum", NULL, SIG "21" "11" "0013" V4 "030004" "36526aa2", 1, "::ffff:192.0.2.1", 0x1234 },
	{ "checksum between TLVs", NULL, SIG "21" "11" "001a" V4 "040001" "00" "030004" "bfab4617" "040000", 1,
	  "::ffff:192.0.2.1", 0x1234 },
	{ "wrong checksum", NULL, SIG "21" "11" "0013" V4 "030004" "00000000", S },
	{ "checksum of three bytes", NULL, SIG "21" "11" "0012" V4 "030003" "000000", S },
	{ "two checksums", NULL, SIG "21" "11" "001a" V4 "030004" "36526aa2" "030004" "36526aa2", S },
	{ "TLV cut in its head", NULL, SIG "21" "11" "000e" V4 "0400", S },
	{ "TLV longer than the rest", NULL, SIG "21" "11" "0010" V4 "040002" "00", S },
	{ "address cut", NULL, SIG "21" "11" "000b" "c0000201" "cb007107" "1234" "01", S },
	{ "IPv6 as short as IPv4", NULL, SIG "21" "21" "000c" V4, S },
	{ "UNIX cut", NULL, SIG "21" "31" "00d7" UNIX, S },
	{ "version 1 of the block", NULL, SIG "11" "11" "000c" V4, S },
	{ "version 3", NULL, SIG "31" "11" "000c" V4, S },
	{ "another command", NULL, SIG "22" "11" "000c" V4, S },
	{ "another family in the block", NULL, SIG "21" "41" "000c" V4, S },
	{ "another protocol", NULL, SIG "21" "13" "000c" V4, S },
	{ "over 4096 bytes", NULL, SIG "21" "11" "0ff1", BIG },
	{ "signature changed", NULL, "0d0a0d0a000d0a515549540b" "21" "11" "000c" V4, S },
	{ "a TLS hello", NULL, "16030100", S },
};

static void check_whole(const struct header_case *c, const struct proxyproto *p, size_t len)
{
	char ip[INET6_ADDRSTRLEN];

	assert_int_equal(len, p->len);
	assert_int_equal(c->ip != NULL, p->has_source);
	if (!c->ip)
		return;
	inet_ntop(AF_INET6, p->ip, ip, sizeof(ip));
	assert_string_equal(c->ip, ip);
	assert_int_equal(c->port, p->port);
}

static void run_case(void **state)
{
	const struct header_case *c = *state;
	struct t_bytes h = c->hex ? t_unhex(c->hex) : t_copy((const uint8_t *)c->text, strlen(c->text));
	struct proxyproto p, untouched;
	int r;

	memset(&untouched, 0xee, sizeof(untouched));
	for (size_t n = 1; n <= h.n; n++) {
		struct t_bytes cut = t_copy(h.p, n);

		p = untouched;
		r = proxyproto_parse(&p, cut.p, n);
		free(cut.p);
		if (r != 1)
			assert_memory_equal(&untouched, &p, sizeof(p));
		if (n == h.n)
			assert_int_equal(c->want, r);
		else if (r)
			assert_true(r == c->want && r < 0);
	}
	if (c->want == 1) {
		/* What follows changes nothing. */
		struct t_bytes more = t_copy(h.p, h.n);

		more.p = realloc(more.p, h.n + 5);
		memset(more.p + h.n, '\n', 5);
		assert_int_equal(1, proxyproto_parse(&p, more.p, h.n + 5));
		check_whole(c, &p, h.n);
		free(more.p);
	}
	free(h.p);
}

/* The longest block that is taken. */
static void largest(void **state)
{
	static uint8_t b[PROXYPROTO_MAX] = "\r\n\r\n\0\r\nQUIT\n\x21\x11";
	struct proxyproto p;

	(void)state;
	put_be16(b + 14, PROXYPROTO_MAX - 16);
	b[28] = 0x20;
	put_be16(b + 29, PROXYPROTO_MAX - 31);
	assert_int_equal(0, proxyproto_parse(&p, b, sizeof(b) - 1));
	assert_int_equal(1, proxyproto_parse(&p, b, sizeof(b)));
	assert_int_equal(PROXYPROTO_MAX, p.len);
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(cases) + 1] = { cmocka_unit_test(largest) };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		t[1 + i] = (struct CMUnitTest){ cases[i].name, run_case, NULL, NULL, (void *)&cases[i] };
	return cmocka_run_group_tests(t, NULL, NULL);
}
