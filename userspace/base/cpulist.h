/* SPDX-License-Identifier: BSD-3-Clause */
/* Lists of processors as the kernel writes them: "0-3,8". */
#ifndef XDERP_CPULIST_H
#define XDERP_CPULIST_H

#include <stdint.h>

/* Into ret, in the order of the text. Returns how many there are; -EINVAL: no such list, or one is in it twice; -E2BIG: more
 * than max. */
int cpulist_parse(uint16_t *ret, unsigned int max, const char *text);

#endif
