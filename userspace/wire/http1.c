/* SPDX-License-Identifier: BSD-3-Clause */
/* The order of the checks is that of Go's server, so that a head with two faults gets its status.
 * Deliberately stricter: folded lines are refused (RFC 9112 section 5.2), the head is 64 KiB at most. */
#include "wire/http1.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

enum {
	TOKEN   = 1U << 0,	/* RFC 9110 section 5.6.2 */
	HOST    = 1U << 1,	/* name:port, RFC 3986 section 3.2 */
	BRACKET = 1U << 2,	/* around an IPv6 address */
	AT      = 1U << 3,
	DIGIT   = 1U << 4,
	HEX     = 1U << 5,
	ALPHA   = 1U << 6,
	SCHEME  = 1U << 7,	/* RFC 3986 section 3.1, behind the first letter */
};

static const uint8_t class[256] = {
	['0' ... '9'] = TOKEN | HOST | SCHEME | DIGIT | HEX,
	['A' ... 'F'] = TOKEN | HOST | SCHEME | ALPHA | HEX,
	['G' ... 'Z'] = TOKEN | HOST | SCHEME | ALPHA,
	['a' ... 'f'] = TOKEN | HOST | SCHEME | ALPHA | HEX,
	['g' ... 'z'] = TOKEN | HOST | SCHEME | ALPHA,
	['!'] = TOKEN | HOST, ['$'] = TOKEN | HOST, ['%'] = TOKEN | HOST, ['&'] = TOKEN | HOST,
	['\''] = TOKEN | HOST, ['*'] = TOKEN | HOST, ['_'] = TOKEN | HOST, ['~'] = TOKEN | HOST,
	['+'] = TOKEN | HOST | SCHEME, ['-'] = TOKEN | HOST | SCHEME, ['.'] = TOKEN | HOST | SCHEME,
	['#'] = TOKEN, ['^'] = TOKEN, ['`'] = TOKEN, ['|'] = TOKEN,
	['('] = HOST, [')'] = HOST, [','] = HOST, [':'] = HOST, [';'] = HOST, ['='] = HOST,
	['['] = BRACKET, [']'] = BRACKET, ['@'] = AT,
};

static bool all_of(struct view v, unsigned int classes)
{
	for (size_t i = 0; i < v.n; i++)
		if (!(class[v.p[i]] & classes))
			return false;
	return true;
}

static bool has_control(struct view v)
{
	for (size_t i = 0; i < v.n; i++)
		if ((v.p[i] < 0x20 && v.p[i] != '\t') || v.p[i] == 0x7f)
			return true;
	return false;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static struct view trim(struct view v)
{
	while (v.n && is_blank(v.p[0])) {
		v.p++;
		v.n--;
	}
	while (v.n && is_blank(v.p[v.n - 1]))
		v.n--;
	return v;
}

/* *head = *rest up to the first c, *rest = what follows it. False: no c, nothing changed. */
static bool cut(struct view *head, struct view *rest, char c)
{
	const uint8_t *p = memchr(rest->p, c, rest->n);
	size_t n;

	if (!p)
		return false;
	n = (size_t)(p - rest->p);
	*head = (struct view){ rest->p, n };
	*rest = (struct view){ p + 1, rest->n - n - 1 };
	return true;
}

/* Like cut, but c stays in *rest, and without c the whole becomes *head. */
static void split_before(struct view *head, struct view *rest, char c)
{
	const uint8_t *p = memchr(rest->p, c, rest->n);
	size_t n = p ? (size_t)(p - rest->p) : rest->n;

	*head = (struct view){ rest->p, n };
	*rest = (struct view){ rest->p + n, rest->n - n };
}

bool view_equal(struct view v, const char *s)
{
	return v.n == strlen(s) && memcmp(v.p, s, v.n) == 0;
}

bool view_equal_nocase(struct view v, const char *s)
{
	return v.n == strlen(s) && strncasecmp((const char *)v.p, s, v.n) == 0;
}

/* Length of the head including its empty line; 0 if that is not there yet. Lines end in LF or CR LF. */
static size_t find_end(const uint8_t *buf, size_t n, size_t *scanned)
{
	const uint8_t *p = buf + *scanned, *lf;

	while ((lf = memchr(p, '\n', (size_t)(buf + n - p)))) {
		const uint8_t *end = lf > buf && lf[-1] == '\r' ? lf - 1 : lf;

		p = lf + 1;
		if (end == buf || end[-1] == '\n')
			return (size_t)(p - buf);
	}
	*scanned = n;
	return 0;
}

static struct view next_line(struct view *rest)
{
	struct view line = *rest;	/* always overwritten: the head ends in LF */

	cut(&line, rest, '\n');
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	return line;
}

/* v begins with "["; what follows the "]" stays in *v. */
static bool cut_ip_literal(struct view *v)
{
	struct view ip;

	if (!cut(&ip, v, ']') || ip.n < sizeof("[::") - 1)
		return false;
	for (size_t i = 1; i < ip.n; i++)
		if (!(class[ip.p[i]] & HEX) && ip.p[i] != ':' && ip.p[i] != '.')
			return false;
	return !v->n || v->p[0] == ':';
}

/* [user@]host[:port] */
static bool parse_authority(struct view *host, struct view v)
{
	const uint8_t *at = memrchr(v.p, '@', v.n);
	struct view name;

	if (at) {
		struct view user = { v.p, (size_t)(at - v.p) };

		if (!all_of(user, HOST | AT))
			return false;
		v = (struct view){ at + 1, v.n - user.n - 1 };
	}
	*host = v;
	if (v.n && v.p[0] == '[') {
		if (!cut_ip_literal(&v))
			return false;
	} else {
		split_before(&name, &v, ':');
		if (!all_of(name, HOST))
			return false;
	}
	return !v.n || all_of((struct view){ v.p + 1, v.n - 1 }, DIGIT);
}

static bool percent_ok(struct view v)
{
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] == '%' && (i + 2 >= v.n || !(class[v.p[i + 1]] & HEX) ||
				      !(class[v.p[i + 2]] & HEX)))
			return false;
	return true;
}

