/* SPDX-License-Identifier: BSD-3-Clause */
/* A ring does what the engine needs and nothing else: whoever takes over a shard can't open files through it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <fcntl.h>
#include <cmocka.h>

/* For struct uring: the ring itself is nobody else's business. */
#include "net/uring.c"

#define TAG_OF_TEST	(0xffULL << 56)

static struct uring *u;

static int setup(void **state)
{
	const struct io_opts o = { .entries = 8, .rbufs_start = 1, .rbufs_max = 2 };
	const char *why;
	struct io *io;

	(void)state;
	u = NULL;
	if (!uring_open(&io, &o, &why))
		u = uring_of(io);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (u)
		uring_close(&u->io);
	return 0;
}

/* Result of one operation. */
static int submit(void (*prep)(struct io_uring_sqe *))
{
	const struct io_uring_getevents_arg arg = { 0 };
	struct io_uring_cqe *cqe;
	int res;

	if (!u)
		skip();		/* no io_uring here */
	prep(get_sqe(u));
	for (;;) {
		while (!completions(u))
			assert_int_equal(enter(u, 1, &arg), 0);
		cqe = &u->ring.cq.cqes[*u->ring.cq.khead & u->ring.cq.ring_mask];
		res = cqe->res;
		__atomic_store_n(u->ring.cq.khead, *u->ring.cq.khead + 1, __ATOMIC_RELEASE);
		if (cqe->user_data == TAG_OF_TEST)
			return res;
	}
}

static void prep_open(struct io_uring_sqe *sqe)
{
	io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY, 0);
	sqe->user_data = TAG_OF_TEST;
}

static void prep_socket(struct io_uring_sqe *sqe)
{
	io_uring_prep_socket(sqe, 2, 1, 0, 0);
	sqe->user_data = TAG_OF_TEST;
}

static void prep_async_cancel(struct io_uring_sqe *sqe)
{
	io_uring_prep_cancel64(sqe, 1, 0);
	sqe->flags |= IOSQE_ASYNC;
	sqe->user_data = TAG_OF_TEST;
}

static void prep_cancel(struct io_uring_sqe *sqe)
{
	io_uring_prep_cancel64(sqe, 1, 0);
	sqe->user_data = TAG_OF_TEST;
}

static void other_opcodes(void **state)
{
	(void)state;
	assert_int_equal(submit(prep_open), -EACCES);
	assert_int_equal(submit(prep_socket), -EACCES);
}

static void other_flags(void **state)
{
	(void)state;
	assert_int_equal(submit(prep_async_cancel), -EACCES);
}

/* So that -EACCES above is not just what every operation gets. */
static void own_opcodes(void **state)
{
	(void)state;
	assert_int_equal(submit(prep_cancel), -ENOENT);
}

static void registrations(void **state)
{
	int fd = 0;

	(void)state;
	if (!u)
		skip();
	assert_int_equal(io_uring_register_files(&u->ring, &fd, 1), -EACCES);
}

int main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test_setup_teardown(other_opcodes, setup, teardown),
		cmocka_unit_test_setup_teardown(other_flags, setup, teardown),
		cmocka_unit_test_setup_teardown(own_opcodes, setup, teardown),
		cmocka_unit_test_setup_teardown(registrations, setup, teardown),
	};

	return cmocka_run_group_tests(t, NULL, NULL);
}
