/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/frontdoor.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "derp_proto.h"
#include "net/digest.h"
#include "net/listen.h"
#include "relay/bootstrap.h"
#include "relay/challenge.h"
#include "status_page.h"	/* made from userspace/admin/status.html */
#include "wire/form.h"
#include "wire/urlpath.h"

#define CSP \
	"Content-Security-Policy: default-src 'self'; frame-ancestors 'none'; form-action 'self'; " \
	"base-uri 'self'; block-all-mixed-content; object-src 'none'"
#define SECURITY \
	"Strict-Transport-Security: max-age=63072000; includeSubDomains\r\n" \
	"X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n"
#define TEXT	"text/plain; charset=utf-8"
#define HTML	"text/html; charset=utf-8"
/* Debug pages may style themselves. */
#define DEBUG_CSP	CSP "; style-src 'self' 'unsafe-inline'\r\n"
/* The status page is one file; only its own script and style, by their hashes, and its own requests. */
#define STATUS_CSP \
	"Content-Security-Policy: default-src 'none'; script-src '" STATUS_SCRIPT_HASH "'; style-src '" STATUS_STYLE_HASH "'; " \
	"connect-src 'self'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'\r\n" \
	"Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n"

const char frontdoor_http_on_tls[] =
	"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/* One request under way. */
struct door {
	struct frontdoor_result *r;
	const struct frontdoor_env *env;
	const struct http1_request *req;
	const struct sockaddr *src;
	struct textbuf *out;
	struct view path;		/* percent-decoded, but for encoded slashes: those match no route */
};

