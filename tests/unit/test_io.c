/* SPDX-License-Identifier: BSD-3-Clause */
/* One table of cases, run against both engines: they must give the same answers. */
#include <stdarg.h>
#include <setjmp.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/util.h"
#include "net/io.h"

#define MAX_EVENTS	8192
#define PATIENCE_NS	(20 * NS_PER_S)		/* a test that waits longer is stuck */

struct box {
	struct io *io;
	struct io_event ev[MAX_EVENTS];
	size_t n;
	void (*hook)(struct box *b, const struct io_event *ev);
	void *arg;
};

static enum io_engine engine;
static struct box box;

static void record(void *ctx, const struct io_event *ev)
{
	struct box *b = ctx;

	assert_true(b->n < MAX_EVENTS);
	b->ev[b->n++] = *ev;
	if (b->hook)
		b->hook(b, ev);
}

static struct box *open_with(struct io_opts o)
{
	const char *why;

	memset(&box, 0, sizeof(box));
	o.engine = engine;
	assert_int_equal(io_open(&box.io, &o, &why), 0);
	assert_string_equal(why, "");
	return &box;
}

static struct box *open_box(void)
{
	return open_with((struct io_opts){ 0 });
}

static int turn_ns(struct box *b, uint64_t timeout_ns)
{
	int n = io_turn(b->io, timeout_ns, NULL, 256, record, b);

	assert_true(n >= 0);
	return n;
}

/* Turn until n events were recorded in all. */
static void turn_until(struct box *b, size_t n)
{
	uint64_t end = clock_now_ns() + PATIENCE_NS;

	while (b->n < n) {
		assert_true(clock_now_ns() < end);
		turn_ns(b, NS_PER_S / 10);
	}
}

/* What was on its way has arrived: a few turns bring nothing. */
static void turn_quiet(struct box *b)
{
	size_t n = b->n;

	for (int i = 0; i < 5; i++)
		turn_ns(b, NS_PER_MS);
	assert_int_equal(b->n, n);
}

static void close_box(struct box *b)
{
	io_close(b->io);
	b->io = NULL;
}

static struct io_tag tag(uint32_t slot)
{
	return (struct io_tag){ .slot = slot, .gen = slot * 7 & 0xffffff };
}

static void is_event(const struct io_event *ev, enum io_op op, uint32_t slot, int res, bool last)
{
	assert_int_equal(ev->op, op);
	assert_int_equal(ev->tag.slot, slot);
	assert_int_equal(ev->tag.gen, slot * 7 & 0xffffff);
	assert_int_equal(ev->res, res);
	assert_int_equal(ev->last, last);
	assert_int_equal(ev->buf != NULL, op == IO_RECV && res > 0);
}

static void drop_bufs(struct box *b, size_t from)
{
	for (; from < b->n; from++)
		if (b->ev[from].buf)
			rbuf_unref(b->ev[from].buf);
}

static void pair(int s[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
}

static int bound(int type, struct sockaddr_in *addr)
{
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(*addr);

	*addr = (struct sockaddr_in){ .sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)addr, sizeof(*addr)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)addr, &len), 0);
	return fd;
}

static int listener(struct sockaddr_in *addr)
{
	int fd = bound(SOCK_STREAM, addr);

	assert_int_equal(listen(fd, 1024), 0);
	return fd;
}

static int connect_to(const struct sockaddr_in *addr)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)addr, sizeof(*addr)), 0);
	return fd;
}

static void tcp_pair(int s[2])
{
	struct sockaddr_in addr;
	int l = listener(&addr);

	s[1] = connect_to(&addr);
	s[0] = accept4(l, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(s[0] >= 0);
	close(l);
}

struct out {
	struct msghdr msg;
	struct iovec iov;
};

static void send_bytes(struct box *b, struct out *o, int fd, const void *p, size_t n, uint32_t slot)
{
	o->iov = (struct iovec){ .iov_base = (void *)(uintptr_t)p, .iov_len = n };
	o->msg = (struct msghdr){ .msg_iov = &o->iov, .msg_iovlen = 1 };
	io_send(b->io, fd, &o->msg, tag(slot));
}

static unsigned int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* --- cases */

static void accept_many(void)
{
	enum { NR = 200 };
	struct box *b = open_box();
	struct sockaddr_in addr;
	int l = listener(&addr), c[NR];

	io_accept(b->io, l, tag(3));
	for (int i = 0; i < NR; i++)
		c[i] = connect_to(&addr);
	turn_until(b, NR);
	for (int i = 0; i < NR; i++) {
		int fd = b->ev[i].res;

		assert_true(fd >= 0);
		is_event(&b->ev[i], IO_ACCEPT, 3, fd, false);
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		close(fd);
		close(c[i]);
	}
	/* Closed right after the cancel, as the caller does: nothing may hold the port open. */
	io_cancel(b->io, l, tag(3));
	close(l);
	turn_until(b, NR + 1);
	is_event(&b->ev[NR], IO_ACCEPT, 3, -ECANCELED, true);
	turn_quiet(b);
	c[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(c[0], (struct sockaddr *)&addr, sizeof(addr)), -1);
	close(c[0]);
	close_box(b);
}

struct echo {
	int fd, client;
	size_t received, sent, all;
	struct out out;
	struct rbuf *held[64];		/* read, not yet with the kernel */
	int len[64];
	size_t head, tail, off;
	bool sending, stopped;
};

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 2654435761U >> 13);
}

