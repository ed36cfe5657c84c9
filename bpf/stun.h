/* SPDX-License-Identifier: BSD-3-Clause */
/* STUN answered in place. Clients send one form of request, 40 bytes; it is checked as userspace/wire/stun.c checks it, and
 * whatever differs in any way goes up to the socket, which answers more forms. docs/protocol.md section 11. */
#ifndef XDERP_BPF_STUN_H
#define XDERP_BPF_STUN_H

#include <bpf/bpf_helpers.h>
#include <linux/udp.h>

#include "local.h"
#include "packet.h"
#include "stun_proto.h"

#define REQUEST_WORDS	10
#define CHECKED_WORDS	8	/* of them under FINGERPRINT */
#define ANSWER_WORDS	8
#define ANSWER6_WORDS	11
#define UDP_WORDS	2
#define HOPS		64
#define DONT_FRAGMENT	0x4000
#define HALVES(hi, lo)	bpf_htonl((__u32)(hi) << 16 | (lo))

/* CRC-32 of each byte; filled before the load, which makes it a constant. */
const volatile __u32 crc_table[256];

/* Of native byte order or not: sums of ones' complement don't care (RFC 1071). */
static __always_inline __u64 sum_words(const __be32 *w, int n)
{
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < n; i++)
		sum += w[i];
	return sum;
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* Addresses, protocol and length, as UDP's checksum covers them; the same in both directions. */
static __always_inline __u64 pseudo_sum(const struct packet *p, __u16 len)
{
	return sum_words(source_of(p), p->v6 ? 8 : 2) + bpf_htons(IPPROTO_UDP) + bpf_htons(len);
}

static __always_inline bool fingerprint_fits(const __be32 *w)
{
	const __u8 *b = (const __u8 *)w;
	__u32 crc = ~0U;

#pragma unroll
	for (int i = 0; i < 4 * CHECKED_WORDS; i++)
		crc = crc >> 8 ^ crc_table[(crc ^ b[i]) & 0xff];
	return bpf_ntohl(w[REQUEST_WORDS - 1]) == (~crc ^ STUN_FINGERPRINT_XOR);
}

static __always_inline bool is_software(const __u8 *value)
{
	__u8 differs = 0;

#pragma unroll
	for (int i = 0; i < STUN_SOFTWARE_LEN; i++)
		differs |= value[i] ^ STUN_SOFTWARE[i];
	return !differs;
}

/* Header, SOFTWARE "tailnode", FINGERPRINT. */
static __always_inline bool is_usual_form(const struct packet *p, const __be32 *w)
{
	const struct udphdr *udp = p->l4;
	const __u16 len = sizeof(*udp) + 4 * REQUEST_WORDS;

	if (!p->bare || (void *)(w + REQUEST_WORDS) > p->end || udp->len != bpf_htons(len))
		return false;
	if (p->v6 ? ((struct ipv6hdr *)p->l3)->payload_len != bpf_htons(len) :
		    ((struct iphdr *)p->l3)->tot_len != bpf_htons(sizeof(struct iphdr) + len))
		return false;
	return w[0] == HALVES(STUN_BINDING_REQUEST, 4 * REQUEST_WORDS - STUN_HDR_LEN) && w[1] == bpf_htonl(STUN_MAGIC) &&
	       w[5] == HALVES(STUN_ATTR_SOFTWARE, STUN_SOFTWARE_LEN) &&
	       is_software((const __u8 *)&w[6]) && w[8] == HALVES(STUN_ATTR_FINGERPRINT, 4);
}

/* IPv4 may go without a UDP checksum. On a veth it may not be computed yet: the kernel knows, we don't. */
static __always_inline bool checksums_fit(const struct packet *p, const __be32 *w)
{
	const struct udphdr *udp = p->l4;

	if (!p->v6 && fold(sum_words(p->l3, sizeof(struct iphdr) / 4)) != 0xffff)
		return false;
	if (udp->check || p->v6) {
		if (!udp->check)
			return false;
		if (fold(pseudo_sum(p, sizeof(*udp) + 4 * REQUEST_WORDS) +
			 sum_words(p->l4, UDP_WORDS + REQUEST_WORDS)) != 0xffff)
			return false;
	}
	return fingerprint_fits(w);
}

/* A router sees requests to other relays, too. On loopback, where all is ours, every source may ask. */
static __always_inline bool addresses_fit(const struct packet *p)
{
	const void *to = destination_of(p);
	const struct derp_local *local = local_of(p, to);

	return local && local->stun && ((struct udphdr *)p->l4)->source && (is_loopback(to, p->v6) || is_remote(p));
}

