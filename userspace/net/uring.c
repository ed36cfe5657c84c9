/* SPDX-License-Identifier: BSD-3-Clause */
/* The io_uring engine (Linux 6.0 and later: multishot receive). One io_uring_enter per turn. */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "net/io_impl.h"

#define BATCH_WANTED		64U		/* a moderated sleep ends early with so many events */
#define GROUP			0
#define OP_WAKE			(IO_OP_NR + 0U)
#define OP_CANCEL		(IO_OP_NR + 1U)

/* user_data is op:8 | generation:24 | slot:32. */
struct uring {
	struct io io;
	struct io_uring ring;
	struct io_uring_buf_ring *br;	/* owned */
	size_t br_size;
	unsigned int added;		/* buffers put into br and not advanced yet */
	bool wake_armed;
};

static struct uring *uring_of(struct io *io)
{
	return container_of(io, struct uring, io);
}

static uint64_t user_data(unsigned int op, struct io_tag tag)
{
	return (uint64_t)op << 56 | (uint64_t)(tag.gen & 0xffffff) << 32 | tag.slot;
}

static void lend(struct rbuf_pool *p, struct rbuf *b)
{
	struct uring *u = container_of(p, struct uring, io.pool);

	io_uring_buf_ring_add(u->br, b->data, RBUF_SIZE, b->bid, io_uring_buf_ring_mask(p->max), (int)u->added++);
}

static void advance(struct uring *u)
{
	if (u->added)
		io_uring_buf_ring_advance(u->br, (int)u->added);
	u->added = 0;
}

/* Publish the prepared entries; returns how many the kernel has not taken yet. */
static unsigned int flush_sq(struct uring *u)
{
	struct io_uring_sq *sq = &u->ring.sq;
	unsigned int mask = *sq->kring_mask, tail = *sq->ktail;

	while (sq->sqe_head != sq->sqe_tail) {
		sq->array[tail & mask] = sq->sqe_head & mask;
		tail++;
		sq->sqe_head++;
	}
	__atomic_store_n(sq->ktail, tail, __ATOMIC_RELEASE);
	return tail - __atomic_load_n(sq->khead, __ATOMIC_ACQUIRE);
}

static int enter(struct uring *u, unsigned int submit, unsigned int want, uint64_t timeout_ns)
{
	struct __kernel_timespec ts = {
		.tv_sec = (long long)(timeout_ns / NS_PER_S), .tv_nsec = (long long)(timeout_ns % NS_PER_S),
	};
	struct io_uring_getevents_arg arg = {
		.ts = timeout_ns == UINT64_MAX ? 0 : (uint64_t)(uintptr_t)&ts,
	};
	long n = syscall(__NR_io_uring_enter, u->ring.ring_fd, submit, want,
			 IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg, sizeof(arg));

	return n < 0 ? -errno : (int)n;
}

static struct io_uring_sqe *get_sqe(struct uring *u, unsigned int op, struct io_tag tag)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&u->ring)))
		syscall(__NR_io_uring_enter, u->ring.ring_fd, flush_sq(u), 0, 0, NULL, 0);
	memset(sqe, 0, sizeof(*sqe));
	sqe->user_data = user_data(op, tag);
	return sqe;
}

/* The liburing helpers reset user_data; it is set again after each. */
static void set_tag(struct io_uring_sqe *sqe, unsigned int op, struct io_tag tag)
{
	sqe->user_data = user_data(op, tag);
}

static void uring_accept(struct io *io, int fd, struct io_tag tag)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(io), IO_ACCEPT, tag);

	io_uring_prep_multishot_accept(sqe, fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	set_tag(sqe, IO_ACCEPT, tag);
}

static void uring_recv(struct io *io, int fd, struct io_tag tag)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(io), IO_RECV, tag);

	io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	set_tag(sqe, IO_RECV, tag);
}

static void uring_readable(struct io *io, int fd, struct io_tag tag)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(io), IO_READABLE, tag);

	io_uring_prep_poll_multishot(sqe, fd, POLLIN);
	set_tag(sqe, IO_READABLE, tag);
}

