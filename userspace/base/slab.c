/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/slab.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "base/poison.h"
#include "base/util.h"

#define ALIGN		64U
#define PAGE		4096U
/* From here on a block spans pages of its own that are worth giving back. */
#define LARGE		(32U * 1024)
/* Free bytes per large class that keep their pages for good. */
#define KEEP_BYTES	(2U * 1024 * 1024)

/* 68096 holds the largest frame (65605 bytes) behind a head of up to 2 KiB; the sizes a bit above a
 * power of two leave room for the user's own header. Chunks are 64 to 256 KiB, so that a class that
 * is used once costs little of the limit. */
static const struct {
	uint32_t size;
	uint32_t per_chunk;
} layout[SLAB_CLASSES] = {
	{ 128, 511 },
	{ 256, 255 },
	{ 512, 127 },
	{ 1024, 63 },
	{ 2048, 31 },
	{ 4096, 31 },
	{ 8192, 15 },
	{ 16384 + 512, 7 },
	{ 34 * 1024, 7 },
	{ 68096, 3 },
	{ 132 * 1024, 1 },
	{ 200 * 1024, 1 },
	{ SLAB_MAX, 1 },
};

struct slab_chunk {
	struct slab_chunk *next;
	size_t bytes;
};

_Static_assert(sizeof(struct slab_chunk) <= ALIGN, "the first block stays aligned");
_Static_assert(sizeof(long) == 8, "class_of counts bits of 64");
_Static_assert(68096 % ALIGN == 0 && SLAB_MAX % ALIGN == 0, "aligned classes");

void slab_init(struct slab *s, uint64_t limit_bytes)
{
	memset(s, 0, sizeof(*s));
	s->limit = limit_bytes;
}

void slab_done(struct slab *s)
{
	struct slab_chunk *c, *next;

	for (c = s->chunks; c; c = next) {
		next = c->next;
		/* The next mapping at this address must not inherit the poison. */
		unpoison(c, c->bytes);
		munmap(c, c->bytes);
	}
	memset(s, 0, sizeof(*s));
}

size_t slab_class_size(uint8_t cls)
{
	assert(cls < SLAB_CLASSES);
	return layout[cls].size;
}

/* The link lies in a poisoned block. */
NO_POISON static void *link_get(void *block)
{
	return *(void **)block;
}

NO_POISON static void link_set(void *block, void *next)
{
	*(void **)block = next;
}

static bool grow(struct slab *s, unsigned int cls)
{
	size_t bytes = ALIGN + (size_t)layout[cls].size * layout[cls].per_chunk;
	struct slab_chunk *c;

	bytes = (bytes + PAGE - 1) & ~(size_t)(PAGE - 1);
	if (bytes > s->limit || s->mapped > s->limit - bytes)
		return false;
	c = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c == MAP_FAILED)
		return false;

	*c = (struct slab_chunk){ .next = s->chunks, .bytes = bytes };
	s->chunks = c;
	s->mapped += bytes;
	s->classes[cls].fresh = (uint8_t *)c + ALIGN;
	s->classes[cls].nfresh = layout[cls].per_chunk;
	poison(s->classes[cls].fresh, bytes - ALIGN);
	return true;
}

/* The smallest class that has room; SLAB_CLASSES: none. The first ones are powers of two. */
static unsigned int class_of(size_t size)
{
	unsigned int i = 0;

	if (size <= layout[6].size)
		return size <= layout[0].size ? 0 : 64 - (unsigned int)__builtin_clzl((size - 1) / layout[0].size);
	while (i < SLAB_CLASSES && layout[i].size < size)
		i++;
	return i;
}

void *slab_alloc(struct slab *s, size_t size, uint8_t *cls)
{
	unsigned int i = class_of(size);
	struct slab_class *c;
	void *block;

	if (i == SLAB_CLASSES)
		return NULL;

	c = &s->classes[i];
	if (c->free) {
		block = c->free;
		c->free = link_get(block);
		c->nfree--;
		c->low = min_of(c->low, c->nfree);
	} else if (c->cold) {
		block = c->cold;
		c->cold = link_get(block);
	} else if (c->nfresh || grow(s, i)) {
		block = c->fresh;
		c->fresh += layout[i].size;
		c->nfresh--;
	} else {
		s->exhausted++;
		return NULL;
	}
	unpoison(block, layout[i].size);
	s->used += layout[i].size;
	*cls = (uint8_t)i;
	return block;
}

/* Give back the pages inside a free block, all but those its link or its neighbours lie on. */
static void drop_pages(uint8_t *block, size_t size)
{
	uintptr_t from = ((uintptr_t)block + sizeof(void *) + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
	uintptr_t to = ((uintptr_t)block + size) & ~(uintptr_t)(PAGE - 1);

	if (from < to)
		madvise((void *)from, to - from, MADV_DONTNEED);
}

static uint32_t keep(unsigned int cls)
{
	return KEEP_BYTES / layout[cls].size;
}

void slab_free(struct slab *s, void *block, uint8_t cls)
{
	struct slab_class *c = &s->classes[cls];
	uint32_t size;

	if (!block)
		return;
	assert(cls < SLAB_CLASSES);
	size = layout[cls].size;
	link_set(block, c->free);
	c->free = block;
	poison(block, size);
	c->nfree++;
	s->used -= size;
	if (size >= LARGE && c->nfree > keep(cls))
		s->over = true;
}

/* The last n of the free blocks, which are those not used for longest, lose their pages. */
static void cool(struct slab_class *c, uint32_t size, uint32_t n)
{
	void *at = c->free, *next;

	c->nfree -= n;
	for (uint32_t i = 1; i < c->nfree; i++)
		at = link_get(at);
	next = link_get(at);
	link_set(at, NULL);
	for (at = next; at; at = next) {
		next = link_get(at);
		drop_pages(at, size);
		link_set(at, c->cold);
		c->cold = at;
	}
}

unsigned int slab_trim(struct slab *s, unsigned int max)
{
	unsigned int dropped = 0;
	uint32_t idle, n;

	s->over = false;
	for (unsigned int i = 0; i < SLAB_CLASSES; i++) {
		struct slab_class *c = &s->classes[i];

		if (layout[i].size < LARGE || c->nfree <= keep(i))
			continue;
		idle = c->low > keep(i) ? c->low - keep(i) : 0;
		n = min_of(idle, max - dropped);
		if (n)
			cool(c, layout[i].size, n);
		dropped += n;
		/* What max left over is still idle at the next call; else a new time begins. */
		c->low = n < idle ? c->low - n : c->nfree;
		s->over |= c->nfree > keep(i);
	}
	return dropped;
}
