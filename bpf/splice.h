/* SPDX-License-Identifier: BSD-3-Clause */
/* The way from the bytes in an skb to their outcome. Programs of type sk_skb can't be run by BPF_PROG_RUN: a
 * test includes this into one that can. */
#ifndef XDERP_BPF_SPLICE_H
#define XDERP_BPF_SPLICE_H

#include "relay_maps.h"

/* Its size is set before the load. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u32);
} derp_cookies SEC(".maps");

/* A buffer on its way through the step. */
struct step {
	struct __sk_buff *skb;
	const struct derp_settings *set;
	struct derp_stats *stats;
	struct derp_conn *src, *dst;
	__u32 place;			/* of src */
	__u32 start;			/* of the stream's bytes in skb */
	__u32 off;			/* where the walk is */
	bool movable;			/* whole packets for one destination so far */
	struct relay_batch batch;
};

/* The head of a frame began in the buffer before, or ends in the next. */
static __always_inline long walk_torn_head(struct step *s)
{
	struct derp_conn *src = s->src;

	s->movable = false;
	for (int i = 0; i < DERP_HDR_LEN && s->off < s->skb->len && src->hdr_have < DERP_HDR_LEN; i++) {
		if (bpf_skb_load_bytes(s->skb, s->off, &src->hdr[src->hdr_have & 7], 1))
			return 1;
		src->hdr_have++;
		s->off++;
	}
	if (src->hdr_have == DERP_HDR_LEN) {
		src->left = relay_body_len(src->hdr);
		src->hdr_have = 0;
	}
	return 0;
}

/* A whole packet at s->off: is it for where the others are for? */
static __always_inline void walk_packet(struct step *s, __u32 body)
{
	__u32 n = body - DERP_KEY_LEN;
	struct relay_batch *b = &s->batch;
	__u8 peek[RELAY_PEEK_LEN];
	bool disco = false;

	if (n >= DERP_DISCO_MAGIC_LEN) {
		s->movable = !bpf_skb_load_bytes(s->skb, s->off, peek, sizeof(peek));
		disco = s->movable && relay_is_disco(peek + RELAY_HEAD_LEN, n);
	} else {
		s->movable = !bpf_skb_load_bytes(s->skb, s->off, peek, RELAY_HEAD_LEN);
	}
	if (!s->movable)
		return;
	if (!b->packets)
		__builtin_memcpy(b->destination, peek + DERP_HDR_LEN, DERP_KEY_LEN);
	else if (!relay_same_key(b->destination, peek + DERP_HDR_LEN))
		s->movable = false;
	b->packets++;
	b->payload += n;
	b->disco += disco;
	b->disco_payload += disco ? n : 0;
	b->len += DERP_HDR_LEN + body;
}

/* Walks one frame, or what there is of it. */
static long walk_frame(__u32 i, void *ctx)
{
	struct step *s = ctx;
	__u32 there = s->skb->len - s->off, body, take;
	__u8 hdr[DERP_HDR_LEN];

	(void)i;
	if (!there)
		return 1;
	if (s->src->left) {
		take = s->src->left < there ? s->src->left : there;
		s->movable = false;
		s->src->left -= take;
		s->off += take;
		return 0;
	}
	if (s->src->hdr_have || there < DERP_HDR_LEN)
		return walk_torn_head(s);
	if (bpf_skb_load_bytes(s->skb, s->off, hdr, sizeof(hdr)))
		return 1;
	body = relay_body_len(hdr);
	there -= DERP_HDR_LEN;
	take = body < there ? body : there;
	if (s->movable && take == body && relay_is_packet(hdr, body))
		walk_packet(s, body);
	else
		s->movable = false;
	s->src->left = body - take;
	s->off += DERP_HDR_LEN + take;
	return 0;
}

/* False: nobody knows this socket, it is closing. */
static __always_inline bool step_init(struct step *s, struct __sk_buff *skb, __u64 cookie)
{
	__u32 zero = 0, *place = bpf_map_lookup_elem(&derp_cookies, &cookie);

	__builtin_memset(s, 0, sizeof(*s));
	s->skb = skb;
	s->movable = true;
	s->set = bpf_map_lookup_elem(&derp_settings, &zero);
	s->stats = bpf_map_lookup_elem(&derp_stats, &zero);
	if (!s->set || !s->stats || !place)
		return false;
	s->place = *place;
	s->src = bpf_map_lookup_elem(&derp_conns, place);
	return s->src;
}

/* Follows the stream through the buffer. DERP_OUTCOME_redirected: its packets may go to s->dst, if that can be claimed. Any other is
 * final. */
static __always_inline enum derp_outcome step_walk(struct step *s)
{
	enum derp_outcome o;
	__u32 to;

	bpf_loop(s->skb->len / DERP_HDR_LEN + 2, walk_frame, s, 0);
	if (!s->movable || !s->batch.packets)
		return DERP_OUTCOME_passed_other;
	if (!s->set->enabled)
		return DERP_OUTCOME_passed_off;
	o = relay_source_ready(s->src);
	if (o != DERP_OUTCOME_redirected)
		return o;
	s->dst = relay_destination(s->place, s->src, s->batch.destination, &to);
	return s->dst ? DERP_OUTCOME_redirected : DERP_OUTCOME_passed_flow;
}

/* Turns the packet at s->off into what its destination gets. */
static long rewrite_frame(__u32 i, void *ctx)
{
	struct step *s = ctx;
	__u8 head[RELAY_HEAD_LEN];

	(void)i;
	if (bpf_skb_load_bytes(s->skb, s->off, head, sizeof(head)))
		return 1;
	relay_rewrite(head, s->src->pub);
	bpf_skb_store_bytes(s->skb, s->off, head, sizeof(head), 0);
	s->off += DERP_HDR_LEN + relay_body_len(head);
	return 0;
}

/* All packets of the buffer, which is in one piece. */
static __always_inline void step_rewrite(struct step *s)
{
	s->off = s->start;
	bpf_loop(s->batch.packets, rewrite_frame, s, 0);
}

#endif
