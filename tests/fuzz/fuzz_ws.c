/* SPDX-License-Identifier: BSD-3-Clause */
/* A stream read whole and read in shreds must mean the same: same bytes, same control frames, same end. */
#include "base/util.h"
#include "lib/fuzz.h"
#include "wire/ws.h"

struct sum {
	uint64_t stream;		/* FNV of the payload */
	size_t bytes, controls;
	int status;
};

static struct sum read_all(const uint8_t *data, size_t n, size_t step)
{
	struct sum s = { .stream = 14695981039346656037ULL };
	struct ws_stream w;
	struct ws_piece f;
	uint8_t *b;
	size_t k;
	int e;

	CHECK(!ws_init(&w));
	for (size_t i = 0; i < n && !s.status; i += k) {
		k = min_of(step, n - i);
		b = t_block(data + i, k);
		ws_feed(&w, b, k);
		while ((e = ws_next(&w, &f)) > 0) {
			s.controls += e == WS_CONTROL;
			s.bytes += e == WS_DATA ? f.n : 0;
			for (size_t j = 0; j < f.n; j++)
				s.stream = (s.stream ^ f.p[j]) * 1099511628211ULL;
		}
		s.status = -e;
		free(b);
	}
	ws_done(&w);
	CHECK(!s.status || s.status == WS_PROTOCOL_ERROR || s.status == WS_UNSUPPORTED || s.status == WS_TOO_BIG);
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct sum whole = read_all(data, n, n ? n : 1), shreds = read_all(data, n, 1), odd = read_all(data, n, 7);

	CHECK(whole.bytes == shreds.bytes && whole.bytes == odd.bytes && whole.stream == shreds.stream && whole.stream == odd.stream);
	CHECK(whole.controls == shreds.controls && whole.controls == odd.controls);
	CHECK(whole.status == shreds.status && whole.status == odd.status);
	return 0;
}
