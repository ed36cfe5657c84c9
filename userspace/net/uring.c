/* SPDX-License-Identifier: BSD-3-Clause */
/* io_uring engine, Linux 6.0 and up. An idle connection costs a multishot receive and no buffer: the
 * kernel takes one from the buffer ring when bytes are there. One io_uring_enter per turn submits,
 * runs the kernel's deferred work and waits. */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "net/io_impl.h"

#define CQ_PER_SQ		16
#define BUF_GROUP		0
#define GEN_MASK		0xffffffU

/* Operations of the engine itself: in user_data beside enum io_op, never seen by the caller. */
enum {
	OP_CANCEL = IO_OP_NR,
	OP_WAKE,
};

struct uring {
	struct io io;
	struct io_uring ring;
	bool ring_open;
	unsigned int enter_flags;
	struct io_uring_buf_ring *bufs;	/* mapping, owned */
	size_t bufs_size;
	uint32_t armed;			/* buffers in the kernel's ring */
	uint32_t armed_want;
	bool starving;			/* receives found none: the next refill doubles armed_want */
	uint64_t wake_count;		/* the kernel reads the eventfd into it */
};

static struct uring *uring_of(struct io *io)
{
	return container_of(io, struct uring, io);
}

static uint64_t user_data(unsigned int op, struct io_tag tag)
{
	return (uint64_t)op << 56 | (uint64_t)(tag.gen & GEN_MASK) << 32 | tag.slot;
}

/* --- receive buffers
 *
 * free (pool) -> in the kernel's ring (armed) -> delivered -> unref -> free. The ring is refilled
 * before each submission, because a receive that meets an empty ring ends at once, even if its socket
 * has nothing to read. */

static void refill(struct uring *u)
{
	int mask = io_uring_buf_ring_mask(u->io.rbufs.max), n = 0;
	const struct rbuf_pool *p = &u->io.rbufs;
	struct rbuf *b;

	/* Once for all that starved together, and only if the pool has more to give. */
	if (u->starving && p->nspare + p->nfresh > p->reserve)
		u->armed_want = min_of(u->armed_want * 2, p->max);
	u->starving = false;
	while (u->armed < u->armed_want && (b = rbuf_take(&u->io.rbufs))) {
		io_uring_buf_ring_add(u->bufs, b->data, RBUF_SIZE, b->bid, mask, n++);
		u->armed++;
	}
	if (n)
		io_uring_buf_ring_advance(u->bufs, n);
}

/* --- submission */

/* io_uring_enter with all that was prepared since. wait: completions to wait for. arg NULL: only
 * submit. Returns 0 also when there is just less to see than hoped for. */
static int enter(struct uring *u, unsigned int wait, const struct io_uring_getevents_arg *arg)
{
	struct io_uring_sq *sq = &u->ring.sq;
	unsigned int flags = u->enter_flags;
	unsigned int prepared;

	refill(u);
	__atomic_store_n(sq->ktail, sq->sqe_tail, __ATOMIC_RELEASE);
	prepared = sq->sqe_tail - __atomic_load_n(sq->khead, __ATOMIC_ACQUIRE);
	if (arg)
		flags |= IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
	else if (!prepared)
		return 0;
	if (syscall(__NR_io_uring_enter, u->ring.enter_ring_fd, prepared, wait, flags, arg,
		    arg ? sizeof(*arg) : 0) >= 0)
		return 0;
	switch (errno) {
	case ETIME:
	case EINTR:
	case EAGAIN:	/* no memory for requests just now: they stay prepared */
	case EBUSY:	/* completions overflowed: the caller takes them out */
		return 0;
	default:
		return -errno;
	}
}

/* Never NULL: a full queue is submitted on the spot. The kernel leaves entries only while it has no
 * memory for them. */
static struct io_uring_sqe *get_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&u->ring)))
		if (enter(u, 0, NULL))
			abort();	/* the ring is broken: nothing on it can go on */
	return sqe;
}

