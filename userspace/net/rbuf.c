/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/rbuf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/util.h"
#include "net/io_impl.h"

int rbuf_pool_init(struct rbuf_pool *p, uint32_t max)
{
	size_t bytes = (size_t)max * RBUF_SIZE;

	*p = (struct rbuf_pool){ .max = max };
	p->mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->mem == MAP_FAILED)
		p->mem = NULL;
	p->bufs = calloc(max, sizeof(*p->bufs));
	p->spare = calloc(max, sizeof(*p->spare));
	if (!p->mem || !p->bufs || !p->spare) {
		rbuf_pool_done(p);
		return -ENOMEM;
	}
	/* Huge pages would make each buffer touched cost as much as sixty-four. */
	madvise(p->mem, bytes, MADV_NOHUGEPAGE);
	for (uint32_t i = max; i-- > 0; ) {
		p->bufs[i] = (struct rbuf){
			.data = p->mem + (size_t)i * RBUF_SIZE, .pool = p, .bid = (uint16_t)i,
		};
		p->spare[p->nspare++] = (uint16_t)i;
	}
	return 0;
}

void rbuf_pool_done(struct rbuf_pool *p)
{
	if (p->mem)
		munmap(p->mem, (size_t)p->max * RBUF_SIZE);
	free(p->bufs);
	free(p->spare);
	*p = (struct rbuf_pool){ 0 };
}

static void lend_spare(struct rbuf_pool *p)
{
	while (p->lent < p->circulate && p->nspare) {
		p->lent++;
		p->lend(p, &p->bufs[p->spare[--p->nspare]]);
	}
}

void rbuf_pool_grow(struct rbuf_pool *p)
{
	p->starved++;
	if (!p->lend)
		return;
	p->circulate = min_of(2 * p->circulate, p->max - RBUF_RESERVE);
	lend_spare(p);
}

struct rbuf *rbuf_delivered(struct rbuf_pool *p, uint16_t bid)
{
	struct rbuf *b = &p->bufs[bid];

	assert(b->refs == 0);
	p->lent--;
	b->refs = 1;
	return b;
}

void rbuf_unref(struct rbuf *b)
{
	struct rbuf_pool *p = b->pool;

	assert(b->refs);
	if (--b->refs)
		return;
	p->spare[p->nspare++] = b->bid;
	if (p->lend)
		lend_spare(p);
}

struct rbuf *rbuf_get(struct rbuf_pool *p)
{
	struct rbuf *b;

	if (!p->nspare)
		return NULL;
	b = &p->bufs[p->spare[--p->nspare]];
	b->refs = 1;
	return b;
}
