/* SPDX-License-Identifier: BSD-3-Clause */
/* The XDP program on the interfaces named by --xdp-interfaces: a guard before our ports, and STUN answered in place
 * (bpf/xdp.bpf.c). The kernel takes it off when we end, however we end. A struct xdp_gate * of NULL means that it is off; every
 * function takes it. Main thread, but for xdp_stats(). */
#ifndef XDERP_XDP_H
#define XDERP_XDP_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cidr.h"
#include "derp_maps.h"

enum xdp_mode { XDP_AUTO, XDP_NATIVE, XDP_GENERIC, XDP_OFF };

struct xdp_opts {
	enum xdp_mode mode;
	const char *interfaces;		/* names, comma-separated; "": none */
	uint16_t tcp_ports[DERP_XDP_TCP_PORTS];	/* host order; 0: none */
	uint16_t stun_port;
	uint8_t address[16];		/* what we are bound to; all zero: every address */
	double guard_rate;		/* new connections per second and source; 0: any number */
	unsigned int guard_burst;
	unsigned int guard_sources;	/* entries of derp_guard */
};

struct pins;
struct xdp;			/* the skeleton, bpf/xdp.skel.h */
struct xdp_gate;

/* Load, attached to nothing. why: a sentence for any error. The caller ends it by xdp__destroy(). */
int xdp_load(struct xdp **ret, const struct xdp_opts *o, char *why, size_t len);

/* Load, pin, attach. Needs CAP_BPF and CAP_NET_ADMIN. What is on and off, and why, goes into the list of features, a line for each
 * interface; one that has a program keeps it. *ret is NULL if none has ours. */
void xdp_open(struct xdp_gate **ret, struct pins *pins, const struct xdp_opts *o);
void xdp_close(struct xdp_gate *x);

/* The kernel sends SIGIO to the process when addresses or interfaces change; then call this. Needs no privilege. */
void xdp_addresses_changed(struct xdp_gate *x);

/* The networks denied from now on, and no others; NULL: none. Needs no privilege. -E2BIG: some found no place. */
int xdp_deny(struct xdp_gate *x, const struct cidr_set *set);

/* The sum over processors. Any thread. */
void xdp_stats(const struct xdp_gate *x, struct derp_xdp_stats *ret);

#endif
