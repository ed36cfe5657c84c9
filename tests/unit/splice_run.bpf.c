/* SPDX-License-Identifier: BSD-3-Clause */
/* The step of the splice in a program that BPF_PROG_RUN takes. The stream's bytes come behind an Ethernet header, since the kernel runs
 * nothing shorter. Returns the outcome, or -1 for a socket that nobody knows. */
#include "splice.h"

#define ETH_HLEN	14

char LICENSE[] SEC("license") = "Dual BSD/GPL";

__u64 cookie;
__u32 queued;			/* buffers that wait for the destination */

SEC("tc")
int splice_run(struct __sk_buff *skb)
{
	enum derp_outcome o;
	struct step s;

	if (!step_init(&s, skb, cookie))
		return -1;
	s.start = s.off = ETH_HLEN;
	o = step_walk(&s);
	if (o == DERP_OUTCOME_redirected) {
		relay_note_pressure(s.src, s.set, queued);
		o = relay_claim(s.dst, s.set->queue_limit, &s.batch, queued);
	}
	if (o == DERP_OUTCOME_redirected && !bpf_skb_pull_data(skb, skb->len))
		step_rewrite(&s);
	relay_count(s.stats, s.src, s.dst, o, &s.batch);
	if (o != DERP_OUTCOME_redirected && o != DERP_OUTCOME_dropped_full)
		s.src->passed += skb->len - ETH_HLEN;
	return o;
}
