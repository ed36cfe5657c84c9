/* SPDX-License-Identifier: BSD-3-Clause */
/* The input is a script: raw bytes for record_open, or what a peer that knows the keys seals: content type, text and
 * padding of each record. What comes out must be what went in. */
#include "lib/fuzz.h"

#include "net/record.c"

static struct record_keys us;

static void restart(void)
{
	static const uint8_t rd[RECORD_SECRET_MAX] = { 1 }, wr[RECORD_SECRET_MAX] = { 2 };

	record_keys_done(&us);
	CHECK(!record_keys_init(&us, AEAD_AES_128_GCM, AEAD_AUTO, rd, wr));
}

/* Returns what record_open said; hands out nothing but what it found inside the n bytes at p. */
static int open_checked(uint8_t *p, size_t n, struct record *r)
{
	int res = record_open(&us, p, n, r);

	CHECK(res == 1 || res == 0 || res == -EAGAIN || res == -EPROTO);
	CHECK((res == -EPROTO) == (us.error != NULL));
	CHECK(us.idle <= IDLE_MAX && (us.error || us.hs_len < RECORD_KEY_UPDATE_LEN));
	if (res >= 0) {
		CHECK(r->used == record_size(p, n) && r->used <= n && r->n <= RECORD_PLAIN_MAX);
		CHECK(r->p == p + RECORD_HEAD_LEN && r->n + RECORD_OVERHEAD <= r->used);
	}
	if (res == -EPROTO)
		CHECK(record_open(&us, p, n, r) == -EPROTO);
	return res;
}

static void raw(const uint8_t *data, size_t n)
{
	uint8_t *p = t_block(data, n);
	struct record r;

	open_checked(p, n, &r);
	free(p);
}

/* The peer's keys for its next record are ours for reading it. */
static uint8_t *sealed(uint8_t type, const uint8_t *text, size_t n, size_t pad, size_t *size)
{
	size_t inner = n + 1 + pad;
	uint8_t *p = calloc(1, RECORD_HEAD_LEN + inner + AEAD_TAG_LEN);
	struct aead_input in;

	CHECK(p);
	p[0] = RECORD_DATA;
	put_be16(p + 3, (uint16_t)(inner + AEAD_TAG_LEN));
	if (n)
		memcpy(p + RECORD_HEAD_LEN, text, n);
	p[RECORD_HEAD_LEN + n] = type;
	set_input(&in, &us.rd, p);
	CHECK(!aead_seal(us.rd.key, &in, p + RECORD_HEAD_LEN, inner));
	*size = RECORD_HEAD_LEN + inner + AEAD_TAG_LEN;
	return p;
}

static int forged(uint8_t type, const uint8_t *text, size_t n, size_t pad)
{
	bool whole = !us.hs_len, must_pass = type == RECORD_DATA && n && whole && n + pad <= RECORD_PLAIN_MAX;
	uint64_t seq = us.rd.seq;
	struct record r;
	size_t size;
	uint8_t *p = sealed(type, text, n, pad, &size);
	int res;

	CHECK(record_open(&us, p, size - 1, &r) == (size <= RECORD_MAX ? -EAGAIN : -EPROTO));
	res = open_checked(p, size, &r);
	CHECK(!must_pass || res == 1);
	CHECK(res < 0 || whole || type == RECORD_HANDSHAKE);
	if (res == 1 && type == RECORD_DATA)
		CHECK(r.n == n && (!n || !memcmp(r.p, text, n)));
	if (res == 1 && type != RECORD_DATA)
		CHECK(!r.n);
	if (res >= 0)
		CHECK(us.rd.seq == seq + 1 || (us.rd.seq == 0 && type == RECORD_HANDSHAKE));
	free(p);
	return res;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	restart();
	if (n && data[0] & 1) {
		raw(data + 1, n - 1);
		return 0;
	}
	for (size_t off = 1; off + 4 <= n; ) {
		uint8_t type = data[off];
		size_t len = min_of((size_t)data[off + 1], n - off - 4), pad = get_be16(data + off + 2) % 17000;

		/* A content type of zero is padding. */
		if (type && forged(type, data + off + 4, len, pad) != 1)
			break;
		off += 4 + len;
	}
	return 0;
}
