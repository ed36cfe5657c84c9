/* SPDX-License-Identifier: BSD-3-Clause */
/* PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt of 2020): the line or block a load balancer sends in front of
 * a stream to say whose it is. */
#ifndef XDERP_PROXYPROTO_H
#define XDERP_PROXYPROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROXYPROTO_V1_MAX	107U	/* with CR LF */
/* The whole header. Senders must keep to 536 bytes unless told otherwise; this leaves room for a client's certificate among the TLVs. */
#define PROXYPROTO_MAX		4096U

struct proxyproto {
	size_t len;		/* of the header: the stream begins behind it */
	bool has_source;	/* false: the proxy speaks for itself (LOCAL), or does not know or say who it is */
	uint8_t ip[16];		/* IPv4 as ::ffff:a.b.c.d */
	uint16_t port;		/* host order */
};

/* Read the header that buf[0..n) begins with. 1; 0: all is well so far, but it is not whole; -EPROTO: it is none, or malformed, known from
 * the first byte on that shows it; -EMSGSIZE: longer than the limits above. */
int proxyproto_parse(struct proxyproto *ret, const uint8_t *buf, size_t n);

#endif
