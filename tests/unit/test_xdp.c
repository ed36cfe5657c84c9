/* SPDX-License-Identifier: BSD-3-Clause */
/* The XDP program, run by BPF_PROG_RUN: what becomes of a packet, and exactly which counters change. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/crc32.h"
#include "lib/unit.h"

#include "bpf/xdp.skel.h"
#include "kern/xdp.h"
#include "lib/frame.h"
#include "lib/vectors.h"
#include "wire/stun.h"

#define LOOPBACK	1	/* the interface that BPF_PROG_RUN pretends */
#define OTHER		7
#define BURST		3U
#define PORT		3478

static const uint8_t usual[40] = {
	0x00, 0x01, 0x00, 0x14, 0x21, 0x12, 0xa4, 0x42, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b,
	0x80, 0x22, 0x00, 0x08, 't', 'a', 'i', 'l', 'n', 'o', 'd', 'e', 0x80, 0x28, 0x00, 0x04, 0xe1, 0x3e, 0xfd, 0x83,
};

/* The bucket never fills up again while a test runs. */
static const struct xdp_opts settings = {
	.tcp_ports = { 443, 80 }, .stun_port = PORT, .guard_rate = 0.001, .guard_burst = BURST, .guard_sources = 64,
};

static struct xdp *load(const struct xdp_opts *o)
{
	char why[256];
	struct xdp *skel;
	int err = xdp_load(&skel, o, why, sizeof(why));

	if (!err)
		return skel;
	print_message("%s\n", why);
	if (err != -EPERM)
		fail();		/* a verifier that refuses says EACCES */
	skip();
	return NULL;
}

static void make_local(const struct xdp *skel, const char *ip, uint32_t ifindex, bool stun)
{
	struct derp_local_key key = { .ip = { [10] = 0xff, [11] = 0xff }, .ifindex = ifindex };
	struct derp_local v;

	memset(&v, 0, sizeof(v));
	v.stun = stun;
	if (inet_pton(AF_INET, ip, key.ip + 12) != 1)
		assert_int_equal(1, inet_pton(AF_INET6, ip, key.ip));
	assert_int_equal(0, bpf_map_update_elem(bpf_map__fd(skel->maps.derp_local), &key, &v, BPF_ANY));
}

static struct xdp *load_local(const struct xdp_opts *o)
{
	struct xdp *skel = load(o);

	make_local(skel, T_DST4, LOOPBACK, true);
	make_local(skel, T_DST6, LOOPBACK, true);
	return skel;
}

static void read_counters(const struct xdp *skel, struct derp_xdp_stats *ret)
{
	int cpus = libbpf_num_possible_cpus();
	struct derp_xdp_stats *each = calloc((size_t)cpus, sizeof(*each));
	uint32_t zero = 0;

	memset(ret, 0, sizeof(*ret));
	assert_int_equal(0, bpf_map_lookup_elem(bpf_map__fd(skel->maps.derp_xdp_stats), &zero, each));
	for (int i = 0; i < cpus; i++) {
#define X(field, help) ret->field += each[i].field;
		DERP_XDP_COUNTERS(X)
#undef X
	}
	free(each);
}

/* One name per line, so that a failure says which. */
static void expect_counters(const struct xdp *skel, const struct derp_xdp_stats *want)
{
	struct derp_xdp_stats got;
	bool same = true;

	read_counters(skel, &got);
#define X(field, help)										\
	if (got.field != want->field) {								\
		print_error(#field " is %llu, not %llu\n", (unsigned long long)got.field,	\
			    (unsigned long long)want->field);					\
		same = false;									\
	}
	DERP_XDP_COUNTERS(X)
#undef X
	assert_true(same);
}

/* f in, *out out. What the kernel refuses to run (shorter than an Ethernet header) never reaches a program. */
static int run(const struct xdp *skel, const struct t_frame *f, struct t_frame *out)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = f->b, .data_size_in = (uint32_t)f->n, .data_out = out->b,
		    .data_size_out = sizeof(out->b));

	assert_int_equal(0, bpf_prog_test_run_opts(bpf_program__fd(skel->progs.derp_xdp), &o));
	out->n = o.data_size_out;
	return (int)o.retval;
}

