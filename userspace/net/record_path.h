/* SPDX-License-Identifier: BSD-3-Clause */
/* Who seals and opens TLS 1.3 records on this host: the kernel (ktls.h) or we (record.h). Decided once, at start. */
#ifndef XDERP_RECORD_PATH_H
#define XDERP_RECORD_PATH_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

#include "net/ktls.h"

enum ktls_mode { KTLS_MODE_AUTO, KTLS_MODE_ON, KTLS_MODE_OFF };

struct record_path {
	bool ktls;			/* new connections go to the kernel where they can */
	struct ktls_support kernel;	/* all zero with KTLS_MODE_OFF */
	/* What auto went by. CPU time of sealing and opening a packet of 1,200 bytes, eight to a record, AES-128-GCM, in
	 * nanoseconds, the trip over loopback included; 0: not measured. */
	unsigned int own_ns, ktls_ns;
	char nic[IF_NAMESIZE];		/* an interface that offloads TLS; "" if none */
	char why[160];			/* a sentence for log and status */
};

/* Blocks for some 50 ms with KTLS_MODE_AUTO. Returns 0; -ENOTSUP: KTLS_MODE_ON and the kernel can't: why is the error. */
int record_path_choose(struct record_path *ret, enum ktls_mode mode);

#endif
