/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/keymem.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/feature.h"
#include "base/poison.h"
#include "base/util.h"

#define CHUNK		(64U * 1024)
/* Address space costs nothing: half of it has room for the keys of 850,000 connections. Less where ulimit -v forbids. */
#define RANGE_MAX	(4ULL << 30)
#define RANGE_MIN	(16ULL << 20)

/* Multiples of 64. 1088 holds an expanded AES-GCM key, 192 the secrets of a connection. */
static const uint16_t sizes[] = { 64, 128, 192, 256, 512, 1088, 2048, 4096, KEYMEM_MAX };

#define CLASS_NR	(sizeof(sizes) / sizeof(*sizes))

/* One mapping: KEYMEM_KEYS grows from its beginning and KEYMEM_WORK from its end, so that the kernel has few areas to
 * keep although only one of them is locked. */
static struct {
	uint8_t *base;
	size_t chunks;
	size_t taken[KEYMEM_POOL_NR];		/* chunks; atomic */
	size_t unlocked;			/* chunks; atomic */
	struct tag {
		uint8_t pool, cls;
	} tags[RANGE_MAX / CHUNK];		/* of each chunk; pages of it that nobody touches don't exist */
} range;

static __thread struct {
	void *free;				/* linked through the first word */
	uint8_t *fresh;
	uint32_t nfresh;
} caches[KEYMEM_POOL_NR][CLASS_NR];

/* All the memory that may be locked without asking. */
static void raise_lock_limit(void)
{
	struct rlimit rl;

	if (!getrlimit(RLIMIT_MEMLOCK, &rl) && rl.rlim_cur != rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_MEMLOCK, &rl);
	}
}

static void reserve(void)
{
	size_t n;
	void *p = MAP_FAILED;

	for (n = RANGE_MAX; n >= RANGE_MIN && p == MAP_FAILED; n /= 4)
		p = mmap(NULL, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return;
	n *= 4;
	if (madvise(p, n, MADV_DONTDUMP) || madvise(p, n, MADV_WIPEONFORK)) {
		munmap(p, n);
		return;
	}
	raise_lock_limit();
	range.base = p;
	range.chunks = n / CHUNK;
	feature_set("key_memory", "locked", "keys of connections are neither swapped out nor in core dumps");
}

static void lock_chunk(void *p)
{
	if (!mlock(p, CHUNK))
		return;
	if (!__atomic_fetch_add(&range.unlocked, 1, __ATOMIC_RELAXED))
		feature_set("key_memory", "partly locked", "keys may be swapped out: %s; raise LimitMEMLOCK (ulimit -l)",
			    strerror(errno));
}

/* The next chunk for this pool, or NULL. */
static uint8_t *take_chunk(enum keymem_pool pool, unsigned int cls)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	size_t i;
	uint8_t *p;

	pthread_once(&once, reserve);
	i = __atomic_fetch_add(&range.taken[pool], 1, __ATOMIC_RELAXED);
	/* Each half is for one pool: they can't meet. */
	if (i >= range.chunks / 2) {
		__atomic_fetch_sub(&range.taken[pool], 1, __ATOMIC_RELAXED);
		return NULL;
	}
	if (pool == KEYMEM_WORK)
		i = range.chunks - 1 - i;
	p = range.base + i * CHUNK;
	if (mprotect(p, CHUNK, PROT_READ | PROT_WRITE))
		return NULL;
	if (pool == KEYMEM_KEYS)
		lock_chunk(p);
	range.tags[i] = (struct tag){ .pool = (uint8_t)pool, .cls = (uint8_t)cls };
	poison(p, CHUNK);
	return p;
}

static bool refill(enum keymem_pool pool, unsigned int cls)
{
	uint8_t *p = take_chunk(pool, cls);

	if (!p)
		return false;
	caches[pool][cls].fresh = p;
	caches[pool][cls].nfresh = CHUNK / sizes[cls];
	return true;
}

void *keymem_alloc(enum keymem_pool pool, size_t n)
{
	unsigned int cls = 0;
	void *p;

	while (cls < CLASS_NR && sizes[cls] < n)
		cls++;
	if (cls == CLASS_NR)
		return NULL;
	p = caches[pool][cls].free;
	if (p) {
		unpoison(p, sizes[cls]);
		caches[pool][cls].free = *(void **)p;
		*(void **)p = NULL;
		return p;
	}
	if (!caches[pool][cls].nfresh && !refill(pool, cls))
		return NULL;
	p = caches[pool][cls].fresh;
	caches[pool][cls].fresh += sizes[cls];
	caches[pool][cls].nfresh--;
	unpoison(p, sizes[cls]);
	return p;
}

static struct tag tag_of(const void *p)
{
	assert(keymem_owns(p));
	return range.tags[(size_t)((const uint8_t *)p - range.base) / CHUNK];
}

void keymem_free(void *p)
{
	struct tag t;

	if (!p)
		return;
	t = tag_of(p);
	explicit_bzero(p, sizes[t.cls]);
	*(void **)p = caches[t.pool][t.cls].free;
	caches[t.pool][t.cls].free = p;
	poison(p, sizes[t.cls]);
}

bool keymem_owns(const void *p)
{
	return range.base && (const uint8_t *)p >= range.base &&
	       (size_t)((const uint8_t *)p - range.base) < range.chunks * CHUNK;
}

size_t keymem_size(const void *p)
{
	return sizes[tag_of(p).cls];
}

void keymem_usage(struct keymem_usage *ret)
{
	uint64_t unlocked = __atomic_load_n(&range.unlocked, __ATOMIC_RELAXED);

	*ret = (struct keymem_usage){
		.locked = (__atomic_load_n(&range.taken[KEYMEM_KEYS], __ATOMIC_RELAXED) - unlocked) * CHUNK,
		.unlocked = unlocked * CHUNK,
		.work = __atomic_load_n(&range.taken[KEYMEM_WORK], __ATOMIC_RELAXED) * CHUNK,
	};
}
