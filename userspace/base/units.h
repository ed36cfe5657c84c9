/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers as people write them. */
#ifndef XDERP_UNITS_H
#define XDERP_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* Digits with at most one point among them, and nothing else that strtod would take: their number of bytes, 0 if
 * there is no digit. */
size_t units_decimal(double *ret, const char *v);

/* Bytes: 65536, 64KiB, 1.5M; all units are powers of 1024. -EINVAL, -ERANGE. */
int units_size(uint64_t *ret, const char *v);

#endif
