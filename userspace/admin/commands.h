/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be asked over the control socket. A request is one JSON object, {"command": "deny", "args": ["10.0.0.0/8"]}; the answer is
 * one JSON object, {"error": "..."} if it was refused; some are followed by further lines. Main thread only. */
#ifndef XDERP_COMMANDS_H
#define XDERP_COMMANDS_H

#include "admin/control.h"

struct relay;

/* The handler of struct control_opts. ctx: the struct relay. */
void commands_handle(const char *line, size_t n, struct control_reply *ret, void *relay);

#endif