/* scheme ":" what follows; false if it does not begin so. */
static bool cut_scheme(struct view *rest)
{
	struct view scheme;

	return cut(&scheme, rest, ':') && class[scheme.p[0]] & ALPHA && all_of(scheme, SCHEME);
}

/* RFC 9112 section 3.2: origin, absolute, authority and asterisk form. */
static bool parse_target(struct http1_request *r)
{
	struct view rest = r->target, authority;
	bool connect = view_equal(r->method, "CONNECT");
	bool origin = rest.n && rest.p[0] == '/';

	r->path = (struct view){ rest.p, 0 };
	r->query = (struct view){ rest.p + rest.n, 0 };
	r->host = (struct view){ rest.p, 0 };
	if (!rest.n || memchr(rest.p, '\t', rest.n) || has_control(rest))
		return false;
	if (view_equal(rest, "*"))
		return view_equal(r->method, "OPTIONS");
	if (!origin && !connect && !cut_scheme(&rest))
		return false;

	if (cut(&authority, &rest, '?')) {
		r->query = rest;
		rest = authority;
	}
	if (!origin && (connect || (rest.n >= 2 && !memcmp(rest.p, "//", 2)))) {
		rest = connect ? rest : (struct view){ rest.p + 2, rest.n - 2 };
		split_before(&authority, &rest, '/');
		if (!parse_authority(&r->host, authority))
			return false;
	} else if (rest.n && rest.p[0] != '/') {
		return true;		/* mailto:x: no path at all */
	}
	r->path = rest;
	return percent_ok(rest);
}

/* *major is judged by the caller, after the rest of the head. */
static bool parse_request_line(struct http1_request *r, struct view line, int *major)
{
	if (!cut(&r->method, &line, ' ') || !cut(&r->target, &line, ' '))
		return false;
	if (!r->method.n || !all_of(r->method, TOKEN))
		return false;
	if (line.n != 8 || memcmp(line.p, "HTTP/", 5) != 0 || line.p[6] != '.' ||
	    !(class[line.p[5]] & class[line.p[7]] & DIGIT))
		return false;
	*major = line.p[5] - '0';
	r->minor = line.p[7] - '0';
	return parse_target(r);
}

static int parse_headers(struct http1_request *r, struct view rest)
{
	struct view line, name;

	for (r->nheaders = 0; line = next_line(&rest), line.n; r->nheaders++) {
		if (!cut(&name, &line, ':') || !name.n || !all_of(name, TOKEN) || has_control(line))
			return -400;
		if (r->nheaders == HTTP1_MAX_HEADERS)
			return -431;
		r->headers[r->nheaders] = (struct http1_header){ name, trim(line) };
	}
	return 0;
}

/* Headers of that name from *i on; *i is left behind the one returned. */
static const struct view *next_header(const struct http1_request *r, unsigned int *i, const char *name)
{
	while (*i < r->nheaders) {
		const struct http1_header *h = &r->headers[(*i)++];

		if (view_equal_nocase(h->name, name))
			return &h->value;
	}
	return NULL;
}

