/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/rbuf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/poison.h"
#include "net/io_impl.h"

/* One buffer in this many is kept for rbuf_get. */
#define RESERVE_SHARE	8
/* At most one in this many is lent: a thread that is slow to give them back must not keep us from receiving. */
#define LENT_SHARE	4

int rbuf_pool_init(struct rbuf_pool *p, uint32_t max)
{
	void *data;

	memset(p, 0, sizeof(*p));
	p->bufs = calloc(max, sizeof(*p->bufs));
	p->spare = malloc(max * sizeof(*p->spare));
	if (!p->bufs || !p->spare)
		goto fail;
	data = mmap(NULL, (size_t)max * RBUF_SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (data == MAP_FAILED)
		goto fail;
	p->data = data;
	p->max = p->nfresh = max;
	p->reserve = max / RESERVE_SHARE;
	p->may_lend = max / LENT_SHARE;
	poison(p->data, (size_t)max * RBUF_SIZE);
	return 0;
fail:
	rbuf_pool_done(p);
	return -ENOMEM;
}

void rbuf_pool_done(struct rbuf_pool *p)
{
	if (p->data) {
		unpoison(p->data, (size_t)p->max * RBUF_SIZE);
		munmap(p->data, (size_t)p->max * RBUF_SIZE);
	}
	free(p->spare);
	free(p->bufs);
	memset(p, 0, sizeof(*p));
}

static struct rbuf *take(struct rbuf_pool *p)
{
	struct rbuf *b;
	uint32_t i;

	if (p->nspare) {
		b = &p->bufs[p->spare[--p->nspare]];
	} else {
		i = p->max - p->nfresh--;
		b = &p->bufs[i];
		*b = (struct rbuf){
			.data = p->data + (size_t)i * RBUF_SIZE, .pool = p, .bid = (uint16_t)i,
		};
	}
	unpoison(b->data, RBUF_SIZE);
	return b;
}

struct rbuf *rbuf_take(struct rbuf_pool *p)
{
	return p->nspare + p->nfresh > p->reserve ? take(p) : NULL;
}

void rbuf_put(struct rbuf *b)
{
	struct rbuf_pool *p = b->pool;

	poison(b->data, RBUF_SIZE);
	p->spare[p->nspare++] = b->bid;
}

struct rbuf *rbuf_get(struct rbuf_pool *p)
{
	return p->nspare + p->nfresh ? rbuf_ref(take(p)) : NULL;
}

void rbuf_unref(struct rbuf *b)
{
	assert(b->refs > 0);
	if (--b->refs == 0)
		rbuf_put(b);
}

bool rbuf_lend(struct rbuf *b)
{
	if (!b->lent) {
		if (!b->pool->may_lend)
			return false;
		b->pool->may_lend--;
	}
	b->lent++;
	rbuf_ref(b);
	return true;
}

void rbuf_return(struct rbuf *b)
{
	assert(b->lent > 0);
	if (--b->lent == 0)
		b->pool->may_lend++;
	rbuf_unref(b);
}