static void uring_send(struct io *io, int fd, const struct msghdr *msg, struct io_tag tag)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(io), IO_SEND, tag);

	/* DONTWAIT: answered while it is submitted, never parked on a full socket with our buffers. */
	io_uring_prep_sendmsg(sqe, fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	set_tag(sqe, IO_SEND, tag);
}

static void uring_writable(struct io *io, int fd, struct io_tag tag)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(io), IO_WRITABLE, tag);

	io_uring_prep_poll_add(sqe, fd, POLLOUT);
	set_tag(sqe, IO_WRITABLE, tag);
}

static void uring_cancel(struct io *io, int fd, struct io_tag tag)
{
	struct uring *u = uring_of(io);
	struct io_uring_sqe *sqe = get_sqe(u, OP_CANCEL, tag);

	io_uring_prep_cancel_fd(sqe, fd, IORING_ASYNC_CANCEL_ALL);
	set_tag(sqe, OP_CANCEL, tag);
	/* Now, while fd still names what is meant: the caller may close it, and another thread may get the number. */
	syscall(__NR_io_uring_enter, u->ring.ring_fd, flush_sq(u), 0, 0, NULL, 0);
}

static void uring_recv_stop(struct io *io, int fd, struct io_tag tag)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(io), OP_CANCEL, tag);

	(void)fd;
	io_uring_prep_cancel64(sqe, user_data(IO_RECV, tag), 0);
	set_tag(sqe, OP_CANCEL, tag);
}

static void arm_wake(struct uring *u)
{
	struct io_tag none = { 0 };
	struct io_uring_sqe *sqe = get_sqe(u, OP_WAKE, none);

	io_uring_prep_poll_multishot(sqe, u->io.wake_fd, POLLIN);
	set_tag(sqe, OP_WAKE, none);
	u->wake_armed = true;
}

static void woken(struct uring *u, const struct io_uring_cqe *cqe)
{
	uint64_t n;

	if (!(cqe->flags & IORING_CQE_F_MORE))
		u->wake_armed = false;
	while (read(u->io.wake_fd, &n, sizeof(n)) > 0)
		;
}

static void deliver(struct uring *u, const struct io_uring_cqe *cqe, io_handler handler, void *ctx)
{
	struct io_event ev = {
		.op = (enum io_op)(cqe->user_data >> 56),
		.tag = { .slot = (uint32_t)cqe->user_data, .gen = (uint32_t)(cqe->user_data >> 32) & 0xffffff },
		.res = cqe->res,
		.last = !(cqe->flags & IORING_CQE_F_MORE),
	};

	if (cqe->flags & IORING_CQE_F_BUFFER) {
		ev.buf = rbuf_delivered(&u->io.pool, (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT));
		if (ev.res <= 0) {
			rbuf_unref(ev.buf);
			ev.buf = NULL;
		}
	}
	if (ev.op == IO_RECV && ev.res == -ENOBUFS)
		rbuf_pool_grow(&u->io.pool);
	handler(ctx, &ev);
}

/* Hand out what is in the completion queue, at most max. */
static int reap(struct uring *u, unsigned int max, io_handler handler, void *ctx)
{
	struct io_uring_cqe *cqe, copy;
	unsigned int n = 0, op;

	while (n < max && !io_uring_peek_cqe(&u->ring, &cqe) && cqe) {
		/* The slot is given back before the handler runs: it may submit. */
		copy = *cqe;
		io_uring_cqe_seen(&u->ring, cqe);
		op = (unsigned int)(copy.user_data >> 56);
		if (op == OP_WAKE) {
			woken(u, &copy);
		} else if (op < IO_OP_NR) {
			deliver(u, &copy, handler, ctx);
			n++;
		}
	}
	return (int)n;
}