static void echo_send(struct box *b, struct echo *e)
{
	size_t i = e->head % 64;

	if (e->sending || e->head == e->tail)
		return;
	e->sending = true;
	send_bytes(b, &e->out, e->fd, e->held[i]->data + e->off, (size_t)e->len[i] - e->off, 1);
}

static void echo_hook(struct box *b, const struct io_event *ev)
{
	struct echo *e = b->arg;

	b->n = 0;
	switch (ev->op) {
	case IO_RECV:
		if (ev->res > 0) {
			for (int i = 0; i < ev->res; i++)
				assert_int_equal(ev->buf->data[i], pattern(e->received + (size_t)i));
			e->received += (size_t)ev->res;
			assert_true(e->tail - e->head < 64);
			e->held[e->tail % 64] = ev->buf;
			e->len[e->tail++ % 64] = ev->res;
			if (e->tail - e->head == 40 && !ev->last)
				io_recv_stop(b->io, e->fd, tag(1));
		}
		e->stopped = ev->last;
		break;
	case IO_SEND:
		e->sending = false;
		if (ev->res == -EAGAIN) {
			e->sending = true;
			io_writable(b->io, e->fd, tag(1));
			return;
		}
		assert_true(ev->res > 0);
		e->sent += (size_t)ev->res;
		e->off += (size_t)ev->res;
		if (e->off == (size_t)e->len[e->head % 64]) {
			rbuf_unref(e->held[e->head++ % 64]);
			e->off = 0;
		}
		break;
	default:
		e->sending = false;
	}
	echo_send(b, e);
	if (e->stopped && e->head == e->tail) {
		e->stopped = false;
		io_recv(b->io, e->fd, tag(1));
	}
}

/* The client's side: write and read what fits, check it. */
static size_t echo_client(struct echo *e, size_t *written, size_t got)
{
	static uint8_t chunk[50000];
	ssize_t n;

	n = (ssize_t)min_of(sizeof(chunk), e->all - *written);
	for (ssize_t i = 0; i < n; i++)
		chunk[i] = pattern(*written + (size_t)i);
	n = send(e->client, chunk, (size_t)n, MSG_DONTWAIT);
	if (n > 0)
		*written += (size_t)n;
	while ((n = recv(e->client, chunk, sizeof(chunk), MSG_DONTWAIT)) > 0)
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(chunk[i], pattern(got++));
	return got;
}

static void echo_keeps_bytes(void)
{
	struct box *b = open_with((struct io_opts){ .rbufs_start = 4, .rbufs_max = 64 });
	struct echo e = { .all = 8 << 20 };
	uint64_t end = clock_now_ns() + PATIENCE_NS;
	size_t written = 0, got = 0;
	int s[2];

	tcp_pair(s);
	e.fd = s[0];
	e.client = s[1];
	b->hook = echo_hook;
	b->arg = &e;
	io_recv(b->io, e.fd, tag(1));
	while (got < e.all) {
		assert_true(clock_now_ns() < end);
		got = echo_client(&e, &written, got);
		turn_ns(b, 0);
	}
	assert_int_equal(e.received, e.all);
	assert_int_equal(e.sent, e.all);
	close(s[1]);
	close_box(b);
	close(s[0]);
}

static void full_socket_then_writable(void)
{
	static uint8_t bytes[1 << 20];
	struct box *b = open_box();
	struct out o;
	size_t sent = 0;
	int s[2];

	tcp_pair(s);
	do {
		send_bytes(b, &o, s[0], bytes, sizeof(bytes), 5);
		turn_until(b, b->n + 1);
		if (b->ev[b->n - 1].res > 0)
			sent += (size_t)b->ev[b->n - 1].res;
	} while (b->ev[b->n - 1].res > 0);
	is_event(&b->ev[b->n - 1], IO_SEND, 5, -EAGAIN, true);
	assert_true(sent % sizeof(bytes) != 0);		/* one was short */

	b->n = 0;
	io_writable(b->io, s[0], tag(5));
	turn_quiet(b);
	while (sent) {
		ssize_t n = recv(s[1], bytes, sizeof(bytes), 0);

		assert_true(n > 0);
		sent -= (size_t)n;
	}
	turn_until(b, 1);
	assert_true(b->ev[0].res & POLLOUT);
	is_event(&b->ev[0], IO_WRITABLE, 5, b->ev[0].res, true);
	turn_quiet(b);
	close_box(b);
	close(s[0]);
	close(s[1]);
}

