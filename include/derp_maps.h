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

/* --- The splice: frames that the kernel moves (bpf/splice.bpf.c), between plain sockets, and between the twins of TLS peers. */

#define DERP_TWIN_FRAME_MAX	16384U	/* with its head; longer ones are the shard's */
#define DERP_TWIN_PORT(addr_be, port)	((__u64)(addr_be) << 32 | (port))	/* key of derp_twin_ports */
#define DERP_TWIN_DROPPED	0xff	/* type of a frame that its shard finds in its own twin again: nobody is to get it */

/* Every outcome of a verdict: of packets that were moved or dropped, of receive buffers (segments, or several that were
 * merged) that were left to the shards whole. X(field, help). */
#define DERP_SPLICE_OUTCOMES(X)									\
	X(redirected,		"packets moved to their destination by the kernel")		\
	X(dropped_full,		"packets dropped by the kernel: too many wait for their destination") \
	X(passed_other,		"buffers left to the shards: not just whole packets for one destination") \
	X(passed_off,		"buffers left to the shards: switched off, a duplicate or a limit") \
	X(passed_bulk,		"buffers left to the shards: the source sends in bulk")		\
	X(passed_order,		"buffers left to the shards: earlier bytes of the source are still there") \
	X(passed_flow,		"buffers left to the shards: the flow is not open")		\
	X(passed_owner,		"buffers left to the shards: one of them writes to the destination") \
	X(passed_socket,	"buffers left to the shards: no socket, or no memory to rewrite heads") \
	X(orphaned,		"buffers dropped by the kernel: the relay was killed, and the destination's socket closed")

/* Of twins: packets. Fields of the same structure. None is orphaned: only a relay that lives writes into its twins. */
#define DERP_TWIN_OUTCOMES(X)									\
	X(redirected,		"packets of TLS peers moved to their destination's twin")	\
	X(dropped_full,		"packets of TLS peers for which the destination's twin had no room") \
	X(passed_off,		"packets of TLS peers left to the shard: a duplicate")		\
	X(passed_order,		"packets of TLS peers left to the shard: earlier ones of the source are still there") \
	X(passed_flow,		"packets of TLS peers left to the shard: the flow is not open")	\
	X(passed_owner,		"packets of TLS peers left to the shard: the destination is leaving, or a duplicate") \
	X(passed_socket,	"packets of TLS peers left to the shard: the destination has no socket any more")

enum derp_outcome {
#define X(field, help) DERP_OUTCOME_##field,
	DERP_SPLICE_OUTCOMES(X)
#undef X
	DERP_OUTCOME_NR
};

enum derp_owner {
	DERP_SHARD,		/* the shard writes into the socket, nobody else */
	DERP_KERNEL,		/* frames are redirected into it */
};

/* derp_conns: a connection that the kernel may serve, both as source and as destination. Programs and the daemon share
 * this memory, so each group of words has its cache line. A word has one writer, or is added to atomically. */
struct derp_conn {
	__u8 pub[DERP_KEY_LEN];		/* its peer */
	__u64 cookie;			/* SO_COOKIE; of a twin DERP_TWIN_PORT */
	__u32 generation;		/* of this place in the map */
	__u32 held;			/* a duplicate or a limit: neither from it nor to it; never taken back */
	__u32 shard;			/* whose it is */
	__u32 noticed;			/* the shard has been told that something was left to it, and has not looked yet */
	__u32 slot;			/* of that shard's connection table */
	__u32 slot_generation;

	/* As destination. */
	__u64 redirected;		/* frame bytes, atomic: added before owner is looked at */
	enum derp_owner owner;		/* the shard writes it */
	__u32 twin;			/* it is one, not a client's socket */
	__u64 frames_out;		/* redirected to it; atomic */
	__u64 drops;			/* dropped because its queue was full; atomic */
	__u64 read;			/* a twin: of redirected, the bytes that its shard has read; the shard writes it */
	__u64 taken;			/* of frames_out, those among them; the shard writes it */
	__u64 unused_dst[2];

	/* As source: written by its program, which runs once at a time, except for done. */
	__u64 passed;			/* bytes left to the shard */
	__u64 done;			/* of them, those that the shard has nothing to do with any more; the shard writes it */
	__u64 frames_in;		/* redirected or dropped */
	__u64 bytes_in;			/* their payload */
	__u64 left;			/* bytes still to come of the frame that the last buffer ended in */
	__u32 bulk;			/* sends too much to be served here */
	__u32 pressure;			/* grows with each buffer that met a queue, shrinks with each that met none */
	__u32 hdr_have;			/* bytes of a frame's head that the last buffer ended in */
	__u8 hdr[8];
	__u32 unused_src;

	/* A twin as source: what its last run did, for the shard that waits for it. */
	__u64 decided;			/* bytes of all runs */
	enum derp_outcome last_outcome;
	__u32 last_packets;
	__u32 last_destination;		/* place, if redirected */
	__u32 unused_twin[11];
};
_Static_assert(sizeof(struct derp_conn) == 256, "cache lines");

/* derp_cookies: a socket's cookie -> its place in derp_conns. */

/* derp_flows: who may send to whom without the shard. It opens a flow once the destination is sure to be told
 * when the source goes. */
struct derp_flow_key {
	__u32 source;			/* place in derp_conns */
	__u32 generation;		/* of it */
	__u8 destination[DERP_KEY_LEN];
};
struct derp_flow {
	__u32 destination;		/* place in derp_conns */
	__u32 generation;		/* that it must have */
};

/* derp_settings: what the daemon changes while programs run. */
struct derp_settings {
	__u32 enabled;			/* 0: everything is left to the shards */
	__u32 queue_limit;		/* frames waiting in the kernel for one destination */
	__u32 twin_limit;		/* packets waiting in one twin */
	__u32 bulk_pressure;		/* a source above it is bulk; 0: none is */
	__u32 busy_queue;		/* frames found waiting that count as pressure */
};

/* derp_notices: per shard, what the programs have to say to it: a place in derp_conns with something to receive. */

/* derp_stats: outcomes of the verdicts, the one of client sockets, the other of twins, which counts packets only. */
#define DERP_STATS_SOCKETS	0
#define DERP_STATS_TWINS	1

struct derp_stats {
#define X(field, help) __u64 field;	/* the order of enum derp_outcome */
	DERP_SPLICE_OUTCOMES(X)
#undef X
	/* payload */
	__u64 redirected_bytes, dropped_full_bytes;
	/* disco packets among them */
	__u64 redirected_disco, dropped_full_disco, dropped_full_disco_bytes;
};

#endif