/* The answer of the socket to f, put into a frame by hand. */
static struct t_frame expected_answer(const struct t_frame *f, const struct t_datagram *d)
{
	bool v6 = f->b[d->l3] >> 4 == 6;
	size_t ip_len = v6 ? 40 : 20;
	struct t_frame a = { .n = d->l3 + ip_len + 8, .l3 = d->l3, .l4 = d->l3 + ip_len };
	uint8_t *ip = a.b + a.l3, *udp = a.b + a.l4;
	size_t n = stun_response(a.b + a.n, d->p, (const struct sockaddr *)&d->src);

	memcpy(a.b, f->b + 6, 6);
	memcpy(a.b + 6, f->b, 6);
	memcpy(a.b + 12, f->b + 12, d->l3 - 12);
	a.n += n;
	if (v6) {
		ip[0] = 0x60;
		put_be16(ip + 4, (uint16_t)(8 + n));
		ip[6] = IPPROTO_UDP;
		ip[7] = 64;
		memcpy(ip + 8, f->b + a.l3 + 24, 16);
		memcpy(ip + 24, f->b + a.l3 + 8, 16);
	} else {
		ip[0] = 0x45;
		put_be16(ip + 2, (uint16_t)(28 + n));
		put_be16(ip + 6, 0x4000);
		ip[8] = 64;
		ip[9] = IPPROTO_UDP;
		memcpy(ip + 12, f->b + a.l3 + 16, 4);
		memcpy(ip + 16, f->b + a.l3 + 12, 4);
		t_fix_ip(&a);
	}
	put_be16(udp, PORT);
	memcpy(udp + 2, &((const struct sockaddr_in *)&d->src)->sin_port, 2);	/* of either family */
	put_be16(udp + 4, (uint16_t)(8 + n));
	t_fix_udp(&a);
	return a;
}

/* The rule for every packet there is: whatever XDP answers, the socket would have answered with the same bytes; whatever it
 * passes is as it was. Returns whether it was answered. */
static bool check_against_socket(const struct xdp *skel, const struct t_frame *f)
{
	struct t_frame out, want;
	struct t_datagram d;
	int verdict = run(skel, f, &out);

	if (verdict == XDP_TX) {
		assert_true(t_deliver(&d, f, PORT) && stun_is_request(d.p, d.n));
		want = expected_answer(f, &d);
		assert_int_equal(want.n, out.n);
		assert_memory_equal(want.b, out.b, want.n);
		assert_true(10 * out.n <= 11 * f->n);
		return true;
	}
	assert_int_equal(XDP_PASS, verdict);
	assert_int_equal(f->n, out.n);
	assert_memory_equal(f->b, out.b, f->n);
	return false;
}

/* --- one packet, one outcome */

static void break_ip_sum(struct t_frame *f) { f->b[f->l3 + 11] ^= 1; }
static void break_udp_sum(struct t_frame *f) { f->b[f->l4 + 7] ^= 1; }
static void no_udp_sum(struct t_frame *f) { put_be16(f->b + f->l4 + 6, 0); }
static void group_mac(struct t_frame *f) { f->b[0] |= 1; }
static void short_udp(struct t_frame *f) { put_be16(f->b + f->l4 + 4, 47); t_fix_udp(f); }
static void long_ip(struct t_frame *f) { put_be16(f->b + f->l3 + (f->b[f->l3] >> 4 == 6 ? 4 : 2), 100); t_fix_ip(f); }
static void padding(struct t_frame *f) { memset(f->b + f->n, 0xee, 30); f->n += 30; }
static void other_txid(struct t_frame *f) { f->b[f->payload + 9] ^= 4; t_fix_udp(f); }
static void other_software(struct t_frame *f) { f->b[f->payload + 31] ^= 1; t_fix_udp(f); }
static void cut_payload(struct t_frame *f) { f->n--; }
static void no_source_port(struct t_frame *f) { put_be16(f->b + f->l4, 0); t_fix_udp(f); }
static void version_five(struct t_frame *f) { f->b[f->l3] = 0x55; t_fix_ip(f); }
static void arp(struct t_frame *f) { put_be16(f->b + f->l3 - 2, ETH_P_ARP); }

