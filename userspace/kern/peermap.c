/* SPDX-License-Identifier: BSD-3-Clause */
#include "kern/peermap.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "bpf/peers.skel.h"
#include "kern/pins.h"

struct peermap {
	struct peers *skel;		/* owned */
	int fd;				/* of the map */
	unsigned int max_peers;
	uint64_t refused;		/* atomic */
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
	m->max_peers = max_peers;
	m->fd = bpf_map__fd(m->skel->maps.derp_peers);
	err = pins_add(pins, m->fd, "derp_peers", why, len);
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

void peermap_put(struct peermap *m, const struct derp_peer_key *k, const struct derp_peer *v)
{
	int err = bpf_map_update_elem(m->fd, k, v, BPF_ANY);

	if (err && !__atomic_fetch_add(&m->refused, 1, __ATOMIC_RELAXED))
		log_event(LOG_LEVEL_WARN, "bpf_peer_refused", "error=%s limit=%u fix=%s",
			  err == -E2BIG ? "the map is full" : strerror(-err), m->max_peers,
			  "raise --bpf-peers; the relay serves these peers all the same");
}

void peermap_del(struct peermap *m, const struct derp_peer_key *k)
{
	/* Not there: it was refused. */
	bpf_map_delete_elem(m->fd, k);
}

uint64_t peermap_refused(const struct peermap *m)
{
	return m ? __atomic_load_n(&m->refused, __ATOMIC_RELAXED) : 0;
}
