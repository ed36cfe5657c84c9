/* SPDX-License-Identifier: BSD-3-Clause */
/* In place of the rest of this room where libbpf, clang or bpftool was missing when the relay was built. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/feature.h"
#include "kern/kern.h"
#include "kern/xdp.h"
#include "kern/peermap.h"

int kern_open(struct kern **ret, const struct kern_opts *o, char *why, size_t len)
{
	*ret = NULL;
	snprintf(why, len, o->mode == KERN_OFF ? "--bpf=off" : "built without libbpf, clang or bpftool");
	return o->mode == KERN_ON ? -EOPNOTSUPP : 0;
}

void kern_give(struct kern *k, uid_t uid, gid_t gid)
{
	(void)k;
	(void)uid;
	(void)gid;
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

void peermap_put(struct peermap *m, const struct derp_peer_key *k, const struct derp_peer *v)
{
	(void)m;
	(void)k;
	(void)v;
}

void peermap_del(struct peermap *m, const struct derp_peer_key *k)
{
	(void)m;
	(void)k;
}

uint64_t peermap_refused(const struct peermap *m)
{
	(void)m;
	return 0;
}

struct xdp_gate *kern_open_xdp(struct kern *k, const struct xdp_opts *o)
{
	(void)k;
	(void)o;
	feature_set("xdp", "off", "built without libbpf, clang or bpftool");
	return NULL;
}

void xdp_addresses_changed(struct xdp_gate *x)
{
	(void)x;
}

int xdp_deny(struct xdp_gate *x, const struct cidr_set *set)
{
	(void)x;
	(void)set;
	return 0;
}

void xdp_stats(const struct xdp_gate *x, struct derp_xdp_stats *ret)
{
	(void)x;
	memset(ret, 0, sizeof(*ret));
}