static void uring_arm(struct io *io, enum io_op op, int fd, const struct msghdr *msg,
		      struct io_tag tag)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(io));

	switch (op) {
	case IO_ACCEPT:
		io_uring_prep_multishot_accept(sqe, fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		break;
	case IO_SEND:
		/* One piece, as most sends are, needs no message header copied in: some 200 instructions less. */
		if (msg->msg_iovlen == 1 && !msg->msg_controllen)
			io_uring_prep_send(sqe, fd, msg->msg_iov->iov_base, msg->msg_iov->iov_len,
					   MSG_DONTWAIT | MSG_NOSIGNAL);
		else
			io_uring_prep_sendmsg(sqe, fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case IO_WRITABLE:
		io_uring_prep_poll_add(sqe, fd, POLLOUT);
		break;
	case IO_HANGUP:
		io_uring_prep_poll_add(sqe, fd, POLLRDHUP);
		break;
	case IO_READABLE:
		io_uring_prep_poll_multishot(sqe, fd, POLLIN);
		break;
	default:
		assert(!"no such operation");
	}
	sqe->user_data = user_data(op, tag);
}

static void uring_recv(struct io *io, int fd, size_t max, struct io_tag tag)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(io));

	if (max)
		io_uring_prep_recv(sqe, fd, NULL, max, 0);
	else
		io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = BUF_GROUP;
	sqe->user_data = user_data(IO_RECV, tag);
}

/* At once, because the caller may close fd next, and what is armed holds the file open. */
static void uring_cancel(struct io *io, int fd)
{
	struct uring *u = uring_of(io);
	struct io_uring_sqe *sqe = get_sqe(u);

	io_uring_prep_cancel_fd(sqe, fd, IORING_ASYNC_CANCEL_ALL);
	sqe->user_data = user_data(OP_CANCEL, (struct io_tag){ 0 });
	enter(u, 0, NULL);
}

static void uring_recv_stop(struct io *io, int fd, struct io_tag tag)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(io));

	(void)fd;
	io_uring_prep_cancel64(sqe, user_data(IO_RECV, tag), 0);
	sqe->user_data = user_data(OP_CANCEL, (struct io_tag){ 0 });
}

/* A read, not a poll: it clears the counter too, and any number of wakes make one completion. */
static void arm_wake(struct uring *u)
{
	struct io_uring_sqe *sqe = get_sqe(u);

	io_uring_prep_read(sqe, u->io.wake_fd, &u->wake_count, sizeof(u->wake_count), 0);
	sqe->user_data = user_data(OP_WAKE, (struct io_tag){ 0 });
}

/* --- completion */

/* Returns 1 if the caller's handler got it. */
static unsigned int complete(struct uring *u, const struct io_uring_cqe *cqe, io_handler handler,
			     void *ctx)
{
	unsigned int op = cqe->user_data >> 56;
	struct io_event ev = {
		.op = (enum io_op)op,
		.tag = { .slot = (uint32_t)cqe->user_data,
			 .gen = cqe->user_data >> 32 & GEN_MASK },
		.res = cqe->res,
		.last = !(cqe->flags & IORING_CQE_F_MORE),
	};

	if (op == OP_WAKE) {
		u->io.woken = true;
		arm_wake(u);
	}
	if (op >= IO_OP_NR)
		return 0;

	if (cqe->flags & IORING_CQE_F_BUFFER) {
		struct rbuf *b = &u->io.rbufs.bufs[cqe->flags >> IORING_CQE_BUFFER_SHIFT];

		u->armed--;
		/* End of stream and errors may carry a buffer that was picked for nothing. */
		if (cqe->res > 0)
			ev.buf = rbuf_ref(b);
		else
			rbuf_put(b);
	}
	if (op == IO_RECV && cqe->res == -ENOBUFS) {
		u->io.starved++;
		u->starving = true;
	}
	handler(ctx, &ev);
	return 1;
}

static unsigned int completions(const struct uring *u)
{
	const struct io_uring_cq *cq = &u->ring.cq;

	return __atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE) - *cq->khead;
}

static unsigned int reap(struct uring *u, unsigned int max, io_handler handler, void *ctx)
{
	struct io_uring_cq *cq = &u->ring.cq;
	unsigned int left = completions(u), n = 0;

	for (; left && n < max; left--) {
		struct io_uring_cqe cqe = cq->cqes[*cq->khead & cq->ring_mask];

		__atomic_store_n(cq->khead, *cq->khead + 1, __ATOMIC_RELEASE);
		n += complete(u, &cqe, handler, ctx);
	}
	return n;
}

