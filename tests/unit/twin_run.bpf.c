/* SPDX-License-Identifier: BSD-3-Clause */
/* The step of twins in a program that BPF_PROG_RUN takes. What a shard writes comes behind an Ethernet header, since the kernel runs
 * nothing shorter. As derp_msg of bpf/splice.bpf.c, but that nothing is redirected. Returns the outcome, or -1 where that says that the twin
 * is broken. */
#define TWIN_CONTEXT struct __sk_buff
#include "twin.h"

#define ETH_HLEN	14

char LICENSE[] SEC("license") = "Dual BSD/GPL";

__u32 place;
__u32 to;			/* where the last packets were redirected */

SEC("tc")
int twin_run(struct __sk_buff *skb)
{
	struct twin_step t;

	if (!twin_init(&t, skb, place) || bpf_skb_pull_data(skb, skb->len))
		return -1;
	t.start = ETH_HLEN;
	twin_walk(&t);
	if (!t.batch.packets)
		return -1;
	t.outcome = twin_decide(&t);
	if (t.outcome != DERP_OUTCOME_redirected)
		twin_leave(&t);
	twin_rewrite(&t);
	twin_count(&t);
	to = t.to;
	return t.outcome;
}