static void peer_close_is_last(void)
{
	struct box *b = open_box();
	int s[2];

	pair(s);
	io_recv(b->io, s[0], tag(9));
	assert_int_equal(write(s[1], "bye", 3), 3);
	close(s[1]);
	turn_until(b, 2);
	is_event(&b->ev[0], IO_RECV, 9, 3, false);
	assert_memory_equal(b->ev[0].buf->data, "bye", 3);
	is_event(&b->ev[1], IO_RECV, 9, 0, true);
	turn_quiet(b);
	drop_bufs(b, 0);
	close_box(b);
	close(s[0]);
}

/* What it does not ask for stays in the socket, for somebody else to read. */
static void receive_once(void)
{
	struct box *b = open_box();
	char rest[16];
	int s[2];

	pair(s);
	io_recv_once(b->io, s[0], 5, tag(9));
	assert_int_equal(write(s[1], "onceagainrest", 13), 13);
	turn_until(b, 1);
	is_event(&b->ev[0], IO_RECV, 9, 5, true);
	assert_memory_equal(b->ev[0].buf->data, "oncea", 5);
	turn_quiet(b);
	io_recv_once(b->io, s[0], 4, tag(9));
	turn_until(b, 2);
	is_event(&b->ev[1], IO_RECV, 9, 4, true);
	assert_memory_equal(b->ev[1].buf->data, "gain", 4);
	turn_quiet(b);
	assert_int_equal(read(s[0], rest, sizeof(rest)), 4);
	assert_memory_equal(rest, "rest", 4);
	/* Many again, as if nothing had been. */
	io_recv(b->io, s[0], tag(9));
	assert_int_equal(write(s[1], "on", 2), 2);
	turn_until(b, 3);
	is_event(&b->ev[2], IO_RECV, 9, 2, false);
	drop_bufs(b, 0);
	close_box(b);
	close(s[0]);
	close(s[1]);
}

static void reset_is_last(void)
{
	const struct linger abort_it = { .l_onoff = 1 };
	struct box *b = open_box();
	struct out o;
	int s[2];

	tcp_pair(s);
	io_recv(b->io, s[0], tag(9));
	setsockopt(s[1], SOL_SOCKET, SO_LINGER, &abort_it, sizeof(abort_it));
	close(s[1]);
	turn_until(b, 1);
	is_event(&b->ev[0], IO_RECV, 9, -ECONNRESET, true);
	/* No SIGPIPE either. */
	send_bytes(b, &o, s[0], "x", 1, 9);
	turn_until(b, 2);
	is_event(&b->ev[1], IO_SEND, 9, -EPIPE, true);
	/* An error answers who waits for room, too. */
	io_writable(b->io, s[0], tag(9));
	turn_until(b, 3);
	assert_true(b->ev[2].res & (POLLHUP | POLLERR));
	turn_quiet(b);
	close_box(b);
	close(s[0]);
}

static void bad_descriptor(void)
{
	struct box *b = open_box();
	struct out o;
	int fd = dup(0);

	close(fd);
	io_recv(b->io, fd, (struct io_tag){ .slot = 1, .gen = 7 | 0xabU << 24 });	/* 24 bits count */
	send_bytes(b, &o, fd, "x", 1, 2);
	io_accept(b->io, -1, tag(3));
	io_cancel(b->io, fd, tag(1));
	io_recv_stop(b->io, fd, tag(1));
	turn_until(b, 3);
	is_event(&b->ev[0], IO_RECV, 1, -EBADF, true);
	is_event(&b->ev[1], IO_SEND, 2, -EBADF, true);
	is_event(&b->ev[2], IO_ACCEPT, 3, -EBADF, true);
	turn_quiet(b);
	close_box(b);
}

static void fill_socket(int fd)
{
	static const uint8_t zeros[65536];

	while (send(fd, zeros, sizeof(zeros), MSG_DONTWAIT) > 0)
		;
}

static void cancel_ends_each_once(void)
{
	struct box *b = open_box();
	unsigned int last[IO_OP_NR] = { 0 };
	int s[2];

	for (int round = 0; round < 20; round++) {
		pair(s);
		fill_socket(s[0]);
		io_recv(b->io, s[0], tag(4));
		io_writable(b->io, s[0], tag(4));
		if (round & 1)
			turn_quiet(b);
		/* The tag is that of the next generation already. */
		io_cancel(b->io, s[0], tag(5));
		io_cancel(b->io, s[0], tag(5));
		close(s[0]);	/* the number is free for the next round */
		close(s[1]);
		turn_until(b, 2);
		turn_quiet(b);
		memset(last, 0, sizeof(last));
		for (size_t i = 0; i < b->n; i++) {
			is_event(&b->ev[i], b->ev[i].op, 4, -ECANCELED, true);
			last[b->ev[i].op]++;
		}
		assert_int_equal(last[IO_RECV], 1);
		assert_int_equal(last[IO_WRITABLE], 1);
		b->n = 0;
	}
	close_box(b);
}

