/* SPDX-License-Identifier: BSD-3-Clause */
#include "selfcheck.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "measure.h"
#include "payload.h"
#include "traffic.h"

static int faults;

static void expect(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "self-check: %s\n", what);
	faults++;
}

static void check_hist(void)
{
	struct hist *h = calloc(1, sizeof(*h)), *sum = calloc(1, sizeof(*sum));
	uint64_t v, low;

	if (!h || !sum)
		abort();
	for (unsigned int i = 0; i + 1 < HIST_BUCKETS; i++) {
		low = hist_value(i);
		expect(hist_index(low) == i, "a bucket's lowest value is not in it");
		expect(hist_index(hist_value(i + 1) - 1) == i, "a bucket's highest value is not in it");
		expect(i < HIST_SUB || (hist_value(i + 1) - low) * HIST_SUB <= low, "a bucket is too wide");
	}
	expect(hist_index(UINT64_MAX) == HIST_BUCKETS - 1, "the last bucket is not the last");
	expect(hist_quantile(h, 0.5) == 0, "an empty histogram has a median");
	for (v = 1; v <= 100000; v++)
		hist_add(h, v);
	hist_merge(sum, h);
	hist_merge(sum, h);
	expect(sum->n == 200000 && sum->max == 100000, "a merge loses values");
	v = hist_quantile(sum, 0.5);
	expect(v > 49000 && v < 51000, "the median is off");
	v = hist_quantile(sum, 0.99);
	expect(v > 97500 && v <= 100000, "the 99th percentile is off");
	expect(hist_quantile(sum, 1) == 100000, "the last quantile is not the largest value");
	free(h);
	free(sum);
}

/* Any byte changed, or two packets' parts exchanged, must show. */
static void check_payload(void)
{
	static const uint32_t lens[] = { PAYLOAD_MIN, PAYLOAD_MIN + 1, 64, 1400, PAYLOAD_MAX };
	static uint8_t a[PAYLOAD_MAX], b[PAYLOAD_MAX];
	struct payload_head h;

	for (size_t k = 0; k < ARRAY_SIZE(lens); k++) {
		payload_build(a, lens[k], 7, 1000 + k, 123456789);
		expect(payload_check(&h, a, lens[k]) == 0, "a good payload is refused");
		expect(h.flow == 7 && h.seq == 1000 + k && h.sent_ns == 123456789, "the head is misread");
		expect(payload_check(&h, a, lens[k] - 1) != 0, "a short payload passes");
		for (uint32_t i = 0; i < lens[k]; i += lens[k] > 2000 ? 97 : 1) {
			a[i] ^= 0x10;
			expect(payload_check(&h, a, lens[k]) != 0, "a changed byte passes");
			a[i] ^= 0x10;
		}
	}
	payload_build(a, 1400, 7, 1, 5);
	payload_build(b, 1400, 7, 2, 5);
	memcpy(a + 700, b + 700, 700);
	expect(payload_check(&h, a, 1400) != 0, "a payload made of two passes");
}

static void check_arrival(void)
{
	struct flow f = { 0 };

	expect(flow_arrival(&f, 0) == ARRIVAL_NEW, "the first packet is not new");
	expect(flow_arrival(&f, 0) == ARRIVAL_DUPLICATE, "a duplicate is not seen");
	expect(flow_arrival(&f, 3) == ARRIVAL_NEW && f.next == 4, "a gap is not skipped");
	expect(flow_arrival(&f, 1) == ARRIVAL_LATE, "a late packet is not late");
	expect(flow_arrival(&f, 1) == ARRIVAL_DUPLICATE, "a late duplicate is not seen");
	expect(flow_arrival(&f, 66) == ARRIVAL_NEW, "63 packets are not skipped");
	expect(flow_arrival(&f, 3) == ARRIVAL_DUPLICATE, "a duplicate 63 packets ago is not seen");
	expect(flow_arrival(&f, 200) == ARRIVAL_NEW, "134 packets are not skipped");
	expect(flow_arrival(&f, 199) == ARRIVAL_LATE, "the map of arrivals keeps what left it");
	expect(flow_arrival(&f, 5) == ARRIVAL_LATE, "very late is not late");
}

int selfcheck(void)
{
	check_hist();
	check_payload();
	check_arrival();
	return faults;
}
