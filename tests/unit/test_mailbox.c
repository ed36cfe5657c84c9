/* SPDX-License-Identifier: BSD-3-Clause */
/* Two shards without sockets: what one sends, the other has in the queues of a peer. TRANSFER_PACKETS can be raised for a
 * run under ThreadSanitizer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "net/io_impl.h"
#include "relay/gone.h"
#include "relay/mailbox.h"
#include "relay/mesh.h"
#include "relay/shard.h"

#ifndef TRANSFER_PACKETS
#define TRANSFER_PACKETS	200000U
#endif

#define FRAME_BYTES	(DERP_HDR_LEN + DERP_KEY_LEN + 8U)
#define RBUFS		16U	/* of which 4 may be lent */

static struct config cfg = { .queue_memory = 64U << 20, .queue_depth = 32, .max_conns = 16, .max_handshakes = 16 };
static struct relay relay;
static struct shard *from, *to;
static struct rbuf_pool rbufs;
static struct conn *dst;
static struct peer peer;

static int setup(void **state)
{
	(void)state;
	relay = (struct relay){ .cfg = &cfg, .nshards = 2, .mail = mailbox_new(2) };
	assert_non_null(relay.mail);
	assert_int_equal(directory_new(&relay.directory, NULL), 0);
	for (uint16_t i = 0; i < 2; i++)
		assert_int_equal(shard_new(&relay.shards[i], &relay, i), 0);
	from = relay.shards[0];
	to = relay.shards[1];
	assert_int_equal(rbuf_pool_init(&rbufs, RBUFS), 0);

	dst = shard_conn_new(to);
	assert_non_null(dst);
	list_init(&dst->dirty);
	dst->state = CONN_RELAYING;
	dst->peer = &peer;
	peer = (struct peer){ .conn = dst, .hidden = true };
	list_init(&peer.watcher);
	list_push_back(&to->watchers, &peer.watcher);
	list_init(&peer.touched);
	gone_receiver_init(&peer.gone);
	return 0;
}

/* All that was lent is back where it came from. */
static int teardown(void **state)
{
	(void)state;
	mailbox_publish(to);
	mailbox_receive(from);
	assert_int_equal(from->mail_mem.used, 0);
	assert_int_equal(from->mem.used, 0);
	assert_int_equal(to->mem.used, 0);
	assert_int_equal(rbufs.may_lend, RBUFS / 4);
	assert_int_equal(rbufs.nspare + rbufs.nfresh, RBUFS);
	rbuf_pool_done(&rbufs);
	shard_free(from);
	shard_free(to);
	free(relay.mail);
	directory_free(relay.directory);
	return 0;
}

static struct delivery packet(uint8_t *frame, uint64_t seq)
{
	memset(frame, 0, FRAME_BYTES);
	frame_put_head(frame, DERP_RECV_PACKET, FRAME_BYTES - DERP_HDR_LEN);
	memcpy(frame + FRAME_BYTES - sizeof(seq), &seq, sizeof(seq));
	return (struct delivery){ .frame = frame, .len = FRAME_BYTES, .class = PKT_DATA };
}

static uint64_t seq_of(const struct pkt *p)
{
	uint64_t seq;

	assert_int_equal(p->len, FRAME_BYTES);
	memcpy(&seq, p->data + FRAME_BYTES - sizeof(seq), sizeof(seq));
	return seq;
}

static struct conn_id dst_id(void)
{
	return (struct conn_id){ .shard = to->id, .slot = dst->slot, .gen = dst->gen };
}

/* By a reference to b, at its n-th place. */
static uint8_t *send_lent(struct rbuf *b, unsigned int n, uint64_t seq)
{
	uint8_t *frame = b->data + (size_t)n * FRAME_BYTES;
	struct delivery d = packet(frame, seq);

	d.rbuf = b;
	mailbox_send_packet(from, dst_id(), &d);
	return frame;
}

static void send_copied(uint64_t seq)
{
	uint8_t frame[FRAME_BYTES];
	struct delivery d = packet(frame, seq);

	mailbox_send_packet(from, dst_id(), &d);
}

