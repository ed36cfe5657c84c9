/* SPDX-License-Identifier: BSD-3-Clause */
/* The step of the splice by BPF_PROG_RUN: what becomes of the bytes of a source, and exactly which counters change. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "lib/unit.h"

#include "base/util.h"
#include "derp_maps.h"
#include "tests/unit/splice_run.skel.h"

#define COOKIE		0x1234U
#define SOURCE		1U		/* places in derp_conns */
#define DESTINATION	2U
#define PLACES		4U
#define PREFIX		14U		/* Ethernet's header: BPF_PROG_RUN has no shorter skb */
#define LIMIT		8U
#define BUSY		4U
#define BULK		3U
#define HEAD		(DERP_HDR_LEN + DERP_KEY_LEN)

static const uint8_t here[DERP_KEY_LEN] = "the destination of the packets..";
static const uint8_t elsewhere[DERP_KEY_LEN] = "somebody to whom no flow is open";
static const uint8_t sender[DERP_KEY_LEN] = "the source, which clients see...";

struct bench {
	struct splice_run *skel;
	struct derp_conn *conns;
	uint8_t out[4096];
};

/* Bytes of a stream under construction. */
struct stream {
	uint8_t b[4096];
	size_t n;
};

static void put_frame(struct stream *s, uint8_t type, const uint8_t *key, size_t payload, uint8_t fill)
{
	size_t body = (key ? DERP_KEY_LEN : 0) + payload;
	const uint8_t head[DERP_HDR_LEN] = { type, 0, 0, (uint8_t)(body >> 8), (uint8_t)body };

	memcpy(s->b + s->n, head, sizeof(head));
	s->n += sizeof(head);
	if (key)
		memcpy(s->b + s->n, key, DERP_KEY_LEN);
	s->n += key ? DERP_KEY_LEN : 0;
	memset(s->b + s->n, fill, payload);
	s->n += payload;
}

static void put_packet(struct stream *s, const uint8_t *key, size_t payload)
{
	put_frame(s, DERP_SEND_PACKET, key, payload, 0xaa);
}

static void set_map(struct bpf_map *map, const void *key, const void *value)
{
	assert_int_equal(0, bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY));
}

static struct derp_settings usual(void)
{
	return (struct derp_settings){ .enabled = 1, .queue_limit = LIMIT, .busy_queue = BUSY, .bulk_pressure = BULK };
}

static int open_bench(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct splice_run *skel = splice_run__open();
	struct derp_flow_key k = { .source = SOURCE, .generation = 7 };
	struct derp_flow v = { .destination = DESTINATION, .generation = 9 };
	struct derp_settings set = usual();
	uint32_t zero = 0, place = SOURCE;
	uint64_t cookie = COOKIE;
	int err;

	assert_non_null(b);
	assert_non_null(skel);
	bpf_map__set_max_entries(skel->maps.derp_conns, PLACES);
	bpf_map__set_max_entries(skel->maps.derp_cookies, PLACES);
	bpf_map__set_max_entries(skel->maps.derp_flows, 64);
	err = splice_run__load(skel);
	if (err == -EPERM)
		skip();
	assert_int_equal(0, err);
	b->skel = skel;
	b->conns = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(skel->maps.derp_conns), 0);
	assert_ptr_not_equal(MAP_FAILED, b->conns);
	b->conns[SOURCE] = (struct derp_conn){ .cookie = COOKIE, .generation = 7 };
	memcpy(b->conns[SOURCE].pub, sender, sizeof(sender));
	b->conns[DESTINATION] = (struct derp_conn){ .generation = 9, .owner = DERP_KERNEL };
	memcpy(k.destination, here, sizeof(here));
	set_map(skel->maps.derp_flows, &k, &v);
	set_map(skel->maps.derp_cookies, &cookie, &place);
	set_map(skel->maps.derp_settings, &zero, &set);
	skel->bss->cookie = COOKIE;
	*state = b;
	return 0;
}

