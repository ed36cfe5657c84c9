/* SPDX-License-Identifier: BSD-3-Clause */
/* STUN numbers (RFC 8489) that Tailscale's netcheck uses. Read by gcc and clang -target bpf. */
#ifndef XDERP_STUN_PROTO_H
#define XDERP_STUN_PROTO_H

#define STUN_HDR_LEN			20
#define STUN_TXID_LEN			12
#define STUN_MAGIC			0x2112a442U
#define STUN_BINDING_REQUEST		0x0001
#define STUN_BINDING_SUCCESS		0x0101
#define STUN_ATTR_XOR_MAPPED_ADDRESS	0x0020
#define STUN_ATTR_SOFTWARE		0x8022
#define STUN_ATTR_FINGERPRINT		0x8028
#define STUN_FINGERPRINT_XOR		0x5354554eU
#define STUN_SOFTWARE			"tailnode"
#define STUN_SOFTWARE_LEN		8
#define STUN_FAMILY_IPV4		1
#define STUN_FAMILY_IPV6		2
#define STUN_MAX_RESPONSE		44

#endif
