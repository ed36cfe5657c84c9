/* SPDX-License-Identifier: BSD-3-Clause */
/* The directory's other half: keys that live at other nodes of the mesh, by the links they were announced through. */
#include "relay/directory.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "relay/directory_node.h"

void directory_link_up(struct directory *d, unsigned int link, struct conn_id id)
{
	id.link = true;
	pthread_mutex_lock(&d->lock);
	d->links[link] = pack(id);
	pthread_mutex_unlock(&d->lock);
}

static int forwarder_index(const struct node *n, unsigned int link)
{
	for (int i = 0; i < n->nfwd; i++)
		if (n->fwd[i] == link)
			return i;
	return -1;
}

static int add_forwarder(struct directory *d, const struct key *k, uint64_t hash, unsigned int link,
			 unsigned int max_remote)
{
	uint32_t i = node_lookup(d, k, hash);
	struct node *n = i == NO_NODE ? NULL : node_at(d, i);
	int err;

	if (n && forwarder_index(n, link) >= 0)
		return 0;
	if ((!n || !n->nfwd) && d->nforwarded >= max_remote)
		return -ENOSPC;
	if (!n) {
		err = node_new(d, k, hash, d->links[link], &i);
		if (err)
			return err;
		n = node_at(d, i);
	}
	n->fwd[n->nfwd++] = (uint8_t)link;
	if (n->nfwd == 1) {
		d->nforwarded++;
		d->totals.clients_remote += !n->nmembers;
	}
	d->totals.multiforwarder_created += n->nfwd == 2;
	return 1;
}

int directory_add_forwarder(struct directory *d, const struct key *k, uint64_t hash, unsigned int link,
			    unsigned int max_remote)
{
	int r;

	pthread_mutex_lock(&d->lock);
	change_begin(d);
	r = add_forwarder(d, k, hash, link, max_remote);
	change_end(d);
	pthread_mutex_unlock(&d->lock);
	return r;
}

static bool remove_forwarder(struct directory *d, uint32_t i, unsigned int link)
{
	struct node *n = node_at(d, i);
	int at = forwarder_index(n, link);

	if (at < 0)
		return false;
	n->nfwd--;
	memmove(&n->fwd[at], &n->fwd[at + 1], (size_t)(n->nfwd - at));
	d->totals.multiforwarder_deleted += n->nfwd == 1;
	if (!n->nfwd) {
		d->nforwarded--;
		d->totals.clients_remote -= !n->nmembers;
	}
	if (!node_used(n))
		node_unlink(d, i);
	else if (!n->nmembers && at == 0)
		node_pick_active(d, n);
	return true;
}

bool directory_remove_forwarder(struct directory *d, const struct key *k, uint64_t hash, unsigned int link,
				enum directory_left *ret)
{
	bool known = false;
	uint32_t i;

	pthread_mutex_lock(&d->lock);
	change_begin(d);
	i = node_lookup(d, k, hash);
	if (i != NO_NODE) {
		known = remove_forwarder(d, i, link);
		d->totals.forwarder_delete_other += !known;
		*ret = left(node_at(d, i));
	}
	change_end(d);
	pthread_mutex_unlock(&d->lock);
	return known;
}

bool directory_drop_link(struct directory *d, unsigned int link, uint32_t *cursor, struct key *gone, unsigned int *ngone)
{
	uint32_t end, all;

	pthread_mutex_lock(&d->lock);
	change_begin(d);
	all = d->nchunks * CHUNK_NODES;
	end = min_of(*cursor + DIRECTORY_STEP, all);
	for (*ngone = 0; *cursor < end; ++*cursor) {
		struct node *n = node_at(d, *cursor);

		if (!remove_forwarder(d, *cursor, link) || left(n) != DIRECTORY_GONE)
			continue;
		memcpy(gone[(*ngone)++].b, n->key, KEY_LEN);
	}
	change_end(d);
	pthread_mutex_unlock(&d->lock);
	return *cursor < all;
}