static int close_bench(void **state)
{
	struct bench *b = *state;

	munmap(b->conns, 4096);
	splice_run__destroy(b->skel);
	free(b);
	return 0;
}

/* n bytes arrive. What became of them is at b->out. */
static int arrive(struct bench *b, const uint8_t *p, size_t n)
{
	uint8_t in[sizeof(b->out)] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = in, .data_size_in = (uint32_t)(PREFIX + n), .data_out = b->out,
		    .data_size_out = sizeof(b->out));

	memcpy(in + PREFIX, p, n);
	assert_int_equal(0, bpf_prog_test_run_opts(bpf_program__fd(b->skel->progs.splice_run), &o));
	assert_int_equal(PREFIX + n, o.data_size_out);
	return (int)o.retval;
}

static void read_stats(struct bench *b, struct derp_stats *ret)
{
	int cpus = libbpf_num_possible_cpus();
	struct derp_stats *each = calloc((size_t)cpus, sizeof(*each));
	uint32_t zero = 0;

	memset(ret, 0, sizeof(*ret));
	assert_int_equal(0, bpf_map_lookup_elem(bpf_map__fd(b->skel->maps.derp_stats), &zero, each));
	for (int i = 0; i < cpus; i++)
		for (size_t w = 0; w < sizeof(*ret) / sizeof(uint64_t); w++)
			((uint64_t *)ret)[w] += ((uint64_t *)&each[i])[w];
	free(each);
}

static void expect_stats(struct bench *b, const struct derp_stats *want)
{
	struct derp_stats got;

	read_stats(b, &got);
	assert_memory_equal(want, &got, sizeof(got));
}

/* --- one buffer */

static void two_to_one(struct stream *s)
{
	put_packet(s, here, 100);
	put_packet(s, here, 3);
}

static void one(struct stream *s)
{
	put_packet(s, here, 100);
}

static void empty_payload(struct stream *s)
{
	put_packet(s, here, 0);
}

static void disco(struct stream *s)
{
	put_packet(s, here, 62);
	memcpy(s->b + HEAD, DERP_DISCO_MAGIC, DERP_DISCO_MAGIC_LEN);
}

static void almost_disco(struct stream *s)
{
	put_packet(s, here, 61);
	memcpy(s->b + HEAD, DERP_DISCO_MAGIC, DERP_DISCO_MAGIC_LEN);
}

static void to_two(struct stream *s)
{
	put_packet(s, here, 10);
	put_packet(s, elsewhere, 10);
}

static void to_nobody(struct stream *s)
{
	put_packet(s, elsewhere, 10);
}

static void with_ping(struct stream *s)
{
	put_packet(s, here, 10);
	put_frame(s, DERP_PING, NULL, 8, 1);
}

static void ping(struct stream *s)
{
	put_frame(s, DERP_PING, NULL, 8, 1);
}

static void no_key(struct stream *s)
{
	put_frame(s, DERP_SEND_PACKET, NULL, DERP_KEY_LEN - 1, 1);
}

static void short_by_one(struct stream *s)
{
	put_packet(s, here, 100);
	s->n--;
}

static void too_long(struct stream *s)
{
	put_packet(s, here, 100);
	s->b[1] = 1;
}

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

static void other_source(struct bench *b)
{
	b->conns[SOURCE].generation++;
}

static void bulk(struct bench *b)
{
	b->conns[SOURCE].bulk = 1;
}

static void behind(struct bench *b)
{
	b->conns[SOURCE].passed = 10;
	b->conns[SOURCE].done = 9;
}

static void full(struct bench *b)
{
	b->skel->bss->queued = LIMIT;
}

static void nearly_full(struct bench *b)
{
	b->skel->bss->queued = LIMIT - 1;
}

static void disable(struct bench *b)
{
	struct derp_settings set = usual();
	uint32_t zero = 0;

	set.enabled = 0;
	set_map(b->skel->maps.derp_settings, &zero, &set);
}

