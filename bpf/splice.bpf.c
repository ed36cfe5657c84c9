/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets from one plain socket to another, without a wake-up of the daemon; and from one twin of a TLS peer to another, at the end of this
 * file.
 *
 * The verdict of plain sockets sees each receive buffer of a source, follows the frames in it, and redirects it whole if it holds nothing
 * but whole packets for one destination; else, and in doubt, it is left to the shard whole. A stream parser, which would give single
 * frames, is not used: on kernels from 6.14 on it spoils the stream (copied_seq runs ahead) when several frames are left to the owner
 * between two of its receives.
 * Loaded by userspace/kern/splice.c. Linux 6.2 and later. */
#include "splice.h"
#define TWIN_CONTEXT struct sk_msg_md
#include "twin.h"

#include <bpf/bpf_core_read.h>

#define LINEAR_MAX	65536	/* bytes that are put in one piece, so that one send takes them */
#define PSOCK_FLAGS	7UL	/* in the low bits of sk_user_data */
#define NO_SOCKET	-2

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What we need of the kernel's own types; the loader finds the fields. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sk_buff_head {
	__u32 qlen;
};
struct sk_psock {
	struct sk_buff_head ingress_skb;
};
struct sock {
	void *sk_user_data;
};
#pragma clang attribute pop

extern void *bpf_rdonly_cast(void *obj, __u32 btf_id) __ksym;

/* Where packets go, by key. Has no program: its members cost nothing and can come and go. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 1);
	__uint(key_size, DERP_KEY_LEN);
	__uint(value_size, sizeof(__u64));
} derp_socks SEC(".maps");

/* Has the program. A source comes once, and leaves by closing: a delete would lose what it has received. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
} derp_sources SEC(".maps");

struct notice_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, struct notice_ring);
} derp_notices SEC(".maps");

/* Buffers that wait in the kernel for the peer with this key; -1: can't be told; NO_SOCKET: it has none here. */
static __always_inline long queued_for(__u8 *key)
{
	struct sk_psock *psock;
	struct bpf_sock *bsk;
	struct sock *sk;
	long n = -1;

	bsk = bpf_map_lookup_elem(&derp_socks, key);
	if (!bsk)
		return NO_SOCKET;
	sk = (struct sock *)bpf_skc_to_tcp_sock(bsk);
	if (sk) {
		sk = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct sock));
		psock = bpf_rdonly_cast((void *)((unsigned long)sk->sk_user_data & ~PSOCK_FLAGS), bpf_core_type_id_kernel(struct sk_psock));
		n = psock->ingress_skb.qlen;
	}
	bpf_sk_release(bsk);
	return n;
}

static __always_inline enum derp_outcome redirect(struct step *s)
{
	enum derp_outcome o;
	long queued = queued_for(s->batch.destination);

	/* splice_leave() marks a connection before it takes its socket away, so this relay was killed and all its sockets are being
	 * closed. With something in them that nobody has read the kernel may warn. That the mark is read by an atomic orders it. */
	if (queued == NO_SOCKET && !__sync_fetch_and_or(&s->dst->held, 0))
		return DERP_OUTCOME_orphaned;
	if (queued < 0 || s->skb->len > LINEAR_MAX || bpf_skb_pull_data(s->skb, s->skb->len))
		return DERP_OUTCOME_passed_socket;
	relay_note_pressure(s->src, s->set, queued);
	o = relay_claim(s->dst, s->set->queue_limit, &s->batch, queued);
	if (o != DERP_OUTCOME_redirected)
		return o;
	/* From here on the kernel redirects it, whatever else we do but drop it. */
	if (bpf_sk_redirect_hash(s->skb, &derp_socks, s->batch.destination, 0) != SK_PASS) {
		relay_take_back(s->dst, s->batch.len);
		return DERP_OUTCOME_passed_socket;
	}
	step_rewrite(s);
	return DERP_OUTCOME_redirected;
}

/* The shard of c shall look at it; what it will find is counted. wakeup: a flag of the ring. */
static __always_inline void notify(struct derp_conn *c, __u32 place, __u64 wakeup)
{
	__u32 shard = c->shard;
	void *ring;

	/* Pairs with on_notice() of the daemon. */
	if (__sync_lock_test_and_set(&c->noticed, 1))
		return;
	ring = bpf_map_lookup_elem(&derp_notices, &shard);
	if (ring)
		bpf_ringbuf_output(ring, &place, sizeof(place), wakeup);
}

