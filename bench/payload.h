/* SPDX-License-Identifier: BSD-3-Clause */
/* What the generator puts into a packet and how it knows that it came back unharmed: a checked head,
 * then bytes of a random table read from an offset that depends on flow and sequence number. Building
 * is one memcpy and checking one memcmp, yet a byte that moved, changed or came from another packet
 * does not match. */
#ifndef BENCH_PAYLOAD_H
#define BENCH_PAYLOAD_H

#include <stdint.h>

#include "derp_proto.h"

struct payload_head {
	uint32_t magic;
	uint32_t flow;
	uint64_t seq;
	uint64_t sent_ns;	/* closed loop: when it was built; open loop: when it was due */
	uint32_t len;		/* of the whole payload */
	uint32_t sum;		/* over the fields above */
};

#define PAYLOAD_MIN	sizeof(struct payload_head)
#define PAYLOAD_MAX	DERP_MAX_PACKET

void payload_init(void);

/* Fill out[0..len), len between PAYLOAD_MIN and PAYLOAD_MAX. */
void payload_build(uint8_t *out, uint32_t len, uint32_t flow, uint64_t seq, uint64_t sent_ns);

/* Every byte of p[0..len) is looked at. Returns 0, or -EBADMSG; *ret is then not to be trusted. */
int payload_check(struct payload_head *ret, const uint8_t *p, uint32_t len);

#endif
