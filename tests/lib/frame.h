/* SPDX-License-Identifier: BSD-3-Clause */
/* Ethernet frames for tests of XDP: built from a shape, and taken apart again the way the kernel does on the way to a socket. */
#ifndef XDERP_TESTS_FRAME_H
#define XDERP_TESTS_FRAME_H

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/util.h"

#define T_FRAME_ROOM	2048

struct t_frame {
	uint8_t b[T_FRAME_ROOM];
	size_t n, l3, l4, payload;	/* offsets; l4: TCP or UDP */
};

struct t_shape {
	bool v6;
	unsigned int tags;		/* VLAN: 1 is 802.1Q; further ones lie inside of an 802.1ad tag */
	const char *src, *dst;		/* default: another machine, this one */
	uint16_t sport, dport;		/* default 41641, 3478 */
	uint8_t proto;			/* default UDP */
	uint8_t tcp_flags;
	unsigned int options;		/* 32-bit words of IPv4 options, 8-byte IPv6 extension headers */
	uint16_t fragment;		/* IPv4: the field; IPv6: a fragment header with it, if not zero */
	bool atomic;			/* IPv6: a fragment header that says "all of it" */
};

#define T_SRC4	"203.0.113.7"
#define T_DST4	"192.0.2.1"
#define T_SRC6	"2001:db8::9"
#define T_DST6	"2001:db8:1::1"

static uint64_t t_sum(const uint8_t *p, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i + 1 < n; i += 2)
		sum += get_be16(p + i);
	return n % 2 ? sum + (p[n - 1] << 8) : sum;
}

static uint16_t t_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static bool t_is_v6(const struct t_frame *f)
{
	return f->b[f->l3] >> 4 == 6;
}

/* Over everything from l4 on. */
static uint16_t t_l4_sum(const struct t_frame *f, uint8_t proto)
{
	size_t len = f->n - f->l4;

	return t_fold(t_sum(f->b + f->l3 + (t_is_v6(f) ? 8 : 12), t_is_v6(f) ? 32 : 8) + proto + len +
		      t_sum(f->b + f->l4, len));
}

static __attribute__((unused)) void t_fix_ip(struct t_frame *f)
{
	if (t_is_v6(f))
		return;
	put_be16(f->b + f->l3 + 10, 0);
	put_be16(f->b + f->l3 + 10, (uint16_t)~t_fold(t_sum(f->b + f->l3, 4U * (f->b[f->l3] & 15))));
}

static __attribute__((unused)) void t_fix_udp(struct t_frame *f)
{
	uint16_t sum;

	put_be16(f->b + f->l4 + 6, 0);
	sum = (uint16_t)~t_l4_sum(f, IPPROTO_UDP);
	put_be16(f->b + f->l4 + 6, sum ? sum : 0xffff);
}

static void t_put(struct t_frame *f, const void *p, size_t n)
{
	memcpy(f->b + f->n, p, n);
	f->n += n;
}

static void t_put16(struct t_frame *f, uint16_t v)
{
	put_be16(f->b + f->n, v);
	f->n += 2;
}

static void t_ethernet(struct t_frame *f, const struct t_shape *s)
{
	static const uint8_t macs[12] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2 };

	t_put(f, macs, sizeof(macs));
	for (unsigned int i = s->tags; i > 0; i--) {
		t_put16(f, i > 1 ? ETH_P_8021AD : ETH_P_8021Q);
		t_put16(f, (uint16_t)(0x6000 | i));
	}
	t_put16(f, s->v6 ? ETH_P_IPV6 : ETH_P_IP);
	f->l3 = f->n;
}

static void t_ipv4(struct t_frame *f, const struct t_shape *s, size_t len)
{
	struct iphdr ip = {
		.version = 4, .ihl = (5 + s->options) & 15, .ttl = 57, .protocol = s->proto, .id = htons(4711),
		.frag_off = htons(s->fragment), .tos = 0xb8,
		.tot_len = htons((uint16_t)(20 + 4 * s->options + len)),
	};

	inet_pton(AF_INET, s->src, &ip.saddr);
	inet_pton(AF_INET, s->dst, &ip.daddr);
	t_put(f, &ip, sizeof(ip));
	memset(f->b + f->n, 1, 4 * s->options);		/* no-operation */
	f->n += 4 * s->options;
	t_fix_ip(f);
}

static void t_ipv6(struct t_frame *f, const struct t_shape *s, size_t len)
{
	unsigned int fragments = s->fragment || s->atomic, n = s->options + fragments;
	struct ip6_hdr ip = {
		.ip6_flow = htonl(6U << 28 | 0x12345), .ip6_plen = htons((uint16_t)(8 * n + len)), .ip6_hlim = 57,
	};
	static const uint8_t types[] = { IPPROTO_HOPOPTS, IPPROTO_DSTOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS, IPPROTO_DSTOPTS };
	uint8_t next[8];

	for (unsigned int i = 0; i < n; i++)
		next[i] = i < s->options ? types[i] : IPPROTO_FRAGMENT;
	next[n] = s->proto;
	ip.ip6_nxt = next[0];
	inet_pton(AF_INET6, s->src, &ip.ip6_src);
	inet_pton(AF_INET6, s->dst, &ip.ip6_dst);
	t_put(f, &ip, sizeof(ip));
	for (unsigned int i = 0; i < n; i++) {
		uint8_t x[8] = { next[i + 1], 0, 1, 4 };

		if (next[i] == IPPROTO_FRAGMENT)
			put_be16(x + 2, s->fragment);
		t_put(f, x, sizeof(x));
	}
}

