/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/keyscope.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define NO_SCOPE	(-1)

static __thread int scope = NO_SCOPE;

static void *take(size_t n, const char *file, int line)
{
	void *p = scope == NO_SCOPE ? NULL : keymem_alloc((enum keymem_pool)scope, n);

	(void)file;
	(void)line;
	return p ? p : malloc(n);
}

static void give_back(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	if (keymem_owns(p))
		keymem_free(p);
	else
		free(p);
}

static void *resize(void *p, size_t n, const char *file, int line)
{
	void *q;

	if (!keymem_owns(p))
		return p || scope == NO_SCOPE ? realloc(p, n) : take(n, file, line);
	if (!n) {
		keymem_free(p);
		return NULL;
	}
	if (n <= keymem_size(p))
		return p;
	/* It may hold a key, whoever wants more of it. */
	q = keymem_alloc(KEYMEM_WORK, n);
	if (!q)
		q = malloc(n);
	if (!q)
		return NULL;
	memcpy(q, p, keymem_size(p));
	keymem_free(p);
	return q;
}

void keyscope_init(void)
{
	CRYPTO_set_mem_functions(take, resize, give_back);
}

int keyscope_enter(enum keymem_pool pool)
{
	int outer = scope;

	scope = (int)pool;
	return outer;
}

void keyscope_leave(int outer)
{
	scope = outer;
}
