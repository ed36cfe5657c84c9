/* SPDX-License-Identifier: BSD-3-Clause */
/* Size-class allocator of one shard, not thread-safe. Blocks (64-byte aligned) come from chunks that
 * are mapped on demand and stay mapped while the shard lives; a byte limit bounds them all together.
 * Freed blocks are reused last-in first-out (cache-warm) and poisoned for AddressSanitizer. Pages of large free blocks
 * go back to the kernel when they were not needed for a while, beyond a reserve. */
#ifndef XDERP_SLAB_H
#define XDERP_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLAB_CLASSES	13

struct slab {
	struct slab_class {
		void *free;		/* linked through the first word of each block */
		void *cold;		/* the same, without pages; large classes only */
		uint8_t *fresh;		/* rest of the newest chunk: pages not touched yet */
		uint32_t nfree, nfresh;
		uint32_t low;		/* the lowest nfree since slab_trim */
	} classes[SLAB_CLASSES];
	struct slab_chunk *chunks;	/* owned */
	uint64_t mapped, limit;		/* bytes of chunks; what they may grow to */
	uint64_t used;			/* bytes of blocks given out */
	uint64_t exhausted;		/* allocations refused because of limit */
	bool over;			/* large blocks beyond the reserve are free: slab_trim is wanted */
};

void slab_init(struct slab *s, uint64_t limit_bytes);
void slab_done(struct slab *s);

/* Returns a block of at least size bytes and its class in *cls, or NULL: limit reached, or size
 * above SLAB_MAX. The caller keeps cls and gives it back to slab_free. */
#define SLAB_MAX	(264U * 1024)
void *slab_alloc(struct slab *s, size_t size, uint8_t *cls);
void slab_free(struct slab *s, void *block, uint8_t cls);
size_t slab_class_size(uint8_t cls);

/* Give back the pages of large blocks that were free all the time since the last call; at most max blocks. Returns how many; max: there
 * are more. */
unsigned int slab_trim(struct slab *s, unsigned int max);

#endif