/* What is on the wire before a NIC or a peer's kernel has put the sum in: that of the pseudo header. */
static void partial_udp_sum(struct t_frame *f)
{
	put_be16(f->b + f->l4 + 6, t_fold(t_sum(f->b + f->l3 + 12, 8) + IPPROTO_UDP + (f->n - f->l4)));
}

#define TX	XDP_TX
#define PASS	XDP_PASS
#define DROP	XDP_ABORTED	/* as XDP_DROP, but perf sees it */
#define SYN	.proto = IPPROTO_TCP, .tcp_flags = TH_SYN, .dport = 443

static const struct packet_case {
	const char *name;
	struct t_shape shape;
	void (*twist)(struct t_frame *f);
	int want;
	struct derp_xdp_stats count;	/* these and no others */
	const char *deny;		/* a network */
} packets[] = {
	{ "STUN, IPv4",			{ 0 }, NULL, TX, { .stun_ipv4 = 1 } },
	{ "STUN, IPv6",			{ .v6 = true }, NULL, TX, { .stun_ipv6 = 1 } },
	{ "STUN, IPv4, VLAN",		{ .tags = 1 }, NULL, TX, { .stun_ipv4 = 1 } },
	{ "STUN, IPv6, VLAN",		{ .v6 = true, .tags = 1 }, NULL, TX, { .stun_ipv6 = 1 } },
	{ "STUN, IPv4, VLAN in VLAN",	{ .tags = 2 }, NULL, TX, { .stun_ipv4 = 1 } },
	{ "STUN, IPv6, VLAN in VLAN",	{ .v6 = true, .tags = 2 }, NULL, TX, { .stun_ipv6 = 1 } },
	{ "STUN, three tags",		{ .tags = 3 }, NULL, PASS, { 0 } },
	{ "STUN, bytes behind it",	{ 0 }, padding, TX, { .stun_ipv4 = 1 } },
	{ "STUN, bytes behind it, IPv6", { .v6 = true }, padding, TX, { .stun_ipv6 = 1 } },
	{ "STUN, no UDP checksum",	{ 0 }, no_udp_sum, TX, { .stun_ipv4 = 1 } },
	{ "STUN, no UDP checksum, IPv6", { .v6 = true }, no_udp_sum, PASS, { .stun_checksum = 1 } },
	{ "STUN, UDP checksum to come",	{ 0 }, partial_udp_sum, PASS, { .stun_checksum = 1 } },
	{ "STUN, wrong UDP checksum",	{ 0 }, break_udp_sum, PASS, { .stun_checksum = 1 } },
	{ "STUN, wrong UDP checksum, IPv6", { .v6 = true }, break_udp_sum, PASS, { .stun_checksum = 1 } },
	{ "STUN, wrong IP checksum",	{ 0 }, break_ip_sum, PASS, { .stun_checksum = 1 } },
	{ "STUN, wrong FINGERPRINT",	{ 0 }, other_txid, PASS, { .stun_checksum = 1 } },
	{ "STUN, other software",	{ 0 }, other_software, PASS, { .stun_form = 1 } },
	{ "STUN, a byte too short",	{ 0 }, cut_payload, PASS, { .stun_form = 1 } },
	{ "STUN, UDP says less",	{ 0 }, short_udp, PASS, { .stun_form = 1 } },
	{ "STUN, IP says more",		{ 0 }, long_ip, PASS, { .stun_form = 1 } },
	{ "STUN, IP says more, IPv6",	{ .v6 = true }, long_ip, PASS, { .stun_form = 1 } },
	{ "STUN, IP options",		{ .options = 2 }, NULL, PASS, { .stun_form = 1 } },
	{ "STUN, extension header",	{ .v6 = true, .options = 1 }, NULL, PASS, { .stun_form = 1 } },
	{ "STUN, first fragment",	{ .fragment = 0x2000 }, NULL, PASS, { 0 } },
	{ "STUN, later fragment",	{ .fragment = 0x0010 }, NULL, PASS, { 0 } },
	{ "STUN, may not be fragmented", { .fragment = 0x4000 }, NULL, TX, { .stun_ipv4 = 1 } },
	{ "STUN, first fragment, IPv6",	{ .v6 = true, .fragment = 1 }, NULL, PASS, { 0 } },
	{ "STUN, later fragment, IPv6",	{ .v6 = true, .fragment = 8 }, NULL, PASS, { 0 } },
	{ "STUN, atomic fragment, IPv6", { .v6 = true, .atomic = true }, NULL, PASS, { .stun_form = 1 } },
	{ "STUN, other port",		{ .dport = 3479 }, NULL, PASS, { 0 } },
	{ "STUN on the TCP port",	{ .dport = 443 }, NULL, PASS, { 0 } },
	{ "STUN, passing through",	{ .dst = "192.0.2.2" }, NULL, PASS, { .stun_address = 1 } },
	{ "STUN, passing through, IPv6", { .v6 = true, .dst = "2001:db8:1::2" }, NULL, PASS, { .stun_address = 1 } },
	{ "STUN, not by this interface", { .dst = "192.0.2.9" }, NULL, PASS, { .stun_address = 1 } },
	{ "STUN, where tags are hidden", { .dst = "192.0.2.8" }, NULL, PASS, { .stun_address = 1 } },
	{ "STUN, broadcast",		{ .dst = "255.255.255.255" }, NULL, PASS, { .stun_address = 1 } },
	{ "STUN, Ethernet group",	{ 0 }, group_mac, PASS, { 0 } },
	{ "STUN from ourselves",	{ .src = T_DST4 }, NULL, PASS, { .stun_address = 1 } },
	{ "STUN from ourselves, IPv6",	{ .v6 = true, .src = T_DST6 }, NULL, PASS, { .stun_address = 1 } },
	{ "STUN from zero",		{ .src = "0.0.0.0" }, NULL, PASS, { .stun_address = 1 } },
	{ "STUN from loopback",		{ .src = "127.0.0.1" }, NULL, PASS, { .stun_address = 1 } },
	{ "STUN from a group",		{ .src = "224.0.0.1" }, NULL, PASS, { .stun_address = 1 } },
	{ "STUN from zero, IPv6",	{ .v6 = true, .src = "::" }, NULL, PASS, { .stun_address = 1 } },
	{ "STUN from loopback, IPv6",	{ .v6 = true, .src = "::1" }, NULL, PASS, { .stun_address = 1 } },
	{ "STUN from a group, IPv6",	{ .v6 = true, .src = "ff02::1" }, NULL, PASS, { .stun_address = 1 } },
	{ "STUN from IPv4 in IPv6",	{ .v6 = true, .src = "::ffff:203.0.113.7" }, NULL, PASS, { .stun_address = 1 } },
	{ "STUN, link-local",		{ .v6 = true, .src = "fe80::2", .dst = "fe80::1" }, NULL, TX, { .stun_ipv6 = 1 } },
	{ "STUN on loopback",		{ .src = "127.0.0.1", .dst = "127.0.0.1" }, NULL, TX, { .stun_ipv4 = 1 } },
	{ "STUN on loopback, IPv6",	{ .v6 = true, .src = "::1", .dst = "::1" }, NULL, TX, { .stun_ipv6 = 1 } },
	{ "STUN from port 0",		{ 0 }, no_source_port, PASS, { .stun_address = 1 } },
	{ "STUN, IP version 5",		{ 0 }, version_five, PASS, { 0 } },
	{ "not IP",			{ 0 }, arp, PASS, { 0 } },
	{ "STUN, denied",		{ 0 }, NULL, DROP, { .guard_denied = 1 }, "203.0.113.0/24" },
	{ "STUN, denied, IPv6",		{ .v6 = true }, NULL, DROP, { .guard_denied = 1 }, "2001:db8::/64" },
	{ "STUN, denied, passing through", { .dst = "192.0.2.2" }, NULL, PASS, { 0 }, "203.0.113.0/24" },
	{ "STUN, others denied",	{ 0 }, NULL, TX, { .stun_ipv4 = 1 }, "203.0.113.8/29" },
	{ "other port, denied",		{ .dport = 53 }, NULL, PASS, { 0 }, "203.0.113.0/24" },

	{ "SYN",			{ SYN }, NULL, PASS, { .guard_passed = 1 } },
	{ "SYN, IPv6",			{ .v6 = true, SYN }, NULL, PASS, { .guard_passed = 1 } },
	{ "SYN, VLAN",			{ .tags = 1, SYN }, NULL, PASS, { .guard_passed = 1 } },
	{ "SYN to the second port",	{ .proto = IPPROTO_TCP, .tcp_flags = TH_SYN, .dport = 80 }, NULL, PASS, { .guard_passed = 1 } },
	{ "SYN to another port",	{ .proto = IPPROTO_TCP, .tcp_flags = TH_SYN, .dport = 22 }, NULL, PASS, { 0 } },
	{ "SYN, passing through",	{ .dst = "192.0.2.2", SYN }, NULL, PASS, { 0 } },
	{ "SYN where tags are hidden",	{ .dst = "192.0.2.8", SYN }, NULL, PASS, { .guard_passed = 1 } },
	{ "SYN with ECN",		{ .proto = IPPROTO_TCP, .tcp_flags = TH_SYN | 0xc0, .dport = 443 }, NULL, PASS, { .guard_passed = 1 } },
	{ "SYN and ACK",		{ .proto = IPPROTO_TCP, .tcp_flags = TH_SYN | TH_ACK, .dport = 443 }, NULL, PASS, { 0 } },
	{ "data",			{ .proto = IPPROTO_TCP, .tcp_flags = TH_ACK | TH_PUSH, .dport = 443 }, NULL, PASS, { 0 } },
	{ "SYN, denied",		{ SYN }, NULL, DROP, { .guard_denied = 1 }, "203.0.113.7/32" },
	{ "SYN, denied, IP options",	{ .options = 10, SYN }, NULL, DROP, { .guard_denied = 1 }, "203.0.113.7/32" },
	{ "SYN, denied, 4 extensions",	{ .v6 = true, .options = 4, SYN }, NULL, DROP, { .guard_denied = 1 }, "::/0" },
	{ "SYN, denied, 5 extensions",	{ .v6 = true, .options = 5, SYN }, NULL, PASS, { 0 }, "::/0" },
	{ "SYN, denied, atomic fragment", { .v6 = true, .atomic = true, SYN }, NULL, DROP, { .guard_denied = 1 }, "::/0" },
	{ "SYN, denied, real fragment",	{ .v6 = true, .fragment = 1, SYN }, NULL, PASS, { 0 }, "::/0" },
	{ "SYN, denied, passing through", { .dst = "192.0.2.2", SYN }, NULL, PASS, { 0 }, "203.0.113.7/32" },
	{ "data, denied",		{ .proto = IPPROTO_TCP, .tcp_flags = TH_ACK, .dport = 443 }, NULL, PASS, { 0 }, "203.0.113.7/32" },
};

