/* SPDX-License-Identifier: BSD-3-Clause */
/* What one shard hands to another in one piece: a message, or packets, each by a reference to where its frame lies. The
 * home shard makes and fills it; from when it is taken until its last packet has left, it is the taker's; then it
 * goes home, which lets go of what was lent. Nobody else touches it meanwhile, so that nothing in it is atomic. */
#ifndef XDERP_PARCEL_H
#define XDERP_PARCEL_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/frame.h"

#define PARCEL_ITEMS	36U

enum msg_type { MSG_GONE, MSG_PRESENT, MSG_CLOSE };

struct msg {
	uint8_t type;			/* enum msg_type */
	uint8_t what;			/* MSG_GONE: enum mesh_gone */
	uint32_t slot, gen;		/* MSG_CLOSE: which connection */
	uint64_t hash;			/* MSG_GONE: of present.key */
	struct frame_present present;	/* MSG_PRESENT; MSG_GONE uses its key */
};

struct parcel_item {
	uint32_t slot, gen;		/* the connection the packet is for */
	uint8_t *frame;			/* whole; not to be written to */
	uint32_t len;			/* of frame */
	uint32_t source;		/* as in struct delivery */
	uint8_t class;			/* enum pkt_class */
	bool forwarded;			/* as in struct delivery */
	bool owned;			/* frame lies in a struct pkt, not in a receive buffer */
	void *lent;			/* struct pkt or struct rbuf of the home shard */
	uint64_t src_hash;
	uint64_t queued_ns;
};

struct parcel {
	struct parcel *next;
	struct parcel **done;		/* taker: where it goes when live gets to 0 */
	uint32_t live;			/* taker: packets that still lie in it, and one while it is being read */
	uint16_t n;			/* items filled; 0: it is a message */
	uint16_t first;			/* home: the items before this one are dropped */
	uint8_t home;			/* shard */
	uint8_t slab_class;
	union {
		struct msg msg;
		struct parcel_item items[PARCEL_ITEMS];
	};
};
_Static_assert(sizeof(struct parcel) == 2048, "a parcel fills a block of the slab");

static inline struct parcel *parcel_ref(struct parcel *p)
{
	p->live++;
	return p;
}

static inline void parcel_unref(struct parcel *p)
{
	if (--p->live)
		return;
	p->next = *p->done;
	*p->done = p;
}

#endif