/* The other end of a pair hangs up while its number is being reused. */
static void cancel_hook(struct box *b, const struct io_event *ev)
{
	int *s = b->arg;

	if (ev->op != IO_RECV || ev->res <= 0 || ev->tag.slot > 1)
		return;
	/* Slot 0 or 1 came first: end the other, whose event may be in this very batch. */
	io_cancel(b->io, s[2 * !ev->tag.slot], tag(!ev->tag.slot));
	b->hook = NULL;
}

static void cancel_in_the_same_batch(void)
{
	struct box *b = open_box();
	unsigned int last[2] = { 0 };
	int s[4];

	pair(s);
	pair(s + 2);
	b->hook = cancel_hook;
	b->arg = s;
	io_recv(b->io, s[0], tag(0));
	io_recv(b->io, s[2], tag(1));
	assert_int_equal(write(s[1], "a", 1), 1);
	assert_int_equal(write(s[3], "b", 1), 1);
	turn_until(b, 2);
	while (turn_ns(b, NS_PER_MS))
		;
	for (size_t i = 0; i < b->n; i++)
		last[b->ev[i].tag.slot] += b->ev[i].last;
	assert_int_equal(last[0] + last[1], 1);
	drop_bufs(b, 0);
	close_box(b);
	for (int i = 0; i < 4; i++)
		close(s[i]);
}

static void recv_stop_is_back_pressure(void)
{
	struct box *b = open_box();
	int s[2];

	pair(s);
	fill_socket(s[0]);
	io_recv(b->io, s[0], tag(4));
	io_writable(b->io, s[0], tag(4));
	turn_quiet(b);
	io_recv_stop(b->io, s[0], tag(4));
	turn_until(b, 1);
	is_event(&b->ev[0], IO_RECV, 4, -ECANCELED, true);
	assert_int_equal(write(s[1], "later", 5), 5);
	turn_quiet(b);		/* and IO_WRITABLE is still armed */
	io_recv(b->io, s[0], tag(4));
	turn_until(b, 2);
	is_event(&b->ev[1], IO_RECV, 4, 5, false);
	io_cancel(b->io, s[0], tag(4));
	turn_until(b, 4);
	turn_quiet(b);
	drop_bufs(b, 0);
	close_box(b);
	close(s[0]);
	close(s[1]);
}

static void no_buffer_then_recovery(void)
{
	enum { MAX = 16, USABLE = 14 };
	struct box *b = open_with((struct io_opts){ .rbufs_start = 2, .rbufs_max = MAX });
	int s[2], held = 0, starved = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	for (uint8_t i = 0; i < 40; i++)
		assert_int_equal(write(s[1], &i, 1), 1);
	io_recv(b->io, s[0], tag(6));
	/* Buffers in circulation double until the pool is at its end. */
	while (held < USABLE) {
		size_t seen = b->n;

		turn_until(b, seen + 1);
		for (; seen < b->n; seen++) {
			if (b->ev[seen].res > 0)
				assert_int_equal(b->ev[seen].buf->data[0], held++);
			else
				assert_int_equal(b->ev[seen].res, -ENOBUFS);
			if (b->ev[seen].last)
				io_recv(b->io, s[0], tag(6));
		}
	}
	assert_int_equal(held, USABLE);
	while (!b->ev[b->n - 1].last || b->ev[b->n - 1].res != -ENOBUFS)
		turn_until(b, b->n + 1);
	is_event(&b->ev[b->n - 1], IO_RECV, 6, -ENOBUFS, true);
	assert_true(io_rbufs_starved(b->io) > 0);

	/* The caller's own reserve was left alone; it is finite. */
	struct rbuf *own[MAX - USABLE];
	for (int i = 0; i < MAX - USABLE; i++) {
		own[i] = rbuf_get(io_rbufs(b->io));
		assert_non_null(own[i]);
		memset(own[i]->data, 0xee, RBUF_SIZE);
	}
	assert_null(rbuf_get(io_rbufs(b->io)));
	for (int i = 0; i < MAX - USABLE; i++)
		rbuf_unref(own[i]);

	/* Held buffers kept their bytes; given back, the rest comes. */
	for (size_t i = 0, k = 0; i < b->n; i++)
		if (b->ev[i].buf)
			assert_int_equal(b->ev[i].buf->data[0], k++);
	drop_bufs(b, 0);
	b->n = 0;
	io_recv(b->io, s[0], tag(6));
	for (size_t seen = 0; held < 40; ) {
		turn_until(b, seen + 1);
		for (; seen < b->n; seen++) {
			if (b->ev[seen].res > 0) {
				assert_int_equal(b->ev[seen].buf->data[0], held++);
				rbuf_unref(b->ev[seen].buf);
			} else {
				assert_int_equal(b->ev[seen].res, -ENOBUFS);
				starved++;
			}
			if (b->ev[seen].last)
				io_recv(b->io, s[0], tag(6));
		}
	}
	assert_true(starved < 20);
	close_box(b);
	close(s[0]);
	close(s[1]);
}

