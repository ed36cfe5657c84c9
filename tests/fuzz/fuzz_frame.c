/* SPDX-License-Identifier: BSD-3-Clause */
/* Walks the input as a stream of frames from each kind of sender, and rewrites the packets in it. */
#include <errno.h>

#include "base/util.h"
#include "lib/fuzz.h"
#include "wire/frame.h"

static const struct key src = { "0123456789abcdef0123456789abcde" };

static void check_send(const uint8_t *frame, size_t n)
{
	uint8_t *b = t_block(frame, n);

	frame_send_to_recv(b, &src);
	CHECK(b[0] == DERP_RECV_PACKET && !memcmp(b + 1, frame + 1, 4));
	CHECK(!memcmp(b + DERP_HDR_LEN, src.b, KEY_LEN));
	CHECK(!memcmp(b + DERP_HDR_LEN + KEY_LEN, frame + DERP_HDR_LEN + KEY_LEN,
		      n - DERP_HDR_LEN - KEY_LEN));
	free(b);
}

static void check_forward(const uint8_t *frame, size_t n)
{
	uint8_t *b = t_block(frame, n);
	uint8_t *recv = frame_forward_to_recv(b, (uint32_t)n - DERP_HDR_LEN);

	CHECK(recv == b + KEY_LEN && recv[0] == DERP_RECV_PACKET);
	CHECK(get_be32(recv + 1) == n - DERP_HDR_LEN - KEY_LEN);
	CHECK(!memcmp(recv + DERP_HDR_LEN, frame + DERP_HDR_LEN, KEY_LEN));
	CHECK(!memcmp(recv + DERP_HDR_LEN + KEY_LEN, frame + DERP_HDR_LEN + 2 * KEY_LEN,
		      n - DERP_HDR_LEN - 2 * KEY_LEN));
	free(b);
}

static void check_body(const struct frame_head *h, const uint8_t *frame, enum frame_sender who)
{
	size_t n = (size_t)DERP_HDR_LEN + h->len;

	CHECK(h->len <= DERP_MAX_CLIENT_INFO);
	CHECK((h->type == DERP_CLIENT_INFO) == (who == FRAME_FROM_LOGIN));
	if (h->type == DERP_SEND_PACKET)
		check_send(frame, n);
	if (h->type == DERP_FORWARD_PACKET) {
		CHECK(who == FRAME_FROM_MESH);
		check_forward(frame, n);
	}
}

static void walk(const uint8_t *data, size_t n, enum frame_sender who)
{
	while (n) {
		size_t shown = min_of(n, (size_t)DERP_HDR_LEN);
		uint8_t *head = t_block(data, shown);
		struct frame_head h = { 0 }, again = { 0 };
		int r = frame_head(&h, head, shown, who);

		free(head);
		CHECK(r == 1 || r == 0 || r == -EPERM || r == -EMSGSIZE);
		CHECK((r == 0) == (n < DERP_HDR_LEN));
		if (r != 1)
			return;
		CHECK(frame_head(&again, data, n, who) == 1 && again.len == h.len);
		CHECK(h.known || who != FRAME_FROM_LOGIN);
		if (n - DERP_HDR_LEN < h.len)
			return;
		if (h.known)
			check_body(&h, data, who);
		frame_is_disco(data + DERP_HDR_LEN, h.len);
		data += DERP_HDR_LEN + h.len;
		n -= DERP_HDR_LEN + h.len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	walk(data, n, FRAME_FROM_LOGIN);
	walk(data, n, FRAME_FROM_CLIENT);
	walk(data, n, FRAME_FROM_MESH);
	return 0;
}
