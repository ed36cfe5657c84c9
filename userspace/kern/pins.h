/* SPDX-License-Identifier: BSD-3-Clause */
/* A directory of a BPF file system that this process has for itself while it lives (flock). What a dead daemon left
 * there is removed on entry, our own pins on leaving; both by the held descriptor, so that it works after
 * privileges are gone and under a parent that the new user can't enter. Main thread. */
#ifndef XDERP_PINS_H
#define XDERP_PINS_H

#include <stddef.h>
#include <sys/types.h>

struct pins;

/* -EWOULDBLOCK: a living daemon has the directory. why: a sentence for any error. */
int pins_open(struct pins **ret, const char *dir, char *why, size_t len);
/* Pin a map (fd) under its name: derp_..., as the names of all our objects. why as above. */
int pins_add(struct pins *p, int fd, const char *name, char *why, size_t len);
/* The directory gets a new owner, who may then remove the pins. */
void pins_give(struct pins *p, uid_t uid, gid_t gid);
void pins_close(struct pins *p);

/* A sentence for a failure of what was being done ("load derp_peers"). */
void pins_explain(char *why, size_t len, const char *what, int err);

#endif