/* A wake-up of the socket can't tell what was left to it from what was redirected: nobody waits for that. */
static __always_inline void leave(struct step *s, __u32 len)
{
	__sync_fetch_and_add(&s->src->passed, len);
	notify(s->src, s->place, BPF_RB_FORCE_WAKEUP);
}

SEC("sk_skb/stream_verdict")
int derp_verdict(struct __sk_buff *skb)
{
	enum derp_outcome o;
	__u32 len = skb->len;
	struct step s;

	/* The end of the stream is an empty buffer. */
	if (!len)
		return SK_PASS;
	/* Its connection has ended; only the socket is not closed yet. */
	if (!step_init(&s, skb, bpf_get_socket_cookie(skb)))
		return SK_DROP;
	o = step_walk(&s);
	if (o == DERP_OUTCOME_redirected)
		o = redirect(&s);
	relay_count(s.stats, s.src, s.dst, o, &s.batch);
	if (o == DERP_OUTCOME_dropped_full || o == DERP_OUTCOME_orphaned)
		return SK_DROP;
	if (o != DERP_OUTCOME_redirected)
		leave(&s, len);
	return SK_PASS;
}

/* --- Twins. A TLS peer's twin is a TCP socket connected to itself. Its shard writes decrypted packets into it; they are redirected into
 * what the destination's twin receives. Nothing ever passes through the twin's own TCP. A twin comes once, and leaves by closing. */

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
} derp_twins SEC(".maps");

/* Local address and port of a twin (there is no cookie here) -> place of its connection. Local storage of the socket would do it, but
 * Linux 7 has no memory for that on machines without CMPXCHG16B, such as emulated ones. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u32);
} derp_twin_ports SEC(".maps");

/* Key -> place of its twin, for whoever holds it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct derp_peer_key);
	__type(value, __u32);
} derp_twin_keys SEC(".maps");

/* Not reached while all goes well. The socket is broken from here on: the kernel answers every write with EACCES, and the shard does without
 * it. */
#define BROKEN	SK_DROP

static __always_inline enum derp_outcome twin_redirect(struct twin_step *t, struct sk_msg_md *msg)
{
	enum derp_outcome o = twin_decide(t);

	if (o != DERP_OUTCOME_redirected)
		return o;
	if (bpf_msg_redirect_map(msg, &derp_twins, t->to, BPF_F_INGRESS) != SK_PASS) {
		relay_take_back(t->dst, t->batch.len);
		return DERP_OUTCOME_passed_socket;
	}
	t->src->last_destination = t->to;
	return o;
}

SEC("sk_msg")
int derp_msg(struct sk_msg_md *msg)
{
	__u64 port = DERP_TWIN_PORT(msg->local_ip4, msg->local_port);
	__u32 *place = bpf_map_lookup_elem(&derp_twin_ports, &port);
	struct twin_step t;
	__u32 n = msg->size;

	if (!place || !twin_init(&t, msg, *place))
		return BROKEN;
	/* In one piece: the kernel moves pieces, and may run out of memory between two. */
	if (n > DERP_TWIN_FRAME_MAX)
		n = DERP_TWIN_FRAME_MAX;
	if (bpf_msg_pull_data(msg, 0, n, 0))
		return BROKEN;
	twin_walk(&t);
	if (!t.batch.packets)
		return BROKEN;
	bpf_msg_apply_bytes(msg, t.batch.len);
	t.outcome = twin_redirect(&t, msg);
	if (t.outcome != DERP_OUTCOME_redirected) {
		if (bpf_msg_redirect_map(msg, &derp_twins, t.place, BPF_F_INGRESS) != SK_PASS)
			return BROKEN;
		twin_leave(&t);
	}
	twin_rewrite(&t);
	twin_count(&t);
	/* Its own shard looks by itself when it has written. */
	if (t.outcome == DERP_OUTCOME_redirected)
		notify(t.dst, t.to, t.dst->shard == t.src->shard ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP);
	return SK_PASS;
}
