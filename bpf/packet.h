/* SPDX-License-Identifier: BSD-3-Clause */
/* A frame as far as its TCP or UDP header. */
#ifndef XDERP_BPF_PACKET_H
#define XDERP_BPF_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>

#include "derp_maps.h"

#define XDP_DROP_SEEN	XDP_ABORTED	/* drops, and perf can see it: tracepoint xdp:xdp_exception */
#define MAX_VLAN_TAGS	2
#define MAX_EXTENSIONS	4		/* IPv6 headers between the first and TCP or UDP */
#define MAX_L3_OFFSET	(ETH_HLEN + MAX_VLAN_TAGS * sizeof(struct vlan_tag))
#define FRAGMENT	0x3fff		/* IPv4: more to come, or not the first */
#define FRAGMENT6	0xfff9

struct vlan_tag {
	__be16 tci, type;
};

struct extension {
	__u8 next, len;			/* len: in units of 8 bytes, the first not counted */
	__be16 fragment;		/* in a fragment header */
};

/* Pointers go stale when the length of the packet changes. */
struct packet {
	void *end;
	void *l3, *l4;
	__u32 l3_offset;
	__u32 ifindex;			/* read once: clang may else compute an address in ctx, which the verifier forbids */
	__u8 proto;
	bool v6;
	bool bare;			/* no options, no extension headers */
};

static __always_inline bool is_vlan(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

static __always_inline bool parse_ipv4(struct packet *p)
{
	struct iphdr *ip = p->l3;

	if ((void *)(ip + 1) > p->end || ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(FRAGMENT))
		return false;
	p->l4 = p->l3 + ip->ihl * 4;
	p->proto = ip->protocol;
	p->bare = ip->ihl == 5;
	return true;
}

/* Extension headers must not be a way around the guard. */
static __always_inline bool skip_extension(struct packet *p)
{
	struct extension *x = p->l4;

	if ((void *)(x + 1) > p->end)
		return false;
	if (p->proto == IPPROTO_FRAGMENT && x->fragment & bpf_htons(FRAGMENT6))
		return false;
	p->l4 += p->proto == IPPROTO_FRAGMENT ? 8 : (x->len + 1) * 8;
	p->proto = x->next;
	p->bare = false;
	return true;
}

static __always_inline bool parse_ipv6(struct packet *p)
{
	struct ipv6hdr *ip = p->l3;

	if ((void *)(ip + 1) > p->end || ip->version != 6)
		return false;
	p->l4 = ip + 1;
	p->proto = ip->nexthdr;
	p->bare = true;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		if (p->proto != IPPROTO_HOPOPTS && p->proto != IPPROTO_ROUTING && p->proto != IPPROTO_DSTOPTS &&
		    p->proto != IPPROTO_FRAGMENT)
			break;
		if (!skip_extension(p))
			return false;
	}
	return true;
}

/* False: nothing we have an opinion on, fragments included. At most two VLAN tags are looked behind. */
static __always_inline bool packet_parse(struct packet *p, struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	struct ethhdr *eth = data;
	struct vlan_tag *tag;
	__be16 type;

	p->end = (void *)(long)ctx->data_end;
	p->ifindex = ctx->ingress_ifindex;
	if ((void *)(eth + 1) > p->end || eth->h_dest[0] & 1)	/* not for a group */
		return false;
	type = eth->h_proto;
	p->l3_offset = ETH_HLEN;
	for (int i = 0; i < MAX_VLAN_TAGS && is_vlan(type); i++) {
		tag = data + p->l3_offset;
		if ((void *)(tag + 1) > p->end)
			return false;
		type = tag->type;
		p->l3_offset += sizeof(*tag);
	}
	p->l3 = data + p->l3_offset;
	p->v6 = type == bpf_htons(ETH_P_IPV6);
	if (p->v6)
		return parse_ipv6(p);
	return type == bpf_htons(ETH_P_IP) && parse_ipv4(p);
}

static __always_inline void put_ip(__u8 ret[DERP_IP_LEN], const void *addr, bool v6)
{
	__be32 *w = (__be32 *)ret;

	if (v6) {
		__builtin_memcpy(ret, addr, DERP_IP_LEN);
		return;
	}
	w[0] = 0;
	w[1] = 0;
	w[2] = bpf_htonl(0xffff);
	__builtin_memcpy(&w[3], addr, sizeof(w[3]));
}

static __always_inline const void *source_of(const struct packet *p)
{
	return p->v6 ? (void *)&((struct ipv6hdr *)p->l3)->saddr : (void *)&((struct iphdr *)p->l3)->saddr;
}

static __always_inline const void *destination_of(const struct packet *p)
{
	return p->v6 ? (void *)&((struct ipv6hdr *)p->l3)->daddr : (void *)&((struct iphdr *)p->l3)->daddr;
}

#endif
