/* SPDX-License-Identifier: BSD-3-Clause */
/* The step of twins by BPF_PROG_RUN: what becomes of the first packets that a shard writes, and exactly which counters change. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "lib/unit.h"

#include "base/util.h"
#include "derp_maps.h"
#include "tests/unit/twin_run.skel.h"

#define SOURCE		1U		/* places in derp_conns */
#define DESTINATION	2U
#define PLACES		4U
#define PREFIX		14U		/* Ethernet's header: BPF_PROG_RUN has no shorter skb */
#define LIMIT		70U
#define BATCH		64U
#define HEAD		(DERP_HDR_LEN + DERP_KEY_LEN)

static const uint8_t here[DERP_KEY_LEN] = "the destination of the packets..";
static const uint8_t elsewhere[DERP_KEY_LEN] = "somebody to whom no flow is open";
static const uint8_t sender[DERP_KEY_LEN] = "the source, which clients see...";

struct bench {
	struct twin_run *skel;
	struct derp_conn *conns;
	uint8_t in[3000], out[3000];	/* a page is what BPF_PROG_RUN takes */
};

/* What is written, under construction. */
struct stream {
	uint8_t b[2900];
	size_t n;
};

static void put_frame(struct stream *s, uint8_t type, const uint8_t *key, size_t payload)
{
	size_t body = DERP_KEY_LEN + payload;
	const uint8_t head[DERP_HDR_LEN] = { type, 0, 0, (uint8_t)(body >> 8), (uint8_t)body };

	memcpy(s->b + s->n, head, sizeof(head));
	memcpy(s->b + s->n + sizeof(head), key, DERP_KEY_LEN);
	memset(s->b + s->n + HEAD, 0xaa, payload);
	s->n += HEAD + payload;
}

static void put_packet(struct stream *s, const uint8_t *key, size_t payload)
{
	put_frame(s, DERP_SEND_PACKET, key, payload);
}

static void set_map(struct bpf_map *map, const void *key, const void *value)
{
	assert_int_equal(0, bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY));
}

static int open_bench(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct twin_run *skel = twin_run__open();
	struct derp_flow_key k = { .source = SOURCE, .generation = 7 };
	struct derp_flow v = { .destination = DESTINATION, .generation = 9 };
	struct derp_settings set = { .twin_limit = LIMIT };	/* neither enabled nor queue_limit are for twins */
	uint32_t zero = 0;
	int err;

	assert_non_null(b);
	assert_non_null(skel);
	bpf_map__set_max_entries(skel->maps.derp_conns, PLACES);
	bpf_map__set_max_entries(skel->maps.derp_flows, 64);
	err = twin_run__load(skel);
	if (err == -EPERM)
		skip();
	assert_int_equal(0, err);
	b->skel = skel;
	b->conns = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(skel->maps.derp_conns), 0);
	assert_ptr_not_equal(MAP_FAILED, b->conns);
	b->conns[SOURCE] = (struct derp_conn){ .generation = 7, .twin = 1, .owner = DERP_KERNEL };
	memcpy(b->conns[SOURCE].pub, sender, sizeof(sender));
	b->conns[DESTINATION] = (struct derp_conn){ .generation = 9, .twin = 1, .owner = DERP_KERNEL, .frames_out = 5, .taken = 5 };
	memcpy(k.destination, here, sizeof(here));
	set_map(skel->maps.derp_flows, &k, &v);
	set_map(skel->maps.derp_settings, &zero, &set);
	skel->bss->place = SOURCE;
	*state = b;
	return 0;
}

static int close_bench(void **state)
{
	struct bench *b = *state;

	munmap(b->conns, 4096);
	twin_run__destroy(b->skel);
	free(b);
	return 0;
}

/* n bytes are written. What became of them is at b->out. */
static int arrive(struct bench *b, const uint8_t *p, size_t n)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = b->in, .data_size_in = (uint32_t)(PREFIX + n), .data_out = b->out,
		    .data_size_out = sizeof(b->out));

	memcpy(b->in + PREFIX, p, n);
	assert_int_equal(0, bpf_prog_test_run_opts(bpf_program__fd(b->skel->progs.twin_run), &o));
	assert_int_equal(PREFIX + n, o.data_size_out);
	return (int)o.retval;
}

