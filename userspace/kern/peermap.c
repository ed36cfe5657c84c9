/* SPDX-License-Identifier: BSD-3-Clause */
#include "kern/peermap.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>

#include "bpf/peers.skel.h"
#include "kern/pins.h"

struct peermap {
	struct peers *skel;		/* owned */
};

int peermap_open(struct peermap **ret, struct pins *pins, unsigned int max_peers, char *why, size_t len)
{
	struct peermap *m = calloc(1, sizeof(*m));
	int err = -ENOMEM;

	if (!m)
		goto fail;
	m->skel = peers__open();
	if (!m->skel) {
		err = -errno;
		goto fail;
	}
	err = bpf_map__set_max_entries(m->skel->maps.derp_peers, max_peers);
	if (!err)
		err = peers__load(m->skel);
	if (err)
		goto fail;
	err = pins_add(pins, bpf_map__fd(m->skel->maps.derp_peers), "derp_peers", why, len);
	if (err) {
		peermap_close(m);
		return err;
	}
	*ret = m;
	return 0;
fail:
	pins_explain(why, len, "load the BPF map of peers", err);
	peermap_close(m);
	return err;
}

void peermap_close(struct peermap *m)
{
	if (!m)
		return;
	peers__destroy(m->skel);
	free(m);
}
