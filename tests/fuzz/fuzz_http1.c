/* SPDX-License-Identifier: BSD-3-Clause */
/* A head must mean the same whole, trickled, and with other bytes behind it; every view must point into
 * it and hold no line end. */
#include "lib/fuzz.h"
#include "wire/http1.h"

static struct http1_request whole, other;

static void check_view(struct view v, const uint8_t *buf, size_t n)
{
	CHECK(v.p >= buf && v.p <= buf + n && v.n <= (size_t)(buf + n - v.p));
	CHECK(!memchr(v.p, '\n', v.n) && !memchr(v.p, '\r', v.n) && !memchr(v.p, '\0', v.n));
}

static void check_request(const struct http1_request *r, const uint8_t *buf, size_t n)
{
	CHECK(r->head_len <= n && r->head_len <= HTTP1_MAX_HEAD && buf[r->head_len - 1] == '\n');
	CHECK(r->nheaders <= HTTP1_MAX_HEADERS && r->content_length >= -1);
	CHECK(r->minor >= 0 && r->minor <= 9 && r->method.n && r->target.n);
	check_view(r->method, buf, r->head_len);
	check_view(r->target, buf, r->head_len);
	check_view(r->path, r->target.p, r->target.n);
	check_view(r->query, r->target.p, r->target.n);
	check_view(r->host, buf, r->head_len);
	for (unsigned int i = 0; i < r->nheaders; i++) {
		check_view(r->headers[i].name, buf, r->head_len);
		check_view(r->headers[i].value, buf, r->head_len);
		CHECK(r->headers[i].name.n);
	}
	CHECK(r->minor == 0 || view_equal(r->method, "CONNECT") || http1_header(r, "host").p);
	CHECK(!r->keep_alive || !http1_has_token(r, "connection", "close"));
}

static void check_trickled(const uint8_t *data, size_t n, int want)
{
	size_t scanned = 0, step = 1 + n / 64;
	int r = 0;

	for (size_t shown = 0; !r; shown += step) {
		if (shown > n)
			shown = n;
		r = http1_parse(&other, data, shown, &scanned);
		CHECK(scanned <= shown);
		if (shown == n)
			break;
	}
	CHECK(r == want);
}

/* A body must end at the same byte whole and one byte at a time. */
static void check_chunked(const uint8_t *data, size_t n)
{
	struct http1_chunked whole_body = { 0 }, bytes = { 0 };
	size_t used = 0, i = 0, one;
	int want = http1_skip_chunked(&whole_body, data, n, &used), r = 0;

	CHECK(used <= n && (want || used == n));
	while (!r && i < n)
		r = http1_skip_chunked(&bytes, data + i++, 1, &one);
	CHECK(r == want && (r < 0 || i == used));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	size_t scanned = 0;
	int r = http1_parse(&whole, data, n, &scanned);
	uint8_t *b;

	CHECK(r == 1 || r == 0 || r == -400 || r == -417 || r == -431 || r == -501 || r == -505);
	CHECK(r || n < HTTP1_MAX_HEAD);
	check_trickled(data, n, r);
	check_chunked(data, n);
	if (r != 1)
		return 0;
	check_request(&whole, data, n);

	b = t_block(data, whole.head_len);
	scanned = 0;
	CHECK(http1_parse(&other, b, whole.head_len, &scanned) == 1);
	CHECK(other.nheaders == whole.nheaders && other.content_length == whole.content_length);
	scanned = 0;
	CHECK(http1_parse(&other, b, whole.head_len - 1, &scanned) == 0);
	free(b);
	return 0;
}
