/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/deny.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "kern/xdp.h"
#include "net/listen.h"
#include "relay/relay.h"
#include "relay/shard.h"

static bool holds(const struct cidr_set *set, const struct sockaddr *sa)
{
	uint8_t ip[16];
	uint16_t port;

	sockaddr_to_16(ip, &port, sa);
	return cidr_set_holds(set, ip);
}

bool deny_holds(const struct deny *d, const struct sockaddr *sa)
{
	const struct cidr_set *set = __atomic_load_n(&d->set, __ATOMIC_ACQUIRE);

	return set && holds(set, sa);
}

bool deny_holds_peer(const struct deny *d, int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	return __atomic_load_n(&d->set, __ATOMIC_RELAXED) && !getpeername(fd, (struct sockaddr *)&sa, &len) &&
	       deny_holds(d, (struct sockaddr *)&sa);
}

int deny_init(struct deny *d, const char *setting)
{
	return cidr_set_of_list(&d->set, setting, d->nets, d->n);
}

void deny_done(struct deny *d)
{
	free(d->set);
	free(d->nets);
}

/* --- changes while the shards run */

struct purge {
	const struct cidr_set *set;
	uint32_t cursor[RELAY_MAX_SHARDS];
	uint64_t closed;		/* atomic */
};

static void close_denied(struct conn *c, void *ctx)
{
	struct purge *p = ctx;

	if (!holds(p->set, &c->src.sa))
		return;
	conn_close(c, CLOSE_DENIED);
	__atomic_add_fetch(&p->closed, 1, __ATOMIC_RELAXED);
}

static bool purge(struct shard *s, void *ctx)
{
	struct purge *p = ctx;

	return p->set && ask_walk(s, &p->cursor[s->id], close_denied, p);
}

int deny_prepare(const struct deny *d, const char *setting, struct cidr_set **ret)
{
	return cidr_set_of_list(ret, setting, d->nets, d->n);
}

void deny_commit(struct relay *r, struct cidr_set *set, uint64_t *closed)
{
	struct cidr_set *before = r->deny.set;
	struct purge p = { .set = set };

	__atomic_store_n(&r->deny.set, set, __ATOMIC_RELEASE);
	if (xdp_deny(r->xdp, set))
		log_event(LOG_LEVEL_WARN, "deny_list_long", "then=%s", "XDP has no place for all of it; the rest is refused by the shards");
	ask_all(r, purge, &p);
	free(before);
	*closed = p.closed;
}

/* nets (taken over) are what is denied from now on, besides the setting. */
static int replace(struct relay *r, struct cidr *nets, size_t n, uint64_t *closed)
{
	struct deny *d = &r->deny;
	struct cidr_set *set;
	int err = cidr_set_of_list(&set, r->cfg->deny, nets, n);

	if (err) {
		free(nets);
		return err;
	}
	free(d->nets);
	d->nets = nets;
	d->n = n;
	deny_commit(r, set, closed);
	return 0;
}

static const struct cidr *find(const struct cidr *nets, size_t n, const struct cidr *c)
{
	for (size_t i = 0; i < n; i++)
		if (cidr_equal(&nets[i], c))
			return &nets[i];
	return NULL;
}

int deny_add(struct relay *r, const struct cidr *nets, size_t n, uint64_t *closed)
{
	size_t all = r->deny.n;
	struct cidr *v = malloc((all + n) * sizeof(*v));

	if (!v)
		return -ENOMEM;
	if (all)
		memcpy(v, r->deny.nets, all * sizeof(*v));
	for (size_t i = 0; i < n; i++)
		if (!find(v, all, &nets[i]))
			v[all++] = nets[i];
	if (all > DENY_MAX) {
		free(v);
		return -ENOSPC;
	}
	return replace(r, v, all, closed);
}

int deny_remove(struct relay *r, const struct cidr *nets, size_t n, size_t *missing)
{
	const struct deny *d = &r->deny;
	struct cidr *v;
	size_t left = 0;
	uint64_t closed;

	for (size_t i = 0; i < n; i++) {
		if (!find(d->nets, d->n, &nets[i])) {
			*missing = i;
			return -ENOENT;
		}
	}
	v = malloc(d->n * sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < d->n; i++)
		if (!find(nets, n, &d->nets[i]))
			v[left++] = d->nets[i];
	return replace(r, v, left, &closed);
}
