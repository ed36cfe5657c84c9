/* SPDX-License-Identifier: BSD-3-Clause */
/* Where OpenSSL's memory comes from: while a thread is inside a scope, what it takes comes from base/keymem.h, so that its
 * copies of keys are in no core dump and wiped when they are freed. Buffers larger than KEYMEM_MAX hold none and don't. */
#ifndef XDERP_KEYSCOPE_H
#define XDERP_KEYSCOPE_H

#include "base/keymem.h"

/* Before any other call of OpenSSL, else without effect: OpenSSL then uses the heap as ever. */
void keyscope_init(void);

/* Returns what keyscope_leave() wants: scopes nest. This thread only. */
int keyscope_enter(enum keymem_pool pool);
void keyscope_leave(int outer);

#endif
