/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters of one shard: written by its own thread only, read by any (relaxed atomics: a plain add
 * on every machine that matters). One list each, from which metrics, debug pages and docs follow. */
#ifndef XDERP_STATS_H
#define XDERP_STATS_H

#include <stdint.h>

#include "net/transport.h"

/* Why a packet was not delivered. X(enum suffix, label). The first seven are derper's. */
#define DROP_REASONS(X)						\
	X(UNKNOWN_DEST,		"unknown_dest")			\
	X(UNKNOWN_DEST_ON_FWD,	"unknown_dest_on_fwd")		\
	X(GONE_DISCONNECTED,	"gone_disconnected")		\
	X(QUEUE_HEAD,		"queue_head")			\
	X(QUEUE_TAIL,		"queue_tail")			\
	X(WRITE_ERROR,		"write_error")			\
	X(DUP_CLIENT,		"dup_client")			\
	X(QUEUE_MEMORY,		"queue_memory")			\
	X(CROSS_FULL,		"cross_full")			\
	X(MESH_DOWN,		"mesh_down")			\
	X(SPLICE_FULL,		"splice_full")			\
	X(TWIN_FULL,		"twin_full")

enum drop_reason {
#define X(id, label) DROP_##id,
	DROP_REASONS(X)
#undef X
	DROP_REASON_NR
};
enum packet_kind { KIND_DISCO, KIND_OTHER, KIND_NR };

/* Why a connection was closed or refused. X(enum suffix, label, help). */
#define CLOSE_REASONS(X)								\
	X(EOF,			"eof", "the peer closed")				\
	X(RESET,		"reset", "socket error, keepalive or TCP user timeout")	\
	X(DONE,			"done", "HTTP answer sent")				\
	X(WRITE_TIMEOUT,	"write_timeout", "did not take a frame in time")	\
	X(HANDSHAKE_TIMEOUT,	"handshake_timeout", "TLS handshake not done in time")	\
	X(HTTP_TIMEOUT,		"http_timeout", "no whole request in time, or idle")	\
	X(LOGIN_TIMEOUT,	"login_timeout", "no ClientInfo in time")		\
	X(TLS_ERROR,		"tls_error", "TLS handshake or record failed")		\
	X(TLS_HTTP,		"tls_http", "plain HTTP on the TLS port")		\
	X(HTTP_ERROR,		"http_error", "malformed HTTP request")			\
	X(BAD_FRAME_LENGTH,	"bad_frame_length", "frame length outside its limits")	\
	X(NOT_PERMITTED,	"not_permitted", "frame the sender has no right to")	\
	X(LOGIN_REFUSED,	"login_refused", "ClientInfo did not open or parse")	\
	X(SKIP_LIMIT,		"skip_limit", "unknown frame longer than the limit")	\
	X(CLOSE_PEER,		"close_peer", "a mesh client asked for it")		\
	X(KEY_LIMIT,		"key_limit", "too many connections of one key")		\
	X(CONN_LIMIT,		"conn_limit", "connection table full")			\
	X(HANDSHAKE_LIMIT,	"handshake_limit", "too many TLS handshakes in progress")	\
	X(ACCEPT_LIMIT,		"accept_limit", "accept rate limit")			\
	X(MESH_OVERFLOW,	"mesh_overflow", "watcher did not keep up with updates")	\
	X(NO_MEMORY,		"no_memory", "shard's memory limit")			\
	X(DRAIN,		"drain", "shutting down")				\
	X(KTLS_REKEY,		"ktls_rekey", "TLS keys had to change, which this kernel can't") \
	X(DENIED,		"denied", "from a network on the deny list")		\
	X(MESH_REFUSED,		"mesh_refused", "a node of the mesh did not let us log in")	\
	X(MESH_SELF,		"mesh_self", "a node of the mesh is this relay itself")	\
	X(MESH_SILENT,		"mesh_silent", "a node of the mesh said nothing for 120 s")	\
	X(NOT_ADMITTED,		"not_admitted", "the key may not log in here")	\
	X(WEBSOCKET,		"websocket_error", "WebSocket frame that is wrong or too long, or no subprotocol derp") \
	X(PROXY_HEADER,		"proxy_header", "no valid PROXY header from a source that must send one") \
	X(UNAUTH_LIMIT,		"unauthenticated_limit", "too many connections not logged in")	\
	X(SOURCE_CONNS,		"source_limit", "too many connections of one source")	\
	X(SOURCE_UNAUTH,	"source_unauthenticated", "too many connections of one source that are not logged in") \
	X(SOURCE_LOGINS,	"source_logins", "too many logins of one source per second")