struct view http1_header(const struct http1_request *r, const char *name)
{
	unsigned int i = 0;
	const struct view *v = next_header(r, &i, name);

	return v ? *v : (struct view){ NULL, 0 };
}

static bool list_has(struct view list, const char *token)
{
	struct view item;

	while (cut(&item, &list, ','))
		if (view_equal_nocase(trim(item), token))
			return true;
	return view_equal_nocase(trim(list), token);
}

bool http1_has_token(const struct http1_request *r, const char *name, const char *token)
{
	const struct view *v;
	unsigned int i = 0;

	while ((v = next_header(r, &i, name)))
		if (list_has(*v, token))
			return true;
	return false;
}

static bool parse_length(struct view v, int64_t *ret)
{
	int64_t n = 0;

	if (!v.n || !all_of(v, DIGIT))
		return false;
	for (size_t i = 0; i < v.n; i++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, v.p[i] - '0', &n))
			return false;
	*ret = n;
	return true;
}

/* RFC 9112 section 6: the one place where two readings of a head become request smuggling. */
static int parse_framing(struct http1_request *r, bool http11)
{
	unsigned int te = 0, cl = 0;
	const struct view *coding = next_header(r, &te, "Transfer-Encoding");
	const struct view *first = next_header(r, &cl, "Content-Length"), *more;

	coding = http11 ? coding : NULL;	/* HTTP/1.0 has no transfer codings */
	if (coding && (!view_equal_nocase(*coding, "chunked") ||
		       next_header(r, &te, "Transfer-Encoding")))
		return -501;

	r->content_length = 0;
	while (first && (more = next_header(r, &cl, "Content-Length")))
		if (more->n != first->n || memcmp(more->p, first->p, first->n) != 0)
			return -400;
	if (first && !parse_length(*first, &r->content_length))
		return -400;
	if (coding)
		r->content_length = -1;
	return 0;
}

static int check_host(struct http1_request *r, bool http11)
{
	struct view host = http1_header(r, "Host");

	if (!host.p && http11 && !view_equal(r->method, "CONNECT"))
		return -400;
	if (!all_of(host, HOST | BRACKET))
		return -400;
	if (!r->host.n && host.p)
		r->host = host;
	return 0;
}

static bool expects_the_impossible(const struct http1_request *r)
{
	struct view v = http1_header(r, "Expect");

	return v.n && !list_has(v, "100-continue");
}

static int check_meaning(struct http1_request *r, int major)
{
	bool http11 = major > 1 || (major == 1 && r->minor > 0);
	unsigned int i = 0;
	int err;

	if (next_header(r, &i, "Host") && next_header(r, &i, "Host"))
		return -400;
	err = parse_framing(r, http11);
	if (err)
		return err;
	if (major != 1)
		return -505;
	err = check_host(r, http11);
	if (err)
		return err;
	if (expects_the_impossible(r))
		return -417;

	r->keep_alive = !http1_has_token(r, "Connection", "close") &&
			(http11 || http1_has_token(r, "Connection", "keep-alive"));
	return 0;
}

int http1_parse(struct http1_request *ret, const uint8_t *buf, size_t n, size_t *scanned)
{
	struct view rest, line;
	int err, major;

	ret->head_len = find_end(buf, n, scanned);
	if (ret->head_len > HTTP1_MAX_HEAD || (!ret->head_len && n >= HTTP1_MAX_HEAD))
		return -431;
	if (!ret->head_len)
		return 0;

	rest = (struct view){ buf, ret->head_len };
	line = next_line(&rest);
	if (!parse_request_line(ret, line, &major))
		return -400;
	err = parse_headers(ret, rest);
	if (!err)
		err = check_meaning(ret, major);
	return err ? err : 1;
}

enum {
	CHUNK_SIZE, CHUNK_SIZE_MORE, CHUNK_EXT, CHUNK_DATA, CHUNK_END,
	TRAILER_START, TRAILER_LINE, TRAILER_END,
};

