/* SPDX-License-Identifier: BSD-3-Clause */
/* Whatever is asked, the answer is one well-formed response: its head holds only lines of visible ASCII, and
 * its body is as long as it says. First byte: how the server is set up; then a request head. */
#include <netinet/in.h>

#include "lib/fuzz.h"
#include "relay/bootstrap.h"
#include "relay/frontdoor.h"

static int page(enum frontdoor_page p, struct textbuf *body, void *ctx)
{
	(void)ctx;
	textbuf_printf(body, "page %d\n", (int)p);
	return p == PAGE_CHECK ? 500 : 200;
}

static void check_answer(const struct textbuf *out, const struct http1_request *req)
{
	const char *end = strstr(out->p, "\r\n\r\n"), *length;
	bool head = view_equal(req->method, "HEAD");

	CHECK(!strncmp(out->p, "HTTP/1.", 7) && end);
	for (const char *p = out->p; p < end; p++) {
		CHECK((*p >= ' ' && *p <= '~') || !strncmp(p, "\r\n", 2));
		p += *p == '\r';
	}
	length = strstr(out->p, "\r\nContent-Length: ");
	if (length && length < end && !head)
		CHECK(strtoul(length + 18, NULL, 10) == out->len - (size_t)(end + 4 - out->p));
	else
		CHECK(end[4] == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint8_t set = n ? data[0] : 0;
	struct config cfg = {
		.home = set & 1 ? "" : set & 2 ? "blank" : "https://example.com/", .derp = set & 4, .tls = set & 8,
		.dev = set & 16, .trusted_cidrs = "10.0.0.0/8", .allow_debug_ip = "", .debug_key_path = "",
		.acme_dir = set & 16 ? "/nonexistent" : "",
	};
	static struct bootstrap *bootstrap;
	struct frontdoor_env env = { .cfg = &cfg, .main_port = set & 32, .page = page };
	struct sockaddr_in src = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(set & 64 ? 0x0a000001 : 0x0b000001) };
	struct textbuf out = { 0 };
	struct frontdoor_result r;
	struct http1_request req;
	size_t scanned = 0;
	uint8_t *head;

	if (n < 2 || (!bootstrap && bootstrap_new(&bootstrap)))
		return 0;
	env.bootstrap = bootstrap;
	head = t_block(data + 1, n - 1);
	if (http1_parse(&req, head, n - 1, &scanned) == 1) {
		frontdoor_handle(&r, &env, &req, (const struct sockaddr *)&src, &out);
		CHECK(!out.failed && (r.next == FRONTDOOR_CLOSE || r.discard < HTTP1_MAX_SKIP));
		CHECK(out.len || (r.next == FRONTDOOR_DERP && r.fast_start));
		if (out.len)
			check_answer(&out, &req);
	}
	textbuf_done(&out);
	free(head);
	return 0;
}
