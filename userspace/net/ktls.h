/* SPDX-License-Identifier: BSD-3-Clause */
/* Kernel TLS: the kernel seals and opens the records of a TLS 1.3 connection (Documentation/networking/tls.rst). The
 * shard sends and receives plaintext like on a plain socket; alerts and KeyUpdates make a receive fail with EIO and
 * are fetched by ktls_recv(). */
#ifndef XDERP_KTLS_H
#define XDERP_KTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "net/record.h"

/* What this kernel can do, as tried out on a connection with ourselves. */
struct ktls_support {
	bool suites[AEAD_SUITE_NR];	/* both directions, checked in both */
	bool any;
	bool rekey;			/* keys of a connection can be changed (Linux 6.14 and up) */
	const char *missing;		/* static: why not any; "" if there is some */
};

/* Blocks for milliseconds: at start only, while still privileged, because that loads the module. */
void ktls_probe(struct ktls_support *ret);

/* A connection in this process, over loopback and blocking with a limit of 2 s: s[0] listened, s[1] connected. -errno. */
int ktls_socket_pair(int s[2]);

/* Say that fd will have keys: nothing changes for its stream yet. -ENOENT: no such module; -ENOTCONN: it is being closed
 * already; other -errno. */
int ktls_attach(int fd);
/* From the next byte on the kernel opens what comes (RX) or seals what is sent (TX), with the current key and sequence
 * number of that direction. Once more: the next key. All bytes before must have been read from, or written
 * to, the socket. -EBUSY: keys can't be changed here; other -errno. */
int ktls_set_rx(int fd, const struct record_keys *k);
int ktls_set_tx(int fd, const struct record_keys *k);

/* Fetch a record that is no data after a receive failed with EIO, never waiting. Returns its length; -errno. */
ssize_t ktls_recv(int fd, enum record_type *type, uint8_t *buf, size_t cap);
/* The error that a broken record left on the socket: until it is taken, sends fail with it. 0 or -errno. */
int ktls_take_error(int fd);
/* Send a record that is no data, never waiting. n is small. 0 or -errno. */
int ktls_send(int fd, enum record_type type, const uint8_t *p, size_t n);

#endif