static void deny(const struct xdp *skel, const char *network)
{
	struct derp_deny_key key;
	struct derp_deny v = { 0 };
	struct cidr c;

	assert_true(cidr_parse(&c, network, strlen(network)));
	key.prefixlen = c.bits;
	memcpy(key.ip, c.net, sizeof(key.ip));
	assert_int_equal(0, bpf_map_update_elem(bpf_map__fd(skel->maps.derp_deny), &key, &v, BPF_ANY));
}

static void one_packet(void **state)
{
	const struct packet_case *c = *state;
	struct xdp *skel = load_local(&settings);
	struct t_frame f = t_frame_new(&c->shape, usual, c->shape.proto ? 0 : sizeof(usual)), out;

	make_local(skel, "127.0.0.1", LOOPBACK, true);
	make_local(skel, "::1", LOOPBACK, true);
	make_local(skel, "fe80::1", LOOPBACK, true);
	make_local(skel, "192.0.2.8", LOOPBACK, false);
	make_local(skel, "192.0.2.9", OTHER, true);
	if (c->twist)
		c->twist(&f);
	if (c->deny)
		deny(skel, c->deny);
	assert_int_equal(c->want, run(skel, &f, &out));
	if (c->want != TX) {
		assert_int_equal(f.n, out.n);
		assert_memory_equal(f.b, out.b, f.n);
	}
	expect_counters(skel, &c->count);
	xdp__destroy(skel);
}

