/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may see debug pages and metrics. */
#ifndef XDERP_DEBUG_ACCESS_H
#define XDERP_DEBUG_ACCESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "admin/config.h"
#include "wire/http1.h"

/* Loopback, Tailscale addresses and what the settings allow, but never with X-Forwarded-For: then src is a
 * proxy. Or a GET with the content of the debug key file as ?debugkey=, from anywhere. */
bool debug_access_allowed(const struct config *cfg, const struct http1_request *req, const struct sockaddr *src);

#endif
