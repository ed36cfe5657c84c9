/* SPDX-License-Identifier: BSD-3-Clause */
#include "kern/twin.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kern/splicer.h"

#define ESTABLISHED	1		/* TCP_ESTABLISHED, which linux/tcp.h does not have */
#define PATIENCE_MS	2		/* its handshake with itself is over when connect() returns, but for a busy softirq */
#define PER_ADDRESS	8192U		/* of the some 28,000 ports that an address has for the taking */
#define PAYLOAD		100U
#define FRAME_LEN	(DERP_HDR_LEN + DERP_KEY_LEN + PAYLOAD)

static bool is_established(int fd)
{
	struct tcp_info ti;
	socklen_t len = sizeof(ti);

	return !getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len) && ti.tcpi_state == ESTABLISHED;
}

/* Both SYNs cross: TCP's simultaneous open (RFC 9293 section 3.5). */
static int connect_to_itself(int fd, uint32_t address, uint64_t *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(address) };
	const struct linger at_once = { .l_onoff = 1 };
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	socklen_t len = sizeof(a);
	int one = 1;

	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || getsockname(fd, (struct sockaddr *)&a, &len))
		return -errno;
	*port = DERP_TWIN_PORT(a.sin_addr.s_addr, ntohs(a.sin_port));
	/* It shall not keep a server from this port, now or by TIME_WAIT. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) && errno != EINPROGRESS)
		return -errno;
	if (!is_established(fd))
		poll(&p, 1, PATIENCE_MS);
	return is_established(fd) ? 0 : -ETIMEDOUT;
}

static int open_twin(uint32_t place, uint64_t *port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = connect_to_itself(fd, INADDR_LOOPBACK + (place / PER_ADDRESS << 8), port);
	if (!err)
		return fd;
	close(fd);
	return err;
}

static int enter_maps(struct splicer *s, const struct derp_conn *c, uint32_t place, int fd)
{
	uint64_t value = (uint64_t)fd;

	int err;

	if (bpf_map_update_elem(s->twin_keys, c->pub, &place, BPF_NOEXIST))
		return -errno;
	if (!bpf_map_update_elem(s->twin_ports, &c->cookie, &place, BPF_ANY) &&
	    !bpf_map_update_elem(s->twins, &place, &value, BPF_ANY))
		return 0;
	err = -errno;
	bpf_map_delete_elem(s->twin_ports, &c->cookie);
	bpf_map_delete_elem(s->twin_keys, c->pub);
	return err;
}

struct derp_conn *twin_join(struct splicer *s, const struct splice_conn *from, uint32_t *place, int *fd, int *err)
{
	struct derp_conn *c;
	uint64_t port = 0;

	*err = splicer_take_place(s, place);
	if (*err)
		return NULL;
	c = splicer_begin(s, *place, from);
	c->twin = 1;
	c->owner = DERP_KERNEL;
	*fd = open_twin(*place, &port);
	c->cookie = port;
	*err = *fd < 0 ? *fd : enter_maps(s, c, *place, *fd);
	if (!*err)
		return c;
	if (*fd >= 0)
		close(*fd);
	splicer_return_place(s, *place);
	return NULL;
}

void twin_hold(struct splicer *s, uint32_t place)
{
	struct derp_conn *c = &s->conns[place];
	uint32_t now;

	splice_hold(c);
	/* Pairs with relay_claim(): who did not see this has claimed before. */
	splice_take(c);
	if (!bpf_map_lookup_elem(s->twin_keys, c->pub, &now) && now == place)
		bpf_map_delete_elem(s->twin_keys, c->pub);
}

void twin_leave(struct splicer *s, uint32_t place, int fd)
{
	bpf_map_delete_elem(s->twin_ports, &s->conns[place].cookie);
	close(fd);
	splicer_return_place(s, place);
}

void twin_undo(struct splicer *s, struct derp_conn *src, uint32_t len)
{
	struct derp_conn *to = src;

	if (src->last_outcome == DERP_OUTCOME_redirected) {
		to = &s->conns[src->last_destination];
		__atomic_sub_fetch(&to->frames_out, src->last_packets, __ATOMIC_RELAXED);
	} else if (src->last_outcome != DERP_OUTCOME_dropped_full) {
		__atomic_sub_fetch(&src->passed, len, __ATOMIC_SEQ_CST);
	}
	__atomic_sub_fetch(&to->redirected, len, __ATOMIC_SEQ_CST);
	src->decided -= len;
}

/* --- the trial */

static void fill(uint8_t *frame, uint8_t type, const uint8_t *key)
{
	const uint8_t head[DERP_HDR_LEN] = { type, 0, 0, 0, FRAME_LEN - DERP_HDR_LEN };

	memcpy(frame, head, sizeof(head));
	memcpy(frame + sizeof(head), key, DERP_KEY_LEN);
	memset(frame + sizeof(head) + DERP_KEY_LEN, 0x5a, PAYLOAD);
}

static int expect(int fd, const uint8_t *want)
{
	uint8_t got[FRAME_LEN + 1];
	ssize_t n = recv(fd, got, sizeof(got), MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	return n == FRAME_LEN && !memcmp(got, want, FRAME_LEN) ? 0 : -EBADMSG;
}

static int write_frame(int fd, const uint8_t *key)
{
	uint8_t frame[FRAME_LEN];
	ssize_t n;

	fill(frame, DERP_SEND_PACKET, key);
	n = send(fd, frame, sizeof(frame), MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? -errno : n == sizeof(frame) ? 0 : -EIO;
}

struct end {
	struct derp_conn *conn;		/* NULL: has not joined */
	uint8_t key[DERP_KEY_LEN];
	uint32_t place;
	int fd;
};

/* One packet comes back, since its flow is not open; the next arrives. */
static int exchange(struct splicer *s, struct end *a, struct end *b)
{
	uint8_t want[FRAME_LEN];
	int err = write_frame(a->fd, b->key);

	fill(want, DERP_SEND_PACKET, b->key);
	if (!err)
		err = expect(a->fd, want);
	a->conn->done = a->conn->passed;
	if (!err)
		err = splice_open_flow(s, a->place, b->place);
	if (!err)
		err = write_frame(a->fd, b->key);
	fill(want, DERP_RECV_PACKET, a->key);
	return err ? err : expect(b->fd, want);
}

static void no_call(void *ctx, const struct derp_conn *c)
{
	(void)ctx;
	(void)c;
}

int twin_trial(struct splicer *s, char *why, size_t len)
{
	struct end ends[2] = { { .key = { 'a' } }, { .key = { 'b' } } };
	int err = 0;

	for (unsigned int i = 0; !err && i < 2; i++)
		ends[i].conn = twin_join(s, &(struct splice_conn){ .key = ends[i].key }, &ends[i].place, &ends[i].fd, &err);
	if (!err)
		err = exchange(s, &ends[0], &ends[1]);
	for (unsigned int i = 0; i < 2; i++) {
		if (!ends[i].conn)
			continue;
		twin_hold(s, ends[i].place);
		twin_leave(s, ends[i].place, ends[i].fd);
	}
	splice_notices(s, 0, no_call, NULL);
	if (err)
		snprintf(why, len, "a packet did not come through the kernel from one twin of a trial to another: %s", strerror(-err));
	return err;
}
