/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may see debug pages and metrics. */
#ifndef XDERP_DEBUG_ACCESS_H
#define XDERP_DEBUG_ACCESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "admin/config.h"
#include "wire/http1.h"

/* What is known of who connects. */
enum source_kind {
	SOURCE_SOCKET,		/* the address of the socket */
	SOURCE_PROXIED,		/* what a proxy of --proxy-protocol-from says */
	SOURCE_PROXY,		/* such a proxy itself: who is behind it, if anybody is, it did not say */
};

/* Loopback, Tailscale addresses and what the settings allow, but never with X-Forwarded-For: then src is a
 * proxy. Of what a proxy says only the settings allow anything: it may have been told so by who is behind it. Or a GET with the
 * content of the debug key file as ?debugkey=, from anywhere. */
bool debug_access_allowed(const struct config *cfg, const struct http1_request *req, const struct sockaddr *src,
			  enum source_kind kind);

#endif
