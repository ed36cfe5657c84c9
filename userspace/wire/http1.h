/* SPDX-License-Identifier: BSD-3-Clause */
/* HTTP/1.x: request heads, as Go's net/http reads them where a client could tell. Pure: views into
 * the caller's buffer. RFC 9112; docs/protocol.md section 3. */
#ifndef XDERP_HTTP1_H
#define XDERP_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/util.h"

#define HTTP1_MAX_HEAD		(64U * 1024)	/* 431 beyond it */
#define HTTP1_MAX_HEADERS	128		/* 431 beyond it */

struct http1_header {
	struct view name, value;	/* value without surrounding white space */
};

struct http1_request {
	struct view method, target;	/* as sent */
	struct view path, query;	/* parts of target; path is percent-decoded by the router, not here */
	struct view host;		/* Host header, or the authority of an absolute target */
	int minor;			/* HTTP/1.minor */
	bool keep_alive;
	int64_t content_length;		/* 0 if none; -1 if chunked */
	size_t head_len;		/* bytes up to and including the empty line */
	struct http1_header headers[HTTP1_MAX_HEADERS];
	unsigned int nheaders;
};

/* Parse a request head at buf[0..n). Returns 1: *ret is filled; 0: need more bytes (never at n > HTTP1_MAX_HEAD);
 * or minus the HTTP status to answer before closing: -400, -417, -431, -501, -505. *scanned remembers how far the search
 * for the end of the head got, so that a trickled head costs linear time: 0 at first, then passed
 * back unchanged. */
int http1_parse(struct http1_request *ret, const uint8_t *buf, size_t n, size_t *scanned);

/* Skips a chunked body (RFC 9112 7.1), trailers included; state is zeroed at first. Returns 1: the body ended, *used of the
 * n bytes belonged to it; 0: all n did and more follow; -400: no such thing, or longer than HTTP1_MAX_SKIP. */
#define HTTP1_MAX_SKIP	(256U * 1024)
struct http1_chunked {
	uint8_t state;
	uint64_t left;		/* bytes of the chunk still to come, or its size so far */
	uint64_t total;
};
int http1_skip_chunked(struct http1_chunked *c, const uint8_t *p, size_t n, size_t *used);

/* First header of that name (any case), or an empty view with p == NULL. */
struct view http1_header(const struct http1_request *r, const char *name);

/* Does the comma-separated header hold this token (any case)? */
bool http1_has_token(const struct http1_request *r, const char *name, const char *token);

/* What another server answered. */
struct http1_response {
	int status;
	size_t head_len;
	bool chunked;
	int64_t content_length;		/* -1: until the end of the stream */
};

/* 1; 0: the head is not all there (the caller bounds n); -EPROTO: no HTTP/1.x response. */
int http1_parse_response(struct http1_response *ret, const uint8_t *buf, size_t n);
/* The body behind that head, chunks joined in place once they are all there; ended: the stream is over. 1: buf is not to be
 * parsed again; 0: more to come; -EPROTO. */
int http1_response_body(struct view *ret, const struct http1_response *r, uint8_t *buf, size_t n, bool ended);

bool view_equal(struct view v, const char *s);
bool view_equal_nocase(struct view v, const char *s);

#endif