/* Whoever holds references, the pool never loses a buffer. */
static void buffers_all_come_back(void)
{
	enum { MAX = 32 };
	struct box *b = open_with((struct io_opts){ .rbufs_start = 4, .rbufs_max = MAX });
	struct rbuf *got[MAX + 1];
	size_t n = 0;
	int s[2];

	pair(s);
	io_recv(b->io, s[0], tag(1));
	for (int i = 0; i < 500; i++) {
		assert_int_equal(write(s[1], "0123456789", 10), 10);
		b->n = 0;
		turn_until(b, 1);
		is_event(&b->ev[0], IO_RECV, 1, 10, false);
		rbuf_ref(b->ev[0].buf);
		rbuf_unref(b->ev[0].buf);
		turn_ns(b, 0);		/* one reference is held across a turn */
		assert_memory_equal(b->ev[0].buf->data, "0123456789", 10);
		rbuf_unref(b->ev[0].buf);
	}
	/* Ends of streams keep none either. */
	for (int i = 0; i < 2 * MAX; i++) {
		int t[2];

		pair(t);
		close(t[1]);
		b->n = 0;
		io_recv(b->io, t[0], tag(1));
		turn_until(b, 1);
		is_event(&b->ev[0], IO_RECV, 1, 0, true);
		close(t[0]);
	}
	while (n <= MAX && (got[n] = rbuf_get(io_rbufs(b->io))))
		n++;
	/* io_uring keeps the four it armed; the rest is there, each once. */
	assert_in_range(n, MAX - 4, MAX);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			assert_ptr_not_equal(got[i]->data, got[k]->data);
	for (size_t i = 0; i < n; i++)
		rbuf_unref(got[i]);
	close_box(b);
	close(s[0]);
	close(s[1]);
}

/* A signal ends a turn early, and the ring that the case before closed sends one while it dies: some
 * try has to last. */
static bool sleeps_in_full(struct box *b, uint64_t ns)
{
	bool full = false;

	for (int try = 0; try < 20 && !full; try++) {
		uint64_t before = clock_now_ns();

		assert_int_equal(turn_ns(b, ns), 0);
		full = clock_now_ns() - before >= ns;
	}
	return full;
}

struct waker {
	struct io *io;
	unsigned int handled;	/* by the engine's thread */
	unsigned int posted;
};

static void *wake_often(void *arg)
{
	struct waker *w = arg;

	for (int i = 0; i < 2000; i++) {
		__atomic_fetch_add(&w->posted, 1, __ATOMIC_RELEASE);
		io_wake(w->io);
		if (i % 16 == 0)
			while (__atomic_load_n(&w->handled, __ATOMIC_ACQUIRE) < (unsigned int)i)
				sched_yield();
	}
	return NULL;
}

/* Each post is followed by a wake, so a thread that sleeps without limit sees them all. */
static void wake_from_another_thread(void)
{
	struct box *b = open_box();
	struct waker w = { .io = b->io };
	pthread_t t;

	io_wake(b->io);		/* not lost before the first turn */
	assert_int_equal(turn_ns(b, UINT64_MAX), 0);
	assert_int_equal(pthread_create(&t, NULL, wake_often, &w), 0);
	while (w.handled < 2000) {
		assert_int_equal(turn_ns(b, UINT64_MAX), 0);
		__atomic_store_n(&w.handled, __atomic_load_n(&w.posted, __ATOMIC_ACQUIRE),
				 __ATOMIC_RELEASE);
	}
	pthread_join(t, NULL);
	assert_true(sleeps_in_full(b, 5 * NS_PER_MS));	/* no wake is left over */
	close_box(b);
}

static void max_bounds_a_turn(void)
{
	enum { NR = 50 };
	struct box *b = open_box();
	struct out o[NR];
	unsigned int sent = 0, received = 0, writable = 0, seen[NR] = { 0 };
	uint64_t end = clock_now_ns() + PATIENCE_NS;
	int s[NR][2];

	for (uint32_t i = 0; i < NR; i++) {
		pair(s[i]);
		io_recv(b->io, s[i][0], tag(i));
		io_writable(b->io, s[i][0], tag(i));	/* two answers from one descriptor */
		send_bytes(b, &o[i], s[i][1], "x", 1, i);
	}
	while (sent + received + writable < 3 * NR) {
		size_t from = b->n;
		int n = io_turn(b->io, NS_PER_S, NULL, 7, record, b);

		assert_true(clock_now_ns() < end);
		assert_in_range(n, 0, 7);
		assert_int_equal(b->n - from, n);
		for (; from < b->n; from++) {
			sent += b->ev[from].op == IO_SEND;
			received += b->ev[from].op == IO_RECV;
			writable += b->ev[from].op == IO_WRITABLE;
			seen[b->ev[from].tag.slot]++;
		}
	}
	for (int i = 0; i < NR; i++)
		assert_int_equal(seen[i], 3);
	turn_quiet(b);
	drop_bufs(b, 0);
	close_box(b);
	for (int i = 0; i < NR; i++) {
		close(s[i][0]);
		close(s[i][1]);
	}
}

