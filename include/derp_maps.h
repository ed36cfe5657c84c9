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

/* --- XDP. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d */
#define DERP_IP_LEN		16
#define DERP_XDP_TCP_PORTS	2	/* main, plain HTTP */

/* derp_local: what is for this relay. Packets that only pass through a machine are none of its business. */
struct derp_local_key {
	__u8 ip[DERP_IP_LEN];		/* an address of this machine that the relay listens on */
	__u32 ifindex;			/* an interface with the program, by which packets for it may come */
};
struct derp_local {
	__u32 round;			/* of the daemon's reading in which it was seen */
	_Bool stun;			/* answers may leave by that interface */
};

/* derp_deny: networks whose new connections and STUN requests are dropped. */
struct derp_deny_key {
	__u32 prefixlen;		/* of 128: an IPv4 /8 is 104 */
	__u8 ip[DERP_IP_LEN];
};
struct derp_deny {
	__u64 added_at;			/* Unix time, seconds */
	__u64 dropped;			/* packets */
};

/* derp_guard: who opened TCP connections lately. A source is an IPv4 address or an IPv6 /56. */
struct derp_guard_key {
	__u8 ip[DERP_IP_LEN];
};
struct derp_guard {
	__u64 full_at;			/* when its bucket is full again, ns of CLOCK_MONOTONIC */
	__u64 passed;			/* SYNs */
	__u64 dropped;
};

/* derp_xdp_stats: what XDP made of the packets for our ports; the rest is not counted. X(field, help). */
#define DERP_XDP_COUNTERS(X)									\
	X(guard_passed,		"SYNs let through")						\
	X(guard_limited,	"SYNs dropped: their source opens connections too fast")	\
	X(guard_denied,		"packets dropped: their source is on the deny list")		\
	X(guard_untracked,	"SYNs let through although no place was left to count their source") \
	X(stun_ipv4,		"STUN answers to IPv4 clients")					\
	X(stun_ipv6,		"STUN answers to IPv6 clients")					\
	X(stun_form,		"left to the socket: not the one form of request that clients send") \
	X(stun_checksum,	"left to the socket: a checksum does not match, or is not there yet") \
	X(stun_address,		"left to the socket: not for an address of ours, or from an odd one") \
	X(stun_no_room,		"left to the socket: the driver has no room for the answer")

struct derp_xdp_stats {
#define X(field, help) __u64 field;
	DERP_XDP_COUNTERS(X)
#undef X
};

#endif
