/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/debug_access.h"

#include <netinet/in.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/opener.h"
#include "base/util.h"

#define MAX_KEY	1024

static bool source_allowed(const struct config *cfg, const struct sockaddr *src, enum source_kind kind)
{
	static const char local[] = "127.0.0.0/8,::1,100.64.0.0/10,fd7a:115c:a1e0::/48";
	static const char not_tailscale[] = "100.115.92.0/23";	/* ChromeOS gives it to its containers */
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;
	uint8_t ip[16] = { [10] = 0xff, [11] = 0xff };

	if (kind == SOURCE_PROXY) {
		return false;
	} else if (src->sa_family == AF_INET6) {
		memcpy(&v6, src, sizeof(v6));
		memcpy(ip, &v6.sin6_addr, 16);
	} else if (src->sa_family == AF_INET) {
		memcpy(&v4, src, sizeof(v4));
		memcpy(ip + 12, &v4.sin_addr, 4);
	} else {
		return false;
	}
	return (kind == SOURCE_SOCKET && cidr_list_holds(local, ip) && !cidr_list_holds(not_tailscale, ip)) ||
	       cidr_list_holds(cfg->allow_debug_ip, ip) || cidr_list_holds(cfg->trusted_cidrs, ip);
}

/* Form decoding, in[0..n) to out; its length, -1 if it is too long or no such thing. */
static ssize_t form_decode(uint8_t out[static MAX_KEY], const uint8_t *in, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		int hi, lo;

		if (len == MAX_KEY || in[i] == ';')
			return -1;
		out[len] = in[i] == '+' ? ' ' : in[i];
		if (in[i] == '%') {
			hi = i + 2 < n ? hex_digit(in[i + 1]) : -1;
			lo = i + 2 < n ? hex_digit(in[i + 2]) : -1;
			if (hi < 0 || lo < 0)
				return -1;
			out[len] = (uint8_t)(hi << 4 | lo);
			i += 2;
		}
		len++;
	}
	return (ssize_t)len;
}

/* Value of the first debugkey= in the query; its length, 0 if there is none. */
static size_t query_key(uint8_t ret[static MAX_KEY], struct view q)
{
	static const char name[] = "debugkey";
	uint8_t key[MAX_KEY];
	const uint8_t *amp, *eq;
	ssize_t len;
	size_t n, k;

	for (;; q.p += n + 1, q.n -= n + 1) {
		amp = q.n ? memchr(q.p, '&', q.n) : NULL;
		n = amp ? (size_t)(amp - q.p) : q.n;
		eq = n ? memchr(q.p, '=', n) : NULL;
		k = eq ? (size_t)(eq - q.p) : n;
		if (form_decode(key, q.p, k) == sizeof(name) - 1 && !memcmp(key, name, sizeof(name) - 1)) {
			len = eq ? form_decode(ret, eq + 1, n - k - 1) : 0;
			if (len >= 0)
				return (size_t)len;
		}
		if (!amp)
			return 0;
	}
}

/* The file's content without white space around it; its length, 0 if there is nothing to compare with. */
static size_t file_key(uint8_t ret[static MAX_KEY], const struct config *cfg)
{
	static const char blank[] = " \t\r\n\v\f";
	ssize_t n, from = 0;
	int fd = opener_open(cfg->opener, cfg->debug_key_path);

	if (fd < 0)
		return 0;
	n = read(fd, ret, MAX_KEY);
	close(fd);
	if (n <= 0 || n == MAX_KEY)	/* a longer one is none, not its first bytes */
		return 0;
	while (n && ret[n - 1] && strchr(blank, ret[n - 1]))
		n--;
	while (from < n && ret[from] && strchr(blank, ret[from]))
		from++;
	memmove(ret, ret + from, (size_t)(n - from));
	return (size_t)(n - from);
}

/* The file is read only for who brings a key at all, and anew each time: it may be changed while we run. */
static bool key_given(const struct config *cfg, const struct http1_request *req)
{
	uint8_t got[MAX_KEY], want[MAX_KEY];
	size_t n;
	bool same;

	if (!*cfg->debug_key_path || !view_equal(req->method, "GET"))
		return false;
	n = query_key(got, req->query);
	if (!n)
		return false;
	same = file_key(want, cfg) == n && !sodium_memcmp(got, want, n);
	sodium_memzero(want, sizeof(want));
	return same;
}

bool debug_access_allowed(const struct config *cfg, const struct http1_request *req, const struct sockaddr *src,
			  enum source_kind kind)
{
	if (key_given(cfg, req))
		return true;
	return !http1_header(req, "X-Forwarded-For").p && source_allowed(cfg, src, kind);
}
