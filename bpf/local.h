/* SPDX-License-Identifier: BSD-3-Clause */
/* Is a packet for this relay, and who sent it? */
#ifndef XDERP_BPF_LOCAL_H
#define XDERP_BPF_LOCAL_H

#include <bpf/bpf_helpers.h>

#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct derp_local_key);
	__type(value, struct derp_local);
} derp_local SEC(".maps");

static __always_inline bool is_loopback(const void *addr, bool v6)
{
	const __be32 *a = addr;

	return v6 ? !(a[0] | a[1] | a[2]) && a[3] == bpf_htonl(1) : *(const __u8 *)addr == 127;
}

/* addr: of p. */
static __always_inline struct derp_local *local_of(const struct packet *p, const void *addr)
{
	struct derp_local_key key = { .ifindex = p->ifindex };

	put_ip(key.ip, addr, p->v6);
	return bpf_map_lookup_elem(&derp_local, &key);
}

/* Could this source be told from ours, and be answered at all? Not zero, loopback, a group, IPv4 inside of IPv6, ourselves. */
static __always_inline bool is_remote(const struct packet *p)
{
	const __be32 *a = source_of(p);
	__u8 first = *(const __u8 *)a;

	if (p->v6 ? first == 0xff || !(a[0] | a[1]) : !first || first == 127 || first >= 224)
		return false;
	return !local_of(p, a);
}

#endif