static const struct row {
	const char *name;
	void (*make)(struct stream *s);
	void (*before)(struct bench *b);
	struct derp_stats count;	/* these and no others */
} rows[] = {
	{ "a packet", one, NULL, { .redirected = 1, .redirected_bytes = 100 } },
	{ "two packets for one", two_to_one, NULL, { .redirected = 2, .redirected_bytes = 103 } },
	{ "a packet of nothing", empty_payload, NULL, { .redirected = 1 } },
	{ "a disco packet", disco, NULL, { .redirected = 1, .redirected_bytes = 62, .redirected_disco = 1 } },
	{ "too short for disco", almost_disco, NULL, { .redirected = 1, .redirected_bytes = 61 } },
	{ "the last place in the queue", one, nearly_full, { .redirected = 1, .redirected_bytes = 100 } },
	{ "a full queue", one, full, { .dropped_full = 1, .dropped_full_bytes = 100 } },
	{ "a full queue, disco", disco, full,
	  { .dropped_full = 1, .dropped_full_bytes = 62, .dropped_full_disco = 1, .dropped_full_disco_bytes = 62 } },
	{ "packets for two", to_two, NULL, { .passed_other = 1 } },
	{ "a ping behind a packet", with_ping, NULL, { .passed_other = 1 } },
	{ "a ping", ping, NULL, { .passed_other = 1 } },
	{ "a packet without a key", no_key, NULL, { .passed_other = 1 } },
	{ "all but the last byte", short_by_one, NULL, { .passed_other = 1 } },
	{ "longer than a packet can be", too_long, NULL, { .passed_other = 1 } },
	{ "no flow", to_nobody, NULL, { .passed_flow = 1 } },
	{ "a flow to one who was there before", one, other_generation, { .passed_flow = 1 } },
	{ "a flow from one who was there before", one, other_source, { .passed_flow = 1 } },
	{ "the shard writes", one, take, { .passed_owner = 1 } },
	{ "the destination is held", one, hold_destination, { .passed_owner = 1 } },
	{ "the source is held", one, hold_source, { .passed_off = 1 } },
	{ "switched off", one, disable, { .passed_off = 1 } },
	{ "a bulk source", one, bulk, { .passed_bulk = 1 } },
	{ "earlier bytes are still with the shard", one, behind, { .passed_order = 1 } },
};

static void expect_rewritten(struct bench *b, const struct stream *in)
{
	struct stream want = *in;

	for (size_t off = 0; off < in->n; off += DERP_HDR_LEN + ((size_t)in->b[off + 3] << 8 | in->b[off + 4])) {
		want.b[off] = DERP_RECV_PACKET;
		memcpy(want.b + off + DERP_HDR_LEN, sender, sizeof(sender));
	}
	assert_memory_equal(want.b, b->out + PREFIX, want.n);
}

static void run_rows(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];
		const struct derp_conn *src, *dst;
		struct stream in = { 0 };
		uint64_t passed, moved = 0;
		struct bench *b;

		print_message("  %s\n", r->name);
		open_bench(state);
		b = *state;
		src = &b->conns[SOURCE];
		dst = &b->conns[DESTINATION];
		r->make(&in);
		if (r->before)
			r->before(b);
		passed = src->passed;
		arrive(b, in.b, in.n);
		expect_stats(b, &r->count);
		if (r->count.redirected)
			moved = in.n;
		assert_int_equal(moved, dst->redirected);
		assert_int_equal(r->count.redirected, dst->frames_out);
		assert_int_equal(r->count.dropped_full, dst->drops);
		assert_int_equal(r->count.redirected + r->count.dropped_full, src->frames_in);
		assert_int_equal(r->count.redirected_bytes + r->count.dropped_full_bytes, src->bytes_in);
		assert_int_equal(src->frames_in ? 0 : in.n, src->passed - passed);
		if (moved)
			expect_rewritten(b, &in);
		else
			assert_memory_equal(in.b, b->out + PREFIX, in.n);
		close_bench(state);
	}
}

/* --- a stream of buffers */

static void unknown_socket(void **state)
{
	struct bench *b = *state;
	struct stream in = { 0 };

	one(&in);
	b->skel->bss->cookie = COOKIE + 1;
	assert_int_equal(-1, arrive(b, in.b, in.n));
	expect_stats(b, &(struct derp_stats){ 0 });
}

