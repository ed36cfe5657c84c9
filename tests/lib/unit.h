/* SPDX-License-Identifier: BSD-3-Clause */
/* cmocka and what it wants to see first. */
#ifndef XDERP_TESTS_UNIT_H
#define XDERP_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
