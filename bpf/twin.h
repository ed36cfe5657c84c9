/* SPDX-License-Identifier: BSD-3-Clause */
/* From the bytes that a shard writes into a peer's twin to their outcome: whole SendPackets, nothing else. The first packets of a message
 * that are for one destination are dealt with together, then the program runs again for the rest. Nothing here knows what carries
 * the bytes: a test runs it on an skb. Before this is included TWIN_CONTEXT is the type of what carries them; it has data and data_end. */
#ifndef XDERP_BPF_TWIN_H
#define XDERP_BPF_TWIN_H

#include "relay_maps.h"

#define TWIN_BATCH	64U	/* packets at a time; --splice-tls-queue is at least so many */

struct twin_step {
	TWIN_CONTEXT *from;
	const struct derp_settings *set;
	struct derp_stats *stats;
	struct derp_conn *src, *dst;
	__u32 place, to;		/* of src and dst */
	__u32 start;			/* of the packets in what carries them */
	__u32 off;			/* where the walk is, from there */
	enum derp_outcome outcome;
	struct relay_batch batch;
};

/* False: there is no such place. */
static __always_inline bool twin_init(struct twin_step *t, TWIN_CONTEXT *from, __u32 place)
{
	__u32 zero = 0, twins = DERP_STATS_TWINS;

	__builtin_memset(t, 0, sizeof(*t));
	t->from = from;
	t->place = place;
	t->set = bpf_map_lookup_elem(&derp_settings, &zero);
	t->stats = bpf_map_lookup_elem(&derp_stats, &twins);
	t->src = bpf_map_lookup_elem(&derp_conns, &place);
	return t->set && t->stats && t->src;
}

/* The packet at t->off, with room bytes of it in one piece, or NULL. */
static __always_inline __u8 *twin_at(const struct twin_step *t, __u32 room)
{
	__u32 off = t->start + t->off;
	__u8 *f;

	if (off > 2 * DERP_TWIN_FRAME_MAX)
		return NULL;
	f = (__u8 *)(long)t->from->data + off;
	/* The verifier knows the bounds of this pointer, not of data + 5 + off. */
	barrier_var(f);
	return f + room > (__u8 *)(long)t->from->data_end ? NULL : f;
}

static __always_inline void walk_disco(struct twin_step *t, __u32 n)
{
	const __u8 *f = twin_at(t, RELAY_PEEK_LEN);

	if (!f || !relay_is_disco(f + RELAY_HEAD_LEN, n))
		return;
	t->batch.disco++;
	t->batch.disco_payload += n;
}

static long walk_packet_of_twin(__u32 i, void *ctx)
{
	struct twin_step *t = ctx;
	struct relay_batch *b = &t->batch;
	const __u8 *f = twin_at(t, RELAY_HEAD_LEN);
	__u32 body;

	(void)i;
	if (!f)
		return 1;
	body = relay_body_len(f);
	if (body > DERP_TWIN_FRAME_MAX || !relay_is_packet(f, body))
		return 1;
	if (!b->packets)
		__builtin_memcpy(b->destination, f + DERP_HDR_LEN, DERP_KEY_LEN);
	else if (!relay_same_key(b->destination, f + DERP_HDR_LEN))
		return 1;
	if (!twin_at(t, DERP_HDR_LEN + body))
		return 1;
	if (body - DERP_KEY_LEN >= DERP_DISCO_MIN_LEN)
		walk_disco(t, body - DERP_KEY_LEN);
	b->packets++;
	b->payload += body - DERP_KEY_LEN;
	b->len += DERP_HDR_LEN + body;
	t->off += DERP_HDR_LEN + body;
	return 0;
}

/* Takes whole packets for one destination into the batch, from what lies in one piece. None: those were no packets. */
static __always_inline void twin_walk(struct twin_step *t)
{
	bpf_loop(TWIN_BATCH, walk_packet_of_twin, t, 0);
}

/* Redirected: to t->dst, where it has been claimed. Otherwise it is left to the shard that wrote it. */
static __always_inline enum derp_outcome twin_decide(struct twin_step *t)
{
	enum derp_outcome o = relay_source_ready(t->src);
	__u64 taken, queued;

	if (o != DERP_OUTCOME_redirected)
		return o;
	t->dst = relay_destination(t->place, t->src, t->batch.destination, &t->to);
	if (!t->dst)
		return DERP_OUTCOME_passed_flow;
	/* In this order: what its shard takes in between would look like less than nothing, which is more than any limit. */
	taken = RELAY_READ(t->dst->taken);
	queued = RELAY_READ(t->dst->frames_out) - taken;
	if ((__s64)queued < 0)	/* on processors that read in an order of their own */
		queued = 0;
	/* With these. Shards that come at the same moment don't see each other's. */
	queued += t->batch.packets - 1;
	return relay_claim(t->dst, t->set->twin_limit, &t->batch, queued);
}

/* Its shard finds in its own twin what was left to it, as it wrote it, and with a type of its own what is to be dropped. */
static __always_inline void twin_leave(struct twin_step *t)
{
	if (t->outcome != DERP_OUTCOME_dropped_full)
		__sync_fetch_and_add(&t->src->passed, t->batch.len);
	__sync_fetch_and_add(&t->src->redirected, t->batch.len);
}

static long rewrite_packet_of_twin(__u32 i, void *ctx)
{
	struct twin_step *t = ctx;
	__u8 *f = twin_at(t, RELAY_HEAD_LEN);

	(void)i;
	if (!f)
		return 1;
	if (t->outcome == DERP_OUTCOME_redirected)
		relay_rewrite(f, t->src->pub);
	else
		f[0] = DERP_TWIN_DROPPED;
	t->off += DERP_HDR_LEN + relay_body_len(f);
	return 0;
}

/* Heads of all packets of the batch. */
static __always_inline void twin_rewrite(struct twin_step *t)
{
	if (t->outcome != DERP_OUTCOME_redirected && t->outcome != DERP_OUTCOME_dropped_full)
		return;
	t->off = 0;
	bpf_loop(t->batch.packets, rewrite_packet_of_twin, t, 0);
}

/* What was decided upon, packet by packet; the daemon can tell by src->decided which of it the kernel then could not do. */
static __always_inline void twin_count(struct twin_step *t)
{
	const enum derp_outcome o = t->outcome;

	if (o == DERP_OUTCOME_redirected || o == DERP_OUTCOME_dropped_full)
		relay_count(t->stats, t->src, t->dst, o, &t->batch);
	else if (o < DERP_OUTCOME_NR)
		((__u64 *)t->stats)[o] += t->batch.packets;
	t->src->decided += t->batch.len;
	t->src->last_outcome = o;
	t->src->last_packets = t->batch.packets;
}

#endif
