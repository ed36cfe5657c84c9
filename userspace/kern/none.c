/* SPDX-License-Identifier: BSD-3-Clause */
/* In place of the rest of this room where libbpf, clang or bpftool was missing when the relay was built. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/feature.h"
#include "kern/kern.h"
#include "kern/splice.h"
#include "kern/twin.h"
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

int kern_open_splice(struct kern *k, const struct splice_opts *o, struct splicer **ret)
{
	(void)k;
	*ret = NULL;
	feature_set("splice", "off", "built without libbpf, clang or bpftool");
	feature_set("splice_tls", "off", "built without libbpf, clang or bpftool");
	return o->mode == SPLICE_ON || o->twin_limit ? -EOPNOTSUPP : 0;
}

/* There is no struct splicer: all but these three are given one, and never called. */
void splice_stats(const struct splicer *s, struct derp_stats *ret)
{
	(void)s;
	memset(ret, 0, sizeof(*ret));
}

void twin_stats(const struct splicer *s, struct derp_stats *ret)
{
	(void)s;
	memset(ret, 0, sizeof(*ret));
}

bool twin_wanted(const struct splicer *s)
{
	(void)s;
	return false;
}

struct derp_conn *twin_join(struct splicer *s, const struct splice_conn *c, uint32_t *place, int *fd, int *err)
{
	(void)s;
	(void)c;
	(void)place;
	(void)fd;
	*err = -EOPNOTSUPP;
	return NULL;
}

void twin_hold(struct splicer *s, uint32_t place)
{
	(void)s;
	(void)place;
}

void twin_leave(struct splicer *s, uint32_t place, int fd)
{
	(void)s;
	(void)place;
	(void)fd;
}

void twin_undo(struct splicer *s, struct derp_conn *src, uint32_t len)
{
	(void)s;
	(void)src;
	(void)len;
}

void splice_enable(struct splicer *s, bool on)
{
	(void)s;
	(void)on;
}

enum splice_mode splice_mode(const struct splicer *s)
{
	(void)s;
	return SPLICE_OFF;
}

struct derp_conn *splice_join(struct splicer *s, const struct splice_conn *c, uint32_t *place, int *err)
{
	(void)s;
	(void)c;
	(void)place;
	*err = -EOPNOTSUPP;
	return NULL;
}

int splice_attach(struct splicer *s, uint32_t place, int fd)
{
	(void)s;
	(void)place;
	(void)fd;
	return -EOPNOTSUPP;
}

void splice_leave(struct splicer *s, uint32_t place)
{
	(void)s;
	(void)place;
}

void splice_discard(int fd)
{
	(void)fd;
}

int splice_open_flow(struct splicer *s, uint32_t source, uint32_t destination)
{
	(void)s;
	(void)source;
	(void)destination;
	return -EOPNOTSUPP;
}

uint32_t splice_generation(const struct splicer *s, uint32_t place)
{
	(void)s;
	return place;
}

void splice_hold_key(struct splicer *s, const uint8_t key[static DERP_KEY_LEN])
{
	(void)s;
	(void)key;
}

void splice_widen(int fd)
{
	(void)fd;
}

int splice_give(struct derp_conn *c, int fd, uint64_t *base)
{
	(void)c;
	(void)fd;
	(void)base;
	return -EOPNOTSUPP;
}

void splice_take(struct derp_conn *c)
{
	(void)c;
}

uint64_t splice_undelivered(const struct derp_conn *c, int fd, uint64_t base)
{
	(void)c;
	(void)fd;
	(void)base;
	return 0;
}

int splice_notice_fd(const struct splicer *s, unsigned int shard)
{
	(void)s;
	(void)shard;
	return -1;
}

bool splice_notices(struct splicer *s, unsigned int shard, void (*call)(void *ctx, const struct derp_conn *c), void *ctx)
{
	(void)s;
	(void)shard;
	(void)call;
	(void)ctx;
	return false;
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
