/* SPDX-License-Identifier: BSD-3-Clause */
/* The relay step: what a frame is, where it goes, whether it may go there now. No packet memory is touched here and no helper is
 * called, so that every program that relays can use it, and gcc can read it. */
#ifndef XDERP_RELAY_STEP_H
#define XDERP_RELAY_STEP_H

#include "derp_maps.h"

#define RELAY_HEAD_LEN	(DERP_HDR_LEN + DERP_KEY_LEN)	/* of SendPacket and RecvPacket: what is rewritten */
#define RELAY_PEEK_LEN	(RELAY_HEAD_LEN + DERP_DISCO_MAGIC_LEN)

#define RELAY_READ(x)		(*(const volatile __typeof__(x) *)&(x))

/* Packets of one buffer, all for one destination. */
struct relay_batch {
	__u32 len;			/* of the frames */
	__u32 packets, payload;
	__u32 disco, disco_payload;	/* among them */
	__u8 destination[DERP_KEY_LEN];
};

/* What follows the head. */
static inline __u32 relay_body_len(const __u8 *hdr)
{
	return (__u32)hdr[1] << 24 | (__u32)hdr[2] << 16 | (__u32)hdr[3] << 8 | hdr[4];
}

static inline _Bool relay_is_packet(const __u8 *hdr, __u32 body)
{
	return hdr[0] == DERP_SEND_PACKET && body >= DERP_KEY_LEN && body <= DERP_MAX_SEND_BODY;
}

static inline _Bool relay_same_key(const __u8 *a, const __u8 *b)
{
	__u8 diff = 0;

	for (int i = 0; i < DERP_KEY_LEN; i++)
		diff |= a[i] ^ b[i];
	return !diff;
}

/* payload: at least DERP_DISCO_MAGIC_LEN bytes; n: how long it is. */
static inline _Bool relay_is_disco(const __u8 *payload, __u32 n)
{
	const char *magic = DERP_DISCO_MAGIC;

	for (int i = 0; i < DERP_DISCO_MAGIC_LEN; i++)
		if (payload[i] != (__u8)magic[i])
			return 0;
	return n >= DERP_DISCO_MIN_LEN;
}

/* SendPacket to RecvPacket: the length stays. */
static inline void relay_rewrite(__u8 *head, const __u8 *source)
{
	head[0] = DERP_RECV_PACKET;
	for (int i = 0; i < DERP_KEY_LEN; i++)
		head[DERP_HDR_LEN + i] = source[i];
}

/* Whether a source may have its packets moved at all now: DERP_OUTCOME_redirected, or why not. */
static inline enum derp_outcome relay_source_ready(const struct derp_conn *src)
{
	if (src->held)
		return DERP_OUTCOME_passed_off;
	if (src->bulk)
		return DERP_OUTCOME_passed_bulk;
	/* What went by the shard must have arrived before this may overtake it. */
	if (src->passed != RELAY_READ(src->done))
		return DERP_OUTCOME_passed_order;
	return DERP_OUTCOME_redirected;
}

/* Buffers that wait for the destination mean that the kernel, which sends each on its own, does not keep up, and that the shard,
 * which gathers them, would do better. */
static inline void relay_note_pressure(struct derp_conn *src, const struct derp_settings *set, __u32 queued)
{
	if (queued >= set->busy_queue)
		src->pressure++;
	else if (src->pressure)
		src->pressure--;
	if (set->bulk_pressure && src->pressure > set->bulk_pressure)
		src->bulk = 1;
}

static inline void relay_take_back(struct derp_conn *dst, __u32 len)
{
	__sync_fetch_and_add(&dst->redirected, -(__u64)len);
}

/* Packets for a destination for which so many buffers, or packets, wait, which is to be below limit. Redirected: they are counted in
 * dst->redirected, by which the shard knows what is still on its way; relay_take_back() if it comes to nothing. */
static inline enum derp_outcome relay_claim(struct derp_conn *dst, __u32 limit, const struct relay_batch *b, __u64 queued)
{
	if (dst->held || RELAY_READ(dst->owner) != DERP_KERNEL)
		return DERP_OUTCOME_passed_owner;
	if (queued >= limit) {
		__sync_fetch_and_add(&dst->drops, b->packets);
		return DERP_OUTCOME_dropped_full;
	}
	/* Pairs with splice_take(): it writes owner first and reads redirected after. One of us sees the other. That the old value is
	 * looked at makes it a full barrier. */
	if (__sync_fetch_and_add(&dst->redirected, b->len) == ~0ULL || RELAY_READ(dst->owner) != DERP_KERNEL) {
		relay_take_back(dst, b->len);
		return DERP_OUTCOME_passed_owner;
	}
	return DERP_OUTCOME_redirected;
}

/* The one outcome of a buffer. */
static inline void relay_count(struct derp_stats *st, struct derp_conn *src, struct derp_conn *dst, enum derp_outcome o,
			       const struct relay_batch *b)
{
	if (o == DERP_OUTCOME_redirected) {
		__sync_fetch_and_add(&dst->frames_out, b->packets);
		st->redirected += b->packets;
		st->redirected_bytes += b->payload;
		st->redirected_disco += b->disco;
	} else if (o == DERP_OUTCOME_dropped_full) {
		st->dropped_full += b->packets;
		st->dropped_full_bytes += b->payload;
		st->dropped_full_disco += b->disco;
		st->dropped_full_disco_bytes += b->disco_payload;
	} else {
		if (o < DERP_OUTCOME_NR)
			((__u64 *)st)[o]++;
		return;
	}
	src->frames_in += b->packets;
	src->bytes_in += b->payload;
}

#endif
