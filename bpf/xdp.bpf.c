/* SPDX-License-Identifier: BSD-3-Clause */
/* Before the kernel looks at a packet for the relay: the guard may drop it by name, STUN may be answered in place.
 * Everything else, and everything in doubt, passes untouched. Attached by userspace/kern/xdp.c. Linux 5.18 and later. */
#include <linux/bpf.h>
#include <linux/tcp.h>
#include <bpf/bpf_helpers.h>

#include "derp_maps.h"
#include "guard.h"
#include "local.h"
#include "packet.h"
#include "stun.h"

/* Set before the load; 0: no such port. */
const volatile __u16 tcp_ports[DERP_XDP_TCP_PORTS];
const volatile __u16 stun_port;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct derp_xdp_stats);
} derp_xdp_stats SEC(".maps");

static __always_inline bool is_for_stun(const struct packet *p)
{
	struct udphdr *udp = p->l4;

	return p->proto == IPPROTO_UDP && (void *)(udp + 1) <= p->end && stun_port && udp->dest == bpf_htons(stun_port);
}

static __always_inline bool is_new_connection(const struct packet *p)
{
	struct tcphdr *tcp = p->l4;
	__u16 port;

	if (p->proto != IPPROTO_TCP || (void *)(tcp + 1) > p->end || !tcp->syn || tcp->ack)
		return false;
	port = bpf_ntohs(tcp->dest);
	for (int i = 0; i < DERP_XDP_TCP_PORTS; i++)
		if (port && port == tcp_ports[i])
			return true;
	return false;
}

/* Most packets belong to open connections: they leave before anything is looked up. */
SEC("xdp.frags")
int derp_xdp(struct xdp_md *ctx)
{
	struct derp_xdp_stats *n;
	struct derp_deny *deny;
	struct packet p;
	__u32 zero = 0;
	bool udp;

	if (!packet_parse(&p, ctx))
		return XDP_PASS;
	udp = is_for_stun(&p);
	if (!udp && !is_new_connection(&p))
		return XDP_PASS;
	n = bpf_map_lookup_elem(&derp_xdp_stats, &zero);
	if (!n)
		return XDP_PASS;
	deny = denied(&p);
	if (udp && !deny)
		return stun(ctx, &p, n);
	if (!local_of(&p, destination_of(&p)))
		return XDP_PASS;
	if (!deny)
		return guard_connection(&p, n);
	__sync_fetch_and_add(&deny->dropped, 1);
	n->guard_denied++;
	return XDP_DROP_SEEN;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
