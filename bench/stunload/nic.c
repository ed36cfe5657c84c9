/* SPDX-License-Identifier: BSD-3-Clause */
/* stun-nic: sends one frame over and over from an interface, the way a network card would deliver it to the other end of a veth, with
 * so many in flight. bench/stun runs it. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "bench/stunload/nic.skel.h"

#define SPARE		8		/* as in nic.bpf.c */
#define TRIES		100000U	/* a system call; most of them find the window full and do nothing */
#define PATIENCE_NS	50000000U

static size_t unhex(uint8_t *to, size_t room, const char *hex)
{
	size_t n = 0;

	for (; hex[0] && hex[1] && n < room; hex += 2)
		to[n++] = (uint8_t)(hex_digit((uint8_t)hex[0]) << 4 | hex_digit((uint8_t)hex[1]));
	return n;
}

static struct nic *load(const uint8_t *frame, size_t n, uint16_t port, uint64_t window)
{
	struct nic *skel = nic__open();

	if (!skel)
		return NULL;
	memcpy((void *)skel->rodata->frame, frame, n);
	skel->rodata->frame_len = (uint32_t)n;
	skel->rodata->stun_port = port;
	skel->rodata->window = window;
	if (nic__load(skel)) {
		nic__destroy(skel);
		return NULL;
	}
	return skel;
}

static int attach(struct nic *skel, unsigned int ifindex)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);

	return bpf_link_create(bpf_program__fd(skel->progs.nic_receive), (int)ifindex, BPF_XDP, &opts);
}

/* Answers may be on their way. What is not there soon is lost, and must not stop up the window. */
static void settle(struct nic *skel)
{
	const struct timespec pause = { .tv_nsec = 20000 };
	uint64_t end = clock_now_ns() + PATIENCE_NS;

	while (__atomic_load_n(&skel->bss->answers, __ATOMIC_RELAXED) < skel->bss->sent && clock_now_ns() < end)
		nanosleep(&pause, NULL);
}

int main(int argc, char **argv)
{
	uint8_t frame[128 + SPARE] = { 0 };
	struct xdp_md ctx = { 0 };
	uint64_t lost = 0, until;
	struct nic *skel;
	size_t n;

	if (argc != 6) {
		fprintf(stderr, "stun-nic INTERFACE HEX PORT WINDOW SECONDS\n");
		return 2;
	}
	n = unhex(frame, 128, argv[2]);
	skel = load(frame, n, (uint16_t)atoi(argv[3]), strtoull(argv[4], NULL, 10));
	ctx.ingress_ifindex = if_nametoindex(argv[1]);
	ctx.data_end = (uint32_t)n + SPARE;
	if (!skel || attach(skel, ctx.ingress_ifindex) < 0) {
		fprintf(stderr, "stun-nic: can't load, or attach to %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	until = clock_now_ns() + (uint64_t)(strtod(argv[5], NULL) * NS_PER_S);
	while (clock_now_ns() < until) {
		LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = ctx.data_end, .ctx_in = &ctx,
			    .ctx_size_in = sizeof(ctx), .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .repeat = TRIES,
			    .batch_size = 64);

		if (bpf_prog_test_run_opts(bpf_program__fd(skel->progs.nic_send), &o)) {
			fprintf(stderr, "stun-nic: %s\n", strerror(errno));
			return 1;
		}
		settle(skel);
		lost += skel->bss->sent - skel->bss->answers;
		skel->bss->sent = skel->bss->answers;
	}
	printf("%llu %llu\n", (unsigned long long)(skel->bss->answers + lost), (unsigned long long)skel->bss->answers);
	nic__destroy(skel);
	return 0;
}