static void send_present(uint16_t n)
{
	struct msg m = { .type = MSG_PRESENT, .present.port = n };

	mailbox_send(from, to->id, &m);
}

static uint64_t pop(void)
{
	struct pkt *p = pktq_pop(&peer.q[PKT_DATA]);
	uint64_t seq;

	assert_non_null(p);
	seq = seq_of(p);
	pkt_free(&to->mem, p);
	return seq;
}

/* Messages arrived as PeerPresent frames: n of them, in order. */
static void expect_presents(uint16_t n)
{
	const size_t port = DERP_HDR_LEN + DERP_KEY_LEN + 16;
	struct pkt *p;

	for (uint16_t i = 0; i < n; i++) {
		p = pktq_pop(&peer.q[PKT_CTL]);
		assert_non_null(p);
		assert_int_equal(p->data[port] << 8 | p->data[port + 1], i);
		pkt_free(&to->mem, p);
	}
	assert_null(peer.q[PKT_CTL].head);
}

static void a_packet_is_read_where_it_was_received(void **state)
{
	struct rbuf *b = rbuf_get(&rbufs);
	uint8_t *at[100];

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(at); i++)
		at[i] = send_lent(b, i, i);
	assert_false(mailbox_pending(to));
	mailbox_publish(from);
	assert_true(mailbox_pending(to));
	mailbox_receive(to);
	assert_false(mailbox_pending(to));
	rbuf_unref(b);
	for (unsigned int i = 0; i < ARRAY_SIZE(at); i++) {
		assert_ptr_equal(peer.q[PKT_DATA].head->data, at[i]);
		mailbox_publish(to);
		mailbox_receive(from);
		assert_int_not_equal(b->lent, 0);
		assert_int_equal(pop(), i);
	}
	assert_int_equal(from->stats.packets_cross_out, ARRAY_SIZE(at));
	assert_int_equal(to->stats.packets_cross_in, ARRAY_SIZE(at));
	assert_int_equal(from->stats.packets_cross_copied, 0);
}

static void a_packet_of_its_own_is_taken(void **state)
{
	struct pkt *p = pkt_new(&from->mem, FRAME_BYTES, PKT_DATA);
	struct delivery d = packet(p->data, 5);

	(void)state;
	d.owned = p;
	mailbox_send_packet(from, dst_id(), &d);
	mailbox_publish(from);
	mailbox_receive(to);
	assert_ptr_equal(peer.q[PKT_DATA].head->data, p->data);
	assert_int_equal(pop(), 5);
	assert_int_not_equal(from->mem.used, 0);
}

static void few_buffers_are_lent(void **state)
{
	struct rbuf *b[6];

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(b); i++) {
		b[i] = rbuf_get(&rbufs);
		send_lent(b[i], 0, i);
		send_lent(b[i], 1, i);
	}
	assert_int_equal(from->stats.packets_cross_copied, 4);
	mailbox_publish(from);
	mailbox_receive(to);
	for (unsigned int i = 0; i < ARRAY_SIZE(b); i++) {
		rbuf_unref(b[i]);
		assert_int_equal(pop(), i);
		assert_int_equal(pop(), i);
	}
}

static void a_full_peer_does_not_keep_what_was_lent(void **state)
{
	struct rbuf *b = rbuf_get(&rbufs);

	(void)state;
	dst->blocked = true;
	for (unsigned int i = 0; i < 40; i++)
		send_lent(b, i, i);
	mailbox_publish(from);
	mailbox_receive(to);
	mailbox_publish(to);
	mailbox_receive(from);
	assert_int_equal(b->refs, 1);
	rbuf_unref(b);
	for (unsigned int i = 8; i < 40; i++)
		assert_int_equal(pop(), i);
	assert_int_equal(to->stats.packets_dropped[DROP_QUEUE_HEAD][KIND_OTHER], 8);
}

