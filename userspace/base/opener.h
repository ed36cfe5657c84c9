/* SPDX-License-Identifier: BSD-3-Clause */
/* A process of our own that opens a few files again after privileges are gone: certificates that only root may read must
 * be renewable. It is told which when it starts, and keeps one capability (CAP_DAC_READ_SEARCH) and nothing else; a request
 * is a number, the answer a descriptor. Where the new user can read the files by itself there is no such process. */
#ifndef XDERP_OPENER_H
#define XDERP_OPENER_H

#include <sys/types.h>

#define OPENER_MAX	7	/* files */

struct opener;

/* Fork; call as root, with one thread, before secrets are in memory. paths: n of them, copied. *ret is NULL if uid can read them all.
 * -errno. */
int opener_start(struct opener **ret, const char *const *paths, unsigned int n, uid_t uid, gid_t gid);
/* It ends by itself when we do; this waits for it. Takes NULL. */
void opener_stop(struct opener *o);

/* Open for reading, close-on-exec: by ourselves, or by the process if we may not and path is one of those. o NULL: just open. Any
 * thread. A descriptor or -errno. */
int opener_open(struct opener *o, const char *path);

#endif
