/* SPDX-License-Identifier: BSD-3-Clause */
/* Cursors count bytes and never wrap; their low bits are the place in the ring. A record that begins
 * near the end simply runs on into an overhang behind it, which makes every message contiguous without
 * padding and lets the largest one in whenever the ring is empty. */
#include "base/msgring.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

#define LINE		64
#define ALIGN		8
#define MIN_BYTES	64

struct record {
	uint32_t len;
	uint32_t size;		/* whole record: head, message, alignment */
};
_Static_assert(sizeof(struct record) == ALIGN, "messages stay aligned");

struct msgring {
	/* Producer's own. */
	alignas(LINE) size_t filled;	/* end of the batch being made */
	size_t known_freed;		/* last look at freed */
	uint32_t reserved;

	alignas(LINE) _Atomic size_t published;

	/* Consumer's own. */
	alignas(LINE) size_t popped;
	size_t known_published;

	alignas(LINE) _Atomic size_t freed;

	alignas(LINE) size_t bytes;	/* read-only */
	alignas(LINE) uint8_t data[];
};

int msgring_new(struct msgring **ret, size_t bytes)
{
	struct msgring *r;
	size_t all = sizeof(*r) + bytes + bytes / 2 + LINE;

	if (bytes < MIN_BYTES || bytes & (bytes - 1) || bytes > UINT32_MAX)
		return -EINVAL;
	r = aligned_alloc(LINE, all & ~(size_t)(LINE - 1));
	if (!r)
		return -ENOMEM;
	r->filled = r->known_freed = r->popped = r->known_published = 0;
	r->reserved = 0;
	r->bytes = bytes;
	atomic_init(&r->published, 0);
	atomic_init(&r->freed, 0);

	*ret = r;
	return 0;
}

void msgring_free(struct msgring *r)
{
	free(r);
}

static struct record *record_at(struct msgring *r, size_t pos)
{
	return (struct record *)(r->data + (pos & (r->bytes - 1)));
}

static size_t record_size(uint32_t len)
{
	return sizeof(struct record) + (((size_t)len + ALIGN - 1) & ~(size_t)(ALIGN - 1));
}

void *msgring_reserve(struct msgring *r, uint32_t len, size_t headroom)
{
	size_t need = record_size(len);

	if (len > r->bytes / 2 || headroom > r->bytes)
		return NULL;
	if (r->filled + need + headroom - r->known_freed > r->bytes) {
		r->known_freed = atomic_load_explicit(&r->freed, memory_order_acquire);
		if (r->filled + need + headroom - r->known_freed > r->bytes)
			return NULL;
	}
	r->reserved = len;
	return record_at(r, r->filled) + 1;
}

void msgring_commit(struct msgring *r, uint32_t len)
{
	uint32_t size = (uint32_t)record_size(len);

	assert(len <= r->reserved);
	*record_at(r, r->filled) = (struct record){ .len = len, .size = size };
	r->filled += size;
	r->reserved = 0;
}

bool msgring_publish(struct msgring *r)
{
	if (r->filled == atomic_load_explicit(&r->published, memory_order_relaxed))
		return false;
	atomic_store_explicit(&r->published, r->filled, memory_order_release);
	return true;
}

bool msgring_empty(struct msgring *r)
{
	if (r->popped == r->known_published)
		r->known_published = atomic_load_explicit(&r->published, memory_order_acquire);
	return r->popped == r->known_published;
}

void *msgring_peek(struct msgring *r, uint32_t *len)
{
	struct record *rec;

	if (msgring_empty(r))
		return NULL;
	rec = record_at(r, r->popped);
	*len = rec->len;
	return rec + 1;
}

void msgring_pop(struct msgring *r)
{
	assert(r->popped != r->known_published);
	r->popped += record_at(r, r->popped)->size;
}

void msgring_release(struct msgring *r)
{
	if (r->popped != atomic_load_explicit(&r->freed, memory_order_relaxed))
		atomic_store_explicit(&r->freed, r->popped, memory_order_release);
}
