/* SPDX-License-Identifier: BSD-3-Clause */
/* Privileges end here, before the first byte of a client: sockets are bound, BPF is loaded, keys are read. Main thread, while there
 * is no other; threads made later have what is left. */
#ifndef XDERP_PRIVDROP_H
#define XDERP_PRIVDROP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct account {
	uid_t uid;
	gid_t gid;
	char name[64];
	bool change;		/* we are root and shall become somebody else */
};

/* user: --user; "" takes xderp or else nobody (65534) if we are root; "root" stays. -errno and a sentence in err. */
int account_find(struct account *ret, const char *user, char *err, size_t errlen);

/* Become the account, with no group but its own, no capability (also none that may come back), no_new_privs. Root that stays root
 * keeps its capabilities. Checks that the way back is closed. -errno and a sentence in err. */
int privdrop(const struct account *a, char *err, size_t errlen);

/* Only the system calls of seccomp.c from here on. On failure -errno and a sentence in why: the kernel has no seccomp. */
int seccomp_on(char *why, size_t len);

#endif