/* One byte outside chunk data. 1: the body is over. */
static int chunk_byte(struct http1_chunked *c, uint8_t b)
{
	int digit = hex_digit(b);

	switch (c->state) {
	case CHUNK_SIZE:
	case CHUNK_SIZE_MORE:
		if (digit >= 0) {
			c->left = 16 * c->left + (uint64_t)digit;
			c->state = CHUNK_SIZE_MORE;
			return c->left > HTTP1_MAX_SKIP ? -400 : 0;
		}
		if (c->state == CHUNK_SIZE || !memchr("\r\n; \t", b, 5))
			return -400;
		c->state = CHUNK_EXT;
		/* fallthrough */
	case CHUNK_EXT:
		if (b == '\n')
			c->state = c->left ? CHUNK_DATA : TRAILER_START;
		return 0;
	case CHUNK_END:
		if (b == '\n')
			c->state = CHUNK_SIZE;
		return b == '\r' || b == '\n' ? 0 : -400;
	case TRAILER_LINE:
		if (b == '\n')
			c->state = TRAILER_START;
		return 0;
	case TRAILER_START:
		if (b == '\n')
			return 1;
		c->state = b == '\r' ? TRAILER_END : TRAILER_LINE;
		return 0;
	default:
		return b == '\n' ? 1 : -400;
	}
}

int http1_skip_chunked(struct http1_chunked *c, const uint8_t *p, size_t n, size_t *used)
{
	size_t i = 0, k;
	int r;

	while (i < n) {
		if (c->state == CHUNK_DATA) {
			k = n - i < c->left ? n - i : (size_t)c->left;
			i += k;
			c->left -= k;
			c->total += k;
			if (!c->left)
				c->state = CHUNK_END;
			continue;
		}
		c->total++;
		r = c->total > HTTP1_MAX_SKIP ? -400 : chunk_byte(c, p[i++]);
		if (r) {
			*used = i;
			return r;
		}
	}
	*used = n;
	return 0;
}

/* --- responses, for the few things we ask others */

static int parse_status_line(struct http1_response *r, struct view line)
{
	if (line.n < 12 || memcmp(line.p, "HTTP/1.", 7) != 0 || line.p[8] != ' ' ||
	    !all_of((struct view){ line.p + 9, 3 }, DIGIT) || (line.n > 12 && line.p[12] != ' '))
		return -EPROTO;
	r->status = 100 * (line.p[9] - '0') + 10 * (line.p[10] - '0') + line.p[11] - '0';
	return 0;
}

/* RFC 9112 section 6.3: a coding wins over a length; neither means until the end. */
static int parse_response_header(struct http1_response *r, struct view line)
{
	struct view name;

	if (!cut(&name, &line, ':') || !name.n || !all_of(name, TOKEN))
		return -EPROTO;
	line = trim(line);
	if (view_equal_nocase(name, "Transfer-Encoding")) {
		r->chunked = true;
		return view_equal_nocase(line, "chunked") ? 0 : -EPROTO;
	}
	if (view_equal_nocase(name, "Content-Length") && !parse_length(line, &r->content_length))
		return -EPROTO;
	return 0;
}

int http1_parse_response(struct http1_response *ret, const uint8_t *buf, size_t n)
{
	struct view rest, line;
	size_t scanned = 0;
	int err;

	*ret = (struct http1_response){ .content_length = -1, .head_len = find_end(buf, n, &scanned) };
	if (!ret->head_len)
		return 0;
	rest = (struct view){ buf, ret->head_len };
	err = parse_status_line(ret, next_line(&rest));
	while (!err && (line = next_line(&rest)).n)
		err = parse_response_header(ret, line);
	return err ? err : 1;
}

/* A whole chunked body, known to be sound, moves together. */
static size_t join_chunks(uint8_t *p, size_t n)
{
	struct http1_chunked c = { 0 };
	size_t out = 0, k;

	for (size_t i = 0; i < n; ) {
		if (c.state != CHUNK_DATA) {
			chunk_byte(&c, p[i++]);
			continue;
		}
		k = (size_t)c.left;
		memmove(p + out, p + i, k);
		out += k;
		i += k;
		c.left = 0;
		c.state = CHUNK_END;
	}
	return out;
}

int http1_response_body(struct view *ret, const struct http1_response *r, uint8_t *buf, size_t n, bool ended)
{
	uint8_t *body = buf + r->head_len;
	size_t have = n - r->head_len, used;
	struct http1_chunked c = { 0 };
	int err;

	if (r->chunked) {
		err = http1_skip_chunked(&c, body, have, &used);
		if (err < 0 || (!err && ended))
			return -EPROTO;
		if (!err)
			return 0;
		have = join_chunks(body, used);
	} else if (r->content_length >= 0) {
		if (have < (uint64_t)r->content_length)
			return ended ? -EPROTO : 0;
		have = (size_t)r->content_length;
	} else if (!ended) {
		return 0;
	}
	*ret = (struct view){ body, have };
	return 1;
}
