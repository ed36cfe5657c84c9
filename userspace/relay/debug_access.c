/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/debug_access.h"

#include <netinet/in.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/opener.h"
#include "base/util.h"
#include "wire/form.h"

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

/* The file's content without white space around it; its length, 0 if there is nothing to compare with. */
static size_t file_key(uint8_t ret[static FORM_MAX], const struct config *cfg)
{
	static const char blank[] = " \t\r\n\v\f";
	ssize_t n, from = 0;
	int fd = opener_open(cfg->opener, cfg->debug_key_path);

	if (fd < 0)
		return 0;
	n = read(fd, ret, FORM_MAX);
	close(fd);
	if (n <= 0 || n == FORM_MAX)	/* a longer one is none, not its first bytes */
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
	uint8_t got[FORM_MAX], want[FORM_MAX];
	size_t n;
	bool same;

	if (!*cfg->debug_key_path || !view_equal(req->method, "GET"))
		return false;
	n = form_value(got, req->query, "debugkey");
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