static void timeouts_are_kept(void)
{
	const struct io_pace pace = { .ns = 200000, .events = 64 };
	struct box *b = open_box();
	struct out o;
	int s[2];

	assert_int_equal(turn_ns(b, 0), 0);
	assert_true(sleeps_in_full(b, 15 * NS_PER_MS + 1));

	/* What is known already is not slept on. */
	pair(s);
	for (size_t i = 0; i < 10; i++) {
		send_bytes(b, &o, s[0], "x", 1, 2);
		assert_int_equal(turn_ns(b, UINT64_MAX), 1);
		is_event(&b->ev[i], IO_SEND, 2, 1, true);
	}
	close(s[0]);
	close(s[1]);
	b->n = 0;

	/* A pace is no more than a wish: no event is lost by it, and none is waited for
	 * beyond the timeout. */
	assert_int_equal(io_turn(b->io, NS_PER_MS, &pace, 64, record, b), 0);
	pair(s);
	io_recv(b->io, s[0], tag(1));
	assert_int_equal(write(s[1], "x", 1), 1);
	assert_int_equal(io_turn(b->io, PATIENCE_NS, &pace, 64, record, b), 1);
	is_event(&b->ev[0], IO_RECV, 1, 1, false);
	drop_bufs(b, 0);
	close_box(b);
	close(s[0]);
	close(s[1]);
}

static void udp_readable(void)
{
	struct box *b = open_box();
	struct sockaddr_in addr, from_addr;
	int fd = bound(SOCK_DGRAM, &addr), from = bound(SOCK_DGRAM, &from_addr);
	uint8_t bytes[64];

	io_readable(b->io, fd, tag(8));
	turn_quiet(b);
	for (size_t i = 1; i <= 3; i++) {
		unsigned int got = 0;

		for (int k = 0; k < 3; k++)
			sendto(from, "datagram", 8, 0, (struct sockaddr *)&addr, sizeof(addr));
		b->n = 0;
		while (got < 3) {
			turn_until(b, b->n + 1);
			is_event(&b->ev[b->n - 1], IO_READABLE, 8, POLLIN, false);
			while (recv(fd, bytes, sizeof(bytes), 0) == 8)
				got++;
		}
		while (turn_ns(b, NS_PER_MS))	/* late echoes of what was read already */
			;
	}
	b->n = 0;
	io_cancel(b->io, fd, tag(8));
	turn_until(b, 1);
	is_event(&b->ev[0], IO_READABLE, 8, -ECANCELED, true);
	close_box(b);
	close(fd);
	close(from);
}

static size_t count_last(const struct box *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		n += b->ev[i].last;
	return n;
}

/* More than the queues hold, at once: nothing is lost. The ring's smallest size makes it cheap. */
static void queues_overflow_without_loss(void)
{
	enum { NR = 400 };
	static unsigned int last[IO_OP_NR][NR];
	static struct out o[NR];
	static int s[NR][2];
	struct box *b = open_with((struct io_opts){ .entries = 4 });

	memset(last, 0, sizeof(last));
	/* Cursors have gone round before it begins. */
	pair(s[0]);
	for (uint32_t i = 0; i < NR; i++) {
		send_bytes(b, &o[i], s[0][0], "x", 1, i);
		if (i % 50 == 49)
			turn_until(b, i + 1);
	}
	close(s[0][0]);
	close(s[0][1]);
	b->n = 0;
	for (uint32_t i = 0; i < NR; i++) {
		pair(s[i]);
		io_recv(b->io, s[i][0], tag(i));
		io_writable(b->io, s[i][0], tag(i));
		send_bytes(b, &o[i], s[i][1], "hello", 5, i);
	}
	turn_until(b, 3 * NR);
	for (uint32_t i = 0; i < NR; i++)
		io_cancel(b->io, s[i][0], tag(i));
	while (count_last(b) < 3 * NR)
		turn_until(b, b->n + 1);
	turn_quiet(b);
	for (size_t i = 0; i < b->n; i++) {
		last[b->ev[i].op][b->ev[i].tag.slot] += b->ev[i].last;
		if (b->ev[i].buf)
			assert_memory_equal(b->ev[i].buf->data, "hello", 5);
	}
	assert_int_equal(count_last(b), 3 * NR);
	for (int i = 0; i < NR; i++) {
		assert_int_equal(last[IO_RECV][i], 1);
		assert_int_equal(last[IO_WRITABLE][i], 1);
		assert_int_equal(last[IO_SEND][i], 1);
		close(s[i][0]);
		close(s[i][1]);
	}
	drop_bufs(b, 0);
	close_box(b);
}

