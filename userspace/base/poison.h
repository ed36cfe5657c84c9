/* SPDX-License-Identifier: BSD-3-Clause */
/* AddressSanitizer's manual poisoning for our own pools; nothing in other builds. */
#ifndef XDERP_POISON_H
#define XDERP_POISON_H

#if defined(__SANITIZE_ADDRESS__)
#define POISON_ON	1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON_ON	1
#endif
#endif

#ifdef POISON_ON
#include <sanitizer/asan_interface.h>
#define poison(p, n)	__asan_poison_memory_region(p, n)
#define unpoison(p, n)	__asan_unpoison_memory_region(p, n)
/* For a function that reads the pool's own links inside poisoned memory. */
#define NO_POISON	__attribute__((no_sanitize("address"), noinline))
#else
#define poison(p, n)	((void)(p), (void)(n))
#define unpoison(p, n)	((void)(p), (void)(n))
#define NO_POISON
#endif

#endif