static int uring_turn(struct io *io, uint64_t timeout_ns, uint64_t min_wait_ns, unsigned int max,
		      io_handler handler, void *ctx)
{
	struct uring *u = uring_of(io);
	unsigned int submit, want = 1;
	int err;

	if (!u->wake_armed)
		arm_wake(u);
	advance(u);
	submit = flush_sq(u);
	if (!timeout_ns || io_uring_cq_ready(&u->ring))
		want = 0;
	/* Sleep out the pace whatever comes, short of a batch. Not by the kernel's own minimum wait (6.12): that
	 * one overlooks completions that were posted by this very call's submissions. */
	if (want && min_wait_ns) {
		want = BATCH_WANTED;
		timeout_ns = min_of(timeout_ns, min_wait_ns);
	}
	err = enter(u, submit, want, timeout_ns);
	if (err < 0 && err != -ETIME && err != -EINTR && err != -EBUSY && err != -EAGAIN)
		return err;
	return reap(u, max, handler, ctx);
}

static void uring_close(struct io *io)
{
	struct uring *u = uring_of(io);

	io_uring_queue_exit(&u->ring);
	if (u->br)
		munmap(u->br, u->br_size);
	rbuf_pool_done(&u->io.pool);
	close(u->io.wake_fd);
	free(u);
}

static const struct io_ops ops = {
	.name = "io_uring",
	.close = uring_close,
	.accept = uring_accept,
	.recv = uring_recv,
	.readable = uring_readable,
	.send = uring_send,
	.writable = uring_writable,
	.cancel = uring_cancel,
	.recv_stop = uring_recv_stop,
	.turn = uring_turn,
};

/* From the best set-up to the plainest: older kernels refuse flags they do not know. */
static int init_ring(struct uring *u, unsigned int entries)
{
	static const unsigned int flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_COOP_TASKRUN,
		0,
	};
	int err = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(flags) && err == -EINVAL; i++) {
		struct io_uring_params p = {
			.flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP, .cq_entries = 16 * entries,
		};

		err = io_uring_queue_init_params(entries, &u->ring, &p);
	}
	return err;
}

static int init_buffers(struct uring *u, const struct io_opts *o)
{
	struct io_uring_buf_reg reg = { .ring_entries = o->rbufs_max, .bgid = GROUP };
	void *p;
	int err;

	u->br_size = o->rbufs_max * sizeof(struct io_uring_buf);
	p = mmap(NULL, u->br_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	u->br = p;
	io_uring_buf_ring_init(u->br);
	reg.ring_addr = (uint64_t)(uintptr_t)p;
	err = io_uring_register_buf_ring(&u->ring, &reg, 0);
	if (err)
		return err;
	u->io.pool.lend = lend;
	u->io.pool.circulate = min_of(o->rbufs_start, o->rbufs_max - RBUF_RESERVE) / 2;
	rbuf_pool_grow(&u->io.pool);
	u->io.pool.starved = 0;
	return 0;
}

/* Multishot receive came with 6.0, as did SEND_ZC: the probe can ask for the latter only. */
static bool has_operations(struct uring *u)
{
	struct io_uring_probe *p = io_uring_get_probe_ring(&u->ring);
	bool ok = p && io_uring_opcode_supported(p, IORING_OP_SEND_ZC);

	io_uring_free_probe(p);
	return ok;
}

int uring_open(struct io **ret, const struct io_opts *opts, const char **why)
{
	struct uring *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	u->io.ops = &ops;
	err = init_ring(u, opts->entries);
	if (err) {
		*why = err == -EPERM || err == -EACCES ? "io_uring is forbidden here (sysctl kernel.io_uring_disabled or seccomp)" :
		       err == -ENOSYS ? "this kernel has no io_uring" :
		       err == -ENOMEM ? "no memory for io_uring (RLIMIT_MEMLOCK)" : "the kernel refused the io_uring set-up";
		free(u);
		return err;
	}
	u->io.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	err = u->io.wake_fd < 0 ? -errno : rbuf_pool_init(&u->io.pool, opts->rbufs_max);
	if (!err && !has_operations(u)) {
		*why = "io_uring of this kernel is older than 6.0: no multishot receive";
		err = -EOPNOTSUPP;
	}
	if (!err) {
		err = init_buffers(u, opts);
		if (err)
			*why = "io_uring refused the provided buffers";
	}
	if (err) {
		uring_close(&u->io);
		return err;
	}
	*ret = &u->io;
	return 0;
}