enum close_reason {
#define X(id, label, help) CLOSE_##id,
	CLOSE_REASONS(X)
#undef X
	CLOSE_REASON_NR
};

/* What came of asking whether a key may log in. X(enum suffix, label, help). */
#define ADMISSIONS(X)									\
	X(ALLOWED,		"allowed", "all that were asked agree")			\
	X(FAIL_OPEN,		"fail_open", "the URL could not be asked, and that allows")	\
	X(NOT_LISTED,		"not_listed", "not in the list of keys")		\
	X(TAILSCALED,		"tailscaled", "the local tailscaled does not know it")	\
	X(TAILSCALED_ERROR,	"tailscaled_error", "the local tailscaled could not be asked")	\
	X(URL,			"url", "the URL does not allow it")			\
	X(URL_ERROR,		"url_error", "the URL could not be asked, and that refuses")	\
	X(BUSY,			"busy", "too many were being asked about")

enum admission_outcome {
#define X(id, label, help) ADMISSION_##id,
	ADMISSIONS(X)
#undef X
	ADMISSION_NR,
	ADMISSION_ASKED = ADMISSION_NR,		/* it is not known yet */
};

/* Plain counters. X(field, help). */
#define SHARD_COUNTERS(X)								\
	X(accepts,		"DERP upgrades")					\
	X(tcp_accepted,		"TCP connections accepted")				\
	X(proxy_headers,	"connections with a PROXY header")			\
	X(sources_unknown,	"connections whose source could not be remembered: let in, uncounted") \
	X(tls_handshakes,	"TLS handshakes finished")				\
	X(ktls_installs,	"TLS connections handed to the kernel (kTLS)")		\
	X(tls12,		"TLS 1.2 requests")				\
	X(tls13,		"TLS 1.3 requests")				\
	X(http_requests,	"HTTP requests answered or upgraded")			\
	X(bootstrap_dns_requests, "requests for /bootstrap-dns")			\
	X(bootstrap_dns_published_hits, "of them, those that name a published name")	\
	X(bootstrap_dns_unpublished_hits, "of them, those that name an unpublished name")	\
	X(bootstrap_dns_unpublished_misses, "of them, those that name a name in neither list")	\
	X(bootstrap_dns_unpublished_percent_misses, "hits of unpublished names not for that address yet")	\
	X(acme_challenges,	"http-01 challenges answered")				\
	X(acme_challenges_unknown, "requests for http-01 challenges that there are not")	\
	X(websocket_accepts,	"upgrades to DERP over WebSocket")			\
	X(websocket_pongs_skipped, "WebSocket pings not answered because the client takes no answers") \
	X(fast_starts,		"upgrades with Derp-Fast-Start")			\
	X(logins,		"logins accepted")					\
	X(packets_received,	"SendPacket frames received")				\
	X(bytes_received,	"payload bytes of them")				\
	X(packets_received_disco, "disco packets among them")				\
	X(packets_received_other, "other packets among them")				\
	X(packets_forwarded_in,	"ForwardPacket frames received")			\
	X(bytes_forwarded_in,	"payload bytes of them")				\
	X(packets_sent,		"RecvPacket frames handed to a transport whole")	\
	X(bytes_sent,		"payload bytes of them")				\
	X(packets_forwarded_out, "ForwardPacket frames handed to a link to another node whole")	\
	X(bytes_forwarded_out,	"payload bytes of them")				\
	X(packets_cross_out,	"packets handed to another shard")			\
	X(packets_cross_in,	"packets taken from another shard")			\
	X(packets_cross_copied,	"packets copied for another shard, which had no receive buffer to be read from")	\
	X(gone_disconnected_frames, "PeerGone(disconnected) frames sent")		\
	X(gone_not_here_frames,	"PeerGone(not here) frames sent")			\
	X(gone_not_here_limited, "PeerGone(not here) held back by the per-client limit")	\
	X(gone_subscriptions_refused, "PeerGone subscriptions over the limit")		\
	X(got_ping,		"Ping frames received")				\
	X(sent_pong,		"Pong frames sent")					\
	X(pong_coalesced,	"Pings that found a Pong waiting")			\
	X(keep_alives,		"KeepAlive frames sent")				\
	X(unknown_frames,	"frames of types the server ignores")			\
	X(unknown_frame_bytes,	"body bytes of them")					\
	X(home_moves_in,	"clients that made this their home later than 5 s after login")	\
	X(home_moves_out,	"clients that left it as home later than 5 s after login")	\
	X(dup_client_conns,	"connections that found their key already connected")	\
	X(write_timeouts,	"clients closed because they took no frame in time")	\
	X(rate_waits,		"times a client was not read for a while because of its rate limit")	\
	X(zero_key_logins,	"logins with the all-zero key, refused")		\
	X(sends,		"gathered sends")					\
	X(sends_short,		"gathered sends the socket did not take whole")		\
	X(turns,		"turns of the event loop")				\
	X(events,		"completions handled")					\
	X(busy_polls,		"times a shard looked for events before it slept")	\
	X(busy_polls_found,	"of them, those that found some")			\
	X(wakes_sent,		"wake-ups of other shards")				\
	X(starved,		"receives that found no buffer")			\
	X(frames_reassembled,	"frames torn across reads")				\
	X(packets_spliced,	"packets moved by the kernel, which are in packets_received and packets_sent, too") \
	X(bytes_spliced,	"payload bytes of them")				\
	X(splice_lost,		"packets the kernel was given and did not write before their destination ended") \
	X(splice_lost_bytes,	"payload bytes of them")				\
	X(splice_flows,		"pairs of clients opened for the kernel")		\
	X(splice_given,		"times a client's stream was given to the kernel to write")	\
	X(splice_taken,		"times it was taken back")				\
	X(splice_refused,	"connections the kernel would not take into its maps")	\
	X(packets_twin,		"packets that came to their TLS client's shard by the kernel")	\
	X(twin_flows,		"pairs of TLS clients opened for the kernel")		\
	X(twin_refused,		"TLS clients that got no twin")				\
	X(twin_broken,		"twins that nothing is written into any more, since the kernel refused it")	\
	X(mesh_dials,		"connections to other nodes begun")			\
	X(mesh_dial_failures,	"of them, those that did not get as far as a login")	\
	X(mesh_present_refused,	"keys of other nodes over the limit or without memory")	\
	X(stun_success,		"STUN requests answered")				\
	X(stun_not_stun,	"UDP packets that were no valid request")		\
	X(stun_read_error,	"UDP receive errors")					\
	X(stun_write_error,	"UDP send errors")					\
	X(stun_ipv4,		"STUN answers to IPv4 clients")				\
	X(stun_ipv6,		"STUN answers to IPv6 clients")

