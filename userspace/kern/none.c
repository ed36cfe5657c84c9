/* SPDX-License-Identifier: BSD-3-Clause */
/* In place of the rest of this room where libbpf, clang or bpftool was missing when the relay was built. */
#include <errno.h>
#include <stdio.h>

#include "kern/kern.h"

int kern_open(struct kern **ret, const struct kern_opts *o, char *why, size_t len)
{
	*ret = NULL;
	*why = '\0';
	if (o->mode != KERN_OFF)
		snprintf(why, len, "built without libbpf, clang or bpftool");
	return o->mode == KERN_ON ? -EOPNOTSUPP : 0;
}

void kern_close(struct kern *k)
{
	(void)k;
}

struct peermap *kern_peers(struct kern *k)
{
	(void)k;
	return NULL;
}
