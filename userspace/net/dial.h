/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections to others, by blocking calls with a deadline: for worker threads, never on a shard. Deadlines are CLOCK_MONOTONIC
 * nanoseconds. On failure: -errno, and a sentence in err. */
#ifndef XDERP_DIAL_H
#define XDERP_DIAL_H

#include <stddef.h>
#include <stdint.h>

#include "net/tls.h"

/* "host", "host:port", "[::1]:port", "::1" into host (brackets removed) and port (default_port if there is none). 0 or -EINVAL. */
#define DIAL_HOST_LEN	256
int dial_split(char host[static DIAL_HOST_LEN], uint16_t *port, const char *text, size_t n, uint16_t default_port);

/* Resolve and connect, trying each address in turn: a connected, non-blocking socket. Name resolution itself can't be cut short and
 * takes as long as /etc/resolv.conf says. */
int dial_tcp(const char *host, uint16_t port, uint64_t deadline_ns, char *err, size_t errlen);
int dial_unix(const char *path, uint64_t deadline_ns, char *err, size_t errlen);

/* Send req over fd (in TLS if tls is not NULL), then collect the answer in buf until whole() says 1, the other side ends the stream, or
 * buf is full (-EMSGSIZE). whole: 1, 0 more is needed, -errno; ended: this is all there is. Returns bytes in buf. */
ssize_t dial_exchange(int fd, struct tls *tls, const void *req, size_t reqlen, uint8_t *buf, size_t cap, uint64_t deadline_ns,
		      int (*whole)(void *ctx, uint8_t *buf, size_t n, int ended), void *ctx, char *err, size_t errlen);

#endif