static void close_leaves_nothing(void)
{
	unsigned int before = open_fds();
	struct sockaddr_in addr;
	struct box *b = open_box();
	int l = listener(&addr), c[10], s[2];

	pair(s);
	io_accept(b->io, l, tag(1));
	io_recv(b->io, s[0], tag(2));
	turn_ns(b, 0);
	for (int i = 0; i < 10; i++)
		c[i] = connect_to(&addr);
	assert_int_equal(io_turn(b->io, NS_PER_S, NULL, 1, record, b), 1);
	close(b->ev[0].res);
	close_box(b);		/* nine were accepted, perhaps, and never delivered */
	close(l);
	for (int i = 0; i < 10; i++)
		close(c[i]);
	close(s[0]);
	close(s[1]);
	assert_int_equal(open_fds(), before);
	/* The port is free at once. */
	l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(l, (struct sockaddr *)&addr, sizeof(addr)), -1);
	close(l);
}

/* So patient that no pause of this machine counts, where what is waited for is there already. */
#define BUSY_POLL_US	((unsigned int)(PATIENCE_NS / NS_PER_US / 2))

static struct box *open_brisk(void)
{
	struct box *b = open_with((struct io_opts){ .busy_poll_us = BUSY_POLL_US });

	io_wake(b->io);
	turn_ns(b, PATIENCE_NS);
	assert_int_equal(io_busy_polls(b->io)->tried, 0);	/* it is not known yet that waits are short */
	return b;
}

static void polled(struct box *b, uint64_t tried, uint64_t found)
{
	assert_int_equal(io_busy_polls(b->io)->tried, tried);
	assert_int_equal(io_busy_polls(b->io)->found, found);
}

static void busy_poll_needs_no_sleep(void)
{
	struct box *b = open_brisk();
	int s[2];

	pair(s);
	io_recv(b->io, s[0], tag(1));
	assert_int_equal(write(s[1], "x", 1), 1);
	turn_ns(b, PATIENCE_NS);
	polled(b, 1, 1);
	assert_int_equal(b->n, 1);
	is_event(&b->ev[0], IO_RECV, 1, 1, b->ev[0].last);
	io_wake(b->io);
	turn_ns(b, PATIENCE_NS);
	polled(b, 2, 2);
	assert_int_equal(turn_ns(b, NS_PER_MS), 0);
	polled(b, 3, 2);
	turn_ns(b, 0);
	io_turn(b->io, NS_PER_MS, &(struct io_pace){ .ns = NS_PER_MS, .events = 1 }, 256, record, b);
	polled(b, 3, 2);
	drop_bufs(b, 0);
	close_box(b);
	close(s[0]);
	close(s[1]);
}

static void busy_poll_stops_when_waits_are_long(void)
{
	struct box *b = open_with((struct io_opts){ .busy_poll_us = 1 });

	for (int i = 0; i < 3; i++)
		turn_ns(b, 5 * NS_PER_MS);
	polled(b, 0, 0);
	close_box(b);
}

/* A descriptor of this process by what its link says. */
static int find_fd(const char *link)
{
	char path[32], is[64];
	ssize_t n;

	for (int fd = 0; fd < 1024; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, is, sizeof(is));
		if (n > 0 && (size_t)n == strlen(link) && !memcmp(is, link, (size_t)n))
			return fd;
	}
	return -1;
}

static long epoll_busy_poll_us(void)
{
	struct {
		uint32_t us;
		uint32_t more;
	} p = { 0 };

	return ioctl(find_fd("anon_inode:[eventpoll]"), _IOR(0x8a, 2, p), &p) ? -1 : (long)p.us;
}

/* -1: this kernel does not show it (before 6.13). */
static long uring_busy_poll_us(void)
{
	char path[32], line[128];
	unsigned long ns;
	long us = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", find_fd("anon_inode:[io_uring]"));
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (!strcmp(line, "NAPI:\tdisabled\n"))
			us = 0;
		if (sscanf(line, "napi_busy_poll_dt: %lu", &ns) == 1)
			us = (long)(ns / NS_PER_US);
	}
	fclose(f);
	return us;
}

static void busy_poll_asks_the_kernel(void)
{
	struct box *b = open_with((struct io_opts){ .busy_poll_us = 77 });
	bool missing = *io_busy_poll_missing(b->io);
	long us = engine == IO_ENGINE_URING ? uring_busy_poll_us() : epoll_busy_poll_us();

	close_box(b);
	if (missing || us < 0)
		skip();
	assert_int_equal(us, 77);
}

