/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef XDERP_MAPPINGS_H
#define XDERP_MAPPINGS_H

/* Unmap the pages of the program and its libraries that the start has touched: most of them (relocations, parsers, BPF loading) it
 * alone needs, and what is needed again comes back from the page cache. While there is one thread, which may read /proc. */
void mappings_release(void);

#endif