static __always_inline void write_headers(struct packet *p, __u16 len)
{
	struct udphdr *udp = p->l4;
	__be16 port = udp->source;

	if (p->v6) {
		struct ipv6hdr *ip = p->l3;
		struct in6_addr to = ip->saddr;

		*(__be32 *)ip = bpf_htonl(6U << 28);
		ip->payload_len = bpf_htons(len);
		ip->hop_limit = HOPS;
		ip->saddr = ip->daddr;
		ip->daddr = to;
	} else {
		struct iphdr *ip = p->l3;
		__be32 to = ip->saddr;

		ip->tos = 0;
		ip->tot_len = bpf_htons(sizeof(*ip) + len);
		ip->id = 0;
		ip->frag_off = bpf_htons(DONT_FRAGMENT);
		ip->ttl = HOPS;
		ip->check = 0;
		ip->saddr = ip->daddr;
		ip->daddr = to;
		ip->check = (__u16)~fold(sum_words(p->l3, sizeof(*ip) / 4));
	}
	udp->source = udp->dest;
	udp->dest = port;
	udp->len = bpf_htons(len);
	udp->check = 0;
}

static __always_inline void write_answer(struct packet *p, __be32 *w, int words)
{
	struct udphdr *udp = p->l4;
	const __be32 *client = source_of(p);
	__u16 len = sizeof(*udp) + 4 * words, sum;

	w[0] = HALVES(STUN_BINDING_SUCCESS, 4 * words - STUN_HDR_LEN);
	w[5] = HALVES(STUN_ATTR_XOR_MAPPED_ADDRESS, 4 * words - STUN_HDR_LEN - 4);
	w[6] = HALVES(p->v6 ? STUN_FAMILY_IPV6 : STUN_FAMILY_IPV4, bpf_ntohs(udp->source) ^ STUN_MAGIC >> 16);
#pragma unroll
	for (int i = 0; i < words - 7; i++)
		w[7 + i] = client[i] ^ w[1 + i];	/* magic, then transaction id */
	write_headers(p, len);
	sum = ~fold(pseudo_sum(p, len) + sum_words(p->l4, UDP_WORDS + words));
	udp->check = sum ? sum : 0xffff;		/* 0 would say that there is none */
}

static __always_inline void swap_macs(struct ethhdr *eth)
{
	__u8 to[ETH_ALEN];

	__builtin_memcpy(to, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, to, ETH_ALEN);
}

/* The whole packet becomes ip_len + 8 + 4 * words bytes behind the tags; then every byte of it is written or kept on purpose.
 * False: it could not, and is as it was. */
static __always_inline bool answer(struct xdp_md *ctx, struct packet *p, int ip_len, int words)
{
	__u32 l3 = p->l3_offset, len = l3 + ip_len + sizeof(struct udphdr) + 4 * words;
	void *data;
	__be32 *w;

	if (bpf_xdp_adjust_tail(ctx, (int)len - (int)bpf_xdp_get_buff_len(ctx)))
		return false;
	data = (void *)(long)ctx->data;
	p->end = (void *)(long)ctx->data_end;
	if (l3 > MAX_L3_OFFSET)			/* it isn't; the verifier has to see it */
		return false;
	p->l3 = data + l3;
	p->l4 = p->l3 + ip_len;
	w = p->l4 + sizeof(struct udphdr);
	if ((void *)(w + words) > p->end)
		return false;
	write_answer(p, w, words);
	swap_macs(data);
	return true;
}

static __always_inline int stun(struct xdp_md *ctx, struct packet *p, struct derp_xdp_stats *n)
{
	const __be32 *w = p->l4 + sizeof(struct udphdr);

	if (!is_usual_form(p, w)) {
		n->stun_form++;
	} else if (!checksums_fit(p, w)) {
		n->stun_checksum++;
	} else if (!addresses_fit(p)) {
		n->stun_address++;
	} else if (p->v6 ? answer(ctx, p, sizeof(struct ipv6hdr), ANSWER6_WORDS) :
			   answer(ctx, p, sizeof(struct iphdr), ANSWER_WORDS)) {
		if (p->v6)
			n->stun_ipv6++;
		else
			n->stun_ipv4++;
		return XDP_TX;
	} else {
		n->stun_no_room++;
	}
	return XDP_PASS;
}

#endif
