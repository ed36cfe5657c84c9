/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernel half, seen from user space: BPF objects are loaded and pinned here, before privileges go. A struct
 * kern * of NULL means that BPF is off; every function takes it and does nothing. */
#ifndef XDERP_KERN_H
#define XDERP_KERN_H

#include <stddef.h>
#include <sys/types.h>

enum kern_mode { KERN_AUTO, KERN_ON, KERN_OFF };

struct kern_opts {
	enum kern_mode mode;
	const char *bpffs;		/* directory for pins; made if it is not there */
	unsigned int max_peers;		/* entries of derp_peers */
};

struct kern;
struct peermap;
struct splice_opts;
struct splicer;
struct xdp_gate;
struct xdp_opts;

/* Needs root, or CAP_BPF, CAP_NET_ADMIN and a directory in a BPF file system. *ret is NULL if BPF is off: by KERN_OFF,
 * or because it can't be had and the mode is KERN_AUTO; then why is a sentence. With KERN_ON the latter is an
 * error: -errno. Main thread. */
int kern_open(struct kern **ret, const struct kern_opts *o, char *why, size_t len);
/* The user we are about to become may remove the pins. Before kern_close, with privileges. */
void kern_give(struct kern *k, uid_t uid, gid_t gid);
/* Removes the pins. */
void kern_close(struct kern *k);

/* NULL if BPF is off. Lives as long as k. */
struct peermap *kern_peers(struct kern *k);

/* Load the splice (kern/splice.h). NULL if it is off, which the list of features explains; with SPLICE_ON or twins that is an error. It lives
 * as long as k. */
int kern_open_splice(struct kern *k, const struct splice_opts *o, struct splicer **ret);

/* Attach the XDP program (kern/xdp.h), once the ports are open. NULL if it is off, which the list of features explains. It lives as
 * long as k. */
struct xdp_gate *kern_open_xdp(struct kern *k, const struct xdp_opts *o);

#endif
