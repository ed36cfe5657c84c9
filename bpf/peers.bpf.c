/* SPDX-License-Identifier: BSD-3-Clause */
/* derp_peers: who is here. A map without a program, for bpftool and for the programs to come; the
 * daemon writes it (userspace/kern/peermap.c). */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "derp_maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);	/* a small relay shall not pay for --bpf-peers */
	__uint(max_entries, 1);			/* --bpf-peers, set before the load */
	__type(key, struct derp_peer_key);
	__type(value, struct derp_peer);
} derp_peers SEC(".maps");
