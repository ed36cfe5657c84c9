/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory for keys: in no core dump, zero in a forked child, wiped when it is given back. Any thread, and a block may be
 * given back by another than took it; each thread keeps what it gave back for itself, so there is no lock. */
#ifndef XDERP_KEYMEM_H
#define XDERP_KEYMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum keymem_pool {
	KEYMEM_KEYS,		/* locked as well, as far as RLIMIT_MEMLOCK goes: held as long as a connection */
	KEYMEM_WORK,		/* what computes with keys: much of it, most of it short-lived */
	KEYMEM_POOL_NR
};

#define KEYMEM_MAX	8192	/* bytes of the largest block */

/* A zeroed block, aligned to 64 bytes. NULL: n is above KEYMEM_MAX, or no memory. */
void *keymem_alloc(enum keymem_pool pool, size_t n);
void keymem_free(void *p);			/* takes NULL */

/* Is p a block of ours? Then keymem_size() is how much fits in. */
bool keymem_owns(const void *p);
size_t keymem_size(const void *p);

/* Bytes taken from the system so far: they are kept. */
struct keymem_usage {
	uint64_t locked;	/* of KEYMEM_KEYS */
	uint64_t unlocked;	/* of KEYMEM_KEYS, meant to be locked; the feature "key_memory" says why not */
	uint64_t work;		/* of KEYMEM_WORK */
};
void keymem_usage(struct keymem_usage *ret);

#endif
