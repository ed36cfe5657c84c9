/* SPDX-License-Identifier: BSD-3-Clause */
#include "kern/xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/feature.h"
#include "base/log.h"
#include "base/util.h"
#include "bpf/xdp.skel.h"
#include "kern/local.h"
#include "kern/nic.h"
#include "kern/percpu.h"
#include "kern/pins.h"

#define MAX_INTERFACES	16U
#define MAX_EVERY_NS	3600e9		/* times any --guard-burst fits into 64 bits */

struct attachment {
	char name[IF_NAMESIZE];
	unsigned int ifindex;
	int link;			/* owned: the program is attached as long as it is open */
	bool native;
	char why[FEATURE_REASON_LEN];	/* not attached, or not as well as asked for; "": it is */
};

struct xdp_gate {
	struct xdp *skel;		/* owned */
	struct local local;
	struct attachment on[MAX_INTERFACES];
	unsigned int n;
};

static void fill_crc_table(uint32_t table[static 256])
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0xedb88320U & -(crc & 1));
		table[i] = crc;
	}
}

static void configure(struct xdp *skel, const struct xdp_opts *o)
{
	uint64_t every_ns = o->guard_rate > 0 ? (uint64_t)min_of(max_of(NS_PER_S / o->guard_rate, 1), MAX_EVERY_NS) : 0;

	memcpy((void *)skel->rodata->tcp_ports, o->tcp_ports, sizeof(o->tcp_ports));
	skel->rodata->stun_port = o->stun_port;
	skel->rodata->syn_every_ns = every_ns;
	skel->rodata->syn_burst_ns = every_ns * o->guard_burst;
	fill_crc_table((uint32_t *)skel->rodata->crc_table);
}

int xdp_load(struct xdp **ret, const struct xdp_opts *o, char *why, size_t len)
{
	struct xdp *skel = xdp__open();
	int err;

	if (!skel) {
		err = -errno;
		pins_explain(why, len, "read the XDP program", err);
		return err;
	}
	configure(skel, o);
	err = bpf_map__set_max_entries(skel->maps.derp_guard, o->guard_sources);
	if (!err)
		err = xdp__load(skel);
	if (err) {
		pins_explain(why, len, "load the XDP program, which needs Linux 5.18", err);
		xdp__destroy(skel);
		return err;
	}
	*ret = skel;
	return 0;
}

static int pin(struct pins *pins, const struct xdp *skel, char *why, size_t len)
{
	struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map(map, skel->obj)
		if (!err && !bpf_map__is_internal(map))
			err = pins_add(pins, bpf_map__fd(map), bpf_map__name(map), why, len);
	return err;
}

/* Says who is there. */
static bool has_program(const char *name, unsigned int ifindex, char *why, size_t len)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info), id;
	int fd;

	if (bpf_xdp_query((int)ifindex, 0, &q) || q.attach_mode == XDP_ATTACHED_NONE)
		return false;
	id = q.drv_prog_id ? q.drv_prog_id : q.skb_prog_id ? q.skb_prog_id : q.hw_prog_id ? q.hw_prog_id : q.prog_id;
	fd = bpf_prog_get_fd_by_id(id);
	if (fd >= 0) {
		bpf_obj_get_info_by_fd(fd, &info, &size);
		close(fd);
	}
	snprintf(why, len, "%s has an XDP program already: %s, id %u; it stays (bpftool net shows it)", name,
		 *info.name ? info.name : "nameless", id);
	return true;
}

static int link_as(struct xdp_gate *x, struct attachment *a, bool native)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);

	a->link = bpf_link_create(bpf_program__fd(x->skel->progs.derp_xdp), (int)a->ifindex, BPF_XDP, &opts);
	a->native = native;
	return a->link < 0 ? -errno : 0;
}

/* Says in a->why what was wrong. */
static int attach(struct xdp_gate *x, struct attachment *a, enum xdp_mode mode)
{
	int err, native_err = 0;

	a->ifindex = if_nametoindex(a->name);
	if (!a->ifindex) {
		snprintf(a->why, sizeof(a->why), "there is no interface %s", a->name);
		return -ENODEV;
	}
	if (has_program(a->name, a->ifindex, a->why, sizeof(a->why)))
		return -EBUSY;
	err = mode == XDP_GENERIC ? -EOPNOTSUPP : link_as(x, a, true);
	if (err && mode != XDP_NATIVE && err != -EBUSY && err != -EEXIST) {
		native_err = err;
		err = link_as(x, a, false);
	}
	if (err)
		snprintf(a->why, sizeof(a->why), "can't attach to %s%s: %s", a->name, mode == XDP_NATIVE ? " (--xdp=native)" : "", strerror(-err));
	else if (native_err && mode != XDP_GENERIC)
		snprintf(a->why, sizeof(a->why), "the driver of %s can't: %s", a->name, strerror(-native_err));
	return err;
}

/* Where tags are kept beside a packet, its answer would leave without. The generic hook keeps them with it. */
static bool may_answer(const struct attachment *a)
{
	return !a->native || !nic_strips_tags(a->name) || !nic_has_vlans(a->name);
}

static void say(const struct attachment *a, bool stun)
{
	char name[sizeof("xdp-") + IF_NAMESIZE];

	snprintf(name, sizeof(name), "xdp-%s", a->name);
	if (a->link >= 0 && !stun)
		feature_set(name, "guard", "STUN is left to the socket: there are VLANs here, and the driver takes their tags off before XDP; "
			    "ethtool -K %s rxvlan off leaves them", a->name);
	else
		feature_set(name, a->link < 0 ? "off" : a->native ? "native" : "generic", "%s", a->why);
}