/* --- the guard over several packets */

static int syn_from(const struct xdp *skel, const char *src, bool v6)
{
	const struct t_shape s = { .v6 = v6, .src = src, SYN };
	struct t_frame f = t_frame_new(&s, NULL, 0), out;

	return run(skel, &f, &out);
}

static void exhaust(const struct xdp *skel, const char *src, bool v6)
{
	for (unsigned int i = 0; i < BURST; i++)
		assert_int_equal(PASS, syn_from(skel, src, v6));
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(DROP, syn_from(skel, src, v6));
}

static void one_source_others_undisturbed(void **state)
{
	const struct t_shape data = { .proto = IPPROTO_TCP, .tcp_flags = TH_ACK, .dport = 443 };
	const struct derp_xdp_stats want = { .guard_passed = BURST + 1, .guard_limited = 5, .stun_ipv4 = 1 };
	struct t_frame f = t_frame_new(&data, usual, 40), stun = t_frame_new(&(struct t_shape){ 0 }, usual, 40), out;
	struct xdp *skel = load_local(&settings);

	(void)state;
	exhaust(skel, T_SRC4, false);
	assert_int_equal(PASS, syn_from(skel, "203.0.113.8", false));
	assert_int_equal(PASS, run(skel, &f, &out));		/* its open connections */
	assert_int_equal(TX, run(skel, &stun, &out));
	expect_counters(skel, &want);
	xdp__destroy(skel);
}