/* Wait for events; sleeping happens only if none are there yet. */
static int enter_wait(struct uring *u, uint64_t timeout_ns, const struct io_pace *pace, unsigned int max)
{
	struct __kernel_timespec ts;
	struct io_uring_getevents_arg arg = { 0 };
	unsigned int wait = completions(u) || !timeout_ns ? 0 : 1;

	/* A plain timeout with a batch to wait for, not the kernel's minimum wait (6.12): that one looks for
	 * completions that come after this call's submissions, and sends complete while they are submitted. A
	 * short send would go unseen until something else happened. */
	if (wait && pace && pace->ns) {
		wait = min_of(max, pace->events);
		timeout_ns = min_of(timeout_ns, pace->ns);
	}
	ts = (struct __kernel_timespec){
		.tv_sec = (long long)(timeout_ns / NS_PER_S), .tv_nsec = (long long)(timeout_ns % NS_PER_S),
	};
	if (wait && timeout_ns != UINT64_MAX)
		arg.ts = (uintptr_t)&ts;
	return enter(u, wait, &arg);
}

static int uring_turn(struct io *io, uint64_t timeout_ns, const struct io_pace *pace, unsigned int max,
		      io_handler handler, void *ctx)
{
	struct uring *u = uring_of(io);
	int err;

	/* A full round is waiting: don't let the kernel make more of them. */
	if (completions(u) >= max)
		err = enter(u, 0, NULL);
	else
		err = enter_wait(u, timeout_ns, pace, max);
	if (err)
		return err;
	return (int)reap(u, max, handler, ctx);
}

/* --- set-up */

/* From the best flags to none: DEFER_TASKRUN is of 6.1, SINGLE_ISSUER of 6.0. */
static int open_ring(struct uring *u, unsigned int entries)
{
	static const unsigned int flags[] = {
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
		IORING_SETUP_COOP_TASKRUN,
		0,
	};
	int err = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(flags) && err == -EINVAL; i++) {
		struct io_uring_params p = {
			.flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
				 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED,
			.cq_entries = entries * CQ_PER_SQ,
		};

		err = io_uring_queue_init_params(entries, &u->ring, &p);
	}
	if (err)
		return err;
	u->ring_open = true;
	/* Entries are used in order, for good: enter() then only moves the tail. */
	for (unsigned int i = 0; i < u->ring.sq.ring_entries; i++)
		u->ring.sq.array[i] = i;
	if (io_uring_register_ring_fd(&u->ring) == 1)
		u->enter_flags = IORING_ENTER_REGISTERED_RING;
	return 0;
}

/* All that is ever submitted; a ring takes nothing else. */
static const uint8_t opcodes[] = {
	IORING_OP_ACCEPT, IORING_OP_RECV, IORING_OP_SEND, IORING_OP_SENDMSG, IORING_OP_POLL_ADD,
	IORING_OP_READ, IORING_OP_ASYNC_CANCEL,
};

/* Multishot receive has no opcode of its own to ask for; SEND_ZC came with it in 6.0, after multishot
 * accept, cancel by descriptor and the buffer ring. */
static int probe(struct uring *u)
{
	const unsigned int features = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG |
				      IORING_FEAT_SUBMIT_STABLE;
	struct io_uring_probe *p;
	int err;

	if ((u->ring.features & features) != features)
		return -EOPNOTSUPP;
	p = io_uring_get_probe_ring(&u->ring);
	if (!p)
		return -EOPNOTSUPP;
	err = io_uring_opcode_supported(p, IORING_OP_SEND_ZC) ? 0 : -EOPNOTSUPP;
	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++)
		if (!io_uring_opcode_supported(p, opcodes[i]))
			err = -EOPNOTSUPP;
	io_uring_free_probe(p);
	return err;
}

/* seccomp does not see what goes through a ring: opening files, for one. The ring was made disabled, which is the only
 * state in which it can be restricted (5.10). */
static int restrict_and_enable(struct uring *u)
{
	struct io_uring_restriction r[ARRAY_SIZE(opcodes) + 3] = {
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_BUFFER_SELECT },
		/* what closing needs */
		{ .opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_SYNC_CANCEL },
		{ .opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_UNREGISTER_RING_FDS },
	};
	int err;

	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++)
		r[3 + i] = (struct io_uring_restriction){ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = opcodes[i] };
	err = io_uring_register_restrictions(&u->ring, r, ARRAY_SIZE(r));
	return err ? err : io_uring_enable_rings(&u->ring);
}

