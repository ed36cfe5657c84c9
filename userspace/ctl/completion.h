/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef XDERP_COMPLETION_H
#define XDERP_COMPLETION_H

#include <stddef.h>
#include <stdio.h>

#include "admin/flags.h"

/* Completion for bash of a program: its commands (NULL: it has none), its flags, and the values of flags that have a choice. */
void completion_bash(const struct flag_table *t, const char *const *commands, size_t n, FILE *out);

#endif
