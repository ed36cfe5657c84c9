/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests and the answers of derper v1.96.4 to them, byte for byte but for the date. Rows marked "ours" are where
 * xderp means to differ. */
#include "lib/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "relay/bootstrap.h"
#include "relay/frontdoor.h"
#include "status_page.h"

#define CSP		"Content-Security-Policy: default-src 'self'; frame-ancestors 'none'; form-action 'self'; " \
			"base-uri 'self'; block-all-mixed-content; object-src 'none'\r\n"
#define DEBUG_CSP	"Content-Security-Policy: default-src 'self'; frame-ancestors 'none'; form-action 'self'; " \
			"base-uri 'self'; block-all-mixed-content; object-src 'none'; style-src 'self' 'unsafe-inline'\r\n"
#define SECURITY	"Strict-Transport-Security: max-age=63072000; includeSubDomains\r\n" \
			"X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n"
#define TEXT		"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
#define HTML		"Content-Type: text/html; charset=utf-8\r\n"
#define NO_CACHE	"Cache-Control: no-cache, no-store, must-revalidate, no-transform, max-age=0\r\n"
#define DATE		"Date: Thu, 26 Nov 2026 02:05:17 GMT\r\n"
#define NOW		1795658717
#define PUBLIC		"8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f"

/* The handshake of RFC 6455 section 1.3. */
#define WS_OK		"Connection: foo, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" \
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define LO		"127.0.0.1"
#define ELSEWHERE	"10.9.9.9"

/* How the server was started. */
enum where { PLAIN, DERP_OFF, BLANK, URL, TLS, PORT80, DEV, DEBUG_ENV, CIDRS };

