/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/stund.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "relay/shard.h"
#include "wire/stun.h"

#define BATCH		32U	/* datagrams per system call */
#define BATCHES		8U	/* per turn: a flood waits for the next one */
#define MAX_REQUEST	1500U	/* a longer datagram is no request netcheck makes */

struct batch {
	struct mmsghdr in[BATCH], out[BATCH];
	struct iovec in_iov[BATCH], out_iov[BATCH];
	struct sockaddr_storage src[BATCH];
	uint8_t request[BATCH][MAX_REQUEST], response[BATCH][STUN_MAX_RESPONSE];
};

static int receive(struct batch *b, int fd)
{
	for (unsigned int i = 0; i < BATCH; i++) {
		b->in_iov[i] = (struct iovec){ b->request[i], MAX_REQUEST };
		b->in[i].msg_hdr = (struct msghdr){
			.msg_name = &b->src[i], .msg_namelen = sizeof(b->src[i]),
			.msg_iov = &b->in_iov[i], .msg_iovlen = 1,
		};
	}
	return recvmmsg(fd, b->in, BATCH, MSG_DONTWAIT, NULL);
}

static bool is_ipv4(const struct sockaddr_storage *ss)
{
	return ss->ss_family == AF_INET ||
	       IN6_IS_ADDR_V4MAPPED(&((const struct sockaddr_in6 *)ss)->sin6_addr);
}

static unsigned int answer(struct shard_stats *st, struct batch *b, unsigned int n)
{
	unsigned int out = 0;

	for (unsigned int i = 0; i < n; i++) {
		if ((b->in[i].msg_hdr.msg_flags & MSG_TRUNC) || !stun_is_request(b->request[i], b->in[i].msg_len)) {
			STAT_INC(st, stun_not_stun);
			continue;
		}
		b->out_iov[out] = (struct iovec){
			b->response[out],
			stun_response(b->response[out], b->request[i], (struct sockaddr *)&b->src[i]),
		};
		b->out[out].msg_hdr = (struct msghdr){
			.msg_name = &b->src[i], .msg_namelen = b->in[i].msg_hdr.msg_namelen,
			.msg_iov = &b->out_iov[out], .msg_iovlen = 1,
		};
		if (is_ipv4(&b->src[i]))
			STAT_INC(st, stun_ipv4);
		else
			STAT_INC(st, stun_ipv6);
		out++;
	}
	return out;
}

/* One answer that can't go (no route, buffer full) must not hold up the ones behind it. */
static void reply(struct shard_stats *st, int fd, struct batch *b, unsigned int n)
{
	int sent;

	for (unsigned int i = 0; i < n; i += (unsigned int)sent) {
		sent = sendmmsg(fd, b->out + i, n - i, MSG_DONTWAIT);
		if (sent <= 0) {
			STAT_INC(st, stun_write_error);
			sent = 1;
			continue;
		}
		STAT_ADD(st, stun_success, sent);
	}
}

void stund_readable(struct shard *s, int fd)
{
	struct batch b;
	int n;

	for (unsigned int i = 0; i < BATCHES; i++) {
		n = receive(&b, fd);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			STAT_INC(&s->stats, stun_read_error);
			log_limited(LOG_LEVEL_WARN, "stun_read_error", "error=%s", strerror(errno));
		}
		if (n <= 0)
			return;
		reply(&s->stats, fd, &b, answer(&s->stats, &b, (unsigned int)n));
		if ((unsigned int)n < BATCH)
			return;
	}
	s->stun_again = true;
}
