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
	struct ws_reader r = { 0 };
	struct ws_piece f;
	size_t used, k;
	uint8_t *b;
	int e;

	for (size_t i = 0; i < n && !s.status; i += k) {
		k = min_of(step, n - i);
		b = t_block(data + i, k);
		for (size_t at = 0; at < k && !s.status; at += used) {
			e = ws_read(&r, b + at, k - at, &used, &f);
			CHECK(used && used <= k - at);
			if (e < 0)
				s.status = -e;
			s.controls += e == WS_CONTROL;
			for (size_t j = 0; e == WS_CONTROL && j < f.n; j++)
				s.stream = (s.stream ^ f.p[j]) * 1099511628211ULL;
			if (e != WS_DATA)
				continue;
			CHECK(f.p >= b && f.n && f.p + f.n <= b + k);
			s.bytes += f.n;
			for (size_t j = 0; j < f.n; j++)
				s.stream = (s.stream ^ f.p[j]) * 1099511628211ULL;
		}
		free(b);
	}
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