/* A packet cut in two anywhere goes by the shard, and what follows is moved as soon as the shard is through with it. */
static void cut_anywhere(void **state)
{
	struct bench *b = *state;
	struct stream in = { 0 };

	one(&in);
	for (size_t cut = 1; cut < in.n; cut++) {
		assert_int_equal(DERP_OUTCOME_passed_other, arrive(b, in.b, cut));
		assert_int_equal(DERP_OUTCOME_passed_other, arrive(b, in.b + cut, in.n - cut));
		assert_int_equal(0, b->conns[SOURCE].left);
		assert_int_equal(0, b->conns[SOURCE].hdr_have);
		assert_int_equal(DERP_OUTCOME_passed_order, arrive(b, in.b, in.n));
		b->conns[SOURCE].done = b->conns[SOURCE].passed;
		assert_int_equal(DERP_OUTCOME_redirected, arrive(b, in.b, in.n));
	}
}

/* However a stream is cut, its frames are followed: whole packets behind the cuts are seen as such. */
static void cut_at_random(void **state)
{
	struct bench *b = *state;
	struct stream in = { 0 }, last = { 0 };

	srand(1);
	one(&last);
	for (int round = 0; round < 300; round++) {
		in.n = 0;
		while (in.n < 1500)
			put_frame(&in, (uint8_t)(rand() % 0x20), rand() % 2 ? here : NULL, (size_t)rand() % (rand() % 2 ? 4 : 700), (uint8_t)rand());
		for (size_t off = 0, n; off < in.n; off += n) {
			n = 1 + (size_t)rand() % (rand() % 2 ? 3 : 500);
			n = min_of(n, in.n - off);
			arrive(b, in.b + off, n);
		}
		assert_int_equal(0, b->conns[SOURCE].left);
		assert_int_equal(0, b->conns[SOURCE].hdr_have);
		b->conns[SOURCE].done = b->conns[SOURCE].passed;
		assert_int_equal(DERP_OUTCOME_redirected, arrive(b, last.b, last.n));
	}
}

/* Longer than anything that is kept: it is skipped by count. */
static void long_unknown_frame(void **state)
{
	struct bench *b = *state;
	struct stream in = { 0 };
	const uint8_t head[DERP_HDR_LEN] = { 0x7f, 0xff, 0xff, 0xff, 0xff };

	one(&in);
	arrive(b, head, sizeof(head));
	assert_int_equal(0xffffffffU, b->conns[SOURCE].left);
	b->conns[SOURCE].done = b->conns[SOURCE].passed;
	assert_int_equal(DERP_OUTCOME_passed_other, arrive(b, in.b, in.n));
	assert_int_equal(0xffffffffU - in.n, b->conns[SOURCE].left);
}

static void pressure_makes_bulk(void **state)
{
	struct bench *b = *state;
	struct stream in = { 0 };

	one(&in);
	b->skel->bss->queued = BUSY;
	for (unsigned int i = 0; i < BULK; i++)
		assert_int_equal(DERP_OUTCOME_redirected, arrive(b, in.b, in.n));
	b->skel->bss->queued = BUSY - 1;
	assert_int_equal(DERP_OUTCOME_redirected, arrive(b, in.b, in.n));
	assert_int_equal(BULK - 1, b->conns[SOURCE].pressure);
	b->skel->bss->queued = BUSY;
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(DERP_OUTCOME_redirected, arrive(b, in.b, in.n));
	assert_int_equal(DERP_OUTCOME_passed_bulk, arrive(b, in.b, in.n));
	b->skel->bss->queued = 0;
	assert_int_equal(DERP_OUTCOME_passed_bulk, arrive(b, in.b, in.n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run_rows),
		cmocka_unit_test_setup_teardown(unknown_socket, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(cut_anywhere, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(cut_at_random, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(long_unknown_frame, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(pressure_makes_bulk, open_bench, close_bench),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
