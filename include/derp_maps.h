/* SPDX-License-Identifier: BSD-3-Clause */
/* BPF maps: keys and values, as programs, the daemon and bpftool see them. Read by gcc and by
 * clang -target bpf. Field names are what "bpftool map dump" prints, so they say what they hold. */
#ifndef XDERP_DERP_MAPS_H
#define XDERP_DERP_MAPS_H

#include <linux/types.h>

#include "derp_proto.h"

/* derp_peers: every key that is logged in here, with its active connection. */
struct derp_peer_key {
	__u8 pub[DERP_KEY_LEN];
};

/* What lies between a connection's plaintext and its socket. bpftool prints the names. */
enum derp_transport {
	DERP_PLAIN,
	DERP_TLS,	/* records in user space */
	DERP_KTLS,	/* records in the kernel */
};

#define DERP_SHORT_KEY_LEN	8	/* "[12345]": how Tailscale's logs name a key */
#define DERP_ADDRESS_LEN	56	/* "[ipv6]:port" at its longest */

/* Characters with a NUL at the end are text for bpftool. Counters are at most about a second old while
 * packets flow. */
struct derp_peer {
	char short_key[DERP_SHORT_KEY_LEN];
	char address[DERP_ADDRESS_LEN];
	__u32 shard;
	__u32 slot;			/* of the connection table of that shard */
	__u32 generation;		/* tells the connections apart that had this slot */
	enum derp_transport transport;
	_Bool home;			/* this relay is its home */
	_Bool mesh;
	_Bool prober;
	_Bool not_ideal;		/* not on the first node of its region */
	__u32 duplicates;		/* further connections with the same key */
	__u64 connected_at;		/* Unix time, seconds */
	__u64 home_since;		/* the same; 0: not its home */
	__u64 frames_in;		/* packets the peer sent */
	__u64 bytes_in;			/* their payload */
	__u64 frames_out;		/* packets handed to its transport */
	__u64 bytes_out;
	__u64 drops;			/* packets for it that were dropped */
};
_Static_assert(sizeof(struct derp_peer) == 144, "map ABI; above 160 the kernel takes 512 bytes an entry");

#endif