static const struct io_case {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "accept many", accept_many },
	{ "echo keeps bytes", echo_keeps_bytes },
	{ "full socket, then writable", full_socket_then_writable },
	{ "peer close is last", peer_close_is_last },
	{ "receive once", receive_once },
	{ "reset is last", reset_is_last },
	{ "bad descriptor", bad_descriptor },
	{ "cancel ends each once", cancel_ends_each_once },
	{ "cancel in the same batch", cancel_in_the_same_batch },
	{ "recv_stop is back-pressure", recv_stop_is_back_pressure },
	{ "no buffer, then recovery", no_buffer_then_recovery },
	{ "buffers all come back", buffers_all_come_back },
	{ "wake from another thread", wake_from_another_thread },
	{ "max bounds a turn", max_bounds_a_turn },
	{ "timeouts are kept", timeouts_are_kept },
	{ "udp readable", udp_readable },
	{ "queues overflow without loss", queues_overflow_without_loss },
	{ "close leaves nothing", close_leaves_nothing },
	{ "busy poll needs no sleep", busy_poll_needs_no_sleep },
	{ "busy poll stops when waits are long", busy_poll_stops_when_waits_are_long },
	{ "busy poll asks the kernel", busy_poll_asks_the_kernel },
};

static bool have_uring(void)
{
	struct io_opts o = { .engine = IO_ENGINE_URING };
	const char *why;
	struct io *io;

	if (io_open(&io, &o, &why))
		return false;
	io_close(io);
	return true;
}

static void on_uring(void **state)
{
	const struct io_case *c = *state;

	if (!have_uring())
		skip();
	engine = IO_ENGINE_URING;
	c->run();
}

static void on_epoll(void **state)
{
	const struct io_case *c = *state;

	engine = IO_ENGINE_EPOLL;
	c->run();
}

static bool filter(struct sock_filter *f, unsigned short n)
{
	struct sock_fprog prog = { .len = n, .filter = f };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

/* What a container's filter does: io_uring_setup answers EPERM. Returns the child's exit status. */
static int refused_child(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct io_opts o = { .engine = IO_ENGINE_AUTO };
	const char *why;
	struct io *io;

	if (!filter(f, ARRAY_SIZE(f)))
		return 77;
	if (io_open(&io, &o, &why))
		return 1;
	if (strcmp(io_name(io), "epoll") || strcmp(why, "io_uring: refused by the kernel (EPERM)"))
		return 2;
	io_close(io);
	o.engine = IO_ENGINE_URING;
	return io_open(&io, &o, &why) == -EPERM ? 0 : 3;
}

/* A kernel before 6.9. */
static int old_kernel_child(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_register, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 27 /* IORING_REGISTER_NAPI */, 0, 4),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, _IOW(0x8a, 1, uint64_t) /* EPIOCSPARAMS */, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
	};
	static const char *const missing[] = {
		[IO_ENGINE_URING] = "the kernel has no IORING_REGISTER_NAPI (Linux 6.9)",
		[IO_ENGINE_EPOLL] = "the kernel has no EPIOCSPARAMS (Linux 6.9)",
	};
	bool uring = have_uring();
	struct box *b;

	if (!filter(f, ARRAY_SIZE(f)))
		return 77;
	for (engine = uring ? IO_ENGINE_URING : IO_ENGINE_EPOLL; engine <= IO_ENGINE_EPOLL; engine++) {
		b = open_brisk();
		if (strcmp(io_busy_poll_missing(b->io), missing[engine]))
			return 1;
		io_wake(b->io);
		turn_ns(b, PATIENCE_NS);
		if (io_busy_polls(b->io)->found != 1)
			return 2;
		close_box(b);
	}
	return 0;
}

static void in_child(int (*run)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(run());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void refused_falls_back(void **state)
{
	(void)state;
	in_child(refused_child);
}

static void busy_poll_on_an_old_kernel(void **state)
{
	(void)state;
	in_child(old_kernel_child);
}

static void options_are_checked(void **state)
{
	const struct io_opts bad[] = {
		{ .rbufs_max = 48 }, { .rbufs_max = 65536 }, { .entries = 100 },
	};
	const char *why;
	struct io *io;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(io_open(&io, &bad[i], &why), -EINVAL);
	io_close(NULL);
}

int main(void)
{
	enum { NR = ARRAY_SIZE(cases) };
	static char names[2 * NR][64];
	struct CMUnitTest t[2 * NR + 3];

	for (size_t i = 0; i < NR; i++) {
		void *c = (void *)(uintptr_t)&cases[i];

		snprintf(names[2 * i], sizeof(names[0]), "io_uring: %s", cases[i].name);
		snprintf(names[2 * i + 1], sizeof(names[0]), "epoll: %s", cases[i].name);
		t[2 * i] = (struct CMUnitTest){ names[2 * i], on_uring, NULL, NULL, c };
		t[2 * i + 1] = (struct CMUnitTest){ names[2 * i + 1], on_epoll, NULL, NULL, c };
	}
	t[2 * NR] = (struct CMUnitTest)cmocka_unit_test(refused_falls_back);
	t[2 * NR + 1] = (struct CMUnitTest)cmocka_unit_test(options_are_checked);
	t[2 * NR + 2] = (struct CMUnitTest)cmocka_unit_test(busy_poll_on_an_old_kernel);
	return cmocka_run_group_tests(t, NULL, NULL);
}
