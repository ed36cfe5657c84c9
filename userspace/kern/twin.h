/* SPDX-License-Identifier: BSD-3-Clause */
/* Twins: what the kernel moves for TLS peers, whose own sockets can't be in a sockmap (bpf/splice.bpf.c, derp_msg). A twin is a TCP socket
 * connected to itself. A peer's shard writes decrypted SendPackets into it, whole ones of at most DERP_TWIN_FRAME_MAX bytes and
 * at most TWIN_WRITE_MAX at a time, and reads from it:
 *
 * - RecvPackets for this peer, which the program moved here;
 * - SendPackets that it wrote and the program left to it: before the write returns they are there;
 * - frames of type DERP_TWIN_DROPPED: SendPackets that are to be dropped, since their destination's twin is full.
 *
 * All whole and in order. Words of derp_conn: redirected, bytes that were ever claimed for it; read, those that its shard has read. A claim
 * comes shortly before its bytes.
 *
 * Any thread, privileges or not, after splice_open(); calls for one twin come from its shard. */
#ifndef XDERP_KERN_TWIN_H
#define XDERP_KERN_TWIN_H

#include "kern/splice.h"

/* One message of the kernel takes so much even if it finds single pages only: no frame is in two. */
#define TWIN_WRITE_MAX	61440U

bool twin_wanted(const struct splicer *s);

/* A new twin for c (whose fd is not used), into which others may write from here on. *fd: owned by the caller, non-blocking. NULL, and
 * *err: -ENOSPC, no place; -EEXIST, that key has one; or what else the kernel says. */
struct derp_conn *twin_join(struct splicer *s, const struct splice_conn *c, uint32_t *place, int *fd, int *err);
/* Nobody begins to write into it any more; what was claimed is still to be read. Idempotent. */
void twin_hold(struct splicer *s, uint32_t place);
/* Held, and all that was claimed is read, or given up. Closes fd; the place is over. */
void twin_leave(struct splicer *s, uint32_t place, int fd);

/* Everything that was claimed for it. Pairs with relay_claim(). */
static inline uint64_t twin_claimed(const struct derp_conn *c)
{
	return __atomic_load_n(&c->redirected, __ATOMIC_SEQ_CST);
}

/* The write failed: the program had decided upon len bytes more than the kernel then moved. Takes back what it counted. */
void twin_undo(struct splicer *s, struct derp_conn *src, uint32_t len);

/* Sums over all CPUs; zeroes for NULL. */
void twin_stats(const struct splicer *s, struct derp_stats *ret);

/* Moves a frame between two twins made for it, and finds another one again. -errno and a sentence. */
int twin_trial(struct splicer *s, char *why, size_t len);

#endif
