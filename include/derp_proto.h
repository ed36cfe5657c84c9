/* SPDX-License-Identifier: BSD-3-Clause */
/* DERP on the wire: numbers, sizes and limits. Read by gcc and by clang -target bpf;
 * the protocol itself is described in docs/protocol.md. All integers are big-endian. */
#ifndef XDERP_DERP_PROTO_H
#define XDERP_DERP_PROTO_H

#define DERP_VERSION		2
#define DERP_MAGIC		"DERP\xf0\x9f\x94\x91"
#define DERP_MAGIC_LEN		8

#define DERP_HDR_LEN		5	/* type, u32 length of what follows */
#define DERP_KEY_LEN		32
#define DERP_NONCE_LEN		24
#define DERP_BOX_MAC_LEN	16
#define DERP_MAX_PACKET		65536	/* payload of SendPacket and ForwardPacket */
#define DERP_MAX_SEND_BODY	(DERP_KEY_LEN + DERP_MAX_PACKET)
#define DERP_MAX_FWD_BODY	(2 * DERP_KEY_LEN + DERP_MAX_PACKET)
#define DERP_MIN_CLIENT_INFO	(DERP_KEY_LEN + DERP_NONCE_LEN)
#define DERP_MAX_CLIENT_INFO	262144
#define DERP_MAX_FROM_RELAY	1024	/* what a relay tells one that logged in, packets excepted */
#define DERP_PING_LEN		8
#define DERP_MAX_PING		1000
#define DERP_PEER_PRESENT_LEN	51	/* key, 16-byte address, port, flags */

enum derp_frame_type {
	DERP_SERVER_KEY		= 0x01,
	DERP_CLIENT_INFO	= 0x02,
	DERP_SERVER_INFO	= 0x03,
	DERP_SEND_PACKET	= 0x04,
	DERP_RECV_PACKET	= 0x05,
	DERP_KEEP_ALIVE		= 0x06,
	DERP_NOTE_PREFERRED	= 0x07,
	DERP_PEER_GONE		= 0x08,
	DERP_PEER_PRESENT	= 0x09,
	DERP_FORWARD_PACKET	= 0x0a,
	DERP_WATCH_CONNS	= 0x10,
	DERP_CLOSE_PEER		= 0x11,
	DERP_PING		= 0x12,
	DERP_PONG		= 0x13,
	DERP_HEALTH		= 0x14,
	DERP_RESTARTING		= 0x15,
};

enum derp_gone_reason {
	DERP_GONE_DISCONNECTED	= 0,
	DERP_GONE_NOT_HERE	= 1,
};

/* PeerPresent flags; REGULAR only when no other bit is set, never zero. */
#define DERP_PRESENT_REGULAR	(1U << 0)
#define DERP_PRESENT_MESH	(1U << 1)
#define DERP_PRESENT_PROBER	(1U << 2)
#define DERP_PRESENT_NOT_IDEAL	(1U << 3)

/* A disco packet: at least this long, begins with "TS" and the speech balloon emoji. */
#define DERP_DISCO_MAGIC	"TS\xf0\x9f\x92\xac"
#define DERP_DISCO_MAGIC_LEN	6
#define DERP_DISCO_MIN_LEN	62

#endif
