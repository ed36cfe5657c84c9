/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/frontdoor.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char csp[] =
	"Content-Security-Policy: default-src 'self'; frame-ancestors 'none'; form-action 'self'; "
	"base-uri 'self'; block-all-mixed-content; object-src 'none'";
static const char security[] =
	"Strict-Transport-Security: max-age=63072000; includeSubDomains\r\n"
	"X-Content-Type-Options: nosniff\r\n"
	"X-Frame-Options: DENY\r\n";

const char frontdoor_http_on_tls[] =
	"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/* One request under way. */
struct door {
	struct frontdoor_result *r;
	const struct frontdoor_env *env;
	const struct http1_request *req;
	const struct sockaddr *src;
	struct textbuf *out;
	struct view path;		/* percent-decoded */
};

static const char *reason(unsigned int status)
{
	static const struct { unsigned int status; const char *text; } reasons[] = {
		{ 200, "OK" }, { 204, "No Content" }, { 302, "Found" }, { 307, "Temporary Redirect" },
		{ 400, "Bad Request" }, { 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" },
		{ 417, "Expectation Failed" }, { 426, "Upgrade Required" },
		{ 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" },
		{ 501, "Not Implemented" }, { 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Unknown";
}

static bool is_method(const struct door *d, const char *m)
{
	return view_equal(d->req->method, m);
}

static bool is_get_or_head(const struct door *d)
{
	return is_method(d, "GET") || is_method(d, "HEAD");
}

static void put_date(struct door *d)
{
	char date[64];
	struct tm tm;

	gmtime_r(&d->env->now, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	textbuf_printf(d->out, "Date: %s\r\n", date);
}

#define NO_BODY	((size_t)-1)

/* Status line, the caller's own header lines, then those that Go's server adds, in its order. type: a
 * Content-Type that Go would have sniffed, and therefore puts last. */
static void respond(struct door *d, unsigned int status, const char *headers, const char *type, const void *body,
		    size_t n)
{
	bool http10 = d->req->minor == 0;

	d->r->status = status;
	textbuf_printf(d->out, "HTTP/1.%d %u %s\r\n%s", http10 ? 0 : 1, status, reason(status), headers);
	put_date(d);
	if (n != NO_BODY)
		textbuf_printf(d->out, "Content-Length: %zu\r\n", n);
	if (type)
		textbuf_printf(d->out, "Content-Type: %s\r\n", type);
	if (d->r->next == FRONTDOOR_CLOSE && !http10)
		textbuf_puts(d->out, "Connection: close\r\n");
	if (d->r->next == FRONTDOOR_KEEP && http10)
		textbuf_puts(d->out, "Connection: keep-alive\r\n");
	textbuf_puts(d->out, "\r\n");
	if (n != NO_BODY && !is_method(d, "HEAD"))
		textbuf_put(d->out, body, n);
}

static void plain_error(struct door *d, unsigned int status, const char *text)
{
	respond(d, status, "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n",
		NULL, text, strlen(text));
}

static void redirect(struct door *d, unsigned int status, const char *location)
{
	struct textbuf h = { 0 }, body = { 0 };
	bool page = is_get_or_head(d);

	if (page) {
		textbuf_puts(&h, "Content-Type: text/html; charset=utf-8\r\n");
		textbuf_puts(&body, "<a href=\"");
		for (const char *p = location; *p; p++) {
			if (*p == '&')
				textbuf_puts(&body, "&amp;");
			else if (*p == '"')
				textbuf_puts(&body, "&#34;");
			else if (*p == '<')
				textbuf_puts(&body, "&lt;");
			else if (*p == '>')
				textbuf_puts(&body, "&gt;");
			else
				textbuf_put(&body, p, 1);
		}
		textbuf_printf(&body, "\">%s</a>.\n\n", reason(status));
	}
	textbuf_printf(&h, "Location: %s\r\n", location);
	/* Go writes the link for GET only, and says the length of nothing for HEAD. */
	respond(d, status, h.p ? h.p : "", NULL, body.p ? body.p : "",
		is_method(d, "HEAD") ? NO_BODY : body.len);
	textbuf_done(&h);
	textbuf_done(&body);
}

/* --- who may see debug pages */

static bool in_prefix(const uint8_t *a, const uint8_t *net, unsigned int bits)
{
	unsigned int bytes = bits / 8, rest = bits % 8;

	if (memcmp(a, net, bytes))
		return false;
	return !rest || (a[bytes] ^ net[bytes]) >> (8 - rest) == 0;
}

/* IPv4 as ::ffff:a.b.c.d; "" and garbage never match. */
static bool text_to_16(uint8_t ip[static 16], const char *text, bool *v4)
{
	struct in_addr a;

	*v4 = inet_pton(AF_INET, text, &a) == 1;
	if (!*v4)
		return inet_pton(AF_INET6, text, ip) == 1;
	memset(ip, 0, 10);
	ip[10] = ip[11] = 0xff;
	memcpy(ip + 12, &a, 4);
	return true;
}

static bool in_cidrs(const uint8_t ip[static 16], const char *list)
{
	char item[80], *slash;
	uint8_t net[16];
	unsigned long bits;
	bool v4;
	size_t n;

	for (; *list; list += n + (list[n] == ',')) {
		n = strcspn(list, ",");
		if (n >= sizeof(item))
			continue;
		memcpy(item, list, n);
		item[n] = '\0';
		slash = strchr(item, '/');
		if (slash)
			*slash = '\0';
		if (!text_to_16(net, item + strspn(item, " "), &v4))
			continue;
		bits = slash ? strtoul(slash + 1, NULL, 10) : v4 ? 32 : 128;
		if (v4)
			bits += 96;
		if (bits <= 128 && in_prefix(ip, net, (unsigned int)bits))
			return true;
	}
	return false;
}

static bool source_to_16(uint8_t ip[static 16], const struct sockaddr *src)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (src->sa_family == AF_INET6) {
		memcpy(ip, &((const struct sockaddr_in6 *)src)->sin6_addr, 16);
		return true;
	}
	memcpy(ip, mapped, 12);
	memcpy(ip + 12, &((const struct sockaddr_in *)src)->sin_addr, 4);
	return src->sa_family == AF_INET;
}

bool frontdoor_debug_allowed(const struct config *cfg, const struct http1_request *req,
			     const struct sockaddr *src)
{
	static const char local[] = "127.0.0.0/8,::1/128,100.64.0.0/10,fd7a:115c:a1e0::/48";
	static const char not_ours[] = "100.115.92.0/23";	/* ChromeOS containers use it */
	uint8_t ip[16];

	if (http1_header(req, "X-Forwarded-For").p || !source_to_16(ip, src))
		return false;
	return (in_cidrs(ip, local) && !in_cidrs(ip, not_ours)) || in_cidrs(ip, cfg->allow_debug_ip) ||
	       in_cidrs(ip, cfg->trusted_cidrs);
}

/* ?debugkey=, compared with the trimmed content of the file the environment names. */
static bool debug_key_matches(const struct door *d)
{
	static const char name[] = "debugkey=";
	char want[256];
	struct view q = d->req->query;
	ssize_t n;
	size_t len;
	int fd;

	if (!*d->env->cfg->debug_key_path || !is_method(d, "GET"))
		return false;
	while (q.n >= sizeof(name) - 1 && memcmp(q.p, name, sizeof(name) - 1)) {
		const uint8_t *amp = memchr(q.p, '&', q.n);

		if (!amp)
			return false;
		q.n -= (size_t)(amp + 1 - q.p);
		q.p = amp + 1;
	}
	if (q.n < sizeof(name) - 1)
		return false;
	q.p += sizeof(name) - 1;
	q.n -= sizeof(name) - 1;
	len = 0;
	while (len < q.n && q.p[len] != '&')
		len++;
	fd = open(d->env->cfg->debug_key_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, want, sizeof(want));
	close(fd);
	while (n > 0 && strchr(" \t\r\n", want[n - 1]))
		n--;
	return n > 0 && (size_t)n == len && sodium_memcmp(want, q.p, len) == 0;
}

/* --- routes */

static void derp(struct door *d)
{
	const struct config *cfg = d->env->cfg;
	struct view upgrade = http1_header(d->req, "Upgrade");
	char hex[KEY_HEX_LEN + 1];

	if (!cfg->derp) {
		plain_error(d, 404, "derp server disabled\n");
		return;
	}
	if (!view_equal_nocase(upgrade, "derp") && !view_equal_nocase(upgrade, "websocket")) {
		plain_error(d, 426, "DERP requires connection upgrade\n");
		return;
	}
	if (view_equal_nocase(upgrade, "websocket") && http1_has_token(d->req, "Sec-WebSocket-Protocol", "derp")) {
		plain_error(d, 501, "DERP over WebSocket is not supported by this relay yet\n");
		return;
	}
	d->r->next = FRONTDOOR_DERP;
	d->r->status = 101;
	d->r->fast_start = view_equal(http1_header(d->req, "Derp-Fast-Start"), "1");
	d->r->not_ideal = http1_header(d->req, "Ideal-Node").n > 0;
	if (d->r->fast_start)
		return;
	key_to_hex(hex, &cfg->public_key);
	textbuf_printf(d->out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n"
		       "Derp-Version: %d\r\nDerp-Public-Key: %s\r\n\r\n", 2, hex);
}

static void probe(struct door *d)
{
	if (is_get_or_head(d))
		respond(d, 200, "Access-Control-Allow-Origin: *\r\n", NULL, "", is_method(d, "HEAD") ? NO_BODY : 0);
	else
		plain_error(d, 405, "bogus probe method\n");
}

static bool challenge_ok(struct view v)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";

	for (size_t i = 0; i < v.n; i++)
		if (!v.p[i] || !strchr(allowed, v.p[i]))
			return false;
	return v.n > 0 && v.n <= 64;
}

static void generate_204(struct door *d)
{
	struct view c = http1_header(d->req, "X-Tailscale-Challenge");
	struct textbuf h = { 0 };

	textbuf_puts(&h, "Cache-Control: no-cache, no-store, must-revalidate, no-transform, max-age=0\r\n");
	if (c.p && challenge_ok(c))
		textbuf_printf(&h, "X-Tailscale-Response: response %.*s\r\n", (int)c.n, (const char *)c.p);
	respond(d, 204, h.p ? h.p : "", NULL, NULL, NO_BODY);
	textbuf_done(&h);
}

/* Without published names derper answers with nothing, too. */
static void bootstrap_dns(struct door *d)
{
	char h[1024];

	snprintf(h, sizeof(h), "%s%s\r\nContent-Type: application/json\r\n%s",
		 d->req->minor ? "Connection: close\r\n" : "", csp, security);
	d->r->next = d->req->minor ? FRONTDOOR_KEEP : FRONTDOOR_CLOSE;	/* the header is there already */
	respond(d, 200, h, NULL, "", 0);
	d->r->next = FRONTDOOR_CLOSE;
}

static void robots(struct door *d)
{
	static const char body[] = "User-agent: *\nDisallow: /\n";
	char h[1024];

	snprintf(h, sizeof(h), "%s\r\n%s", csp, security);
	respond(d, 200, h, "text/plain; charset=utf-8", body, sizeof(body) - 1);
}

static void home_page(struct door *d, struct textbuf *b)
{
	textbuf_puts(b,
		"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>DERP relay</title></head><body>\n"
		"<h1>DERP</h1>\n"
		"<p>This is a DERP server for <a href=\"https://tailscale.com/\">Tailscale</a> and Headscale networks,\n"
		"run by xderp. It offers STUN and relays encrypted packets between devices that can't reach\n"
		"each other directly. It can't read them.</p>\n"
		"<p>Read on: <a href=\"https://tailscale.com/kb/1232/derp-servers\">what DERP servers are</a>,\n"
		"<a href=\"https://pkg.go.dev/tailscale.com/derp\">the protocol</a>.</p>\n");
	if (!d->env->cfg->derp)
		textbuf_puts(b, "<p>Status: <b>disabled</b></p>\n");
	if (frontdoor_debug_allowed(d->env->cfg, d->req, d->src))
		textbuf_puts(b, "<p>Debug info at <a href='/debug/'>/debug/</a>.</p>\n");
	textbuf_puts(b, "</body></html>\n");
}

static void home(struct door *d)
{
	const char *home_setting = d->env->cfg->home;
	struct textbuf body = { 0 };
	char h[1024];

	if (*home_setting && strcmp(home_setting, "blank")) {
		redirect(d, 302, home_setting);
		return;
	}
	if (!*home_setting)
		home_page(d, &body);
	snprintf(h, sizeof(h), "%s\r\nContent-Type: text/html; charset=utf-8\r\n%s", csp, security);
	respond(d, 200, h, NULL, body.p ? body.p : "", body.len);
	textbuf_done(&body);
}

static const struct debug_page {
	const char *path, *type;
	enum frontdoor_page page;
} debug_pages[] = {
	{ "/debug/", "text/html; charset=utf-8", PAGE_INDEX },
	{ "/debug/varz", "text/plain; version=0.0.4; charset=utf-8", PAGE_VARZ },
	{ "/debug/vars", "application/json; charset=utf-8", PAGE_VARS },
	{ "/debug/check", "text/plain; charset=utf-8", PAGE_CHECK },
	{ "/debug/traffic", "application/json; charset=utf-8", PAGE_TRAFFIC },
	{ "/metrics", "text/plain; version=0.0.4; charset=utf-8", PAGE_METRICS },
};

static void debug_page(struct door *d, const struct debug_page *p)
{
	struct textbuf body = { 0 };
	char h[1024];
	int status = d->env->page(p->page, &body, d->env->ctx);

	snprintf(h, sizeof(h), "%s; style-src 'self' 'unsafe-inline'\r\n%s", csp, security);
	if (body.failed)
		plain_error(d, 500, "page too large\n");
	else
		respond(d, (unsigned int)status, h, p->type, body.p ? body.p : "", body.len);
	textbuf_done(&body);
}

static void debug(struct door *d)
{
	if (view_equal(d->path, "/debug")) {
		redirect(d, 307, "/debug/");
		return;
	}
	if (!debug_key_matches(d) && !frontdoor_debug_allowed(d->env->cfg, d->req, d->src)) {
		plain_error(d, 403, d->env->cfg->dev ?
			    "debug access denied; set TS_ALLOW_DEBUG_IP to the address you come from\n" :
			    "debug access denied\n");
		return;
	}
	for (size_t i = 0; d->env->page && i < ARRAY_SIZE(debug_pages); i++) {
		if (view_equal(d->path, debug_pages[i].path)) {
			debug_page(d, &debug_pages[i]);
			return;
		}
	}
	plain_error(d, 404, "404 page not found\n");
}

static bool starts_with(struct view v, const char *s)
{
	return v.n >= strlen(s) && !memcmp(v.p, s, strlen(s));
}

static void to_https(struct door *d)
{
	struct textbuf url = { 0 };

	if (!is_get_or_head(d)) {
		plain_error(d, 400, "Use HTTPS\n");
		return;
	}
	textbuf_printf(&url, "https://%.*s%.*s", (int)d->req->host.n, (const char *)d->req->host.p,
		       (int)d->req->path.n, (const char *)d->req->path.p);
	if (d->req->query.n)
		textbuf_printf(&url, "?%.*s", (int)d->req->query.n, (const char *)d->req->query.p);
	redirect(d, 302, url.p ? url.p : "/");
	textbuf_done(&url);
}

/* path.Clean of Go, with a trailing slash kept: false if the path is clean already. */
static bool clean_path(struct view path, struct textbuf *out)
{
	size_t i = 0, seg;

	while (i < path.n) {
		while (i < path.n && path.p[i] == '/')
			i++;
		for (seg = i; i < path.n && path.p[i] != '/'; )
			i++;
		if (i == seg || (i - seg == 1 && path.p[seg] == '.'))
			continue;
		if (i - seg == 2 && !memcmp(path.p + seg, "..", 2)) {
			while (out->len && out->p[--out->len] != '/')
				;
			continue;
		}
		textbuf_puts(out, "/");
		textbuf_put(out, path.p + seg, i - seg);
	}
	if (!out->len || (path.n && path.p[path.n - 1] == '/'))
		textbuf_puts(out, "/");
	return out->len != path.n || memcmp(out->p, path.p, path.n);
}

static bool redirect_unclean(struct door *d)
{
	struct textbuf clean = { 0 };
	bool unclean = clean_path(d->path, &clean);

	/* What was percent-encoded may be anything: no header is made of it. */
	for (size_t i = 0; unclean && i < clean.len; i++)
		if ((uint8_t)clean.p[i] <= ' ' || (uint8_t)clean.p[i] >= 0x7f || clean.p[i] == '%')
			unclean = false;
	if (unclean) {
		clean.p[clean.len] = '\0';
		if (d->req->query.n)
			textbuf_printf(&clean, "?%.*s", (int)d->req->query.n, (const char *)d->req->query.p);
		redirect(d, 307, clean.p);
	}
	textbuf_done(&clean);
	return unclean;
}

static const struct route {
	const char *path;
	void (*answer)(struct door *d);
} routes[] = {
	{ "/derp", derp },
	{ "/derp/probe", probe },
	{ "/derp/latency-check", probe },
	{ "/generate_204", generate_204 },
	{ "/bootstrap-dns", bootstrap_dns },
	{ "/robots.txt", robots },
};

static void route(struct door *d)
{
	struct view path = d->path;

	if (is_method(d, "CONNECT")) {
		if (d->env->main_port && d->env->cfg->tls)
			plain_error(d, 403, "CONNECT not enabled\n");
		else
			plain_error(d, 404, "404 page not found\n");
		return;
	}
	if (view_equal(d->req->target, "*")) {
		respond(d, 200, "", NULL, "", 0);
		return;
	}
	if (redirect_unclean(d))
		return;
	if (view_equal(path, "/debug") || starts_with(path, "/debug/") || view_equal(path, "/metrics")) {
		debug(d);
		return;
	}
	if (!d->env->main_port) {
		if (view_equal(path, "/generate_204"))
			generate_204(d);
		else
			to_https(d);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		if (view_equal(path, routes[i].path)) {
			routes[i].answer(d);
			return;
		}
	}
	home(d);
}

static int hex_value(uint8_t b)
{
	return b >= '0' && b <= '9' ? b - '0' : b >= 'a' && b <= 'f' ? b - 'a' + 10 :
	       b >= 'A' && b <= 'F' ? b - 'A' + 10 : -1;
}

/* Routes are compared after percent-decoding. */
static bool decode_path(struct door *d, uint8_t *buf, size_t cap)
{
	struct view in = d->req->path;
	size_t n = 0;

	d->path = in;
	if (!in.n || !memchr(in.p, '%', in.n))
		return true;
	for (size_t i = 0; i < in.n && n < cap; i++) {
		if (in.p[i] != '%') {
			buf[n++] = in.p[i];
			continue;
		}
		if (i + 2 >= in.n || hex_value(in.p[i + 1]) < 0 || hex_value(in.p[i + 2]) < 0)
			return false;
		buf[n++] = (uint8_t)(hex_value(in.p[i + 1]) << 4 | hex_value(in.p[i + 2]));
		i += 2;
	}
	d->path = (struct view){ buf, n };
	return true;
}

void frontdoor_handle(struct frontdoor_result *ret, const struct frontdoor_env *env,
		      const struct http1_request *req, const struct sockaddr *src, struct textbuf *out)
{
	struct door d = { .r = ret, .env = env, .req = req, .src = src, .out = out };
	uint8_t path[HTTP1_MAX_HEAD];

	*ret = (struct frontdoor_result){ .next = req->keep_alive ? FRONTDOOR_KEEP : FRONTDOOR_CLOSE };
	if (req->content_length > (int64_t)HTTP1_MAX_SKIP)
		ret->next = FRONTDOOR_CLOSE;
	else if (req->content_length < 0)
		ret->discard_chunked = true;
	else
		ret->discard = (uint64_t)req->content_length;
	if (!decode_path(&d, path, sizeof(path))) {
		ret->next = FRONTDOOR_CLOSE;
		plain_error(&d, 400, "400 Bad Request");
		return;
	}
	route(&d);
}

void frontdoor_bad_request(int status, struct textbuf *out)
{
	const char *text = reason((unsigned int)status);

	textbuf_printf(out, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n%d %s",
		       status, text, status, text);
}