static const struct door_case {
	const char *name;
	enum where where;
	const char *src;
	enum frontdoor_next next;
	const char *request, *answer;
} cases[] = {
	{ "derp upgrade", PLAIN, LO, FRONTDOOR_DERP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n",
	  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\nDerp-Public-Key: " PUBLIC "\r\n\r\n" },
	{ "upgrade in lower case, no Connection", PLAIN, LO, FRONTDOOR_DERP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nupgrade: derp\r\n\r\n",
	  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\nDerp-Public-Key: " PUBLIC "\r\n\r\n" },
	{ "upgrade by POST", PLAIN, LO, FRONTDOOR_DERP,
	  "POST /derp HTTP/1.1\r\nHost: x\r\nUpgrade: derp\r\n\r\n",
	  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\nDerp-Public-Key: " PUBLIC "\r\n\r\n" },
	{ "upgrade with a query", PLAIN, LO, FRONTDOOR_DERP,
	  "GET /derp?x=1 HTTP/1.1\r\nHost: x\r\nUpgrade: derp\r\n\r\n",
	  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\nDerp-Public-Key: " PUBLIC "\r\n\r\n" },
	{ "upgrade on HTTP/1.0", PLAIN, LO, FRONTDOOR_DERP,
	  "GET /derp HTTP/1.0\r\nHost: x\r\nUpgrade: derp\r\n\r\n",
	  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\nDerp-Public-Key: " PUBLIC "\r\n\r\n" },
	{ "upgrade percent-encoded", PLAIN, LO, FRONTDOOR_DERP,
	  "GET /%64erp HTTP/1.1\r\nHost: x\r\nUpgrade: derp\r\n\r\n",
	  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\nDerp-Public-Key: " PUBLIC "\r\n\r\n" },
	{ "websocket without subprotocol", PLAIN, LO, FRONTDOOR_DERP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n",
	  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\nDerp-Public-Key: " PUBLIC "\r\n\r\n" },
	{ "websocket, other subprotocol", PLAIN, LO, FRONTDOOR_DERP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
	  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\nDerp-Public-Key: " PUBLIC "\r\n\r\n" },
	{ "fast start 0", PLAIN, LO, FRONTDOOR_DERP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nDerp-Fast-Start: 0\r\n\r\n",
	  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\nDerp-Public-Key: " PUBLIC "\r\n\r\n" },
	{ "fast start", PLAIN, LO, FRONTDOOR_DERP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nDerp-Fast-Start: 1\r\n\r\n",
	  "" },
	{ "ideal node", PLAIN, LO, FRONTDOOR_DERP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nIdeal-Node: derp1\r\n\r\n",
	  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\nDerp-Public-Key: " PUBLIC "\r\n\r\n" },
	{ "derp without upgrade", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 426 Upgrade Required\r\n" TEXT DATE "Content-Length: 33\r\n\r\nDERP requires connection upgrade\n" },
	{ "derp, HEAD", PLAIN, LO, FRONTDOOR_KEEP,
	  "HEAD /derp HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 426 Upgrade Required\r\n" TEXT DATE "Content-Length: 33\r\n\r\n" },
	{ "derp, odd upgrade", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n",
	  "HTTP/1.1 426 Upgrade Required\r\n" TEXT DATE "Content-Length: 33\r\n\r\nDERP requires connection upgrade\n" },
	{ "derp, list of upgrades", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: derp, websocket\r\n\r\n",
	  "HTTP/1.1 426 Upgrade Required\r\n" TEXT DATE "Content-Length: 33\r\n\r\nDERP requires connection upgrade\n" },
	{ "derp, two Upgrade lines", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nUpgrade: derp\r\n\r\n",
	  "HTTP/1.1 426 Upgrade Required\r\n" TEXT DATE "Content-Length: 33\r\n\r\nDERP requires connection upgrade\n" },
	{ "derp off", DERP_OFF, LO, FRONTDOOR_KEEP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 21\r\n\r\nderp server disabled\n" },
	{ "derp off, probe", DERP_OFF, LO, FRONTDOOR_KEEP,
	  "GET /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n" DATE "Content-Length: 0\r\n\r\n" },
	{ "derp with a slash", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /derp/ HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "GET /derp/probe", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n" DATE "Content-Length: 0\r\n\r\n" },
	{ "HEAD /derp/probe", PLAIN, LO, FRONTDOOR_KEEP,
	  "HEAD /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n" DATE "\r\n" },
	{ "POST /derp/probe", PLAIN, LO, FRONTDOOR_KEEP,
	  "POST /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 405 Method Not Allowed\r\n" TEXT DATE "Content-Length: 19\r\n\r\nbogus probe method\n" },
	{ "OPTIONS /derp/probe", PLAIN, LO, FRONTDOOR_KEEP,
	  "OPTIONS /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 405 Method Not Allowed\r\n" TEXT DATE "Content-Length: 19\r\n\r\nbogus probe method\n" },
	{ "GET /derp/latency-check", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /derp/latency-check HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n" DATE "Content-Length: 0\r\n\r\n" },
	{ "HEAD /derp/latency-check", PLAIN, LO, FRONTDOOR_KEEP,
	  "HEAD /derp/latency-check HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n" DATE "\r\n" },
	{ "POST /derp/latency-check", PLAIN, LO, FRONTDOOR_KEEP,
	  "POST /derp/latency-check HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 405 Method Not Allowed\r\n" TEXT DATE "Content-Length: 19\r\n\r\nbogus probe method\n" },
	{ "OPTIONS /derp/latency-check", PLAIN, LO, FRONTDOOR_KEEP,
	  "OPTIONS /derp/latency-check HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 405 Method Not Allowed\r\n" TEXT DATE "Content-Length: 19\r\n\r\nbogus probe method\n" },
	{ "probe, close", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET /derp/probe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n" DATE "Content-Length: 0\r\nConnection: close\r\n\r\n" },
	{ "probe, 1.0", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET /derp/probe HTTP/1.0\r\nHost: x\r\n\r\n",
	  "HTTP/1.0 200 OK\r\nAccess-Control-Allow-Origin: *\r\n" DATE "Content-Length: 0\r\n\r\n" },
	{ "probe, 1.0 keep-alive", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /derp/probe HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
	  "HTTP/1.0 200 OK\r\nAccess-Control-Allow-Origin: *\r\n" DATE "Content-Length: 0\r\nConnection: keep-alive\r\n\r\n" },
	{ "probe HEAD, 1.0 keep-alive", PLAIN, LO, FRONTDOOR_KEEP,
	  "HEAD /derp/probe HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
	  "HTTP/1.0 200 OK\r\nAccess-Control-Allow-Origin: *\r\n" DATE "Connection: keep-alive\r\n\r\n" },
	{ "probe HEAD, 1.0", PLAIN, LO, FRONTDOOR_CLOSE,
	  "HEAD /derp/probe HTTP/1.0\r\nHost: x\r\n\r\n",
	  "HTTP/1.0 200 OK\r\nAccess-Control-Allow-Origin: *\r\n" DATE "\r\n" },
	{ "probe, Connection twice", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET /derp/probe HTTP/1.1\r\nHost: x\r\nConnection: foo\r\nConnection: Close\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n" DATE "Content-Length: 0\r\nConnection: close\r\n\r\n" },
	{ "probe, query", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /derp/probe?a=b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n" DATE "Content-Length: 0\r\n\r\n" },
	{ "204", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /generate_204 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 204 No Content\r\n" NO_CACHE DATE "\r\n" },
	{ "204, POST", PLAIN, LO, FRONTDOOR_KEEP,
	  "POST /generate_204 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 204 No Content\r\n" NO_CACHE DATE "\r\n" },
	{ "204, HEAD", PLAIN, LO, FRONTDOOR_KEEP,
	  "HEAD /generate_204 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 204 No Content\r\n" NO_CACHE DATE "\r\n" },
	{ "204, challenge", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /generate_204 HTTP/1.1\r\nHost: x\r\nX-Tailscale-Challenge: ts_1.2.3.4:x-Y\r\n\r\n",
	  "HTTP/1.1 204 No Content\r\n" NO_CACHE "X-Tailscale-Response: response ts_1.2.3.4:x-Y\r\n" DATE "\r\n" },
	{ "204, challenge of 64", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /generate_204 HTTP/1.1\r\nHost: x\r\nX-Tailscale-Challenge: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
	  "HTTP/1.1 204 No Content\r\n" NO_CACHE "X-Tailscale-Response: response aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" DATE "\r\n" },
	{ "204, challenge of 65", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /generate_204 HTTP/1.1\r\nHost: x\r\nX-Tailscale-Challenge: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
	  "HTTP/1.1 204 No Content\r\n" NO_CACHE DATE "\r\n" },
	{ "204, bad challenge", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /generate_204 HTTP/1.1\r\nHost: x\r\nX-Tailscale-Challenge: a/b\r\n\r\n",
	  "HTTP/1.1 204 No Content\r\n" NO_CACHE DATE "\r\n" },
	{ "204, empty challenge", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /generate_204 HTTP/1.1\r\nHost: x\r\nX-Tailscale-Challenge:\r\n\r\n",
	  "HTTP/1.1 204 No Content\r\n" NO_CACHE DATE "\r\n" },
	{ "204, 8-bit challenge", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /generate_204 HTTP/1.1\r\nHost: x\r\nX-Tailscale-Challenge: \xc3\xa9\r\n\r\n",
	  "HTTP/1.1 204 No Content\r\n" NO_CACHE DATE "\r\n" },
	{ "204, 1.0", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET /generate_204 HTTP/1.0\r\nHost: x\r\n\r\n",
	  "HTTP/1.0 204 No Content\r\n" NO_CACHE DATE "\r\n" },
	{ "204, 1.0 keep-alive", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /generate_204 HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
	  "HTTP/1.0 204 No Content\r\n" NO_CACHE DATE "Connection: keep-alive\r\n\r\n" },
	{ "204, close", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET /generate_204 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	  "HTTP/1.1 204 No Content\r\n" NO_CACHE DATE "Connection: close\r\n\r\n" },
	{ "bootstrap-dns", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET /bootstrap-dns HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nConnection: close\r\n" CSP "Content-Type: application/json\r\n" SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "bootstrap-dns, query", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET /bootstrap-dns?q=a.b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nConnection: close\r\n" CSP "Content-Type: application/json\r\n" SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "bootstrap-dns, HEAD", PLAIN, LO, FRONTDOOR_CLOSE,
	  "HEAD /bootstrap-dns HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nConnection: close\r\n" CSP "Content-Type: application/json\r\n" SECURITY DATE "\r\n" },
	{ "bootstrap-dns, POST", PLAIN, LO, FRONTDOOR_CLOSE,
	  "POST /bootstrap-dns HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nConnection: close\r\n" CSP "Content-Type: application/json\r\n" SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "bootstrap-dns, 1.0", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET /bootstrap-dns HTTP/1.0\r\nHost: x\r\n\r\n",
	  "HTTP/1.0 200 OK\r\nConnection: close\r\n" CSP "Content-Type: application/json\r\n" SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "bootstrap-dns, 1.0 keep-alive", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET /bootstrap-dns HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
	  "HTTP/1.0 200 OK\r\nConnection: close\r\n" CSP "Content-Type: application/json\r\n" SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "robots", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "robots, HEAD", PLAIN, LO, FRONTDOOR_KEEP,
	  "HEAD /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" },
	{ "robots, POST", PLAIN, LO, FRONTDOOR_KEEP,
	  "POST /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "robots, 1.0", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET /robots.txt HTTP/1.0\r\nHost: x\r\n\r\n",
	  "HTTP/1.0 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "robots, 1.0 keep-alive", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /robots.txt HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
	  "HTTP/1.0 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: keep-alive\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "robots, close", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET /robots.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "robots HEAD, close", PLAIN, LO, FRONTDOOR_CLOSE,
	  "HEAD /robots.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" },
	{ "robots, absolute target", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET http://other/robots.txt HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "robots, body of 5", PLAIN, LO, FRONTDOOR_KEEP,
	  "POST /robots.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "robots, body of 256 KiB", PLAIN, LO, FRONTDOOR_CLOSE,
	  "POST /robots.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 262144\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "robots, body above 256 KiB", PLAIN, LO, FRONTDOOR_CLOSE,
	  "POST /robots.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 262145\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "robots, body below 256 KiB", PLAIN, LO, FRONTDOOR_KEEP,
	  "POST /robots.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 262143\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "robots, chunked", PLAIN, LO, FRONTDOOR_KEEP,
	  "POST /robots.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "robots, 100-continue", PLAIN, LO, FRONTDOOR_CLOSE,
	  "POST /robots.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "robots, 100-continue, no body", PLAIN, LO, FRONTDOOR_KEEP,
	  "POST /robots.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "robots GET, 100-continue", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /robots.txt HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "home blank, GET", BLANK, LO, FRONTDOOR_KEEP,
	  "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "home blank, HEAD", BLANK, LO, FRONTDOOR_KEEP,
	  "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "\r\n" },
	{ "home blank, POST", BLANK, LO, FRONTDOOR_KEEP,
	  "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "home url, GET", URL, LO, FRONTDOOR_KEEP,
	  "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" CSP HTML "Location: https://example.com/x?a=1&b=2\r\n" SECURITY DATE "Content-Length: 56\r\n\r\n<a href=\"https://example.com/x?a=1&amp;b=2\">Found</a>.\n\n" },
	{ "home url, HEAD", URL, LO, FRONTDOOR_KEEP,
	  "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" CSP HTML "Location: https://example.com/x?a=1&b=2\r\n" SECURITY DATE "\r\n" },
	{ "home url, POST", URL, LO, FRONTDOOR_KEEP,
	  "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" CSP "Location: https://example.com/x?a=1&b=2\r\n" SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "home blank, deep path", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /a/b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "home blank, 1.0", BLANK, LO, FRONTDOOR_CLOSE,
	  "GET / HTTP/1.0\r\nHost: x\r\n\r\n",
	  "HTTP/1.0 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "home blank, 1.0 keep-alive", BLANK, LO, FRONTDOOR_KEEP,
	  "GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
	  "HTTP/1.0 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\nConnection: keep-alive\r\n\r\n" },
	{ "home blank HEAD, close", BLANK, LO, FRONTDOOR_CLOSE,
	  "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Connection: close\r\n\r\n" },
	{ "home url, deep path", URL, LO, FRONTDOOR_KEEP,
	  "GET /a/b?c=d HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" CSP HTML "Location: https://example.com/x?a=1&b=2\r\n" SECURITY DATE "Content-Length: 56\r\n\r\n<a href=\"https://example.com/x?a=1&amp;b=2\">Found</a>.\n\n" },
	{ "home url, 1.0", URL, LO, FRONTDOOR_CLOSE,
	  "GET / HTTP/1.0\r\nHost: x\r\n\r\n",
	  "HTTP/1.0 302 Found\r\n" CSP HTML "Location: https://example.com/x?a=1&b=2\r\n" SECURITY DATE "Content-Length: 56\r\n\r\n<a href=\"https://example.com/x?a=1&amp;b=2\">Found</a>.\n\n" },
	{ "home url HEAD, 1.0 keep-alive", URL, LO, FRONTDOOR_KEEP,
	  "HEAD / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
	  "HTTP/1.0 302 Found\r\n" CSP HTML "Location: https://example.com/x?a=1&b=2\r\n" SECURITY DATE "Connection: keep-alive\r\n\r\n" },
	{ "unclean //derp", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //derp HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /derp\r\n" DATE "Content-Length: 41\r\n\r\n<a href=\"/derp\">Temporary Redirect</a>.\n\n" },
	{ "unclean /x/../derp", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /x/../derp HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /derp\r\n" DATE "Content-Length: 41\r\n\r\n<a href=\"/derp\">Temporary Redirect</a>.\n\n" },
	{ "unclean /./derp", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /./derp HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /derp\r\n" DATE "Content-Length: 41\r\n\r\n<a href=\"/derp\">Temporary Redirect</a>.\n\n" },
	{ "unclean /derp/.", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /derp/. HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /derp\r\n" DATE "Content-Length: 41\r\n\r\n<a href=\"/derp\">Temporary Redirect</a>.\n\n" },
	{ "unclean /derp/..", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /derp/.. HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /\r\n" DATE "Content-Length: 37\r\n\r\n<a href=\"/\">Temporary Redirect</a>.\n\n" },
	{ "unclean //", BLANK, LO, FRONTDOOR_KEEP,
	  "GET // HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /\r\n" DATE "Content-Length: 37\r\n\r\n<a href=\"/\">Temporary Redirect</a>.\n\n" },
	{ "unclean /a//b/", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /a//b/ HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a/b/\r\n" DATE "Content-Length: 41\r\n\r\n<a href=\"/a/b/\">Temporary Redirect</a>.\n\n" },
	{ "unclean /..", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /.. HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /\r\n" DATE "Content-Length: 37\r\n\r\n<a href=\"/\">Temporary Redirect</a>.\n\n" },
	{ "unclean /a/./b?q=1&r=<x>", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /a/./b?q=1&r=<x> HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a/b?q=1&r=<x>\r\n" DATE "Content-Length: 60\r\n\r\n<a href=\"/a/b?q=1&amp;r=&lt;x&gt;\">Temporary Redirect</a>.\n\n" },
	{ "unclean //derp?x=1", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //derp?x=1 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /derp?x=1\r\n" DATE "Content-Length: 45\r\n\r\n<a href=\"/derp?x=1\">Temporary Redirect</a>.\n\n" },
	{ "unclean /a%2f../b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /a%2f../b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "unclean /a/%2e%2e/b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /a/%2e%2e/b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "unclean /%2e/derp", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /%2e/derp HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "unclean //a%20b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a%20b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a%2520b\r\n" DATE "Content-Length: 44\r\n\r\n<a href=\"/a%2520b\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a%C3%A9", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a%C3%A9 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a%25C3%25A9\r\n" DATE "Content-Length: 48\r\n\r\n<a href=\"/a%25C3%25A9\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a%00b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a%00b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a%2500b\r\n" DATE "Content-Length: 44\r\n\r\n<a href=\"/a%2500b\">Temporary Redirect</a>.\n\n" },
	{ "unclean /%2f/x", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /%2f/x HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "unclean //a&b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a&b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a&b\r\n" DATE "Content-Length: 44\r\n\r\n<a href=\"/a&amp;b\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a'b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a'b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a%27b\r\n" DATE "Content-Length: 42\r\n\r\n<a href=\"/a%27b\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a\"b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a\"b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a%2522b\r\n" DATE "Content-Length: 44\r\n\r\n<a href=\"/a%2522b\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a;b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a;b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a;b\r\n" DATE "Content-Length: 40\r\n\r\n<a href=\"/a;b\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a[b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a[b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a%5Bb\r\n" DATE "Content-Length: 42\r\n\r\n<a href=\"/a%5Bb\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a|b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a|b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a%257Cb\r\n" DATE "Content-Length: 44\r\n\r\n<a href=\"/a%257Cb\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a^b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a^b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a%255Eb\r\n" DATE "Content-Length: 44\r\n\r\n<a href=\"/a%255Eb\">Temporary Redirect</a>.\n\n" },
	{ "unclean //%41", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //%41 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /%2541\r\n" DATE "Content-Length: 42\r\n\r\n<a href=\"/%2541\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a%2fb", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a%2fb HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a%252fb\r\n" DATE "Content-Length: 44\r\n\r\n<a href=\"/a%252fb\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a+b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a+b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a+b\r\n" DATE "Content-Length: 40\r\n\r\n<a href=\"/a+b\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a%3fb", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a%3fb HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a%253fb\r\n" DATE "Content-Length: 44\r\n\r\n<a href=\"/a%253fb\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a%25b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a%25b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a%2525b\r\n" DATE "Content-Length: 44\r\n\r\n<a href=\"/a%2525b\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a:b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a:b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a:b\r\n" DATE "Content-Length: 40\r\n\r\n<a href=\"/a:b\">Temporary Redirect</a>.\n\n" },
	{ "unclean /x/..//derp/", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /x/..//derp/ HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /derp/\r\n" DATE "Content-Length: 42\r\n\r\n<a href=\"/derp/\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a@b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a@b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a@b\r\n" DATE "Content-Length: 40\r\n\r\n<a href=\"/a@b\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a{b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a{b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a%257Bb\r\n" DATE "Content-Length: 44\r\n\r\n<a href=\"/a%257Bb\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a%23b", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a%23b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a%2523b\r\n" DATE "Content-Length: 44\r\n\r\n<a href=\"/a%2523b\">Temporary Redirect</a>.\n\n" },
	{ "unclean //a~b!$*(),", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //a~b!$*(), HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a~b%21$%2A%28%29,\r\n" DATE "Content-Length: 54\r\n\r\n<a href=\"/a~b%21$%2A%28%29,\">Temporary Redirect</a>.\n\n" },
	{ "unclean, POST", BLANK, LO, FRONTDOOR_KEEP,
	  "POST //derp HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\nLocation: /derp\r\n" DATE "Content-Length: 0\r\n\r\n" },
	{ "unclean, HEAD", BLANK, LO, FRONTDOOR_KEEP,
	  "HEAD //derp HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /derp\r\n" DATE "\r\n" },
	{ "unclean, 1.0", BLANK, LO, FRONTDOOR_CLOSE,
	  "GET //derp HTTP/1.0\r\nHost: x\r\n\r\n",
	  "HTTP/1.0 307 Temporary Redirect\r\n" HTML "Location: /derp\r\n" DATE "Content-Length: 41\r\n\r\n<a href=\"/derp\">Temporary Redirect</a>.\n\n" },
	{ "unclean upgrade", BLANK, LO, FRONTDOOR_KEEP,
	  "GET //derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /derp\r\n" DATE "Content-Length: 41\r\n\r\n<a href=\"/derp\">Temporary Redirect</a>.\n\n" },
	{ "/debug", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /debug HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /debug/\r\n" DATE "Content-Length: 43\r\n\r\n<a href=\"/debug/\">Temporary Redirect</a>.\n\n" },
	{ "/debug?x", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /debug?x=1&y HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /debug/?x=1&y\r\n" DATE "Content-Length: 53\r\n\r\n<a href=\"/debug/?x=1&amp;y\">Temporary Redirect</a>.\n\n" },
	{ "/debug, not allowed", BLANK, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /debug/\r\n" DATE "Content-Length: 43\r\n\r\n<a href=\"/debug/\">Temporary Redirect</a>.\n\n" },
	{ "/debug/../derp", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /debug/../derp HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /derp\r\n" DATE "Content-Length: 41\r\n\r\n<a href=\"/derp\">Temporary Redirect</a>.\n\n" },
	{ "/debugger", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /debugger HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "encoded space", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /a%20b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "encoded slash", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /derp%2fprobe HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "encoded nothing", BLANK, LO, FRONTDOOR_KEEP,
	  "GET /%72obots.txt HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "CONNECT", PLAIN, LO, FRONTDOOR_KEEP,
	  "CONNECT a.b:443 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "CONNECT, TLS", TLS, LO, FRONTDOOR_KEEP,
	  "CONNECT a.b:443 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\nCONNECT not enabled\n" },
	{ "CONNECT, port 80", PORT80, LO, FRONTDOOR_KEEP,
	  "CONNECT a.b:443 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "CONNECT /derp, TLS", TLS, LO, FRONTDOOR_KEEP,
	  "CONNECT /derp HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\nCONNECT not enabled\n" },
	{ "CONNECT /derp", PLAIN, LO, FRONTDOOR_KEEP,
	  "CONNECT /derp HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 426 Upgrade Required\r\n" TEXT DATE "Content-Length: 33\r\n\r\nDERP requires connection upgrade\n" },
	{ "OPTIONS *", PLAIN, LO, FRONTDOOR_KEEP,
	  "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" DATE "\r\n" },
	{ "OPTIONS *, 1.0", PLAIN, LO, FRONTDOOR_CLOSE,
	  "OPTIONS * HTTP/1.0\r\nHost: x\r\n\r\n",
	  "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n" DATE "\r\n" },
	{ "OPTIONS *, TLS", TLS, LO, FRONTDOOR_KEEP,
	  "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" DATE "\r\n" },
	{ "OPTIONS *, port 80", PORT80, LO, FRONTDOOR_KEEP,
	  "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" DATE "\r\n" },
	{ "OPTIONS /", BLANK, LO, FRONTDOOR_KEEP,
	  "OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "odd method", BLANK, LO, FRONTDOOR_KEEP,
	  "FOO / HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: 0\r\n\r\n" },
	{ "tls derp", TLS, LO, FRONTDOOR_DERP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n\r\n",
	  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\nDerp-Public-Key: " PUBLIC "\r\n\r\n" },
	{ "tls 204", TLS, LO, FRONTDOOR_KEEP,
	  "GET /generate_204 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 204 No Content\r\n" NO_CACHE DATE "\r\n" },
	{ "tls probe", TLS, LO, FRONTDOOR_KEEP,
	  "GET /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n" DATE "Content-Length: 0\r\n\r\n" },
	{ "tls robots", TLS, LO, FRONTDOOR_KEEP,
	  "GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "tls close", TLS, LO, FRONTDOOR_CLOSE,
	  "GET /robots.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 26\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nUser-agent: *\nDisallow: /\n" },
	{ "port80 GET", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /x?y=1 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/x?y=1\r\n" DATE "Content-Length: 38\r\n\r\n<a href=\"https://x/x?y=1\">Found</a>.\n\n" },
	{ "port80 HEAD", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "HEAD /x?y=1 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/x?y=1\r\n" DATE "\r\n" },
	{ "port80 POST", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "POST /x?y=1 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 400 Bad Request\r\n" TEXT DATE "Content-Length: 10\r\n\r\nUse HTTPS\n" },
	{ "port80 OPTIONS", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "OPTIONS /x?y=1 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 400 Bad Request\r\n" TEXT DATE "Content-Length: 10\r\n\r\nUse HTTPS\n" },
	{ "port80 204", PORT80, LO, FRONTDOOR_KEEP,
	  "GET /generate_204 HTTP/1.1\r\nHost: x\r\nX-Tailscale-Challenge: abc\r\n\r\n",
	  "HTTP/1.1 204 No Content\r\n" NO_CACHE "X-Tailscale-Response: response abc\r\n" DATE "\r\n" },
	{ "port80 204 query", PORT80, LO, FRONTDOOR_KEEP,
	  "GET /generate_204?x HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 204 No Content\r\n" NO_CACHE DATE "\r\n" },
	{ "port80 root, not allowed", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/\r\n" DATE "Content-Length: 33\r\n\r\n<a href=\"https://x/\">Found</a>.\n\n" },
	{ "port80 root, allowed", PORT80, LO, FRONTDOOR_KEEP,
	  "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/debug/\r\n" DATE "Content-Length: 39\r\n\r\n<a href=\"https://x/debug/\">Found</a>.\n\n" },
	{ "port80 root, allowed HEAD", PORT80, LO, FRONTDOOR_KEEP,
	  "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/debug/\r\n" DATE "\r\n" },
	{ "port80 root query, allowed", PORT80, LO, FRONTDOOR_KEEP,
	  "GET /?a HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/?a\r\n" DATE "Content-Length: 35\r\n\r\n<a href=\"https://x/?a\">Found</a>.\n\n" },
	{ "port80 derp upgrade", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/derp\r\n" DATE "Content-Length: 37\r\n\r\n<a href=\"https://x/derp\">Found</a>.\n\n" },
	{ "port80 robots", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/robots.txt\r\n" DATE "Content-Length: 43\r\n\r\n<a href=\"https://x/robots.txt\">Found</a>.\n\n" },
	{ "port80 host with port", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a HTTP/1.1\r\nHost: h.example:8080\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://h.example:8080/a\r\n" DATE "Content-Length: 47\r\n\r\n<a href=\"https://h.example:8080/a\">Found</a>.\n\n" },
	{ "port80 host v6", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://[::1]:80/a\r\n" DATE "Content-Length: 41\r\n\r\n<a href=\"https://[::1]:80/a\">Found</a>.\n\n" },
	{ "port80 no host", PORT80, ELSEWHERE, FRONTDOOR_CLOSE,
	  "GET /a HTTP/1.0\r\n\r\n",
	  "HTTP/1.0 302 Found\r\n" HTML "Location: https:///a\r\n" DATE "Content-Length: 33\r\n\r\n<a href=\"https:///a\">Found</a>.\n\n" },
	{ "port80 empty host", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a HTTP/1.1\r\nHost:\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https:///a\r\n" DATE "Content-Length: 33\r\n\r\n<a href=\"https:///a\">Found</a>.\n\n" },
	{ "port80 1.0 keep-alive", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
	  "HTTP/1.0 302 Found\r\n" HTML "Location: https://x/a\r\n" DATE "Content-Length: 34\r\nConnection: keep-alive\r\n\r\n<a href=\"https://x/a\">Found</a>.\n\n" },
	{ "port80 close", PORT80, ELSEWHERE, FRONTDOOR_CLOSE,
	  "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/a\r\n" DATE "Content-Length: 34\r\nConnection: close\r\n\r\n<a href=\"https://x/a\">Found</a>.\n\n" },
	{ "port80 odd host", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a HTTP/1.1\r\nHost: a'b&c\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://a'b&c/a\r\n" DATE "Content-Length: 46\r\n\r\n<a href=\"https://a&#39;b&amp;c/a\">Found</a>.\n\n" },
	{ "port80 //a", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET //a HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /a\r\n" DATE "Content-Length: 38\r\n\r\n<a href=\"/a\">Temporary Redirect</a>.\n\n" },
	{ "port80 /a/../b", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a/../b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /b\r\n" DATE "Content-Length: 38\r\n\r\n<a href=\"/b\">Temporary Redirect</a>.\n\n" },
	{ "port80 /a%2f..", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a%2f.. HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/a%2f..\r\n" DATE "Content-Length: 39\r\n\r\n<a href=\"https://x/a%2f..\">Found</a>.\n\n" },
	{ "port80 /.well-known/acme-challenge/x", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/.well-known/acme-challenge/x\r\n" DATE "Content-Length: 61\r\n\r\n<a href=\"https://x/.well-known/acme-challenge/x\">Found</a>.\n\n" },
	{ "port80 /.well-known/acme-challenge/", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /.well-known/acme-challenge/ HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/.well-known/acme-challenge/\r\n" DATE "Content-Length: 60\r\n\r\n<a href=\"https://x/.well-known/acme-challenge/\">Found</a>.\n\n" },
	{ "port80 /a%20b?c=%20", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a%20b?c=%20 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/a%20b?c=%20\r\n" DATE "Content-Length: 44\r\n\r\n<a href=\"https://x/a%20b?c=%20\">Found</a>.\n\n" },
	{ "port80 /a\"b", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a\"b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/a\"b\r\n" DATE "Content-Length: 40\r\n\r\n<a href=\"https://x/a&#34;b\">Found</a>.\n\n" },
	{ "port80 /a<b>", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a<b> HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/a<b>\r\n" DATE "Content-Length: 43\r\n\r\n<a href=\"https://x/a&lt;b&gt;\">Found</a>.\n\n" },
	{ "port80 /a?x=\"<>&'", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a?x=\"<>&' HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/a?x=\"<>&'\r\n" DATE "Content-Length: 60\r\n\r\n<a href=\"https://x/a?x=&#34;&lt;&gt;&amp;&#39;\">Found</a>.\n\n" },
	{ "port80 /a#b", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/a#b\r\n" DATE "Content-Length: 36\r\n\r\n<a href=\"https://x/a#b\">Found</a>.\n\n" },
	{ "port80 /a?", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a? HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/a?\r\n" DATE "Content-Length: 35\r\n\r\n<a href=\"https://x/a?\">Found</a>.\n\n" },
	{ "port80 /a\xc3\xa9", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/a%c3%a9\r\n" DATE "Content-Length: 36\r\n\r\n<a href=\"https://x/a\xc3\xa9\">Found</a>.\n\n" },
	{ "port80 /debug", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /debug/\r\n" DATE "Content-Length: 43\r\n\r\n<a href=\"/debug/\">Temporary Redirect</a>.\n\n" },
	{ "port80 /debug?x", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug?x HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /debug/?x\r\n" DATE "Content-Length: 45\r\n\r\n<a href=\"/debug/?x\">Temporary Redirect</a>.\n\n" },
	{ "port80 /debugx/../y", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debugx/../y HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 307 Temporary Redirect\r\n" HTML "Location: /y\r\n" DATE "Content-Length: 38\r\n\r\n<a href=\"/y\">Temporary Redirect</a>.\n\n" },
	{ "port80 /%64ebug/", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /%64ebug/ HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/%64ebug/\r\n" DATE "Content-Length: 41\r\n\r\n<a href=\"https://x/%64ebug/\">Found</a>.\n\n" },
	{ "port80 /a'b", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /a'b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://x/a'b\r\n" DATE "Content-Length: 40\r\n\r\n<a href=\"https://x/a&#39;b\">Found</a>.\n\n" },
	{ "ours: port80 absolute target, port 80", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET http://other/a?b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://other/a?b\r\n" DATE "Content-Length: 40\r\n\r\n<a href=\"https://other/a?b\">Found</a>.\n\n" },
	{ "ours: port80 absolute target root, port 80", PORT80, LO, FRONTDOOR_KEEP,
	  "GET http://other/ HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://other/\r\n" DATE "Content-Length: 37\r\n\r\n<a href=\"https://other/\">Found</a>.\n\n" },
	{ "ours: port80 absolute debug, port 80", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET http://other/debug/ HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 302 Found\r\n" HTML "Location: https://other/debug/\r\n" DATE "Content-Length: 43\r\n\r\n<a href=\"https://other/debug/\">Found</a>.\n\n" },
	{ "port80 debug, POST", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "POST /debug/ HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "port80 debug page, not allowed", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/varz HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "port80 debug 404", PORT80, LO, FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "port80 POST body", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
	  "HTTP/1.1 400 Bad Request\r\n" TEXT DATE "Content-Length: 10\r\n\r\nUse HTTPS\n" },
	{ "debug from 127.0.0.1", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "debug from 127.9.9.9", PLAIN, "127.9.9.9", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "debug from 10.9.9.9", PLAIN, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "debug from 100.64.0.0", PLAIN, "100.64.0.0", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "debug from 100.64.1.1", PLAIN, "100.64.1.1", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "debug from 100.127.255.255", PLAIN, "100.127.255.255", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "debug from 100.128.0.1", PLAIN, "100.128.0.1", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "debug from 100.63.255.255", PLAIN, "100.63.255.255", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "debug from 100.115.92.0", PLAIN, "100.115.92.0", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "debug from 100.115.93.255", PLAIN, "100.115.93.255", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "debug from 100.115.94.0", PLAIN, "100.115.94.0", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "debug from 100.115.91.255", PLAIN, "100.115.91.255", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "debug from ::1", PLAIN, "::1", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "debug from 2001:db8::9", PLAIN, "2001:db8::9", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "debug from fd7a:115c:a1e0::5", PLAIN, "fd7a:115c:a1e0::5", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "debug from fd7a:115c:a1e0:ab12::5", PLAIN, "fd7a:115c:a1e0:ab12::5", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "debug from fd7a:115c:a1e1::5", PLAIN, "fd7a:115c:a1e1::5", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "debug from 192.0.2.1", PLAIN, "192.0.2.1", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "debug, X-Forwarded-For", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "ours: debug, empty X-Forwarded-For", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\nX-Forwarded-For:\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "ours: debug, X-Forwarded-For empty then full", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\nX-Forwarded-For:\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "not allowed /debug/", PLAIN, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/ HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "not allowed, dev /debug/", DEV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/ HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "not allowed /debug/varz", PLAIN, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/varz HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "not allowed, dev /debug/varz", DEV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/varz HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 70\r\n\r\ndebug access denied; to permit access, set TS_ALLOW_DEBUG_IP=10.9.9.9\n" },
	{ "not allowed /debug/vars", PLAIN, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/vars HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "not allowed, dev /debug/vars", DEV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/vars HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 70\r\n\r\ndebug access denied; to permit access, set TS_ALLOW_DEBUG_IP=10.9.9.9\n" },
	{ "not allowed /debug/check", PLAIN, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/check HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "not allowed, dev /debug/check", DEV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/check HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 70\r\n\r\ndebug access denied; to permit access, set TS_ALLOW_DEBUG_IP=10.9.9.9\n" },
	{ "not allowed /debug/traffic", PLAIN, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/traffic HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "not allowed, dev /debug/traffic", DEV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/traffic HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 70\r\n\r\ndebug access denied; to permit access, set TS_ALLOW_DEBUG_IP=10.9.9.9\n" },
	{ "not allowed /debug/nosuch", PLAIN, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "not allowed, dev /debug/nosuch", DEV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "not allowed, HEAD", PLAIN, ELSEWHERE, FRONTDOOR_KEEP,
	  "HEAD /debug/varz HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\n" },
	{ "not allowed, 1.0", PLAIN, ELSEWHERE, FRONTDOOR_CLOSE,
	  "GET /debug/varz HTTP/1.0\r\nHost: x\r\n\r\n",
	  "HTTP/1.0 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "not allowed, dev v6", DEV, "2001:db8::9", FRONTDOOR_KEEP,
	  "GET /debug/varz HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 73\r\n\r\ndebug access denied; to permit access, set TS_ALLOW_DEBUG_IP=2001:db8::9\n" },
	{ "debug HEAD nosuch", PLAIN, LO, FRONTDOOR_KEEP,
	  "HEAD /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n" },
	{ "debug with a slash", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /debug/varz/ HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "debug encoded", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /debug/%6eosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "debug check", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /debug/check HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" DEBUG_CSP SECURITY DATE "Content-Length: 33\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nderp.Server ConsistencyCheck okay" },
	{ "debug check HEAD", PLAIN, LO, FRONTDOOR_KEEP,
	  "HEAD /debug/check HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" DEBUG_CSP SECURITY DATE "Content-Length: 33\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" },
	{ "debug check POST", PLAIN, LO, FRONTDOOR_KEEP,
	  "POST /debug/check HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" DEBUG_CSP SECURITY DATE "Content-Length: 33\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nderp.Server ConsistencyCheck okay" },
	{ "ours: debug vars HEAD", PLAIN, LO, FRONTDOOR_KEEP,
	  "HEAD /debug/vars HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" DEBUG_CSP "Content-Type: application/json; charset=utf-8\r\n" SECURITY DATE "Content-Length: 7\r\n\r\n" },
	{ "ours: debug varz HEAD", PLAIN, LO, FRONTDOOR_KEEP,
	  "HEAD /debug/varz HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" DEBUG_CSP "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n" SECURITY DATE "Content-Length: 7\r\n\r\n" },
	{ "debug index HEAD", PLAIN, LO, FRONTDOOR_KEEP,
	  "HEAD /debug/ HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" CSP SECURITY DATE "Content-Length: 7\r\n" HTML "\r\n" },
	{ "key debugkey=sekrit", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?debugkey=sekrit HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "key debugkey=", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?debugkey= HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "key debugkey=wrong", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?debugkey=wrong HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "key debugkey=sekri", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?debugkey=sekri HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "key debugkey=sekrit2", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?debugkey=sekrit2 HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "key a=b&debugkey=sekrit", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?a=b&debugkey=sekrit HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "key debugkey=sekrit&a=b", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?debugkey=sekrit&a=b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "key debugkey=%73ekrit", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?debugkey=%73ekrit HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "key debugkey=x&debugkey=sekrit", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?debugkey=x&debugkey=sekrit HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "key debugkey=sekrit;a", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?debugkey=sekrit;a HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "key Debugkey=sekrit", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?Debugkey=sekrit HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "key debug%6bey=sekrit", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?debug%6bey=sekrit HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "key debugkey=sekrit%0a", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?debugkey=sekrit%0a HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "key xdebugkey=sekrit", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?xdebugkey=sekrit HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "key debugkey", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?debugkey HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "key, POST", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "POST /debug/nosuch?debugkey=sekrit HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "key, HEAD", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "HEAD /debug/nosuch?debugkey=sekrit HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\n" },
	{ "key, X-Forwarded-For", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/nosuch?debugkey=sekrit HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "key, page", DEBUG_ENV, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/check?debugkey=sekrit HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" DEBUG_CSP SECURITY DATE "Content-Length: 33\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nderp.Server ConsistencyCheck okay" },
	{ "TS_ALLOW_DEBUG_IP", DEBUG_ENV, "192.0.2.1", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "ours: no Host", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET / HTTP/1.1\r\n\r\n",
	  "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request" },
	{ "two Hosts", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
	  "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request" },
	{ "ours: bad Host", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
	  "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request" },
	{ "garbage", PLAIN, LO, FRONTDOOR_CLOSE,
	  "garbage\r\n\r\n",
	  "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request" },
	{ "ours: HTTP/2.0", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
	  "HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n505 HTTP Version Not Supported" },
	{ "bad escape", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
	  "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request" },
	{ "ours: bad header", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET / HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n",
	  "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request" },
	{ "bad length", PLAIN, LO, FRONTDOOR_CLOSE,
	  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
	  "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request" },
	{ "unknown coding", PLAIN, LO, FRONTDOOR_CLOSE,
	  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
	  "HTTP/1.1 501 Not Implemented\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nUnsupported transfer encoding" },
	{ "ours: expectation", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n",
	  "HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" },
	{ "websocket", PLAIN, LO, FRONTDOOR_WEBSOCKET,
	  "GET /derp HTTP/1.1\r\nHost: x\r\n" WS_OK "Sec-WebSocket-Protocol: chat, derp\r\n\r\n",
	  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
	  "Sec-Websocket-Protocol: derp\r\nUpgrade: websocket\r\n" DATE "\r\n" },
	{ "websocket, fast start and compression don't count", PLAIN, LO, FRONTDOOR_WEBSOCKET,
	  "GET /derp HTTP/1.1\r\nHost: x\r\n" WS_OK "Sec-WebSocket-Protocol: derp\r\nDerp-Fast-Start: 1\r\n"
	  "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
	  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
	  "Sec-Websocket-Protocol: derp\r\nUpgrade: websocket\r\n" DATE "\r\n" },
	{ "websocket, no item is derp", PLAIN, LO, FRONTDOOR_WEBSOCKET,
	  "GET /derp HTTP/1.1\r\nHost: x\r\n" WS_OK "Sec-WebSocket-Protocol: a, derpx\r\n\r\n",
	  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
	  "Upgrade: websocket\r\n" DATE "\r\n" },
	{ "ours: websocket, a short key", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
	  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\nSec-WebSocket-Protocol: derp\r\n\r\n",
	  "HTTP/1.1 400 Bad Request\r\n" TEXT DATE "Content-Length: 58\r\n\r\nWebSocket needs a Sec-WebSocket-Key of 16 bytes in base64\n" },
	{ "ours: websocket, version 8", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n"
	  "Sec-WebSocket-Protocol: derp\r\n\r\n",
	  "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nSec-Websocket-Version: 13\r\n"
	  "X-Content-Type-Options: nosniff\r\n" DATE "Content-Length: 26\r\n\r\nWebSocket version 13 only\n" },
	{ "ours: websocket on HTTP/1.0", PLAIN, LO, FRONTDOOR_CLOSE,
	  "GET /derp HTTP/1.0\r\nHost: x\r\n" WS_OK "Sec-WebSocket-Protocol: derp\r\n\r\n",
	  "HTTP/1.0 426 Upgrade Required\r\n" TEXT DATE "Content-Length: 25\r\n\r\nWebSocket needs HTTP/1.1\n" },
	{ "ours: traffic", PLAIN, LO, FRONTDOOR_TRAFFIC,
	  "GET /debug/traffic HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n" DEBUG_CSP SECURITY DATE "\r\n" },
	{ "ours: traffic, HEAD", PLAIN, LO, FRONTDOOR_CLOSE,
	  "HEAD /debug/traffic HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n" DEBUG_CSP SECURITY DATE "\r\n" },
	{ "ours: the status page runs its own script and style, and no other", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /debug/status HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nContent-Security-Policy: default-src 'none'; script-src '" STATUS_SCRIPT_HASH "'; style-src '" STATUS_STYLE_HASH "'; "
	  "connect-src 'self'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'\r\n"
	  "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nContent-Type: text/html; charset=utf-8\r\n" SECURITY DATE
	  "Content-Length: 7\r\n\r\npage 6\n" },
	{ "ours: status as data", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /debug/status.json HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\n" CSP "Content-Type: application/json\r\n" SECURITY DATE "Content-Length: 7\r\n\r\npage 7\n" },
	{ "ours: status, not allowed", PLAIN, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /debug/status.json HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "ours: ready, to anybody", PLAIN, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 503 Service Unavailable\r\nCache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\n" DATE "Content-Length: 7\r\n\r\npage 8\n" },
	{ "ours: ready, port 80", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 503 Service Unavailable\r\nCache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\n" DATE "Content-Length: 7\r\n\r\npage 8\n" },
	{ "ours: healthy, port 80", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\n" DATE "Content-Length: 3\r\n\r\nok\n" },
	{ "ours: metrics", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" DEBUG_CSP "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n" SECURITY DATE "Content-Length: 7\r\n\r\npage 5\n" },
	{ "ours: metrics, not allowed", PLAIN, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "ours: metrics, port 80", PORT80, LO, FRONTDOOR_KEEP,
	  "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\n" DEBUG_CSP "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n" SECURITY DATE "Content-Length: 7\r\n\r\npage 5\n" },
	{ "ours: metrics, not allowed, port 80", PORT80, ELSEWHERE, FRONTDOOR_KEEP,
	  "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "ours: profiles", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /debug/pprof/heap HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "ours: trusted networks, 203.0.113.0", CIDRS, "203.0.113.0", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "ours: trusted networks, 203.0.113.127", CIDRS, "203.0.113.127", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "ours: trusted networks, 203.0.113.128", CIDRS, "203.0.113.128", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "ours: trusted networks, 198.51.100.7", CIDRS, "198.51.100.7", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "ours: trusted networks, 198.51.100.8", CIDRS, "198.51.100.8", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "ours: trusted networks, 2001:db8:1::1", CIDRS, "2001:db8:1::1", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "ours: trusted networks, 2001:db8:1:1::1", CIDRS, "2001:db8:1:1::1", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\n" TEXT DATE "Content-Length: 19\r\n\r\n404 page not found\n" },
	{ "ours: trusted networks, 2001:db8:1:2::1", CIDRS, "2001:db8:1:2::1", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "ours: trusted networks, 2001:db8::1", CIDRS, "2001:db8::1", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "ours: trusted networks, 1.2.3.4", CIDRS, "1.2.3.4", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "ours: trusted networks, ::2", CIDRS, "::2", FRONTDOOR_KEEP,
	  "GET /debug/nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 403 Forbidden\r\n" TEXT DATE "Content-Length: 20\r\n\r\ndebug access denied\n" },
	{ "ours: websocket without Connection", PLAIN, LO, FRONTDOOR_KEEP,
	  "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nSec-WebSocket-Protocol: a, derpx\r\n\r\n",
	  "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nContent-Type: text/plain; charset=utf-8\r\nUpgrade: websocket\r\n"
	  "X-Content-Type-Options: nosniff\r\n" DATE "Content-Length: 36\r\n\r\nWebSocket needs Connection: Upgrade\n" },
};

static char key_file[] = "/tmp/xderp-test-XXXXXX";

static struct config config_of(enum where w)
{
	struct config c = {
		.derp = w != DERP_OFF, .tls = w == TLS || w == PORT80, .dev = w == DEV, .hostname = "127.0.0.1",
		.home = w == BLANK ? "blank" : w == URL ? "https://example.com/x?a=1&b=2" : "",
		.trusted_cidrs = w == CIDRS ? "garbage, 203.0.113.0/25 ,2001:db8:1::/63,198.51.100.7,1.2.3.4/33,1.2.3.4/,::/129" : "",
		.allow_debug_ip = w == DEBUG_ENV ? "192.0.2.1" : "",
		.debug_key_path = w == DEBUG_ENV ? key_file : "",
		.acme_dir = "",
	};

	assert_int_equal(0, key_from_hex(&c.public_key, PUBLIC, strlen(PUBLIC)));
	return c;
}

static struct bootstrap *bootstrap;

static int render(enum frontdoor_page page, struct textbuf *body, void *ctx)
{
	assert_null(ctx);
	if (page == PAGE_CHECK)
		textbuf_puts(body, "derp.Server ConsistencyCheck okay");
	else
		textbuf_printf(body, "page %d\n", (int)page);
	return page == PAGE_READY ? 503 : 200;
}

static struct sockaddr_storage source(const char *text)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
		memcpy(&ss, &v4, sizeof(v4));
	} else {
		assert_int_equal(1, inet_pton(AF_INET6, text, &v6.sin6_addr));
		memcpy(&ss, &v6, sizeof(v6));
	}
	return ss;
}

/* Parse in a heap block of exactly n bytes, then answer. */
static struct frontdoor_result ask(enum where w, const char *src, const char *request, size_t n, struct textbuf *out)
{
	struct config cfg = config_of(w);
	struct frontdoor_env env = { .cfg = &cfg, .main_port = w != PORT80, .page = render, .bootstrap = bootstrap, .now = NOW,
		.may_stream = true };
	struct sockaddr_storage ss = source(src);
	struct frontdoor_result r = { 0 };
	struct http1_request req;
	uint8_t *block = malloc(n);
	size_t scanned = 0;
	int err;

	memcpy(block, request, n);
	err = http1_parse(&req, block, n, &scanned);
	assert_int_not_equal(0, err);
	if (err > 0)
		frontdoor_handle(&r, &env, &req, (struct sockaddr *)&ss, out);
	else
		frontdoor_bad_request(-err, out);
	if (err < 0)
		r.next = FRONTDOOR_CLOSE;
	free(block);
	return r;
}

static void run_case(void **state)
{
	const struct door_case *c = *state;
	struct textbuf out = { 0 };
	struct frontdoor_result r = ask(c->where, c->src, c->request, strlen(c->request), &out);

	assert_false(out.failed);
	assert_string_equal(c->answer, out.p ? out.p : "");
	assert_int_equal(c->next, r.next);
	textbuf_done(&out);
}

/* Over IPv6 sockets, IPv4 sources come mapped: the same rules hold. */
static void mapped_sources(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct door_case *c = &cases[i];
		struct textbuf out = { 0 };
		char src[64];

		if (strchr(c->src, ':'))
			continue;
		snprintf(src, sizeof(src), "::ffff:%s", c->src);
		ask(c->where, src, c->request, strlen(c->request), &out);
		assert_string_equal(c->answer, out.p ? out.p : "");
		textbuf_done(&out);
	}
}

static void upgrade_flags(void **state)
{
	static const struct {
		const char *headers;
		bool fast, not_ideal;
	} rows[] = {
		{ "", false, false },
		{ "Derp-Fast-Start: 1\r\n", true, false },
		{ "derp-fast-start:1\r\n", true, false },
		{ "Derp-Fast-Start: 0\r\n", false, false },
		{ "Derp-Fast-Start: 11\r\n", false, false },
		{ "Derp-Fast-Start: true\r\n", false, false },
		{ "Ideal-Node: a\r\n", false, true },
		{ "Ideal-Node:\r\n", false, false },
		{ "Ideal-Node: a\r\nDerp-Fast-Start: 1\r\n", true, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct textbuf out = { 0 };
		char request[256];
		struct frontdoor_result r;

		snprintf(request, sizeof(request), "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n%s\r\n", rows[i].headers);
		r = ask(TLS, ELSEWHERE, request, strlen(request), &out);
		assert_int_equal(FRONTDOOR_DERP, r.next);
		assert_int_equal(101, r.status);
		assert_int_equal(rows[i].fast, r.fast_start);
		assert_int_equal(rows[i].not_ideal, r.not_ideal);
		assert_int_equal(rows[i].fast, out.len == 0);
		textbuf_done(&out);
	}
}

static void bodies(void **state)
{
	static const struct {
		const char *headers;
		enum frontdoor_next next;
		uint64_t discard;
		bool chunked;
	} rows[] = {
		{ "", FRONTDOOR_KEEP, 0, false },
		{ "Content-Length: 5\r\n", FRONTDOOR_KEEP, 5, false },
		{ "Content-Length: 262143\r\n", FRONTDOOR_KEEP, 262143, false },
		{ "Content-Length: 262144\r\n", FRONTDOOR_CLOSE, 0, false },
		{ "Content-Length: 9223372036854775807\r\n", FRONTDOOR_CLOSE, 0, false },
		{ "Transfer-Encoding: chunked\r\n", FRONTDOOR_KEEP, 0, true },
		{ "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n", FRONTDOOR_CLOSE, 0, false },
		{ "Content-Length: 5\r\nExpect: 100-Continue\r\n", FRONTDOOR_CLOSE, 0, false },
		{ "Expect: 100-continue\r\n", FRONTDOOR_KEEP, 0, false },
		{ "Connection: close\r\nContent-Length: 5\r\n", FRONTDOOR_CLOSE, 5, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct textbuf out = { 0 };
		char request[256];
		struct frontdoor_result r;

		snprintf(request, sizeof(request), "POST /robots.txt HTTP/1.1\r\nHost: x\r\n%s\r\n", rows[i].headers);
		r = ask(PLAIN, LO, request, strlen(request), &out);
		assert_int_equal(200, r.status);
		assert_int_equal(rows[i].next, r.next);
		assert_int_equal(rows[i].discard, r.discard);
		assert_int_equal(rows[i].chunked, r.discard_chunked);
		assert_int_equal(rows[i].next == FRONTDOOR_CLOSE, strstr(out.p, "Connection: close\r\n") != NULL);
		textbuf_done(&out);
	}
}

static void home_says(enum where w, const char *src, const char *target, const char *words, bool want)
{
	struct textbuf out = { 0 };
	char request[128];

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target);
	ask(w, src, request, strlen(request), &out);
	assert_non_null(strstr(out.p, "HTTP/1.1 200 OK\r\n" CSP HTML SECURITY DATE "Content-Length: "));
	assert_int_equal(want, strstr(out.p, words) != NULL);
	textbuf_done(&out);
}

static void home_page(void **state)
{
	(void)state;
	home_says(PLAIN, ELSEWHERE, "/", "<h1>DERP</h1>", true);
	home_says(TLS, ELSEWHERE, "/any/where", "xderp", true);
	home_says(PLAIN, ELSEWHERE, "/", "disabled", false);
	home_says(DERP_OFF, ELSEWHERE, "/", "disabled", true);
	home_says(PLAIN, ELSEWHERE, "/", "/debug/", false);
	home_says(PLAIN, LO, "/", "/debug/", true);
	home_says(DEBUG_ENV, ELSEWHERE, "/", "/debug/", false);
	home_says(DEBUG_ENV, ELSEWHERE, "/?debugkey=sekrit", "/debug/", true);
	home_says(PORT80, ELSEWHERE, "/debugger", "<h1>DERP</h1>", true);
}

/* Key files that open nothing; an empty one must not match an empty key. */
static void key_files(void **state)
{
	static const char request[] = "GET /debug/nosuch?debugkey=sekrit HTTP/1.1\r\nHost: x\r\n\r\n";
	static char big[1100], head[1200];
	struct textbuf out = { 0 };

	(void)state;
	memset(big, 'k', sizeof(big));
	for (size_t n = 1000; n <= sizeof(big); n += 24) {
		FILE *f = fopen(key_file, "w");

		fwrite(big, 1, n, f);
		fclose(f);
		snprintf(head, sizeof(head), "GET /debug/nosuch?debugkey=%.*s HTTP/1.1\r\nHost: x\r\n\r\n", (int)min_of(n, 1024), big);
		assert_int_equal(n < 1024 ? 404 : 403, ask(DEBUG_ENV, ELSEWHERE, head, strlen(head), &out).status);
	}
	assert_int_equal(0, truncate(key_file, 0));
	assert_int_equal(403, ask(DEBUG_ENV, ELSEWHERE, request, strlen(request), &out).status);
	assert_int_equal(0, unlink(key_file));
	assert_int_equal(403, ask(DEBUG_ENV, ELSEWHERE, request, strlen(request), &out).status);
	textbuf_done(&out);
}

/* A head as long as heads may be, whose path triples twice over when it is encoded. */
static void long_paths(void **state)
{
	static char request[HTTP1_MAX_HEAD];
	static const char tail[] = " HTTP/1.1\r\nHost: x\r\n\r\n";
	struct textbuf out = { 0 };
	size_t n = sizeof(request) - sizeof(tail) + 1;

	(void)state;
	memset(request, '"', n);
	memcpy(request, "GET //", 6);
	memcpy(request + n, tail, sizeof(tail) - 1);
	assert_int_equal(307, ask(PLAIN, LO, request, sizeof(request), &out).status);
	assert_false(out.failed);
	textbuf_done(&out);
}

int main(void)
{
	static struct CMUnitTest t[ARRAY_SIZE(cases) + 6];
	int fd = mkstemp(key_file), failed;
	size_t n = 0;

	if (fd == -1 || write(fd, "  sekrit\n", 9) != 9)
		return 99;
	close(fd);
	if (bootstrap_new(&bootstrap))
		return 99;
	for (; n < ARRAY_SIZE(cases); n++)
		t[n] = (struct CMUnitTest){ cases[n].name, run_case, NULL, NULL, (void *)&cases[n] };
	t[n++] = (struct CMUnitTest)cmocka_unit_test(mapped_sources);
	t[n++] = (struct CMUnitTest)cmocka_unit_test(upgrade_flags);
	t[n++] = (struct CMUnitTest)cmocka_unit_test(bodies);
	t[n++] = (struct CMUnitTest)cmocka_unit_test(home_page);
	t[n++] = (struct CMUnitTest)cmocka_unit_test(key_files);
	t[n++] = (struct CMUnitTest)cmocka_unit_test(long_paths);
	failed = cmocka_run_group_tests(t, NULL, NULL);
	bootstrap_free(bootstrap);
	return failed;
}