static void ipv6_source_is_a_56(void **state)
{
	const struct derp_xdp_stats want = { .guard_passed = BURST + 1, .guard_limited = 6 };
	struct xdp *skel = load_local(&settings);

	(void)state;
	exhaust(skel, "2001:db8:0:1200::1", true);
	assert_int_equal(DROP, syn_from(skel, "2001:db8:0:12ff:ffff::2", true));
	assert_int_equal(PASS, syn_from(skel, "2001:db8:0:1300::1", true));
	expect_counters(skel, &want);
	xdp__destroy(skel);
}

/* As if n times what one connection costs had passed. */
static void turn_back(const struct xdp *skel, const char *src, unsigned int n)
{
	struct derp_guard_key key = { .ip = { [10] = 0xff, [11] = 0xff } };
	struct derp_guard v;
	int map = bpf_map__fd(skel->maps.derp_guard);

	inet_pton(AF_INET, src, key.ip + 12);
	assert_int_equal(0, bpf_map_lookup_elem(map, &key, &v));
	v.full_at -= min_of(v.full_at, n * skel->rodata->syn_every_ns);	/* the machine may be younger than that */
	assert_int_equal(0, bpf_map_update_elem(map, &key, &v, BPF_EXIST));
}

static void bucket_fills_again(void **state)
{
	struct derp_guard_key key = { .ip = { [10] = 0xff, [11] = 0xff } };
	struct xdp *skel = load_local(&settings);
	struct derp_guard v;

	(void)state;
	exhaust(skel, T_SRC4, false);
	turn_back(skel, T_SRC4, 2);
	assert_int_equal(PASS, syn_from(skel, T_SRC4, false));
	assert_int_equal(PASS, syn_from(skel, T_SRC4, false));
	assert_int_equal(DROP, syn_from(skel, T_SRC4, false));
	turn_back(skel, T_SRC4, 100);			/* no fuller than full */
	exhaust(skel, T_SRC4, false);
	inet_pton(AF_INET, T_SRC4, key.ip + 12);
	assert_int_equal(0, bpf_map_lookup_elem(bpf_map__fd(skel->maps.derp_guard), &key, &v));
	assert_int_equal(2 * BURST + 2, v.passed);
	assert_int_equal(11, v.dropped);
	xdp__destroy(skel);
}

static void denied_network_knows_its_drops(void **state)
{
	struct derp_deny_key key = { .prefixlen = 120 };
	struct xdp *skel = load_local(&settings);
	struct derp_deny v;
	struct cidr c;

	(void)state;
	deny(skel, "203.0.113.0/24");
	deny(skel, "203.0.113.8");
	for (int i = 0; i < 4; i++)
		assert_int_equal(DROP, syn_from(skel, T_SRC4, false));
	assert_true(cidr_parse(&c, "203.0.113.0/24", 14));
	memcpy(key.ip, c.net, sizeof(key.ip));
	assert_int_equal(0, bpf_map_lookup_elem(bpf_map__fd(skel->maps.derp_deny), &key, &v));
	assert_int_equal(4, v.dropped);
	xdp__destroy(skel);
}