/* All checksums are right. */
static struct t_frame t_frame_new(const struct t_shape *shape, const void *payload, size_t n)
{
	struct t_frame f = { .n = 0 };
	struct t_shape s = *shape;

	s.src = s.src ? s.src : s.v6 ? T_SRC6 : T_SRC4;
	s.dst = s.dst ? s.dst : s.v6 ? T_DST6 : T_DST4;
	s.sport = s.sport ? s.sport : 41641;
	s.dport = s.dport ? s.dport : 3478;
	s.proto = s.proto ? s.proto : IPPROTO_UDP;
	t_ethernet(&f, &s);
	if (s.v6)
		t_ipv6(&f, &s, (s.proto == IPPROTO_TCP ? 20 : 8) + n);
	else
		t_ipv4(&f, &s, (s.proto == IPPROTO_TCP ? 20 : 8) + n);
	f.l4 = f.n;
	t_put16(&f, s.sport);
	t_put16(&f, s.dport);
	if (s.proto == IPPROTO_TCP) {
		const uint8_t rest[16] = { 0, 0, 0, 1, 0, 0, 0, 0, 0x50, s.tcp_flags, 0xff, 0xff };

		t_put(&f, rest, sizeof(rest));
	} else {
		t_put16(&f, (uint16_t)(8 + n));
		t_put16(&f, 0);
	}
	f.payload = f.n;
	if (n)
		t_put(&f, payload, n);
	if (s.proto == IPPROTO_UDP)
		t_fix_udp(&f);
	return f;
}

/* What a socket bound to port would be given. */
struct t_datagram {
	const uint8_t *p;
	size_t n;
	size_t l3;
	struct sockaddr_storage src;
};

static bool t_udp(struct t_datagram *ret, const struct t_frame *f, size_t l4, size_t end, uint16_t port)
{
	struct t_frame cut = *f;
	size_t len;

	if (l4 + 8 > end || get_be16(f->b + l4 + 2) != port || !get_be16(f->b + l4))
		return false;
	len = get_be16(f->b + l4 + 4);
	if (len < 8 || l4 + len > end)
		return false;
	cut.l3 = ret->l3;
	cut.l4 = l4;
	cut.n = l4 + len;
	if (!get_be16(f->b + l4 + 6) ? t_is_v6(&cut) : t_l4_sum(&cut, IPPROTO_UDP) != 0xffff)
		return false;
	ret->p = f->b + l4 + 8;
	ret->n = len - 8;
	return true;
}

static bool t_deliver_ipv4(struct t_datagram *ret, const struct t_frame *f, size_t l3, const uint8_t *dst, uint16_t port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&ret->src;
	const uint8_t *ip = f->b + l3;
	size_t head, total;

	if (l3 + 20 > f->n || ip[0] >> 4 != 4)
		return false;
	head = 4U * (ip[0] & 15);
	total = get_be16(ip + 2);
	if (head < 20 || total < head || l3 + total > f->n || t_fold(t_sum(ip, head)) != 0xffff)
		return false;
	if (get_be16(ip + 6) & 0x3fff || ip[9] != IPPROTO_UDP || memcmp(ip + 16, dst, 4))
		return false;
	if (!ip[12] || ip[12] == 127 || ip[12] >= 224 || !memcmp(ip + 12, dst, 4))
		return false;
	if (!t_udp(ret, f, l3 + head, l3 + total, port))
		return false;
	in->sin_family = AF_INET;
	memcpy(&in->sin_addr, ip + 12, 4);
	memcpy(&in->sin_port, f->b + l3 + head, 2);
	return true;
}

/* Extension headers are none of this oracle's business: nothing that has one may be answered by XDP. */
static bool t_deliver_ipv6(struct t_datagram *ret, const struct t_frame *f, size_t l3, const uint8_t *dst, uint16_t port)
{
	static const uint8_t nothing[8];
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->src;
	const uint8_t *ip = f->b + l3;
	size_t total;

	if (l3 + 40 > f->n || ip[0] >> 4 != 6)
		return false;
	total = 40U + get_be16(ip + 4);
	if (l3 + total > f->n || ip[6] != IPPROTO_UDP || memcmp(ip + 24, dst, 16))
		return false;
	if (ip[8] == 0xff || !memcmp(ip + 8, nothing, 8) || !memcmp(ip + 8, dst, 16))
		return false;
	if (!t_udp(ret, f, l3 + 40, l3 + total, port))
		return false;
	in6->sin6_family = AF_INET6;
	memcpy(&in6->sin6_addr, ip + 8, 16);
	memcpy(&in6->sin6_port, f->b + l3 + 40, 2);
	return true;
}

/* Would a socket at port of T_DST4 or T_DST6 be given something, and what? */
static __attribute__((unused)) bool t_deliver(struct t_datagram *ret, const struct t_frame *f, uint16_t port)
{
	uint8_t dst[16];
	size_t at = 12;

	if (f->n < 14 || f->b[0] & 1)
		return false;
	for (unsigned int i = 0; i < 2 && at + 6 <= f->n; i++)
		if (get_be16(f->b + at) == ETH_P_8021Q || get_be16(f->b + at) == ETH_P_8021AD)
			at += 4;
	ret->l3 = at + 2;
	switch (get_be16(f->b + at)) {
	case ETH_P_IP:
		inet_pton(AF_INET, T_DST4, dst);
		return t_deliver_ipv4(ret, f, at + 2, dst, port);
	case ETH_P_IPV6:
		inet_pton(AF_INET6, T_DST6, dst);
		return t_deliver_ipv6(ret, f, at + 2, dst, port);
	default:
		return false;
	}
}

#endif
