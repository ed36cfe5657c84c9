/* SPDX-License-Identifier: BSD-3-Clause */
#include "kern/kern.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/feature.h"
#include "base/log.h"
#include "kern/peermap.h"
#include "kern/pins.h"
#include "kern/splice.h"
#include "kern/xdp.h"

struct kern {
	struct pins *pins;		/* owned */
	struct peermap *peers;		/* owned */
	struct splicer *splicer;	/* owned */
	struct xdp_gate *xdp;		/* owned */
};

/* The verifier's words are for whoever asked for them: --log-level=debug. */
static int __attribute__((format(printf, 2, 0)))
log_libbpf(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char text[2048];
	int n;

	if (level == LIBBPF_DEBUG)
		return 0;
	n = vsnprintf(text, sizeof(text), fmt, ap);
	log_event(LOG_LEVEL_DEBUG, "libbpf", "text=%s", text);
	return n;
}

static int open_all(struct kern *k, const struct kern_opts *o, char *why, size_t len)
{
	int err;

	err = pins_open(&k->pins, o->bpffs, why, len);
	if (!err)
		err = peermap_open(&k->peers, k->pins, o->max_peers, why, len);
	return err;
}

int kern_open(struct kern **ret, const struct kern_opts *o, char *why, size_t len)
{
	struct kern *k;
	int err;

	*ret = NULL;
	snprintf(why, len, "--bpf=off");
	if (o->mode == KERN_OFF)
		return 0;
	k = calloc(1, sizeof(*k));
	if (!k) {
		snprintf(why, len, "out of memory");
		return -ENOMEM;
	}
	libbpf_set_print(log_libbpf);
	err = open_all(k, o, why, len);
	if (err) {
		kern_close(k);
		return o->mode == KERN_ON ? err : 0;
	}
	*ret = k;
	return 0;
}

void kern_give(struct kern *k, uid_t uid, gid_t gid)
{
	if (k)
		pins_give(k->pins, uid, gid);
}

void kern_close(struct kern *k)
{
	if (!k)
		return;
	xdp_close(k->xdp);
	splice_close(k->splicer);
	peermap_close(k->peers);
	pins_close(k->pins);
	free(k);
}

struct peermap *kern_peers(struct kern *k)
{
	return k ? k->peers : NULL;
}

static void list_splice(const struct splice_opts *o, const char *why)
{
	if (o->mode == SPLICE_OFF)
		feature_set("splice", "off", "--splice=off");
	else if (why)
		feature_set("splice", "off", "%s", why);
	else
		feature_set("splice", o->mode == SPLICE_ON ? "on" : "auto",
			    "packets between up to %u plain clients can be moved by the kernel", o->peers);
	if (!o->twin_limit)
		feature_set("splice_tls", "off", "--splice-tls=off");
	else if (why)
		feature_set("splice_tls", "off", "%s", why);
	else
		feature_set("splice_tls", "on", "packets between up to %u TLS clients are moved by the kernel", o->peers);
}

int kern_open_splice(struct kern *k, const struct splice_opts *o, struct splicer **ret)
{
	char why[400] = "BPF is off";
	int err = k ? 0 : -EOPNOTSUPP;

	*ret = NULL;
	if (o->mode == SPLICE_OFF && !o->twin_limit) {
		list_splice(o, NULL);
		return 0;
	}
	if (!err)
		err = splice_open(&k->splicer, k->pins, o, why, sizeof(why));
	list_splice(o, err ? why : NULL);
	if (err)
		return o->mode == SPLICE_ON || o->twin_limit ? err : 0;
	*ret = k->splicer;
	return 0;
}

struct xdp_gate *kern_open_xdp(struct kern *k, const struct xdp_opts *o)
{
	if (o->mode == XDP_OFF)
		feature_set("xdp", "off", "--xdp=off");
	else if (!*o->interfaces)
		feature_set("xdp", "off", "no --xdp-interfaces");
	else if (!k)
		feature_set("xdp", "off", "BPF is off");
	else
		xdp_open(&k->xdp, k->pins, o);
	return k ? k->xdp : NULL;
}