static void guard_switched_off(void **state)
{
	const struct derp_xdp_stats want = { .guard_passed = 1000 };
	struct xdp_opts o = settings;
	struct xdp *skel;

	(void)state;
	o.guard_rate = 0;
	skel = load_local(&o);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(PASS, syn_from(skel, T_SRC4, false));
	expect_counters(skel, &want);
	xdp__destroy(skel);
}

static void more_sources_than_places(void **state)
{
	struct xdp *skel = load_local(&settings);
	struct derp_xdp_stats got;
	char src[32];

	(void)state;
	for (int i = 0; i < 5000; i++) {
		snprintf(src, sizeof(src), "198.51.%d.%d", i / 250, 1 + i % 250);
		assert_int_equal(PASS, syn_from(skel, src, false));
	}
	read_counters(skel, &got);
	assert_int_equal(5000, got.guard_passed + got.guard_untracked);
	assert_int_equal(0, got.guard_limited);
	xdp__destroy(skel);
}

static void ports_not_open(void **state)
{
	const struct derp_xdp_stats none = { 0 };
	const struct xdp_opts o = { .guard_sources = 1 };
	struct t_frame f = t_frame_new(&(struct t_shape){ 0 }, usual, sizeof(usual)), out;
	struct xdp *skel = load_local(&o);

	(void)state;
	assert_int_equal(PASS, run(skel, &f, &out));
	put_be16(f.b + f.l4 + 2, 0);
	assert_int_equal(PASS, run(skel, &f, &out));
	assert_int_equal(PASS, syn_from(skel, T_SRC4, false));
	expect_counters(skel, &none);
	xdp__destroy(skel);
}

/* --- STUN here against STUN in the shard */

static const struct t_shape shapes[] = {
	{ 0 }, { .v6 = true }, { .tags = 1 }, { .v6 = true, .tags = 1 }, { .tags = 2 }, { .v6 = true, .tags = 2 },
};

static void check_request(const struct xdp *skel, const char *hex)
{
	struct t_bytes b = t_unhex(hex);
	bool is_usual = b.n == sizeof(usual) && !memcmp(b.p, usual, b.n);

	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		struct t_frame f = t_frame_new(&shapes[i], b.p, b.n);

		assert_int_equal(is_usual, check_against_socket(skel, &f));
	}
	free(b.p);
}

static void golden_vectors(void **state)
{
	json_t *root = t_load_vectors(), *stun = json_object_get(root, "stun"), *row;
	struct xdp *skel = load_local(&settings);
	size_t i;

	(void)state;
	check_request(skel, t_str(stun, "request_hex"));
	json_array_foreach(json_object_get(stun, "bad"), i, row)
		check_request(skel, t_str(row, "hex"));
	json_array_foreach(json_object_get(root, "stun_variants"), i, row)
		check_request(skel, t_str(row, "hex"));
	assert_int_equal(12, i);
	xdp__destroy(skel);
	json_decref(root);
}

static void every_truncation(void **state)
{
	struct xdp *skel = load_local(&settings);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		const struct t_frame whole = t_frame_new(&shapes[i], usual, sizeof(usual));
		struct t_frame f = whole;

		for (f.n = ETH_HLEN; f.n <= whole.n; f.n++)
			assert_int_equal(f.n == whole.n, check_against_socket(skel, &f));
	}
	xdp__destroy(skel);
}