/* Gauges: go up and down, on the shard that owns the connection. X(field, help). */
#define SHARD_GAUGES(X)									\
	X(conns,		"open connections of any kind")				\
	X(conns_unauth,		"of them not logged in")				\
	X(conns_handshaking,	"of them in a TLS handshake")				\
	X(conns_verifying,	"of them waiting for a verdict on their key")		\
	X(derp_conns,		"DERP connections logged in")				\
	X(home_conns,		"of them with this relay as home")			\
	X(not_ideal_conns,	"of them with Ideal-Node")				\
	X(mesh_conns,		"of them with the mesh key")				\
	X(capped_conns,	"of them with caps of their key in --allow-keys")		\
	X(traffic_streams, "clients that listen to /debug/traffic")			\
	X(watchers,		"of them watching")					\
	X(mesh_links_up,	"links to other nodes that are logged in")	\
	X(packets_queued,	"packets waiting in send queues")	\
	X(tls12_active,		"TLS 1.2 connections")					\
	X(tls13_active,		"TLS 1.3 connections")					\
	X(ktls_active,		"TLS connections whose records the kernel seals and opens")	\
	X(splice_peers,		"connections that the kernel may write to")		\
	X(splice_sources,	"connections whose frames go through the kernel's programs")	\
	X(twin_peers,		"TLS clients with a twin")				\
	X(gone_subscriptions,	"PeerGone subscriptions held")				\
	X(queue_memory_used,	"bytes of packets, frames under assembly and ciphertext held")

