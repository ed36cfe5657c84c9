/* SPDX-License-Identifier: BSD-3-Clause */
/* Networks as operators write them: "10.0.0.0/8, 2001:db8::/32, 192.0.2.7". Addresses are 16 bytes, IPv4 as
 * ::ffff:a.b.c.d. */
#ifndef XDERP_CIDR_H
#define XDERP_CIDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is ip in one of the networks? Items that are no network hold nothing. */
bool cidr_list_holds(const char *list, const uint8_t ip[static 16]);

/* The first item that is no network, its length in *n; NULL if there is none. Empty items are let pass. */
const char *cidr_list_bad(const char *list, size_t *n);

#endif
