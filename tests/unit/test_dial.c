/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocking connections with a deadline, against small servers in threads of their own. */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "lib/unit.h"
#include "net/dial.h"

static const struct split_case {
	const char *text, *host;
	int port;		/* -1: refused */
} splits[] = {
	{ "a.example", "a.example", 443 },
	{ "a.example:8443", "a.example", 8443 },
	{ "192.0.2.1", "192.0.2.1", 443 },
	{ "192.0.2.1:1", "192.0.2.1", 1 },
	{ "::1", "::1", 443 },
	{ "[::1]", "::1", 443 },
	{ "[::1]:65535", "::1", 65535 },
	{ "", "", -1 },
	{ ":443", "", -1 },
	{ "a:", "", -1 },
	{ "a:0", "", -1 },
	{ "a:65536", "", -1 },
	{ "a:123456", "", -1 },
	{ "a:+1", "", -1 },
	{ "a:x", "", -1 },
	{ "[]", "", -1 },
	{ "[::1", "", -1 },
	{ "[::1]x", "", -1 },
	{ "[::1]:", "", -1 },
};

static void test_split(void **state)
{
	char host[DIAL_HOST_LEN], longest[DIAL_HOST_LEN + 1];
	uint16_t port;
	int r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(splits); i++) {
		r = dial_split(host, &port, splits[i].text, strlen(splits[i].text), 443);
		if ((r ? -1 : port) != splits[i].port || (!r && strcmp(host, splits[i].host)))
			fail_msg("%s: %d, %s %u", splits[i].text, r, host, port);
	}
	memset(longest, 'a', sizeof(longest));
	assert_int_equal(0, dial_split(host, &port, longest, DIAL_HOST_LEN - 1, 1));
	assert_int_equal(-EINVAL, dial_split(host, &port, longest, DIAL_HOST_LEN, 1));
}

/* A server that takes one connection, reads until it has seen an empty line, says what it has to, and closes when told. */
struct answerer {
	int fd;
	const char *says;
	bool keep;		/* leaves the connection open until the client is gone */
	pthread_t thread;
};

static void *answer(void *arg)
{
	struct answerer *a = arg;
	char buf[200];
	size_t have = 0;
	ssize_t n;
	int c = accept(a->fd, NULL, NULL);

	while (c >= 0 && have < sizeof(buf) - 1 && (n = read(c, buf + have, sizeof(buf) - 1 - have)) > 0) {
		have += (size_t)n;
		buf[have] = 0;
		if (strstr(buf, "\r\n\r\n"))
			break;
	}
	/* In pieces, as long as somebody takes them. */
	for (const char *p = a->says; c >= 0 && *p; p += n) {
		n = send(c, p, min_of(strlen(p), (size_t)7), MSG_NOSIGNAL);
		if (n < 0)
			break;
	}
	if (a->keep)
		while (read(c, buf, sizeof(buf)) > 0)
			;
	close(c);
	return NULL;
}

static void serve(struct answerer *a, struct sockaddr *sa, socklen_t len)
{
	a->fd = socket(sa->sa_family, SOCK_STREAM, 0);
	assert_int_equal(0, bind(a->fd, sa, len));
	assert_int_equal(0, listen(a->fd, 5));
	assert_int_equal(0, pthread_create(&a->thread, NULL, answer, a));
}

static int whole(void *ctx, uint8_t *buf, size_t n, int ended)
{
	const char *until = ctx;

	(void)ended;
	return memmem(buf, n, until, strlen(until)) != NULL;
}

static ssize_t ask(struct answerer *a, uint64_t timeout_ns, size_t cap, char *err, size_t errlen)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	uint64_t deadline = clock_now_ns() + timeout_ns;
	socklen_t len = sizeof(sa);
	uint8_t buf[100];
	ssize_t n;
	int fd;

	serve(a, (struct sockaddr *)&sa, sizeof(sa));
	getsockname(a->fd, (struct sockaddr *)&sa, &len);
	fd = dial_tcp("localhost", ntohs(sa.sin_port), deadline, err, errlen);
	assert_true(fd >= 0);
	n = dial_exchange(fd, NULL, "ask\r\n\r\n", 7, buf, cap, deadline, whole, "end", err, errlen);
	if (n > 0)
		assert_memory_equal(a->says, buf, (size_t)n);
	close(fd);
	pthread_join(a->thread, NULL);
	close(a->fd);
	return n;
}

static void test_exchange(void **state)
{
	struct answerer keeps = { .says = "a long answer until the end", .keep = true };
	struct answerer closes = { .says = "no conclusion" };
	char err[200] = "";

	(void)state;
	assert_int_equal(strlen(keeps.says), ask(&keeps, 20 * NS_PER_S, 100, err, sizeof(err)));
	assert_int_equal(-EPROTO, ask(&closes, 20 * NS_PER_S, 100, err, sizeof(err)));
	assert_int_equal(-EMSGSIZE, ask(&keeps, 20 * NS_PER_S, 10, err, sizeof(err)));
	assert_string_equal("the answer is too long", err);
}

static void test_silence(void **state)
{
	struct answerer silent = { .says = "", .keep = true };
	char err[200] = "";

	(void)state;
	assert_int_equal(-ETIMEDOUT, ask(&silent, 50 * NS_PER_MS, 100, err, sizeof(err)));
	assert_string_equal("no answer in time", err);
}

static void test_refusals(void **state)
{
	char err[300], path[200];
	uint64_t deadline = clock_now_ns() + 20 * NS_PER_S;

	(void)state;
	assert_int_equal(-ECONNREFUSED, dial_tcp("127.0.0.1", 1, deadline, err, sizeof(err)));
	assert_string_equal("can't connect to 127.0.0.1 port 1: Connection refused", err);
	assert_int_equal(-EHOSTUNREACH, dial_tcp("not a host name", 1, deadline, err, sizeof(err)));
	assert_non_null(strstr(err, "can't resolve not a host name: "));
	assert_int_equal(-ENOENT, dial_unix("/nowhere/at.sock", deadline, err, sizeof(err)));
	assert_string_equal("can't connect to /nowhere/at.sock: No such file or directory", err);
	memset(path, 'a', sizeof(path));
	path[sizeof(path) - 1] = 0;
	assert_int_equal(-ENAMETOOLONG, dial_unix(path, deadline, err, sizeof(err)));
}

static void test_unix(void **state)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct answerer a = { .says = "the end" };
	uint64_t deadline = clock_now_ns() + 20 * NS_PER_S;
	uint8_t buf[100];
	char err[300];
	int fd;

	(void)state;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/tmp/xderp-test-%d.sock", (int)getpid());
	unlink(sa.sun_path);
	serve(&a, (struct sockaddr *)&sa, sizeof(sa));
	fd = dial_unix(sa.sun_path, deadline, err, sizeof(err));
	assert_true(fd >= 0);
	assert_int_equal(7, dial_exchange(fd, NULL, "x\r\n\r\n", 5, buf, sizeof(buf), deadline, whole, "end", err, sizeof(err)));
	close(fd);
	pthread_join(a.thread, NULL);
	close(a.fd);
	unlink(sa.sun_path);
}

int main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_exchange),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_unix),
	};

	return cmocka_run_group_tests(t, NULL, NULL);
}