static void a_gone_peer_does_not_keep_what_was_lent(void **state)
{
	struct rbuf *b = rbuf_get(&rbufs);

	(void)state;
	dst->gen++;
	send_lent(b, 0, 0);
	dst->gen--;
	send_lent(b, 1, 1);
	dst->gen++;
	mailbox_publish(from);
	mailbox_receive(to);
	rbuf_unref(b);
	assert_int_equal(to->stats.packets_dropped[DROP_GONE_DISCONNECTED][KIND_OTHER], 1);
	assert_int_equal(pop(), 0);
}

static void no_memory_has_a_name(void **state)
{
	(void)state;
	from->mem.limit = 0;
	send_copied(1);
	from->mem.limit = cfg.queue_memory;
	from->mail_mem.limit = 0;
	send_copied(2);
	from->mail_mem.limit = UINT64_MAX;
	assert_int_equal(from->stats.packets_dropped[DROP_QUEUE_MEMORY][KIND_OTHER], 2);
	assert_int_equal(from->stats.packets_cross_out, 0);
}

/* A shard that stands still finds the newest packets, and all messages. */
static void the_oldest_are_dropped(unsigned int per_turn)
{
	const unsigned int sent = MAILBOX_PACKETS + 904;
	struct rbuf *b = rbuf_get(&rbufs);
	uint16_t messages = 0;

	for (unsigned int i = 0; i < sent; i++) {
		if (i % 500 == 0)
			send_present(messages++);
		if (i % 7)
			send_copied(i);
		else
			send_lent(b, i / 7, i);
		if (i % per_turn == per_turn - 1)
			mailbox_publish(from);
	}
	mailbox_publish(from);
	/* Not a parcel for each turn. */
	assert_in_range(from->mail_mem.used, 1, 3 * sizeof(struct parcel) * (MAILBOX_PACKETS / PARCEL_ITEMS));
	mailbox_receive(to);
	rbuf_unref(b);
	assert_int_equal(from->stats.packets_dropped[DROP_CROSS_FULL][KIND_OTHER], 904);
	assert_int_equal(from->stats.bytes_dropped[DROP_CROSS_FULL][KIND_OTHER], 904 * 8);
	/* The peer's own limit of a turn is one packet lower. */
	for (unsigned int i = sent - peer.q[PKT_DATA].n; i < sent; i++)
		assert_int_equal(pop(), i);
	assert_int_equal(to->stats.packets_cross_in, MAILBOX_PACKETS);
	expect_presents(messages);
}

static void the_oldest_are_dropped_within_a_turn(void **state)
{
	(void)state;
	the_oldest_are_dropped(100000);
}

static void the_oldest_are_dropped_over_turns(void **state)
{
	(void)state;
	the_oldest_are_dropped(1);
}

static void the_oldest_are_dropped_over_longer_turns(void **state)
{
	(void)state;
	the_oldest_are_dropped(61);
}

/* Nobody is favoured by the number of his shard: all are taken before any is taken again. */
static void no_more_than_a_turns_worth_is_taken(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < MAILBOX_TURN; i++)
		send_copied(i);
	mailbox_publish(from);
	to->mail_waiting = 1ULL << to->id;	/* a third one that has nothing */
	mailbox_receive(to);
	assert_int_equal(to->stats.packets_cross_in, 0);
	assert_true(mailbox_pending(to));
	mailbox_receive(to);
	assert_int_equal(to->stats.packets_cross_in, MAILBOX_TURN);
	while (peer.q[PKT_DATA].n)
		pop();
}

/* What waits is written at once. */
static void write_all(void)
{
	struct iovec iov[8];
	unsigned int n = sendq_gather(dst, iov, ARRAY_SIZE(iov));

	for (unsigned int i = 0; i < n; i++)
		sendq_sent(dst, iov[i].iov_len);
}

/* The news of a sender's end is here before its packet is written: nobody else will tell the receiver. But what another
 * node forwards may come before the news of its sender's login. */
