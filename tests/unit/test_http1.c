/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <errno.h>

#include "base/util.h"
#include "lib/unit.h"
#include "lib/vectors.h"
#include "wire/http1.h"

/* What Go 1.26's net/http answered to these bytes, with a ServeMux behind it: the status if it refused,
 * else "path|query|host|keep or close|Content-Length" as its handler saw them. */
static const struct head_case {
	const char *name, *raw, *want;
} head_cases[] = {
	/* request line */
	{ "plain",                  "GET /derp HTTP/1.1\r\nHost: h\r\n\r\n", "/derp||h|keep|0" },
	{ "bare LF",                "GET /derp HTTP/1.1\nHost: h\n\n", "/derp||h|keep|0" },
	{ "LF and CR LF mixed",     "GET /derp HTTP/1.1\nHost: h\r\nA: b\n\r\n", "/derp||h|keep|0" },
	{ "fast start",             "GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Fast-Start: 1\r\n\r\n", "/derp||h|keep|0" },
	{ "unknown method",         "BREW /pot HTTP/1.1\r\nHost: h\r\n\r\n", "/pot||h|keep|0" },
	{ "lower-case method",      "get / HTTP/1.1\r\nHost: h\r\n\r\n", "/||h|keep|0" },
	{ "method with odd tchars", "!#$%&'*+-.^_`|~9 / HTTP/1.1\r\nHost: h\r\n\r\n", "/||h|keep|0" },
	{ "method with a slash",    "G/T / HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "method with a colon",    "GET: / HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "method above ASCII",     "G\xc3\x89T / HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "empty method",           " / HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "tab instead of space",   "GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "two spaces",             "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "space behind version",   "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", "400" },
	{ "no version",             "GET /\r\nHost: h\r\n\r\n", "400" },
	{ "one word",               "GET\r\n\r\n", "400" },
	{ "space in the target",    "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "leading empty line",     "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "leading bare LF",        "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "lone CR ends the line",  "GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", "400" },
	/* versions */
	{ "1.0 without Host",       "GET / HTTP/1.0\r\n\r\n", "/|||close|0" },
	{ "1.0 keep-alive",         "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "/|||keep|0" },
	{ "1.0 both tokens",        "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "/|||close|0" },
	{ "1.9 is read as 1.1",     "GET / HTTP/1.9\r\nHost: h\r\n\r\n", "/||h|keep|0" },
	{ "1.2 without Host",       "GET / HTTP/1.2\r\n\r\n", "400" },
	{ "0.9",                    "GET / HTTP/0.9\r\nHost: h\r\n\r\n", "505" },
	{ "2.0",                    "GET / HTTP/2.0\r\nHost: h\r\n\r\n", "505" },
	{ "2.0 and a bad header",   "GET / HTTP/2.0\r\nHost h\r\n\r\n", "400" },
	{ "2.0 and a bad coding",   "GET / HTTP/2.0\r\nTransfer-Encoding: x\r\n\r\n", "501" },
	{ "HTTP/2 preface",         "PRI * HTTP/2.0\r\n\r\n", "400" },
	{ "two-digit minor",        "GET / HTTP/1.10\r\nHost: h\r\n\r\n", "400" },
	{ "HTTP/2",                 "GET / HTTP/2\r\nHost: h\r\n\r\n", "400" },
	{ "lower-case http",        "GET / http/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "letters as version",     "GET / HTTP/x.y\r\nHost: h\r\n\r\n", "400" },
	{ "comma in the version",   "GET / HTTP/1,1\r\nHost: h\r\n\r\n", "400" },
	/* targets */
	{ "query",                  "GET /bootstrap-dns?q=a.b HTTP/1.1\r\nHost: h\r\n\r\n", "/bootstrap-dns|q=a.b|h|keep|0" },
	{ "two question marks",     "GET /a?b?c HTTP/1.1\r\nHost: h\r\n\r\n", "/a|b?c|h|keep|0" },
	{ "empty query",            "GET /a? HTTP/1.1\r\nHost: h\r\n\r\n", "/a||h|keep|0" },
	{ "escape in the path",     "GET /%64erp HTTP/1.1\r\nHost: h\r\n\r\n", "/%64erp||h|keep|0" },
	{ "bad escape in the path", "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "escape at the end",      "GET /%64 HTTP/1.1\r\nHost: h\r\n\r\n", "/%64||h|keep|0" },
	{ "escape cut short",       "GET /%6 HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "escape cut by a query",  "GET /%6?4 HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "bad escape in a query",  "GET /?%zz HTTP/1.1\r\nHost: h\r\n\r\n", "/|%zz|h|keep|0" },
	{ "fragment stays",         "GET /a%23b HTTP/1.1\r\nHost: h\r\n\r\n", "/a%23b||h|keep|0" },
	{ "control in the target",  "GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "tab in the target",      "GET /\t HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "DEL in the target",      "GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "relative target",        "GET derp HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "query only",             "GET ?q HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "colon first",            "GET :x HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "digit before the colon", "GET 1a:x HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "asterisk",               "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "||h|keep|0" },
	{ "asterisk, not OPTIONS",  "GET * HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "absolute",               "GET http://a.b/derp?x HTTP/1.1\r\nHost: other\r\n\r\n", "/derp|x|a.b|keep|0" },
	{ "absolute with port",     "GET HTTPS://a.b:443/derp HTTP/1.1\r\nHost: other\r\n\r\n", "/derp||a.b:443|keep|0" },
	{ "absolute without Host",  "GET http://a.b/derp HTTP/1.1\r\n\r\n", "400" },
	{ "absolute, user",         "GET http://u:p@a.b/derp HTTP/1.1\r\nHost: h\r\n\r\n", "/derp||a.b|keep|0" },
	{ "absolute, bad user",     "GET http://u[@a.b/derp HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "absolute, IPv6",         "GET http://[::1]:80/derp HTTP/1.1\r\nHost: h\r\n\r\n", "/derp||[::1]:80|keep|0" },
	{ "absolute, empty brackets", "GET http://[]/derp HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "absolute, no bracket",   "GET http://[::1/derp HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "absolute, late bracket", "GET http://a[::1]/derp HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "absolute, name in brackets", "GET http://[xyz]/derp HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "absolute, junk behind ]", "GET http://[::1]x/derp HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "absolute, two ports",    "GET http://a:1:2/derp HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "absolute, bad port",     "GET http://a.b:x/derp HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "absolute, bad host",     "GET http://a{b/derp HTTP/1.1\r\nHost: h\r\n\r\n", "400" },
	{ "absolute, no authority", "GET http:/derp HTTP/1.1\r\nHost: h\r\n\r\n", "/derp||h|keep|0" },
	{ "CONNECT",                "CONNECT a.b:443 HTTP/1.1\r\nHost: a.b\r\n\r\n", "||a.b:443|keep|0" },
	{ "CONNECT without Host",   "CONNECT a.b:443 HTTP/1.1\r\n\r\n", "||a.b:443|keep|0" },
	{ "CONNECT to a path",      "CONNECT /rpc HTTP/1.1\r\n\r\n", "/rpc|||keep|0" },
	{ "CONNECT, bad port",      "CONNECT a.b:https HTTP/1.1\r\n\r\n", "400" },
	/* headers */
	{ "empty value",            "GET / HTTP/1.1\r\nHost: h\r\nA:\r\n\r\n", "/||h|keep|0" },
	{ "blanks around the value", "GET / HTTP/1.1\r\nHost: \t h \t \r\n\r\n", "/||h|keep|0" },
	{ "value above ASCII",      "GET / HTTP/1.1\r\nHost: h\r\nA: \xff\xc3\r\n\r\n", "/||h|keep|0" },
	{ "tab inside a value",     "GET / HTTP/1.1\r\nHost: h\r\nA: b\tc\r\n\r\n", "/||h|keep|0" },
	{ "no colon",               "GET / HTTP/1.1\r\nHost: h\r\nbogus\r\n\r\n", "400" },
	{ "empty name",             "GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n", "400" },
	{ "blank before the colon", "GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", "400" },
	{ "tab before the colon",   "GET / HTTP/1.1\r\nHost: h\r\nA\t: b\r\n\r\n", "400" },
	{ "blank in the name",      "GET / HTTP/1.1\r\nHost: h\r\nA B: c\r\n\r\n", "400" },
	{ "name above ASCII",       "GET / HTTP/1.1\r\nHost: h\r\n\xc3\x84: c\r\n\r\n", "400" },
	{ "name with parentheses",  "GET / HTTP/1.1\r\nHost: h\r\n(A): c\r\n\r\n", "400" },
	{ "control in a value",     "GET / HTTP/1.1\r\nHost: h\r\nA: b\x02\r\n\r\n", "400" },
	{ "CR in a value",          "GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", "400" },
	{ "CR CR LF",               "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\r\n\r\n", "400" },
	{ "DEL in a value",         "GET / HTTP/1.1\r\nHost: h\r\nA: b\x7f\r\n\r\n", "400" },
	{ "first header folded",    "GET / HTTP/1.1\r\n Host: h\r\n\r\n", "400" },
	{ "folded line",            "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", "400, Go: 200" },
	{ "folded with a tab",      "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\tc: d\r\n\r\n", "400, Go: 200" },
	{ "line of blanks",         "GET / HTTP/1.1\r\nHost: h\r\n  \r\n\r\n", "400" },
	/* Host */
	{ "no Host",                "GET / HTTP/1.1\r\n\r\n", "400" },
	{ "empty Host",             "GET / HTTP/1.1\r\nHost:\r\n\r\n", "/|||keep|0" },
	{ "two Hosts",              "GET / HTTP/1.1\r\nHost: h\r\nhOST: h\r\n\r\n", "400" },
	{ "two Hosts on 1.0",       "GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", "400" },
	{ "Host with a port",       "GET / HTTP/1.1\r\nHost: a.b:8443\r\n\r\n", "/||a.b:8443|keep|0" },
	{ "Host IPv6",              "GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", "/||[::1]:8443|keep|0" },
	{ "Host with a slash",      "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400" },
	{ "Host with a blank",      "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400" },
	{ "Host with an at sign",   "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", "400" },
	{ "Host above ASCII",       "GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", "400" },
	/* body framing */
	{ "length",                 "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde", "/||h|keep|5" },
	{ "length on GET",          "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde", "/||h|keep|5" },
	{ "length with zeros",      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 005\r\n\r\nabcde", "/||h|keep|5" },
	{ "length twice, same",     "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde", "/||h|keep|5" },
	{ "length twice, other",    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", "400" },
	{ "length twice, prefix",   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 55\r\n\r\nabcde", "400" },
	{ "length twice, spelling", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 05\r\n\r\nabcde", "400" },
	{ "length list",            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nabcde", "400" },
	{ "length empty",           "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", "400" },
	{ "length negative",        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", "400" },
	{ "length with plus",       "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nabcde", "400" },
	{ "length hexadecimal",     "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\nabcde", "400" },
	{ "length 2^63",            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9223372036854775808\r\n\r\n", "400" },
	{ "length over 2^64",       "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551621\r\n\r\n", "400" },
	{ "chunked",                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", "/||h|keep|-1" },
	{ "chunked and length",     "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "/||h|keep|-1" },
	{ "chunked, bad length",    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400" },
	{ "chunked on 1.0",         "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "/|||close|0" },
	{ "chunked twice",          "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "501" },
	{ "gzip, chunked",          "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501" },
	{ "identity",               "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", "501" },
	{ "empty coding",           "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n", "501" },
	{ "bad coding, no Host",    "POST / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n", "501" },
	{ "bad coding, two Hosts",  "POST / HTTP/1.1\r\nHost: a\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n", "400" },
	/* Connection and Expect */
	{ "close",                  "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "/||h|close|0" },
	{ "close in a list",        "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade ,\tCLOSE\r\n\r\n", "/||h|close|0" },
	{ "close amid a list",      "GET / HTTP/1.1\r\nHost: h\r\nConnection: x , close , y\r\n\r\n", "/||h|close|0" },
	{ "close in a second line", "GET / HTTP/1.1\r\nHost: h\r\nConnection: x\r\nConnection: close\r\n\r\n", "/||h|close|0" },
	{ "not quite close",        "GET / HTTP/1.1\r\nHost: h\r\nConnection: closed,xclose\r\n\r\n", "/||h|keep|0" },
	{ "100-continue",           "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\na", "/||h|keep|1" },
	{ "other expectation",      "POST / HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\na", "417" },
	{ "empty expectation",      "GET / HTTP/1.1\r\nHost: h\r\nExpect:\r\n\r\n", "/||h|keep|0" },
};

#define VIEW(v) (int)(v).n, (const char *)(v).p

static void assert_seen(const char *want, const struct http1_request *r)
{
	char got[512];

	snprintf(got, sizeof(got), "%.*s|%.*s|%.*s|%s|%lld", VIEW(r->path), VIEW(r->query), VIEW(r->host),
		 r->keep_alive ? "keep" : "close", (long long)r->content_length);
	assert_string_equal(want, got);
}

static void head_case(void **state)
{
	const struct head_case *c = *state;
	struct t_bytes b = t_copy(c->raw, strlen(c->raw));
	int want = isdigit(c->want[0]) ? -atoi(c->want) : 1;
	struct http1_request r;
	size_t scanned = 0, trickled = 0, head_len;

	assert_int_equal(want, http1_parse(&r, b.p, b.n, &scanned));
	head_len = r.head_len;
	if (want == 1)
		assert_seen(c->want, &r);

	/* Every prefix in a block of its own: too short is "more", never a verdict. */
	for (size_t n = 0; n <= b.n; n++) {
		struct t_bytes cut = t_copy(b.p, n);

		scanned = 0;
		assert_int_equal(n < head_len ? 0 : want, http1_parse(&r, cut.p, n, &scanned));
		assert_int_equal(n < head_len ? 0 : want, http1_parse(&r, cut.p, n, &trickled));
		free(cut.p);
	}
	free(b.p);
}

/* A trickled head of 64 KiB costs one pass: what was scanned is not looked at again, but for the two
 * bytes before it. Junk put there must go unnoticed. */
static void resumes(void **state)
{
	struct t_bytes b = { malloc(HTTP1_MAX_HEAD), HTTP1_MAX_HEAD };
	struct http1_request r;
	size_t scanned = 0;

	(void)state;
	memset(b.p, 'a', b.n);
	memcpy(b.p, "GET / HTTP/1.1\r\nHost: h\r\nX: ", 28);
	for (size_t n = 0; n < b.n; n += 100) {
		assert_int_equal(0, http1_parse(&r, b.p, n, &scanned));
		assert_int_equal(n, scanned);
	}
	memcpy(b.p + 100, "\r\n\r\n", 4);
	assert_int_equal(0, http1_parse(&r, b.p, b.n - 1, &scanned));
	assert_int_equal(b.n - 1, scanned);
	free(b.p);
}

static void head_too_long(void **state)
{
	struct t_bytes b = { malloc(HTTP1_MAX_HEAD + 1), HTTP1_MAX_HEAD + 1 };
	struct http1_request r;
	size_t scanned = 0;

	(void)state;
	memset(b.p, 'a', b.n);
	memcpy(b.p, "GET / HTTP/1.1\r\nHost: h\r\nX: ", 28);
	assert_int_equal(0, http1_parse(&r, b.p, HTTP1_MAX_HEAD - 1, &scanned));
	assert_int_equal(-431, http1_parse(&r, b.p, HTTP1_MAX_HEAD, &scanned));
	assert_int_equal(-431, http1_parse(&r, b.p, HTTP1_MAX_HEAD + 1, &scanned));

	memcpy(b.p + HTTP1_MAX_HEAD - 4, "\r\n\r\n", 4);
	scanned = 0;
	assert_int_equal(1, http1_parse(&r, b.p, b.n, &scanned));
	assert_int_equal(HTTP1_MAX_HEAD, r.head_len);

	memcpy(b.p + HTTP1_MAX_HEAD - 4, "a\r\n\r\n", 5);
	scanned = 0;
	assert_int_equal(-431, http1_parse(&r, b.p, b.n, &scanned));
	free(b.p);
}

static void too_many_headers(void **state)
{
	char raw[HTTP1_MAX_HEADERS * 16];
	struct http1_request r;
	size_t n, scanned;

	(void)state;
	for (unsigned int count = HTTP1_MAX_HEADERS; count <= HTTP1_MAX_HEADERS + 1; count++) {
		n = (size_t)snprintf(raw, sizeof(raw), "GET / HTTP/1.1\r\nHost: h\r\n");
		for (unsigned int i = 1; i < count; i++)
			n += (size_t)snprintf(raw + n, sizeof(raw) - n, "A%u: %u\r\n", i, i);
		n += (size_t)snprintf(raw + n, sizeof(raw) - n, "\r\n");
		scanned = 0;
		assert_int_equal(count <= HTTP1_MAX_HEADERS ? 1 : -431,
				 http1_parse(&r, (uint8_t *)raw, n, &scanned));
	}
	assert_int_equal(HTTP1_MAX_HEADERS, r.nheaders);
}

/* What follows the head belongs to the next protocol and is not looked at. */
static void pipelined(void **state)
{
	static const char raw[] = "GET /derp HTTP/1.1\r\nHost: h\r\n\r\n\x02\0\0\0\x68\n\r\n";
	struct http1_request r;
	size_t scanned = 0;

	(void)state;
	assert_int_equal(1, http1_parse(&r, (const uint8_t *)raw, sizeof(raw) - 1, &scanned));
	assert_int_equal(31, r.head_len);
	assert_int_equal(1, r.minor);
	assert_true(view_equal(r.method, "GET") && view_equal(r.target, "/derp"));
}

static void lookups(void **state)
{
	static const char raw[] = "GET / HTTP/1.0\r\nUpgrade: websocket,  DERP \r\nx: \r\nX: 2\r\n"
				  "uPGRADE: h2c\r\n\r\n";
	struct http1_request r;
	size_t scanned = 0;

	(void)state;
	assert_int_equal(1, http1_parse(&r, (const uint8_t *)raw, sizeof(raw) - 1, &scanned));
	assert_int_equal(0, r.minor);
	assert_true(http1_has_token(&r, "upgrade", "derp"));
	assert_true(http1_has_token(&r, "Upgrade", "WebSocket"));
	assert_true(http1_has_token(&r, "Upgrade", "h2c"));
	assert_false(http1_has_token(&r, "Upgrade", "der"));
	assert_false(http1_has_token(&r, "Upgrade", "websocket,  DERP"));
	assert_false(http1_has_token(&r, "Upgrad", "derp"));
	assert_true(view_equal(http1_header(&r, "UPGRADE"), "websocket,  DERP"));
	assert_false(view_equal(http1_header(&r, "upgrade"), "WEBSOCKET,  derp"));
	assert_true(view_equal_nocase(http1_header(&r, "upgrade"), "WEBSOCKET,  derp"));
	assert_non_null(http1_header(&r, "X").p);
	assert_int_equal(0, http1_header(&r, "X").n);
	assert_null(http1_header(&r, "Y").p);
}

static const struct chunked_case {
	const char *name, *raw;
	int want;
	size_t used;		/* bytes of raw that are body */
} chunked_cases[] = {
	{ "empty body",          "0\r\n\r\nGET", 1, 5 },
	{ "bare LF",             "0\n\nGET", 1, 3 },
	{ "two chunks",          "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", 1, 28 },
	{ "line ends as data",   "4\r\n\r\n\r\n\r\n0\r\n\r\n", 1, 14 },
	{ "extension",           "3;a=b\r\nabc\r\n0 ; c\r\n\r\n", 1, 21 },
	{ "trailers",            "0\r\nA: b\r\nC: d\r\n\r\nGET", 1, 17 },
	{ "zeros before a size", "0003\r\nabc\r\n000\r\n\r\n", 1, 18 },
	{ "unfinished data",     "ff\r\nabc", 0, 7 },
	{ "unfinished end",      "0\r\n\r", 0, 4 },
	{ "no size",             "\r\n", -400, 0 },
	{ "size not hex",        "g\r\n", -400, 0 },
	{ "negative size",       "-1\r\n", -400, 0 },
	{ "0x before a size",    "0x3\r\nabc\r\n", -400, 0 },
	{ "longer than said",    "3\r\nabcd\r\n", -400, 0 },
	{ "over the limit",      "40001\r\n", -400, 0 },
	{ "size over 64 bits",   "10000000000000003\r\nabc\r\n", -400, 0 },
	{ "CR without LF",       "0\r\n\rx", -400, 0 },
};

/* Whole, and cut in two at every place. */
static void chunked_case(void **state)
{
	const struct chunked_case *c = *state;
	size_t len = strlen(c->raw), used;

	for (size_t cut = 0; cut <= len; cut++) {
		struct t_bytes a = t_copy(c->raw, cut), b = t_copy(c->raw + cut, len - cut);
		struct http1_chunked body = { 0 };
		size_t before = 0;
		int r = http1_skip_chunked(&body, a.p, a.n, &used);

		if (r == 0) {
			before = used;
			assert_int_equal(a.n, used);
			r = http1_skip_chunked(&body, b.p, b.n, &used);
		}
		assert_int_equal(c->want, r);
		if (r >= 0)
			assert_int_equal(c->used, before + used);
		free(a.p);
		free(b.p);
	}
}

/* Neither many small chunks nor endless trailers get past the limit. */
static void chunked_limit(void **state)
{
	static const char *const endless[] = { "1\r\na\r\n", "a: b\r\n" };
	size_t used, skipped;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(endless); i++) {
		struct http1_chunked body = { 0 };
		int r = i ? http1_skip_chunked(&body, (const uint8_t *)"0\r\n", 3, &used) : 0;

		for (skipped = 0; !r && skipped < 2 * HTTP1_MAX_SKIP; skipped += used)
			r = http1_skip_chunked(&body, (const uint8_t *)endless[i], strlen(endless[i]),
					       &used);
		assert_int_equal(-400, r);
		assert_true(skipped <= HTTP1_MAX_SKIP);
	}
}

/* Answers of others: status and body, or why not. ended: what they are worth when the stream is over then. */
static const struct response_case {
	const char *name, *raw;
	int status;		/* or what http1_parse_response answers, below 100 */
	const char *body;	/* NULL: none yet */
	int ended;		/* http1_response_body at the end of the stream, if body is NULL */
} response_cases[] = {
	{ "length",            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", 200, "abc" },
	{ "no reason",         "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", 404, "" },
	{ "length, short",     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", 200, NULL, -EPROTO },
	{ "until the end",     "HTTP/1.0 200 OK\r\n\r\nabc", 200, NULL, 1 },
	{ "chunks",            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nT: x\r\n\r\n", 200, "abcd" },
	{ "chunks win",        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", 200, "ab" },
	{ "chunks, short",     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 200, NULL, -EPROTO },
	{ "upgrade",           "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n\r\n\x01", 101, NULL, 1 },
	{ "head, short",       "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", 0 },
	{ "not HTTP",          "SSH-2.0-x\r\n\r\n", -EPROTO },
	{ "HTTP/2",            "HTTP/2.0 200 OK\r\n\r\n", -EPROTO },
	{ "status of letters", "HTTP/1.1 2x0 OK\r\n\r\n", -EPROTO },
	{ "long status",       "HTTP/1.1 2000 OK\r\n\r\n", -EPROTO },
	{ "bad length",        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", -EPROTO },
	{ "bad header",        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", -EPROTO },
	{ "unknown coding",    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", -EPROTO },
};

static void response_case(void **state)
{
	const struct response_case *c = *state;
	struct http1_response r;
	struct t_bytes b;
	struct view body;
	size_t all = strlen(c->raw);
	bool whole;
	int got = 0;

	/* Every prefix, in a block of exactly its size. */
	for (size_t n = 0; n <= all; n++) {
		b = t_copy(c->raw, n);
		got = http1_parse_response(&r, b.p, n);
		whole = got == 1 && http1_response_body(&body, &r, b.p, n, false) == 1;
		if (whole) {
			assert_non_null(c->body);
			assert_int_equal(strlen(c->body), body.n);
			assert_memory_equal(c->body, body.p, body.n);
		}
		if (n == all && got == 1) {
			assert_int_equal(c->body != NULL, whole);
			if (!whole)
				assert_int_equal(c->ended, http1_response_body(&body, &r, b.p, n, true));
		}
		free(b.p);
	}
	if (c->status >= 100)
		assert_int_equal(c->status, r.status);
	assert_int_equal(c->status >= 100 ? 1 : c->status, got);
}

int main(void)
{
	static const struct CMUnitTest fixed[] = {
		cmocka_unit_test(resumes),
		cmocka_unit_test(head_too_long),
		cmocka_unit_test(too_many_headers),
		cmocka_unit_test(pipelined),
		cmocka_unit_test(lookups),
		cmocka_unit_test(chunked_limit),
	};
	struct CMUnitTest t[ARRAY_SIZE(head_cases) + ARRAY_SIZE(chunked_cases) + ARRAY_SIZE(response_cases) +
			    ARRAY_SIZE(fixed)];
	size_t n = 0, i;

	for (i = 0; i < ARRAY_SIZE(head_cases); i++)
		t[n++] = (struct CMUnitTest){ head_cases[i].name, head_case, NULL, NULL,
					      (void *)&head_cases[i] };
	for (i = 0; i < ARRAY_SIZE(chunked_cases); i++)
		t[n++] = (struct CMUnitTest){ chunked_cases[i].name, chunked_case, NULL, NULL,
					      (void *)&chunked_cases[i] };
	for (i = 0; i < ARRAY_SIZE(response_cases); i++)
		t[n++] = (struct CMUnitTest){ response_cases[i].name, response_case, NULL, NULL,
					      (void *)&response_cases[i] };
	memcpy(t + n, fixed, sizeof(fixed));
	return cmocka_run_group_tests(t, NULL, NULL);
}