static void expect_stats(struct bench *b, uint32_t key, const struct derp_stats *want)
{
	int cpus = libbpf_num_possible_cpus();
	struct derp_stats *each = calloc((size_t)cpus, sizeof(*each)), got = { 0 };

	assert_int_equal(0, bpf_map_lookup_elem(bpf_map__fd(b->skel->maps.derp_stats), &key, each));
	for (int i = 0; i < cpus; i++)
		for (size_t w = 0; w < sizeof(got) / sizeof(uint64_t); w++)
			((uint64_t *)&got)[w] += ((uint64_t *)&each[i])[w];
	free(each);
	assert_memory_equal(want, &got, sizeof(got));
}

/* --- what is written */

static void one(struct stream *s)
{
	put_packet(s, here, 100);
}

static void two(struct stream *s)
{
	put_packet(s, here, 100);
	put_packet(s, here, 0);
}

static void to_two(struct stream *s)
{
	put_packet(s, here, 10);
	put_packet(s, elsewhere, 10);
}

static void to_nobody(struct stream *s)
{
	put_packet(s, elsewhere, 10);
	put_packet(s, elsewhere, 10);
}

static void disco(struct stream *s)
{
	put_packet(s, here, 62);
	memcpy(s->b + HEAD, DERP_DISCO_MAGIC, DERP_DISCO_MAGIC_LEN);
	put_packet(s, here, 61);
	memcpy(s->b + 2 * HEAD + 62, DERP_DISCO_MAGIC, DERP_DISCO_MAGIC_LEN);
}

static void many(struct stream *s)
{
	for (unsigned int i = 0; i < BATCH + 1; i++)
		put_packet(s, here, 1);
}

static void cut(struct stream *s)
{
	put_packet(s, here, 10);
	put_packet(s, here, 10);
	s->n--;
}

static void cut_first(struct stream *s)
{
	put_packet(s, here, 10);
	s->n--;
}

static void too_long(struct stream *s)
{
	put_packet(s, here, 100);
	s->b[2] = 1;
}

static void forward(struct stream *s)
{
	put_frame(s, DERP_FORWARD_PACKET, here, 100);
}

static void no_key(struct stream *s)
{
	put_packet(s, here, 100);
	s->b[4] = DERP_KEY_LEN - 1;
}

/* --- how things are */

static void hold_source(struct bench *b)
{
	b->conns[SOURCE].held = 1;
}

static void hold_destination(struct bench *b)
{
	b->conns[DESTINATION].held = 1;
}

static void take(struct bench *b)
{
	b->conns[DESTINATION].owner = DERP_SHARD;
}

static void other_generation(struct bench *b)
{
	b->conns[DESTINATION].generation++;
}

static void behind(struct bench *b)
{
	b->conns[SOURCE].passed = 10;
	b->conns[SOURCE].done = 9;
}

static void full(struct bench *b)
{
	b->conns[DESTINATION].frames_out += LIMIT;
}

static void room_for_one(struct bench *b)
{
	b->conns[DESTINATION].frames_out += LIMIT - 1;
}

/* What its shard took was counted after the rest was read. */
static void taken_meanwhile(struct bench *b)
{
	b->conns[DESTINATION].taken += 3;
}

static void nowhere(struct bench *b)
{
	b->skel->bss->place = PLACES;
}