static const char *reason(unsigned int status)
{
	static const struct { unsigned int status; const char *text; } reasons[] = {
		{ 200, "OK" }, { 204, "No Content" }, { 302, "Found" }, { 307, "Temporary Redirect" },
		{ 400, "Bad Request" }, { 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" },
		{ 417, "Expectation Failed" }, { 426, "Upgrade Required" },
		{ 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" },
		{ 501, "Not Implemented" }, { 503, "Service Unavailable" }, { 505, "HTTP Version Not Supported" },
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
	bool http10 = d->req->minor == 0, head = is_method(d, "HEAD");
	bool said = !strncmp(headers, "Connection:", 11);

	if (head && !n)
		n = NO_BODY;	/* Go can't tell it from a handler that looked at the method */
	d->r->status = status;
	textbuf_printf(d->out, "HTTP/1.%d %u %s\r\n%s", http10 ? 0 : 1, status, reason(status), headers);
	put_date(d);
	if (n != NO_BODY)
		textbuf_printf(d->out, "Content-Length: %zu\r\n", n);
	if (type && n != NO_BODY)
		textbuf_printf(d->out, "Content-Type: %s\r\n", type);
	if (d->r->next == FRONTDOOR_CLOSE && !http10 && !said)
		textbuf_puts(d->out, "Connection: close\r\n");
	if (d->r->next == FRONTDOOR_KEEP && http10)
		textbuf_puts(d->out, "Connection: keep-alive\r\n");
	textbuf_puts(d->out, "\r\n");
	if (n != NO_BODY && !head)
		textbuf_put(d->out, body, n);
}

static void plain_error(struct door *d, unsigned int status, const char *text)
{
	respond(d, status, "Content-Type: " TEXT "\r\nX-Content-Type-Options: nosniff\r\n", NULL, text, strlen(text));
}

/* What a failed allocation left unsaid must not be sent. */
static bool give_up(struct door *d, const struct textbuf *b)
{
	if (b->failed)
		d->out->failed = true;
	return b->failed;
}

static void put_link(struct textbuf *b, const char *location, const char *text)
{
	textbuf_puts(b, "<a href=\"");
	for (const char *p = location; *p; p++) {
		static const char special[] = "&<>\"'";
		static const char *const escaped[] = { "&amp;", "&lt;", "&gt;", "&#34;", "&#39;" };
		const char *s = strchr(special, *p);

		if (s)
			textbuf_puts(b, escaped[s - special]);
		else
			textbuf_put(b, p, 1);
	}
	textbuf_printf(b, "\">%s</a>.\n\n", text);
}

/* location must hold no control characters. secure: with the security headers, in their alphabetical places. */
static void redirect(struct door *d, unsigned int status, const char *location, bool secure)
{
	struct textbuf h = { 0 }, body = { 0 };

	if (secure)
		textbuf_puts(&h, CSP "\r\n");
	if (is_get_or_head(d))
		textbuf_puts(&h, "Content-Type: " HTML "\r\n");
	textbuf_puts(&h, "Location: ");
	for (const char *p = location; *p; p++) {
		if ((uint8_t)*p < 0x80)
			textbuf_put(&h, p, 1);
		else
			textbuf_printf(&h, "%%%02x", (uint8_t)*p);
	}
	textbuf_puts(&h, secure ? "\r\n" SECURITY : "\r\n");
	if (is_method(d, "GET"))
		put_link(&body, location, reason(status));
	if (!give_up(d, &h) && !give_up(d, &body))
		respond(d, status, h.p, NULL, body.p ? body.p : "", body.len);
	textbuf_done(&h);
	textbuf_done(&body);
}

/* --- DERP over WebSocket, RFC 6455 section 4.2; statuses and headers as derper's library has them */

static bool websocket_key_ok(struct view k)
{
	uint8_t raw[16];
	size_t n;

	return k.n == 24 && !sodium_base642bin(raw, sizeof(raw), (const char *)k.p, k.n, NULL, &n, NULL,
					       sodium_base64_VARIANT_ORIGINAL) && n == sizeof(raw);
}

static bool accept_key(char *ret, size_t size, struct view k)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	uint8_t digest[SHA1_LEN];
	char text[24 + sizeof(guid)];
	int n = snprintf(text, sizeof(text), "%.24s%s", (const char *)k.p, guid);

	return !digest_sha1(digest, text, (size_t)n) &&
	       sodium_bin2base64(ret, size, digest, sizeof(digest), sodium_base64_VARIANT_ORIGINAL);
}

/* front, middle: header lines before Content-Type and behind it. */
static void websocket_refuse(struct door *d, unsigned int status, const char *front, const char *middle, const char *text)
{
	char headers[256];

	snprintf(headers, sizeof(headers), "%sContent-Type: " TEXT "\r\n%sX-Content-Type-Options: nosniff\r\n", front, middle);
	respond(d, status, headers, NULL, text, strlen(text));
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

/* The first item of a list that is derp, as the client wrote it; empty if none is. */
static struct view derp_item(struct view list)
{
	struct view item;

	for (size_t i = 0, end; i < list.n; i = end + 1) {
		for (end = i; end < list.n && list.p[end] != ','; )
			end++;
		item = (struct view){ list.p + i, end - i };
		for (; item.n && is_blank(*item.p); item.n--)
			item.p++;
		while (item.n && is_blank(item.p[item.n - 1]))
			item.n--;
		if (view_equal_nocase(item, "derp"))
			return item;
	}
	return (struct view){ 0 };
}

static void websocket_upgrade(struct door *d, struct view key, struct view sub)
{
	struct view item = derp_item(sub);
	char accept[32];

	if (!accept_key(accept, sizeof(accept), key)) {
		d->out->failed = true;
		return;
	}
	d->r->next = FRONTDOOR_WEBSOCKET;
	d->r->status = 101;
	d->r->subprotocol = item.n > 0;
	textbuf_printf(d->out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-Websocket-Accept: %s\r\n", accept);
	if (item.n)
		textbuf_printf(d->out, "Sec-Websocket-Protocol: %.*s\r\n", (int)item.n, (const char *)item.p);
	textbuf_puts(d->out, "Upgrade: websocket\r\n");
	put_date(d);
	textbuf_puts(d->out, "\r\n");
}

/* Compression and other extensions are refused by saying nothing about them. */
static void websocket(struct door *d, struct view sub)
{
	struct view key = http1_header(d->req, "Sec-WebSocket-Key");

	if (!d->req->minor)
		websocket_refuse(d, 426, "", "", "WebSocket needs HTTP/1.1\n");
	else if (!http1_has_token(d->req, "Connection", "Upgrade"))
		websocket_refuse(d, 426, "Connection: Upgrade\r\n", "Upgrade: websocket\r\n", "WebSocket needs Connection: Upgrade\n");
	else if (!is_method(d, "GET"))
		websocket_refuse(d, 405, "", "", "WebSocket needs GET\n");
	else if (!view_equal(http1_header(d->req, "Sec-WebSocket-Version"), "13"))
		websocket_refuse(d, 400, "", "Sec-Websocket-Version: 13\r\n", "WebSocket version 13 only\n");
	else if (!websocket_key_ok(key))
		websocket_refuse(d, 400, "", "", "WebSocket needs a Sec-WebSocket-Key of 16 bytes in base64\n");
	else
		websocket_upgrade(d, key, sub);
}

/* --- routes */

static void derp(struct door *d)
{
	const struct config *cfg = d->env->cfg;
	struct view upgrade = http1_header(d->req, "Upgrade");
	struct view sub = http1_header(d->req, "Sec-WebSocket-Protocol");
	char hex[KEY_HEX_LEN + 1];

	if (!cfg->derp) {
		plain_error(d, 404, "derp server disabled\n");
		return;
	}
	if (!view_equal_nocase(upgrade, "derp") && !view_equal_nocase(upgrade, "websocket")) {
		plain_error(d, 426, "DERP requires connection upgrade\n");
		return;
	}
	/* Old clients say websocket and mean plain DERP; those that mean it name a subprotocol. */
	if (view_equal_nocase(upgrade, "websocket") && sub.n && memmem(sub.p, sub.n, "derp", 4)) {
		websocket(d, sub);
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
		       "Derp-Version: %d\r\nDerp-Public-Key: %s\r\n\r\n", DERP_VERSION, hex);
}

static void probe(struct door *d)
{
	if (is_get_or_head(d))
		respond(d, 200, "Access-Control-Allow-Origin: *\r\n", NULL, "", 0);
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
	if (!give_up(d, &h))
		respond(d, 204, h.p, NULL, NULL, NO_BODY);
	textbuf_done(&h);
}

/* Closes because nobody asks twice. */
static void bootstrap_dns(struct door *d)
{
	uint8_t name[FORM_MAX], ip[16];
	struct textbuf body = { 0 };
	uint16_t port;

	sockaddr_to_16(ip, &port, d->src);
	d->r->bootstrap = bootstrap_answer(d->env->bootstrap, (struct view){ name, form_value(name, d->req->query, "q") }, ip, &body);
	d->r->next = FRONTDOOR_CLOSE;
	if (!give_up(d, &body))
		respond(d, 200, "Connection: close\r\n" CSP "\r\nContent-Type: application/json\r\n" SECURITY, NULL,
			body.p ? body.p : "", body.len);
	textbuf_done(&body);
}

static void robots(struct door *d)
{
	static const char body[] = "User-agent: *\nDisallow: /\n";

	respond(d, 200, CSP "\r\n" SECURITY, TEXT, body, sizeof(body) - 1);
}

static bool may_debug(const struct door *d)
{
	return debug_access_allowed(d->env->cfg, d->req, d->src, d->env->source);
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
	if (may_debug(d))
		textbuf_puts(b, "<p>Debug info at <a href='/debug/'>/debug/</a>.</p>\n");
	textbuf_puts(b, "</body></html>\n");
}

static void home(struct door *d)
{
	const char *setting = d->env->cfg->home;
	struct textbuf body = { 0 };

	if (*setting && strcmp(setting, "blank")) {
		redirect(d, 302, setting, true);
		return;
	}
	if (!*setting)
		home_page(d, &body);
	if (!give_up(d, &body))
		respond(d, 200, CSP "\r\nContent-Type: " HTML "\r\n" SECURITY, NULL, body.p ? body.p : "", body.len);
	textbuf_done(&body);
}

/* --- debug pages */

#define EXPOSITION	"text/plain; version=0.0.4; charset=utf-8"

static const struct debug_page {
	const char *path;
	enum frontdoor_page page;
	const char *headers, *type;	/* as respond() takes them */
} debug_pages[] = {
	{ "/debug/",        PAGE_INDEX,   CSP "\r\n" SECURITY, HTML },
	{ "/debug/varz",    PAGE_VARZ,    DEBUG_CSP "Content-Type: " EXPOSITION "\r\n" SECURITY, NULL },
	{ "/debug/vars",    PAGE_VARS,    DEBUG_CSP "Content-Type: application/json; charset=utf-8\r\n" SECURITY, NULL },
	{ "/debug/check",   PAGE_CHECK,   DEBUG_CSP SECURITY, TEXT },
	{ "/debug/traffic", PAGE_TRAFFIC, DEBUG_CSP SECURITY, TEXT },
	{ "/debug/status",  PAGE_STATUS,  STATUS_CSP "Content-Type: " HTML "\r\n" SECURITY, NULL },
	{ "/debug/status.json", PAGE_STATUS_JSON, "Cache-Control: no-store\r\n" CSP "\r\nContent-Type: application/json\r\n" SECURITY, NULL },
	{ "/metrics",       PAGE_METRICS, DEBUG_CSP "Content-Type: " EXPOSITION "\r\n" SECURITY, NULL },
};

static const struct debug_page *find_debug_page(const struct door *d)
{
	for (size_t i = 0; d->env->page && i < ARRAY_SIZE(debug_pages); i++)
		if (view_equal(d->path, debug_pages[i].path))
			return &debug_pages[i];
	return NULL;
}

static void debug_page(struct door *d, const struct debug_page *p)
{
	struct textbuf body = { 0 };
	int status = d->env->page(p->page, &body, d->env->ctx);

	if (body.failed)
		plain_error(d, 500, "page too large\n");
	else if (status == 200)
		respond(d, 200, p->headers, p->type, body.p ? body.p : "", body.len);
	else
		respond(d, (unsigned int)status, DEBUG_CSP "Content-Type: " TEXT "\r\n" SECURITY, NULL,
			body.p ? body.p : "", body.len);
	textbuf_done(&body);
}

/* Its end is that of the connection. */
static void traffic(struct door *d)
{
	if (!d->env->may_stream) {
		plain_error(d, 503, "too many streams of /debug/traffic\n");
		return;
	}
	d->r->next = is_method(d, "HEAD") ? FRONTDOOR_CLOSE : FRONTDOOR_TRAFFIC;
	respond(d, 200, "Connection: close\r\nContent-Type: " TEXT "\r\n" DEBUG_CSP SECURITY, NULL, NULL, NO_BODY);
}

/* A developer is told the way in. */
static void debug_denied(struct door *d, bool page)
{
	char text[128] = "debug access denied\n", ip[INET6_ADDRSTRLEN] = "";
	struct sockaddr_in6 v6 = { 0 };
	struct sockaddr_in v4 = { 0 };

	if (d->env->cfg->dev && page) {
		if (d->src->sa_family == AF_INET6) {
			memcpy(&v6, d->src, sizeof(v6));
			inet_ntop(AF_INET6, &v6.sin6_addr, ip, sizeof(ip));
		} else {
			memcpy(&v4, d->src, sizeof(v4));
			inet_ntop(AF_INET, &v4.sin_addr, ip, sizeof(ip));
		}
		snprintf(text, sizeof(text), "debug access denied; to permit access, set TS_ALLOW_DEBUG_IP=%s\n",
			 !strncmp(ip, "::ffff:", 7) ? ip + 7 : ip);
	}
	plain_error(d, 403, text);
}

static void debug(struct door *d)
{
	const struct debug_page *p = find_debug_page(d);

	if (!may_debug(d))
		debug_denied(d, p && p->page != PAGE_INDEX);
	else if (p && p->page == PAGE_TRAFFIC)
		traffic(d);
	else if (p)
		debug_page(d, p);
	else
		plain_error(d, 404, "404 page not found\n");
}

/* For load balancers, wherever they are: 503 while the relay drains. */
static void ready(struct door *d)
{
	struct textbuf body = { 0 };
	int status = d->env->page ? d->env->page(PAGE_READY, &body, d->env->ctx) : 200;

	if (!give_up(d, &body))
		respond(d, (unsigned int)status, "Cache-Control: no-store\r\nContent-Type: " TEXT "\r\n", NULL,
			body.p ? body.p : "", body.len);
	textbuf_done(&body);
}

/* Does it answer at all? Also while it drains. */
static void healthy(struct door *d)
{
	respond(d, 200, "Cache-Control: no-store\r\nContent-Type: " TEXT "\r\n", NULL, "ok\n", 3);
}

static bool starts_with(struct view v, const char *s)
{
	return v.n >= strlen(s) && !memcmp(v.p, s, strlen(s));
}

/* The plain port beside TLS sends people on, with what they asked for as they wrote it. */
static void to_https(struct door *d)
{
	struct view host = d->req->host, path = d->req->target;
	struct textbuf url = { 0 };

	if (!is_get_or_head(d)) {
		plain_error(d, 400, "Use HTTPS\n");
		return;
	}
	if (view_equal(path, "/") && may_debug(d))
		path = (struct view){ (const uint8_t *)"/debug/", 7 };
	else if (path.p[0] != '/')	/* absolute form: its path and query, which stand at the end of it */
		path = (struct view){ d->req->path.p, (size_t)(path.p + path.n - d->req->path.p) };
	textbuf_puts(&url, "https://");
	textbuf_put(&url, host.p, host.n);
	textbuf_put(&url, path.p, path.n);
	if (!give_up(d, &url))
		redirect(d, 302, url.p, false);
	textbuf_done(&url);
}

static struct view text_view(const struct textbuf *b)
{
	return (struct view){ (const uint8_t *)b->p, b->len };
}

/* To where the request should have gone; the query goes along. */
static void redirect_path(struct door *d, struct view path)
{
	struct textbuf to = { 0 };

	for (size_t i = 0; i < path.n; i++)
		urlpath_encode_byte(&to, path.p[i]);
	if (d->req->query.n) {
		textbuf_puts(&to, "?");
		textbuf_put(&to, d->req->query.p, d->req->query.n);
	}
	if (!give_up(d, &to))
		redirect(d, 307, to.p, false);
	textbuf_done(&to);
}

#define CHALLENGES	"/.well-known/acme-challenge/"

/* http-01 of ACME. */
static void challenge(struct door *d)
{
	const size_t prefix = strlen(CHALLENGES);
	struct view token = { d->path.p + prefix, d->path.n - prefix };
	struct textbuf body = { 0 };

	d->r->challenge = true;
	if (!challenge_answer(&body, d->env->cfg->acme_dir, token))
		plain_error(d, 404, "no such challenge\n");
	else if (!give_up(d, &body))
		respond(d, 200, "", TEXT, body.p, body.len);
	textbuf_done(&body);
}

static const struct route {
	const char *path;
	void (*answer)(struct door *d);
} routes[] = {
	{ "/derp", derp },
	{ "/derp/probe", probe },
	{ "/derp/latency-check", probe },
	{ "/bootstrap-dns", bootstrap_dns },
	{ "/robots.txt", robots },
};

/* Those that the plain port answers too, beside TLS. */
static const struct route plain_routes[] = {
	{ "/generate_204", generate_204 },
	{ "/healthz", healthy },
	{ "/readyz", ready },
};

static bool try_routes(struct door *d, const struct route *r, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (view_equal(d->path, r[i].path)) {
			r[i].answer(d);
			return true;
		}
	}
	return false;
}

static void route(struct door *d)
{
	if (!d->env->main_port && *d->env->cfg->acme_dir && starts_with(d->path, CHALLENGES)) {
		challenge(d);
		return;
	}
	if (try_routes(d, plain_routes, ARRAY_SIZE(plain_routes)))
		return;
	/* Who may see debug pages is checked there as here. */
	if (!d->env->main_port && !view_equal(d->path, "/metrics") && !starts_with(d->req->target, "/debug")) {
		to_https(d);
		return;
	}
	if (try_routes(d, routes, ARRAY_SIZE(routes)))
		return;
	if (starts_with(d->path, "/debug/") || view_equal(d->path, "/metrics"))
		debug(d);
	else
		home(d);
}

/* Unclean paths and /debug are sent to where they belong; CONNECT is taken as it is. */
static void find_path(struct door *d)
{
	static const struct view debug_index = { (const uint8_t *)"/debug/", 7 };
	struct textbuf escaped = { 0 }, cleaned = { 0 }, decoded = { 0 };
	struct view in = d->req->path;

	urlpath_escape(&escaped, in);
	if (!is_method(d, "CONNECT"))
		urlpath_clean(&cleaned, text_view(&escaped));
	urlpath_decode(&decoded, is_method(d, "CONNECT") ? in : text_view(&cleaned));
	d->path = text_view(&decoded);
	if (give_up(d, &escaped) || give_up(d, &cleaned) || give_up(d, &decoded))
		;
	else if (view_equal(d->path, "/debug"))
		redirect_path(d, debug_index);
	else if (!is_method(d, "CONNECT") && (cleaned.len != escaped.len || memcmp(cleaned.p, escaped.p, cleaned.len)))
		redirect_path(d, text_view(&cleaned));
	else
		route(d);
	textbuf_done(&escaped);
	textbuf_done(&cleaned);
	textbuf_done(&decoded);
}

/* What to do with the request's body, which no route reads: skip it as far as Go does, or close. */
static void plan_body(struct frontdoor_result *r, const struct http1_request *req)
{
	bool waits = req->minor > 0 && req->content_length && http1_has_token(req, "Expect", "100-continue");

	if (waits || req->content_length >= (int64_t)HTTP1_MAX_SKIP)
		r->next = FRONTDOOR_CLOSE;
	else if (req->content_length < 0)
		r->discard_chunked = true;
	else
		r->discard = (uint64_t)req->content_length;
}

void frontdoor_handle(struct frontdoor_result *ret, const struct frontdoor_env *env,
		      const struct http1_request *req, const struct sockaddr *src, struct textbuf *out)
{
	struct door d = { .r = ret, .env = env, .req = req, .src = src, .out = out };

	*ret = (struct frontdoor_result){ .next = req->keep_alive ? FRONTDOOR_KEEP : FRONTDOOR_CLOSE };
	plan_body(ret, req);
	if (is_method(&d, "CONNECT") && env->main_port && env->cfg->tls)
		plain_error(&d, 403, "CONNECT not enabled\n");
	else if (is_method(&d, "CONNECT") && !req->path.n)
		plain_error(&d, 404, "404 page not found\n");
	else if (view_equal(req->target, "*"))
		respond(&d, 200, "Content-Length: 0\r\n", NULL, NULL, NO_BODY);
	else
		find_path(&d);
}

void frontdoor_bad_request(int status, struct textbuf *out)
{
	const char *text = reason((unsigned int)status);

	textbuf_printf(out, "HTTP/1.1 %d %s\r\n", status, text);
	if (status == 417)
		textbuf_puts(out, "Connection: close\r\nContent-Length: 0\r\n\r\n");
	else if (status == 501)
		textbuf_puts(out, "Content-Type: " TEXT "\r\nConnection: close\r\n\r\nUnsupported transfer encoding");
	else
		textbuf_printf(out, "Content-Type: " TEXT "\r\nConnection: close\r\n\r\n%d %s", status, text);
}