/* A sum that comes out as zero is sent as its other form: zero says that there is none. */
static void udp_sum_of_zero(void **state)
{
	struct xdp *skel = load_local(&settings);
	uint8_t request[sizeof(usual)];
	unsigned int met = 0;

	(void)state;
	memcpy(request, usual, sizeof(usual));
	for (unsigned int id = 0; id < 65536; id++) {
		struct t_frame f, a;
		struct t_datagram d;

		put_be16(request + 8, (uint16_t)id);
		put_be32(request + 36, crc32_bitwise(request, 32) ^ STUN_FINGERPRINT_XOR);
		f = t_frame_new(&shapes[id & 1], request, sizeof(request));
		assert_true(t_deliver(&d, &f, PORT));
		a = expected_answer(&f, &d);
		if (get_be16(a.b + a.l4 + 6) != 0xffff)
			continue;
		met++;
		assert_true(check_against_socket(skel, &f));
	}
	assert_true(met > 0);
	xdp__destroy(skel);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static void mutate(struct t_frame *f, uint32_t *seed)
{
	size_t at = next_random(seed) % f->n;

	switch (next_random(seed) % 5) {
	case 0:
		f->b[at] ^= (uint8_t)(1U << next_random(seed) % 8);
		break;
	case 1:
		f->b[at] = (uint8_t)next_random(seed);
		break;
	case 2:					/* small numbers are lengths and types */
		f->b[at] = (uint8_t)(f->b[at] + next_random(seed) % 9 - 4);
		break;
	case 3:					/* never shorter than its headers: truncations have a test */
		f->n = max_of(f->n - next_random(seed) % 12, f->payload);
		break;
	default:
		for (uint32_t n = next_random(seed) % 12; n; n--)
			f->b[f->n++] = (uint8_t)next_random(seed);
		break;
	}
}

/* A mutation that a checksum gives away tests that checksum only: repair some, to get behind them. */
static void repair(struct t_frame *f, uint32_t how)
{
	if (how & 1 && f->n >= f->payload + 8)
		put_be32(f->b + f->n - 4, crc32_bitwise(f->b + f->payload, f->n - f->payload - 8) ^ STUN_FINGERPRINT_XOR);
	if (how & 2) {
		put_be16(f->b + f->l4 + 4, (uint16_t)(f->n - f->l4));
		if (f->b[f->l3] >> 4 == 6)
			put_be16(f->b + f->l3 + 4, (uint16_t)(f->n - f->l4));
		else
			put_be16(f->b + f->l3 + 2, (uint16_t)(f->n - f->l3));
	}
	if (how & 4)
		t_fix_udp(f);
	if (how & 8)
		t_fix_ip(f);
}

static void mutations(void **state)
{
	struct xdp *skel = load_local(&settings);
	unsigned int answered = 0, left = 0, of_use = 0;
	uint32_t seed = 2463534242U;
	struct t_datagram d;

	(void)state;
	for (unsigned int i = 0; i < 10000; i++) {
		struct t_frame f = t_frame_new(&shapes[i % ARRAY_SIZE(shapes)], usual, sizeof(usual));

		for (uint32_t n = next_random(&seed) % 3 + 1; n; n--)
			mutate(&f, &seed);
		repair(&f, next_random(&seed));
		if (check_against_socket(skel, &f))
			answered++;
		else if (t_deliver(&d, &f, PORT) && stun_is_request(d.p, d.n))
			of_use++;
		else
			left++;
	}
	print_message("%u answered, %u left to the socket, %u of them for its answer\n", answered, left + of_use, of_use);
	assert_true(answered > 1000 && left > 1000 && of_use > 10);
	xdp__destroy(skel);
}

int main(void)
{
	const struct CMUnitTest rest[] = {
		cmocka_unit_test(one_source_others_undisturbed),
		cmocka_unit_test(ipv6_source_is_a_56),
		cmocka_unit_test(bucket_fills_again),
		cmocka_unit_test(denied_network_knows_its_drops),
		cmocka_unit_test(guard_switched_off),
		cmocka_unit_test(more_sources_than_places),
		cmocka_unit_test(ports_not_open),
		cmocka_unit_test(golden_vectors),
		cmocka_unit_test(every_truncation),
		cmocka_unit_test(udp_sum_of_zero),
		cmocka_unit_test(mutations),
	};
	struct CMUnitTest t[ARRAY_SIZE(packets) + ARRAY_SIZE(rest)];

	for (size_t i = 0; i < ARRAY_SIZE(packets); i++)
		t[i] = (struct CMUnitTest){ packets[i].name, one_packet, NULL, NULL, (void *)&packets[i] };
	memcpy(t + ARRAY_SIZE(packets), rest, sizeof(rest));
	return cmocka_run_group_tests(t, NULL, NULL);
}