static void sync_addresses(struct xdp_gate *x)
{
	struct local_interface by[MAX_INTERFACES];
	int err;

	for (unsigned int i = 0; i < x->n; i++)
		by[i] = (struct local_interface){ x->on[i].ifindex, may_answer(&x->on[i]) };
	err = local_sync(&x->local, by, x->n);
	if (err)
		log_limited(LOG_LEVEL_WARN, "xdp_addresses", "error=%s then=%s",
			    err == -E2BIG ? "more addresses than derp_local holds" : strerror(-err),
			    "packets for those that are missing are left to the sockets");
	for (unsigned int i = 0; i < x->n; i++)
		say(&x->on[i], by[i].stun);
}

/* The interface whose name is p[0..n), or a line that says why not. */
static void attach_named(struct xdp_gate *x, const char *p, size_t n, enum xdp_mode mode)
{
	struct attachment a = { .link = -1 };

	snprintf(a.name, sizeof(a.name), "%.*s", (int)n, p);
	if (n >= sizeof(a.name))
		snprintf(a.why, sizeof(a.why), "%.*s is no name of an interface", (int)n, p);
	else if (x->n == MAX_INTERFACES)
		snprintf(a.why, sizeof(a.why), "--xdp-interfaces has more than %u", MAX_INTERFACES);
	else if (!attach(x, &a, mode))
		x->on[x->n++] = a;
	if (a.link < 0)
		say(&a, false);
}

static void attach_all(struct xdp_gate *x, const struct xdp_opts *o)
{
	const char *p = o->interfaces;
	size_t n;

	for (p += strspn(p, ", "); *p; p += strspn(p, ", ")) {
		n = strcspn(p, ", ");
		attach_named(x, p, n, o->mode);
		p += n;
	}
}

static int open_gate(struct xdp_gate *x, struct pins *pins, const struct xdp_opts *o, char *why, size_t len)
{
	int err = xdp_load(&x->skel, o, why, len);

	if (err)
		return err;
	err = pin(pins, x->skel, why, len);
	if (err)
		return err;
	err = local_open(&x->local, bpf_map__fd(x->skel->maps.derp_local), o->address);
	if (err) {
		pins_explain(why, len, "watch the addresses of this machine", err);
		return err;
	}
	attach_all(x, o);
	if (x->n)
		return 0;
	snprintf(why, len, "on none of the interfaces: %s", o->interfaces);
	return -ENODEV;
}

void xdp_open(struct xdp_gate **ret, struct pins *pins, const struct xdp_opts *o)
{
	struct xdp_gate *x = calloc(1, sizeof(*x));
	char why[FEATURE_REASON_LEN];

	*ret = NULL;
	if (!x)
		return;
	x->local.watch = -1;
	if (open_gate(x, pins, o, why, sizeof(why))) {
		feature_set("xdp", "off", "%s", why);
		xdp_close(x);
		return;
	}
	sync_addresses(x);
	feature_set("xdp", "on", "%u of %s; %g connections a second from one source, %u at once", x->n, o->interfaces,
		    o->guard_rate, o->guard_burst);
	*ret = x;
}

void xdp_close(struct xdp_gate *x)
{
	if (!x)
		return;
	for (unsigned int i = 0; i < x->n; i++)
		close(x->on[i].link);
	local_close(&x->local);
	xdp__destroy(x->skel);
	free(x);
}

void xdp_addresses_changed(struct xdp_gate *x)
{
	if (!x)
		return;
	local_drain(&x->local);
	sync_addresses(x);
}

/* --- the deny list */

static bool is_in(const struct cidr_set *set, const struct derp_deny_key *key)
{
	size_t lo = 0, hi = set ? set->n : 0;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int d = memcmp(set->nets[mid].net, key->ip, sizeof(key->ip));

		if (!d)
			return set->nets[mid].bits == key->prefixlen;
		if (d < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

static void remove_others(int map, const struct cidr_set *set)
{
	struct derp_deny_key key, next;
	bool more = !bpf_map_get_next_key(map, NULL, &next);

	while (more) {
		key = next;
		more = !bpf_map_get_next_key(map, &key, &next);
		if (!is_in(set, &key))
			bpf_map_delete_elem(map, &key);
	}
}

int xdp_deny(struct xdp_gate *x, const struct cidr_set *set)
{
	struct derp_deny v = { .added_at = (uint64_t)time(NULL) };
	struct derp_deny_key key;
	int map, err = 0;

	if (!x)
		return 0;
	map = bpf_map__fd(x->skel->maps.derp_deny);
	remove_others(map, set);
	for (size_t i = 0; set && i < set->n; i++) {
		key.prefixlen = set->nets[i].bits;
		memcpy(key.ip, set->nets[i].net, sizeof(key.ip));
		if (bpf_map_update_elem(map, &key, &v, BPF_NOEXIST) && errno != EEXIST)
			err = -E2BIG;
	}
	return err;
}

/* --- */

void xdp_stats(const struct xdp_gate *x, struct derp_xdp_stats *ret)
{
	if (x)
		percpu_sum(bpf_map__fd(x->skel->maps.derp_xdp_stats), 0, ret, sizeof(*ret));
	else
		memset(ret, 0, sizeof(*ret));
}
