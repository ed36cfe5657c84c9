/* SPDX-License-Identifier: BSD-3-Clause */
/* A network card's part for bench/stun: requests as pages without an sk_buff, answers counted and dropped. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SPARE	8	/* bytes behind the frame, see nic_send */

const volatile __u64 frame[16];
const volatile __u32 frame_len;
const volatile __u16 stun_port;
const volatile __u64 window;
__u64 sent, answers;

/* Run by BPF_PROG_RUN on live frames. Their pages come back as the other end left them, so all of it is written anew; and the kernel
 * looks at the length anew only if a program changes it. */
SEC("xdp")
int nic_send(struct xdp_md *ctx)
{
	__u64 *p, *end;

	if ((__s64)(sent - answers) >= (__s64)window)	/* negative: late ones came that were given up */
		return XDP_DROP;		/* not now */
	if (bpf_xdp_adjust_tail(ctx, -SPARE))
		return XDP_ABORTED;
	p = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	for (int i = 0; i < 16; i++) {
		if (p + 1 > end)
			break;
		*p++ = frame[i];
	}
	for (int i = 0; i < 7; i++) {
		__u8 *b = (__u8 *)p + i;

		if (b + 1 > (__u8 *)end)
			break;
		*b = ((const volatile __u8 *)frame)[(frame_len & ~7U & 127) + i];
	}
	__sync_fetch_and_add(&sent, 1);
	return XDP_TX;
}

SEC("xdp")
int nic_receive(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct ipv6hdr *ip6 = data + sizeof(*eth);
	struct udphdr *udp;

	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP) && ip->protocol == IPPROTO_UDP)
		udp = (void *)(ip + 1);
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= end && ip6->nexthdr == IPPROTO_UDP)
		udp = (void *)(ip6 + 1);
	else
		return XDP_PASS;
	if ((void *)(udp + 1) > end || udp->source != bpf_htons(stun_port))
		return XDP_PASS;
	__sync_fetch_and_add(&answers, 1);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