static void a_sender_has_left(bool forwarded)
{
	uint8_t frame[FRAME_BYTES];
	struct delivery d = packet(frame, 1);
	struct msg gone = { .type = MSG_GONE, .what = MESH_GONE_REGION };
	struct pkt *p;

	gone.hash = d.src_hash = key_hash(relay.directory, &gone.present.key);
	d.forwarded = forwarded;
	mailbox_send_packet(from, dst_id(), &d);
	mailbox_send(from, to->id, &gone);
	mailbox_publish(from);
	mailbox_receive(to);
	assert_null(peer.q[PKT_CTL].head);
	write_all();
	assert_int_equal(gone_count(to->gone), 1);
	p = pktq_pop(&peer.q[PKT_CTL]);
	assert_int_equal(p != NULL, !forwarded);
	if (p) {
		assert_int_equal(p->data[0], DERP_PEER_GONE);
		pkt_free(&to->mem, p);
	}
	/* Once. */
	mailbox_send(from, to->id, &gone);
	mailbox_publish(from);
	mailbox_receive(to);
	assert_int_equal(peer.q[PKT_CTL].n, forwarded);
	write_all();
	gone_unsubscribe_all(to->gone, &peer.gone);
}

static void a_sender_has_left_before_its_packet_is_written(void **state)
{
	(void)state;
	a_sender_has_left(false);
}

static void a_forwarded_packets_sender_may_be_unknown(void **state)
{
	(void)state;
	a_sender_has_left(true);
}

static void *sender(void *arg)
{
	unsigned int *done = arg;
	struct rbuf *b = NULL;

	for (unsigned int i = 0; i < TRANSFER_PACKETS; i++) {
		if (i % 64 == 0) {
			if (b)
				rbuf_unref(b);
			b = rbuf_get(&rbufs);
		}
		if (b)
			send_lent(b, i % 64, i);
		else
			send_copied(i);
		if (i % 13 == 0) {
			mailbox_publish(from);
			mailbox_receive(from);
		}
	}
	if (b)
		rbuf_unref(b);
	mailbox_publish(from);
	__atomic_store_n(done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void two_threads(void **state)
{
	unsigned int done = 0, last;
	uint64_t n = 0, next = 0, seq;
	pthread_t t;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, sender, &done), 0);
	do {
		last = __atomic_load_n(&done, __ATOMIC_ACQUIRE);
		mailbox_receive(to);
		/* Every other turn's packets stay a turn longer. */
		while (to->stats.packets_cross_in % 2 && peer.q[PKT_DATA].n) {
			seq = pop();
			assert_true(seq >= next);
			next = seq + 1;
			n++;
		}
		mailbox_publish(to);
		sched_yield();
	} while (!last);
	pthread_join(t, NULL);
	while (peer.q[PKT_DATA].n) {
		seq = pop();
		assert_true(seq >= next);
		next = seq + 1;
		n++;
	}
	assert_int_equal(next, TRANSFER_PACKETS);
	assert_int_equal(from->stats.packets_cross_out, TRANSFER_PACKETS);
	assert_int_equal(n + from->stats.packets_dropped[DROP_CROSS_FULL][KIND_OTHER] +
			 to->stats.packets_dropped[DROP_QUEUE_HEAD][KIND_OTHER], TRANSFER_PACKETS);
}

#define TEST(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest t[] = {
		TEST(a_packet_is_read_where_it_was_received),
		TEST(a_packet_of_its_own_is_taken),
		TEST(few_buffers_are_lent),
		TEST(a_full_peer_does_not_keep_what_was_lent),
		TEST(a_gone_peer_does_not_keep_what_was_lent),
		TEST(no_memory_has_a_name),
		TEST(the_oldest_are_dropped_within_a_turn),
		TEST(the_oldest_are_dropped_over_turns),
		TEST(the_oldest_are_dropped_over_longer_turns),
		TEST(no_more_than_a_turns_worth_is_taken),
		TEST(a_sender_has_left_before_its_packet_is_written),
		TEST(a_forwarded_packets_sender_may_be_unknown),
		TEST(two_threads),
	};

	return cmocka_run_group_tests(t, NULL, NULL);
}