/* Upper bounds of derper's histogram of frames per flush. */
#define FLUSH_BOUNDS	{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 50, 100 }
#define FLUSH_BUCKETS	17

/* Upper bounds of derper's histogram of TCP round-trip times. */
#define RTT_BOUNDS_MS	{ 10, 20, 50, 100, 150, 250, 500 }
#define RTT_BUCKETS	8

struct shard_stats {
#define X(field, help) uint64_t field;
	SHARD_COUNTERS(X)
#undef X
#define X(field, help) uint64_t field;
	SHARD_GAUGES(X)
#undef X
	uint64_t packets_dropped[DROP_REASON_NR][KIND_NR];
	uint64_t bytes_dropped[DROP_REASON_NR][KIND_NR];
	uint64_t closed[CLOSE_REASON_NR];
	uint64_t ktls_fallbacks[KTLS_FALLBACK_NR];	/* by enum ktls_state, from the first KTLS_NO_ on */
	uint64_t admissions[ADMISSION_NR];
	uint64_t login_refused[8];		/* by enum login_refusal */
	uint64_t flush_frames[FLUSH_BUCKETS];	/* gathered sends by number of frames; last: more */
	uint64_t flush_frames_sum;
	uint64_t rtt[RTT_BUCKETS];		/* round trips seen at each KeepAlive, by RTT_BOUNDS_MS; last: more */
	uint64_t avg_queue_us;			/* moving average, factor 0.1 */
};

const char *drop_reason_name(enum drop_reason r);
const char *ktls_fallback_name(unsigned int i);	/* index of ktls_fallbacks */
const char *admission_name(enum admission_outcome o);
const char *close_reason_name(enum close_reason r);

#define STAT_ADD(st, field, n) \
	__atomic_store_n(&(st)->field, (st)->field + (uint64_t)(n), __ATOMIC_RELAXED)
#define STAT_INC(st, field)	STAT_ADD(st, field, 1)
#define STAT_DEC(st, field)	STAT_ADD(st, field, -1)
#define STAT_SET(st, field, v)	__atomic_store_n(&(st)->field, (uint64_t)(v), __ATOMIC_RELAXED)

/* A flush handed that many frames to the transport. */
void stats_note_flush(struct shard_stats *st, unsigned int frames);

void stats_note_rtt(struct shard_stats *st, uint32_t rtt_us);

/* Add all fields of from (another thread's, live) to *sum. struct shard_stats is an array of u64. */
static inline void stats_add(struct shard_stats *sum, const struct shard_stats *from)
{
	uint64_t *d = (uint64_t *)sum;
	const uint64_t *s = (const uint64_t *)from;

	for (unsigned int i = 0; i < sizeof(*sum) / sizeof(uint64_t); i++)
		d[i] += __atomic_load_n(&s[i], __ATOMIC_RELAXED);
}

/* Facts about the whole relay that are not sums over shards. */
struct relay_totals {
	uint64_t clients_local;		/* distinct keys connected here */
	uint64_t dup_client_keys;	/* keys with more than one connection */
	uint64_t dup_client_conns;	/* connections of those keys */
	uint64_t clients_remote;	/* distinct keys that only other nodes have */
	/* derper's bookkeeping of keys that several nodes have: became so, are so no more, and news of a key's end from a node that
	 * was not known to have it. */
	uint64_t multiforwarder_created, multiforwarder_deleted, forwarder_delete_other;
};

#endif
