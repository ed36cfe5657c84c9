/* SPDX-License-Identifier: BSD-3-Clause */
/* What programs that relay share with the daemon (include/derp_maps.h). */
#ifndef XDERP_BPF_RELAY_MAPS_H
#define XDERP_BPF_RELAY_MAPS_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "relay_step.h"

/* Sizes are set before the load. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct derp_conn);
} derp_conns SEC(".maps");

/* A flow that is pushed out is opened again by its next packet. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct derp_flow_key);
	__type(value, struct derp_flow);
} derp_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct derp_settings);
} derp_settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct derp_stats);
} derp_stats SEC(".maps");

/* To whom the source at a place may send by this key, and its place. NULL: the flow is not open, or to somebody who was there before. */
static __always_inline struct derp_conn *relay_destination(__u32 place, const struct derp_conn *src, const __u8 *key, __u32 *to)
{
	struct derp_flow_key k = { .source = place, .generation = src->generation };
	struct derp_conn *dst;
	struct derp_flow *f;

	__builtin_memcpy(k.destination, key, DERP_KEY_LEN);
	f = bpf_map_lookup_elem(&derp_flows, &k);
	if (!f)
		return NULL;
	*to = f->destination;
	dst = bpf_map_lookup_elem(&derp_conns, to);
	return dst && dst->generation == f->generation ? dst : NULL;
}

#endif
