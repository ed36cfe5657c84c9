/* SPDX-License-Identifier: BSD-3-Clause */
/* The HTTP front door: which request gets which answer. Pure: a parsed request and its source in,
 * bytes of the answer out. docs/protocol.md section 3. */
#ifndef XDERP_FRONTDOOR_H
#define XDERP_FRONTDOOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "admin/config.h"
#include "base/textbuf.h"
#include "relay/debug_access.h"
#include "wire/http1.h"

enum frontdoor_page { PAGE_INDEX, PAGE_VARZ, PAGE_VARS, PAGE_CHECK, PAGE_TRAFFIC, PAGE_METRICS,
		       PAGE_STATUS, PAGE_STATUS_JSON, PAGE_READY };

struct bootstrap;

struct frontdoor_env {
	const struct config *cfg;
	bool main_port;			/* false: the plain port beside TLS */
	enum source_kind source;
	/* Renders a debug page into body; returns the status, 200 or 5xx. NULL: no pages. */
	int (*page)(enum frontdoor_page page, struct textbuf *body, void *ctx);
	void *ctx;
	struct bootstrap *bootstrap;
	time_t now;			/* for Date */
	bool may_stream;		/* one more /debug/traffic */
};

enum frontdoor_next {
	FRONTDOOR_KEEP,			/* answered; the next request may follow */
	FRONTDOOR_CLOSE,		/* answered; then close */
	FRONTDOOR_TRAFFIC,		/* the head is there; lines follow until either side closes */
	FRONTDOOR_DERP,			/* upgraded: DERP bytes follow, in both directions */
	FRONTDOOR_WEBSOCKET,		/* the same, in WebSocket messages */
};

struct frontdoor_result {
	enum frontdoor_next next;
	unsigned int status;		/* 101 for an upgrade, also when nothing is sent */
	bool fast_start;		/* no HTTP bytes were wanted */
	bool subprotocol;		/* FRONTDOOR_WEBSOCKET: derp was offered as one */
	bool not_ideal;			/* Ideal-Node was there */
	unsigned int bootstrap;		/* BOOTSTRAP_* that apply */
	bool challenge;			/* an http-01 challenge was asked for; status 200 or 404 */
	uint64_t discard;		/* request body bytes to skip before the next request */
	bool discard_chunked;		/* or a chunked body */
};

/* Appends the answer to out. */
void frontdoor_handle(struct frontdoor_result *ret, const struct frontdoor_env *env,
		      const struct http1_request *req, const struct sockaddr *src, struct textbuf *out);

/* The answer to a head that did not parse; then close. */
void frontdoor_bad_request(int status, struct textbuf *out);

/* What a plain HTTP request on the TLS port gets. */
extern const char frontdoor_http_on_tls[];

#endif
