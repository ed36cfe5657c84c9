/* SPDX-License-Identifier: BSD-3-Clause */
/* STUN Binding as netcheck uses it: the check of a request and the answer. Pure. docs/protocol.md
 * section 11. Also the oracle the XDP responder is tested against. */
#ifndef XDERP_STUN_H
#define XDERP_STUN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stun_proto.h"

/* Would derper answer these n bytes of a UDP payload? */
bool stun_is_request(const uint8_t *p, size_t n);

/* The answer to request (which passed stun_is_request) for a client at src, AF_INET or AF_INET6; an
 * IPv4-mapped address is answered as family 1. Returns its length, 32 or 44. */
size_t stun_response(uint8_t out[static STUN_MAX_RESPONSE], const uint8_t *request,
		     const struct sockaddr *src);

#endif
