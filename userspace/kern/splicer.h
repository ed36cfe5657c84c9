/* SPDX-License-Identifier: BSD-3-Clause */
/* What splice.c and twin.c share; private to this room. */
#ifndef XDERP_KERN_SPLICER_H
#define XDERP_KERN_SPLICER_H

#include <pthread.h>

#include "kern/splice.h"

/* A shard's end of derp_notices. */
struct notices {
	struct splicer *splicer;
	struct ring_buffer *ring;	/* owned */
	int fd;				/* owned */
	void (*call)(void *ctx, const struct derp_conn *c);
	void *ctx;
	unsigned int calls;
};

struct splice;			/* the skeleton, bpf/splice.skel.h */

struct splicer {
	struct splice *skel;		/* owned */
	enum splice_mode mode;
	struct derp_conn *conns;	/* mapped */
	struct derp_settings *settings;	/* mapped */
	size_t conns_size, settings_size;
	unsigned int peers;
	/* Descriptors of maps, owned by skel. */
	int socks, sources, cookies, flows, stats, twins, twin_ports, twin_keys;

	struct notices *notices;	/* owned; one a shard */
	unsigned int shards;

	/* Places not in use, oldest first. */
	pthread_mutex_t lock;
	uint32_t *rest;			/* owned; ring of peers places */
	uint64_t *since_ns;		/* owned; when each came back */
	uint32_t first, nfree;
};

/* -ENOSPC: none is free, or has been for long enough. */
int splicer_take_place(struct splicer *s, uint32_t *ret);
/* Its generation is over. */
void splicer_return_place(struct splicer *s, uint32_t place);
/* The place for a connection that begins: everything anew but the generation. */
struct derp_conn *splicer_begin(struct splicer *s, uint32_t place, const struct splice_conn *from);

#endif
