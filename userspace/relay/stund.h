/* SPDX-License-Identifier: BSD-3-Clause */
/* STUN over the shard's own UDP socket. docs/protocol.md section 11. */
#ifndef XDERP_STUND_H
#define XDERP_STUND_H

struct shard;

/* The socket is readable: answer what is there, at most a batch; level-triggered callers come again. */
void stund_readable(struct shard *s, int fd);

#endif
