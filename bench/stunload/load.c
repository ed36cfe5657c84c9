/* SPDX-License-Identifier: BSD-3-Clause */
/* stun-load: STUN requests to one server, so many in flight, each answer checked. bench/stun runs it. */
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"
#include "base/util.h"
#include "stun_proto.h"

#include "../../tests/lib/crc32.h"

#define MAX_WINDOW	256U
#define REQUEST_LEN	40U
#define PATIENCE_US	50000		/* then the rest of a window is lost */

struct window {
	unsigned int n, answered;
	uint32_t round;
	bool seen[MAX_WINDOW];
	uint8_t request[MAX_WINDOW][REQUEST_LEN], answer[MAX_WINDOW][64];
	struct iovec out_iov[MAX_WINDOW], in_iov[MAX_WINDOW];
	struct mmsghdr out[MAX_WINDOW], in[MAX_WINDOW];
};

/* The transaction id says which place of the window it is; building it is no part of what is measured. */
static void build(struct window *w, unsigned int i)
{
	uint8_t *r = w->request[i];

	put_be16(r, STUN_BINDING_REQUEST);
	put_be16(r + 2, REQUEST_LEN - STUN_HDR_LEN);
	put_be32(r + 4, STUN_MAGIC);
	put_be32(r + 8, 0x78646572);
	put_be32(r + 12, i);
	put_be32(r + 16, (uint32_t)rand());
	put_be16(r + 20, STUN_ATTR_SOFTWARE);
	put_be16(r + 22, STUN_SOFTWARE_LEN);
	memcpy(r + 24, STUN_SOFTWARE, STUN_SOFTWARE_LEN);
	put_be16(r + 32, STUN_ATTR_FINGERPRINT);
	put_be16(r + 34, 4);
	put_be32(r + 36, crc32_bitwise(r, 32) ^ STUN_FINGERPRINT_XOR);
	w->out_iov[i] = (struct iovec){ r, REQUEST_LEN };
	w->in_iov[i] = (struct iovec){ w->answer[i], sizeof(w->answer[i]) };
	w->out[i].msg_hdr = (struct msghdr){ .msg_iov = &w->out_iov[i], .msg_iovlen = 1 };
	w->in[i].msg_hdr = (struct msghdr){ .msg_iov = &w->in_iov[i], .msg_iovlen = 1 };
}

static int connect_to(const char *host, const char *port)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	const struct timeval patience = { .tv_usec = PATIENCE_US };
	const int room = 4 << 20;	/* behind XDP a packet is a page */
	struct addrinfo *ai;
	int fd;

	if (getaddrinfo(host, port, &hints, &ai))
		return -1;
	fd = socket(ai->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && (connect(fd, ai->ai_addr, ai->ai_addrlen) ||
			setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) ||
			setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience))))
		fd = -1;
	freeaddrinfo(ai);
	return fd;
}

/* Late answers of an earlier window count for this one: requests repeat. */
static bool accept_answer(struct window *w, const uint8_t *a, size_t n)
{
	uint32_t i = get_be32(a + 12);

	if (n < 32 || get_be16(a) != STUN_BINDING_SUCCESS || i >= w->n || memcmp(a + 4, w->request[i] + 4, 16))
		return false;
	w->answered += !w->seen[i];
	w->seen[i] = true;
	return true;
}

/* Send a window, take its answers. Returns how many came, or -1: a wrong one. */
static int turn(struct window *w, int fd)
{
	w->answered = 0;
	memset(w->seen, 0, sizeof(w->seen));
	for (unsigned int sent = 0; sent < w->n;) {
		int n = sendmmsg(fd, w->out + sent, w->n - sent, 0);

		if (n < 0 && errno != ECONNREFUSED)
			return -1;
		sent += (unsigned int)max_of(n, 0);
	}
	while (w->answered < w->n) {
		int n = recvmmsg(fd, w->in, w->n - w->answered, MSG_WAITFORONE, NULL);

		if (n < 0)
			return errno == EAGAIN ? (int)w->answered : -1;
		for (int i = 0; i < n; i++)
			if (!accept_answer(w, w->answer[i], w->in[i].msg_len))
				return -1;
	}
	return (int)w->answered;
}

int main(int argc, char **argv)
{
	static struct window w;
	uint64_t sent = 0, answered = 0, until;
	int fd, n;

	if (argc != 5) {
		fprintf(stderr, "stun-load ADDRESS PORT WINDOW SECONDS\n");
		return 2;
	}
	w.n = (unsigned int)strtoul(argv[3], NULL, 10);
	fd = connect_to(argv[1], argv[2]);
	if (fd < 0 || !w.n || w.n > MAX_WINDOW) {
		fprintf(stderr, "stun-load: no such address, or a window not from 1 to %u\n", MAX_WINDOW);
		return 2;
	}
	for (unsigned int i = 0; i < w.n; i++)
		build(&w, i);
	until = clock_now_ns() + (uint64_t)(strtod(argv[4], NULL) * NS_PER_S);
	while (clock_now_ns() < until) {
		n = turn(&w, fd);
		if (n < 0) {
			fprintf(stderr, "stun-load: a wrong answer, or none at all: %s\n", strerror(errno));
			return 1;
		}
		sent += w.n;
		answered += (uint64_t)n;
	}
	printf("%llu %llu\n", (unsigned long long)sent, (unsigned long long)answered);
	return 0;
}
