/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may knock: the deny list, and the rate of new TCP connections of one source. */
#ifndef XDERP_BPF_GUARD_H
#define XDERP_BPF_GUARD_H

#include <bpf/bpf_helpers.h>

#include "packet.h"

#define MAX_RACES	8	/* for one bucket; who loses all of them is let through */

/* Set before the load (userspace/kern/xdp.c). */
const volatile __u64 syn_every_ns;	/* one new connection per source and this time; 0: no limit */
const volatile __u64 syn_burst_ns;	/* as many at once as are due in this time */

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct derp_deny_key);
	__type(value, struct derp_deny);
} derp_deny SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);		/* --guard-sources */
	__type(key, struct derp_guard_key);
	__type(value, struct derp_guard);
} derp_guard SEC(".maps");

static __always_inline struct derp_deny *denied(const struct packet *p)
{
	struct derp_deny_key key = { .prefixlen = 8 * DERP_IP_LEN };

	put_ip(key.ip, source_of(p), p->v6);
	return bpf_map_lookup_elem(&derp_deny, &key);
}

/* A customer has a /56 of IPv6, and any number of addresses in it. */
static __always_inline void source_key(struct derp_guard_key *ret, const struct packet *p)
{
	put_ip(ret->ip, source_of(p), p->v6);
	if (p->v6) {
		ret->ip[7] = 0;
		__builtin_memset(ret->ip + 8, 0, 8);
	}
}

/* Token bucket, kept as the time at which it is full again (generic cell rate algorithm): one word, so that two
 * processors at it need no lock. False: empty. */
static __always_inline bool take_token(struct derp_guard *g)
{
	__u64 now = bpf_ktime_get_ns(), full, from;

	for (int i = 0; i < MAX_RACES; i++) {
		full = *(volatile __u64 *)&g->full_at;
		from = full > now ? full : now;
		if (from - now > syn_burst_ns - syn_every_ns)
			return false;
		if (__sync_val_compare_and_swap(&g->full_at, full, from + syn_every_ns) == full)
			return true;
	}
	return true;
}

static __always_inline int guard_connection(const struct packet *p, struct derp_xdp_stats *n)
{
	struct derp_guard fresh = { .passed = 1 };
	struct derp_guard_key key;
	struct derp_guard *g;

	if (!syn_every_ns) {
		n->guard_passed++;
		return XDP_PASS;
	}
	source_key(&key, p);
	g = bpf_map_lookup_elem(&derp_guard, &key);
	if (!g) {
		fresh.full_at = bpf_ktime_get_ns() + syn_every_ns;
		if (bpf_map_update_elem(&derp_guard, &key, &fresh, BPF_NOEXIST))
			n->guard_untracked++;
		else
			n->guard_passed++;
		return XDP_PASS;
	}
	if (!take_token(g)) {
		__sync_fetch_and_add(&g->dropped, 1);
		n->guard_limited++;
		return XDP_DROP_SEEN;
	}
	__sync_fetch_and_add(&g->passed, 1);
	n->guard_passed++;
	return XDP_PASS;
}

#endif