static const struct row {
	const char *name;
	void (*make)(struct stream *s);
	void (*before)(struct bench *b);
	int outcome;			/* -1: nothing happens */
	unsigned int packets;		/* that the first run deals with */
	size_t bytes;			/* of them */
	struct derp_stats count;	/* these and no others */
} rows[] = {
	{ "a packet", one, NULL, DERP_OUTCOME_redirected, 1, HEAD + 100, { .redirected = 1, .redirected_bytes = 100 } },
	{ "two packets for one", two, NULL, DERP_OUTCOME_redirected, 2, 2 * HEAD + 100, { .redirected = 2, .redirected_bytes = 100 } },
	{ "packets for two", to_two, NULL, DERP_OUTCOME_redirected, 1, HEAD + 10, { .redirected = 1, .redirected_bytes = 10 } },
	{ "a disco packet, and one too short for it", disco, NULL, DERP_OUTCOME_redirected, 2, 2 * HEAD + 123,
	  { .redirected = 2, .redirected_bytes = 123, .redirected_disco = 1 } },
	{ "more than a batch", many, NULL, DERP_OUTCOME_redirected, BATCH, BATCH * (HEAD + 1), { .redirected = BATCH, .redirected_bytes = BATCH } },
	{ "a packet and a part", cut, NULL, DERP_OUTCOME_redirected, 1, HEAD + 10, { .redirected = 1, .redirected_bytes = 10 } },
	{ "the last place", one, room_for_one, DERP_OUTCOME_redirected, 1, HEAD + 100, { .redirected = 1, .redirected_bytes = 100 } },
	{ "two for the last place", two, room_for_one, DERP_OUTCOME_dropped_full, 2, 2 * HEAD + 100,
	  { .dropped_full = 2, .dropped_full_bytes = 100 } },
	{ "full, disco", disco, full, DERP_OUTCOME_dropped_full, 2, 2 * HEAD + 123,
	  { .dropped_full = 2, .dropped_full_bytes = 123, .dropped_full_disco = 1, .dropped_full_disco_bytes = 62 } },
	{ "more taken than sent", one, taken_meanwhile, DERP_OUTCOME_redirected, 1, HEAD + 100, { .redirected = 1, .redirected_bytes = 100 } },
	{ "no flow", to_nobody, NULL, DERP_OUTCOME_passed_flow, 2, 2 * HEAD + 20, { .passed_flow = 2 } },
	{ "a flow to one who was there before", one, other_generation, DERP_OUTCOME_passed_flow, 1, HEAD + 100, { .passed_flow = 1 } },
	{ "the destination leaves", one, take, DERP_OUTCOME_passed_owner, 1, HEAD + 100, { .passed_owner = 1 } },
	{ "the destination is held", one, hold_destination, DERP_OUTCOME_passed_owner, 1, HEAD + 100, { .passed_owner = 1 } },
	{ "the source is held", two, hold_source, DERP_OUTCOME_passed_off, 2, 2 * HEAD + 100, { .passed_off = 2 } },
	{ "earlier packets are still with the shard", two, behind, DERP_OUTCOME_passed_order, 2, 2 * HEAD + 100, { .passed_order = 2 } },
	{ "a part of a packet", cut_first, NULL, -1 },
	{ "too long", too_long, NULL, -1 },
	{ "another frame", forward, NULL, -1 },
	{ "a packet without a key", no_key, NULL, -1 },
	{ "no such place", one, nowhere, -1 },
};

/* What is moved comes from the sender, what is left is as it was, what is to be dropped says so. */
static void expect_bytes(const struct row *r, struct bench *b, const struct stream *in)
{
	struct stream want = *in;

	for (size_t off = 0; off < r->bytes; off += DERP_HDR_LEN + ((size_t)in->b[off + 3] << 8 | in->b[off + 4])) {
		if (r->outcome == DERP_OUTCOME_dropped_full)
			want.b[off] = DERP_TWIN_DROPPED;
		if (r->outcome != DERP_OUTCOME_redirected)
			continue;
		want.b[off] = DERP_RECV_PACKET;
		memcpy(want.b + off + DERP_HDR_LEN, sender, sizeof(sender));
	}
	assert_memory_equal(want.b, b->out + PREFIX, want.n);
}

static void expect_words(const struct row *r, const struct bench *b, const struct derp_conn *was)
{
	const struct derp_conn *src = &b->conns[SOURCE], *dst = &b->conns[DESTINATION];
	bool moved = r->outcome == DERP_OUTCOME_redirected, dropped = r->outcome == DERP_OUTCOME_dropped_full;

	assert_int_equal(moved ? r->bytes : 0, dst->redirected);
	assert_int_equal(was[DESTINATION].frames_out + (moved ? r->packets : 0), dst->frames_out);
	assert_int_equal(dropped ? r->packets : 0, dst->drops);
	assert_int_equal(moved ? 0 : r->bytes, src->redirected);
	assert_int_equal(was[SOURCE].passed + (moved || dropped ? 0 : r->bytes), src->passed);
	assert_int_equal(moved || dropped ? r->packets : 0, src->frames_in);
	assert_int_equal(r->bytes, src->decided);
	if (r->outcome < 0)
		return;
	assert_int_equal(r->outcome, src->last_outcome);
	assert_int_equal(r->packets, src->last_packets);
	assert_true(!moved || b->skel->bss->to == DESTINATION);
}

static void run_rows(void **state)
{
	struct stream *in = malloc(sizeof(*in));

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];
		struct derp_conn was[PLACES];
		struct bench *b;

		print_message("  %s\n", r->name);
		open_bench(state);
		b = *state;
		in->n = 0;
		r->make(in);
		if (r->before)
			r->before(b);
		memcpy(was, b->conns, sizeof(was));
		assert_int_equal(r->outcome, arrive(b, in->b, in->n));
		expect_stats(b, DERP_STATS_TWINS, &r->count);
		expect_stats(b, DERP_STATS_SOCKETS, &(struct derp_stats){ 0 });
		expect_words(r, b, was);
		expect_bytes(r, b, in);
		close_bench(state);
	}
	free(in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
