/* SPDX-License-Identifier: BSD-3-Clause */
/* Networks whose connections are refused: those of --deny, and those that an operator denies while we run (they are
 * forgotten at the end). Shards ask one immutable set; changes replace it. */
#ifndef XDERP_DENY_H
#define XDERP_DENY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/cidr.h"

#define DENY_MAX	16384U	/* networks denied while we run */

struct relay;

struct deny {
	struct cidr_set *set;	/* atomic; owned; NULL: nobody is denied */
	struct cidr *nets;	/* owned, main thread only: denied while we run */
	size_t n;
};

/* On a shard, for an address, and for the one a socket is connected to. */
bool deny_holds(const struct deny *d, const struct sockaddr *sa);
bool deny_holds_peer(const struct deny *d, int fd);

/* The functions below: main thread. What they replace is freed when no shard looks at it any more.
 * The set from --deny and what is in d, before the shards run. -ENOMEM. */
int deny_init(struct deny *d, const char *setting);
void deny_done(struct deny *d);

/* The set for another --deny, and to use it instead, closing who is connected from it; after the shards started. */
int deny_prepare(const struct deny *d, const char *setting, struct cidr_set **ret);
void deny_commit(struct relay *r, struct cidr_set *set, uint64_t *closed);

/* Deny n more networks, and close who is connected from them: how many in *closed. -ENOSPC: over DENY_MAX; -ENOMEM. */
int deny_add(struct relay *r, const struct cidr *nets, size_t n, uint64_t *closed);
/* Allow n networks again, each as it was denied. -ENOENT: one of them (*missing) was not denied while we run, and nothing
 * was changed; -ENOMEM. */
int deny_remove(struct relay *r, const struct cidr *nets, size_t n, size_t *missing);

#endif
