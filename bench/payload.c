/* SPDX-License-Identifier: BSD-3-Clause */
#include "payload.h"

#include <errno.h>
#include <string.h>

#define MAGIC		0x78646231U
#define OFFSETS		4096U

_Static_assert(sizeof(struct payload_head) == 32, "no padding: the head is copied as bytes");

static uint8_t table[PAYLOAD_MAX + OFFSETS];

/* The same bytes in every run: two runs are comparable and a core dump can be read. */
void payload_init(void)
{
	uint64_t x = 0x9e3779b97f4a7c15ULL;

	for (size_t i = 0; i < sizeof(table); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		table[i] = (uint8_t)(x >> 32);
	}
}

static const uint8_t *pattern(uint32_t flow, uint64_t seq)
{
	uint64_t mix = (flow * 0x9e3779b1ULL + seq) * 0xd6e8feb86659fd93ULL;

	return table + (mix >> 40) % OFFSETS;
}

static uint32_t head_sum(const struct payload_head *h)
{
	uint64_t x = ((uint64_t)h->magic << 32 | h->flow) * 0x9e3779b97f4a7c15ULL;

	x = (x ^ h->seq ^ x >> 29) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ h->sent_ns ^ x >> 31) * 0x94d049bb133111ebULL;
	x = (x ^ h->len ^ x >> 30) * 0xd6e8feb86659fd93ULL;
	return (uint32_t)(x >> 32);
}

void payload_build(uint8_t *out, uint32_t len, uint32_t flow, uint64_t seq, uint64_t sent_ns)
{
	struct payload_head h = {
		.magic = MAGIC, .flow = flow, .seq = seq, .sent_ns = sent_ns, .len = len,
	};

	h.sum = head_sum(&h);
	memcpy(out, &h, sizeof(h));
	memcpy(out + sizeof(h), pattern(flow, seq), len - sizeof(h));
}

int payload_check(struct payload_head *ret, const uint8_t *p, uint32_t len)
{
	struct payload_head h;

	if (len < sizeof(h) || len > PAYLOAD_MAX)
		return -EBADMSG;
	memcpy(&h, p, sizeof(h));
	*ret = h;
	if (h.magic != MAGIC || h.len != len || h.sum != head_sum(&h))
		return -EBADMSG;
	if (memcmp(p + sizeof(h), pattern(h.flow, h.seq), len - sizeof(h)))
		return -EBADMSG;
	return 0;
}