/* liburing 2.3 knows neither. */
#define REGISTER_NAPI	27

struct napi_settings {
	uint32_t busy_poll_us;
	uint8_t prefer_busy_poll;
	uint8_t pad[3];
	uint64_t resv;
};

static int uring_busy_poll(struct io *io, unsigned int us)
{
	struct napi_settings s = { .busy_poll_us = us };

	return syscall(__NR_io_uring_register, uring_of(io)->ring.ring_fd, REGISTER_NAPI, &s, 1) ? -errno : 0;
}

static int open_bufs(struct uring *u, const struct io_opts *opts)
{
	struct io_uring_buf_reg reg = { .ring_entries = opts->rbufs_max, .bgid = BUF_GROUP };
	size_t size = opts->rbufs_max * sizeof(struct io_uring_buf);
	void *p;

	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	u->bufs = p;
	u->bufs_size = size;
	io_uring_buf_ring_init(u->bufs);
	reg.ring_addr = (uintptr_t)p;
	u->armed_want = min_of(opts->rbufs_start, opts->rbufs_max);
	return io_uring_register_buf_ring(&u->ring, &reg, 0);
}

/* The ring's end is asynchronous: cancel first, so that listening sockets are free and no receive
 * writes to the pool when this returns. Sockets accepted but not delivered belong to nobody. */
static void abandon(struct uring *u)
{
	struct io_uring_sync_cancel_reg all = {
		.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL,
		.timeout = { .tv_sec = -1, .tv_nsec = -1 },
	};
	struct io_uring_cqe *cqe;
	const struct io_uring_getevents_arg no_wait = { 0 };

	enter(u, 0, NULL);
	io_uring_register_sync_cancel(&u->ring, &all);
	do {
		unsigned int left = completions(u);

		for (; left; left--) {
			cqe = &u->ring.cq.cqes[*u->ring.cq.khead & u->ring.cq.ring_mask];
			if (cqe->user_data >> 56 == IO_ACCEPT && cqe->res >= 0)
				close(cqe->res);
			__atomic_store_n(u->ring.cq.khead, *u->ring.cq.khead + 1, __ATOMIC_RELEASE);
		}
	} while (!enter(u, 0, &no_wait) && completions(u));
}

static void uring_close(struct io *io)
{
	struct uring *u = uring_of(io);

	if (u->ring_open) {
		abandon(u);
		io_uring_queue_exit(&u->ring);
	}
	if (u->bufs)
		munmap(u->bufs, u->bufs_size);
	io_done(io);
	free(u);
}

static const char *reason(int err)
{
	switch (err) {
	case -EPERM:
		return "io_uring: refused by the kernel (EPERM)";
	case -ENOSYS:
		return "io_uring: not in this kernel (ENOSYS)";
	case -ENOMEM:
		return "io_uring: no memory, or RLIMIT_MEMLOCK too low (ENOMEM)";
	case -EOPNOTSUPP:
		return "io_uring: kernel older than 6.0";
	default:
		return "io_uring: set-up failed";
	}
}

static const struct io_engine_ops uring_ops = {
	.name = "io_uring",
	.no_busy_poll = "the kernel has no IORING_REGISTER_NAPI (Linux 6.9)",
	.busy_poll = uring_busy_poll,
	.close = uring_close,
	.arm = uring_arm,
	.recv = uring_recv,
	.cancel = uring_cancel,
	.recv_stop = uring_recv_stop,
	.turn = uring_turn,
};

int uring_open(struct io **ret, const struct io_opts *opts, const char **why)
{
	struct uring *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	err = io_init(&u->io, &uring_ops, opts);
	if (!err)
		err = open_ring(u, opts->entries);
	if (!err)
		err = probe(u);
	if (!err)
		err = open_bufs(u, opts);
	if (!err) {
		io_busy_poll(&u->io);
		err = restrict_and_enable(u);
	}
	if (err) {
		*why = reason(err);
		uring_close(&u->io);
		return err;
	}
	arm_wake(u);
	*ret = &u->io;
	return 0;
}
