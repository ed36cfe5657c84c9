/* SPDX-License-Identifier: BSD-3-Clause */
/* What a header says must not depend on how much of the stream is there behind it, and once it is refused or whole, more bytes
 * change nothing. */
#include <errno.h>

#include "base/util.h"
#include "lib/fuzz.h"
#include "wire/proxyproto.h"

static int parse(struct proxyproto *ret, const uint8_t *data, size_t n)
{
	uint8_t *b = t_block(data, n);
	int r = n ? proxyproto_parse(ret, b, n) : 0;

	free(b);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct proxyproto whole, part;
	int end, r;

	n = min_of(n, (size_t)PROXYPROTO_MAX + 64);
	end = parse(&whole, data, n);
	CHECK(end == 1 || end == 0 || end == -EPROTO || end == -EMSGSIZE);
	if (end == 1)
		CHECK(whole.len <= n && whole.len <= PROXYPROTO_MAX);
	for (size_t i = 0; i < n; i += i < 300 ? 1 : 97) {
		r = parse(&part, data, i);
		CHECK(r == 0 || r == end);
		if (end == 1)
			CHECK((r == 1) == (i >= whole.len));
		if (r == 1)
			CHECK(part.len == whole.len && part.has_source == whole.has_source && part.port == whole.port &&
			      !memcmp(part.ip, whole.ip, sizeof(part.ip)));
	}
	return 0;
}
