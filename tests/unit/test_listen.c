/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "net/listen.h"

static const struct parse_case {
	const char *text, *want;	/* NULL: refused */
	bool dual;
} parses[] = {
	{ ":443", "[::]:443", true },
	{ ":http", "[::]:80", true },
	{ ":https", "[::]:443", true },
	{ ":0", "[::]:0", true },
	{ "[]:443", "[::]:443", true },
	{ "0.0.0.0:443", "[::]:443", true },
	{ "[::]:443", "[::]:443", true },
	{ "127.0.0.1:3340", "127.0.0.1:3340" },
	{ "127.0.0.1:65535", "127.0.0.1:65535" },
	{ "127.0.0.1:https", "127.0.0.1:443" },
	{ "[127.0.0.1]:080", "127.0.0.1:80" },
	{ "[::1]:443", "[::1]:443" },
	{ "[2001:db8::1]:http", "[2001:db8::1]:80" },
	{ "localhost:3340", "127.0.0.1:3340" },
	{ "" }, { "443" }, { ":" }, { "127.0.0.1" }, { "[::1]" }, { "::1" }, { "::1:80" }, { "[::1:80" }, { "::1]:80" },
	{ "[1.2.3.4:80" }, { "1.2.3.4]:80" }, { "[[::1]]:80" }, { "[" }, { "[:1" }, { "]:1" },
	{ ":65536" }, { ":99999999999999999999999" }, { ":-1" }, { ":+1" }, { ": 1" }, { ":1 " }, { ":1x" }, { ":smtp" },
	{ ":HTTP" }, { "no such host.invalid:1" },
};

static void test_parse(void **state)
{
	const struct parse_case *c = *state;
	struct listen_addr a = { .len = 77 };
	char err[256] = "", text[LISTEN_TEXT_LEN];

	if (!c->want) {
		assert_int_equal(-EINVAL, listen_addr_parse(&a, c->text, err, sizeof(err)));
		assert_int_equal(77, a.len);
		assert_non_null(strstr(err, "-a: \""));
		return;
	}
	assert_int_equal(0, listen_addr_parse(&a, c->text, err, sizeof(err)));
	sockaddr_text(text, (const struct sockaddr *)&a.sa);
	/* Where the kernel has no IPv6. */
	if (!(c->dual && a.sa.ss_family == AF_INET)) {
		assert_string_equal(c->want, text);
		assert_int_equal(c->dual, a.dual_stack);
	}
	assert_int_equal(atoi(strrchr(c->want, ':') + 1), listen_addr_port(&a));
	listen_addr_set_port(&a, 999);
	assert_int_equal(999, listen_addr_port(&a));
}

static struct listen_addr parsed(const char *text)
{
	struct listen_addr a;
	char err[256];

	assert_int_equal(0, listen_addr_parse(&a, text, err, sizeof(err)));
	return a;
}

static int option(int fd, int level, int name)
{
	socklen_t len = sizeof(int);
	int v = -1;

	assert_int_equal(0, getsockopt(fd, level, name, &v, &len));
	return v;
}

static struct listen_addr bound(int fd)
{
	struct listen_addr a = { .len = sizeof(a.sa) };

	assert_int_equal(0, getsockname(fd, (struct sockaddr *)&a.sa, &a.len));
	return a;
}

static void expect_flags(int fd)
{
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void test_tcp_options(void **state)
{
	struct listen_addr a = parsed("127.0.0.1:0");
	int fd = listen_tcp(&a, &(struct listen_tcp_opts){ .user_timeout_ms = 15000 });

	(void)state;
	assert_true(fd >= 0);
	expect_flags(fd);
	assert_int_equal(1, option(fd, SOL_SOCKET, SO_ACCEPTCONN));
	assert_int_equal(1, option(fd, SOL_SOCKET, SO_REUSEADDR));
	assert_int_equal(0, option(fd, SOL_SOCKET, SO_REUSEPORT));
	assert_int_equal(15000, option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT));
	a = bound(fd);
	assert_int_equal(-EADDRINUSE, listen_tcp(&a, &(struct listen_tcp_opts){ .reuseport = true }));
	close(fd);
}

static void test_reuseport(void **state)
{
	struct listen_addr a = parsed("127.0.0.1:0");
	struct listen_tcp_opts o = { .reuseport = true };
	int fd = listen_tcp(&a, &o), again, udp, udp2;

	(void)state;
	a = bound(fd);
	again = listen_tcp(&a, &o);
	assert_true(again >= 0);
	assert_int_equal(0, option(again, IPPROTO_TCP, TCP_USER_TIMEOUT));
	udp = listen_udp(&a, true);
	expect_flags(udp);
	udp2 = listen_udp(&a, true);
	assert_true(udp2 >= 0);
	assert_int_equal(-EADDRINUSE, listen_udp(&a, false));
	close(fd);
	close(again);
	close(udp);
	close(udp2);
}

/* An accepted IPv4 connection, wherever it came in. */
static int accepted(int listener, uint16_t port, int *client)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd;

	*client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(0, connect(*client, (struct sockaddr *)&to, sizeof(to)));
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void test_dual_stack(void **state)
{
	struct listen_addr a = parsed(":0");
	int fd = listen_tcp(&a, &(struct listen_tcp_opts){ .user_timeout_ms = 15000 }), client, in;
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char text[LISTEN_TEXT_LEN];
	uint8_t ip[16];
	uint16_t port;

	(void)state;
	assert_true(fd >= 0);
	if (a.dual_stack)
		assert_int_equal(0, option(fd, IPPROTO_IPV6, IPV6_V6ONLY));
	a = bound(fd);
	in = accepted(fd, listen_addr_port(&a), &client);
	assert_int_equal(15000, option(in, IPPROTO_TCP, TCP_USER_TIMEOUT));
	assert_int_equal(0, getpeername(in, (struct sockaddr *)&sa, &len));
	sockaddr_text(text, (const struct sockaddr *)&sa);
	assert_memory_equal("127.0.0.1:", text, 10);
	sockaddr_to_16(ip, &port, (const struct sockaddr *)&sa);
	assert_memory_equal("\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1", ip, 16);
	assert_int_equal(atoi(text + 10), port);
	close(client);
	close(in);
	close(fd);
}

static void test_accepted(void **state)
{
	struct listen_addr a = parsed("127.0.0.1:0");
	int fd = listen_tcp(&a, &(struct listen_tcp_opts){ .accepted = { .keepalive_s = 600, .notsent_lowat = 16384 } }), client, in;

	(void)state;
	a = bound(fd);
	in = accepted(fd, listen_addr_port(&a), &client);
	assert_int_equal(1, option(in, IPPROTO_TCP, TCP_NODELAY));
	assert_int_equal(1, option(in, SOL_SOCKET, SO_KEEPALIVE));
	assert_int_equal(600, option(in, IPPROTO_TCP, TCP_KEEPIDLE));
	assert_int_equal(15, option(in, IPPROTO_TCP, TCP_KEEPINTVL));
	assert_int_equal(9, option(in, IPPROTO_TCP, TCP_KEEPCNT));
	assert_int_equal(16384, option(in, IPPROTO_TCP, TCP_NOTSENT_LOWAT));
	close(client);
	close(in);
	/* Other settings, for who comes next. */
	accepted_setup(fd, &(struct accepted_opts){ 0 });
	in = accepted(fd, listen_addr_port(&a), &client);
	assert_int_equal(1, option(in, IPPROTO_TCP, TCP_NODELAY));
	assert_int_equal(0, option(in, SOL_SOCKET, SO_KEEPALIVE));
	assert_int_equal(0, option(in, IPPROTO_TCP, TCP_NOTSENT_LOWAT));
	close(client);
	close(in);
	close(fd);
}

static void test_text(void **state)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET, .sin_port = htons(443) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(65535) };
	struct sockaddr none = { .sa_family = AF_UNIX };
	char text[LISTEN_TEXT_LEN];
	uint8_t ip[16];
	uint16_t port;

	(void)state;
	memset(&in4.sin_addr, 255, 4);
	memset(&in6.sin6_addr, 0xab, 16);
	sockaddr_text(text, (struct sockaddr *)&in4);
	assert_string_equal("255.255.255.255:443", text);
	sockaddr_text(text, (struct sockaddr *)&in6);
	assert_string_equal("[abab:abab:abab:abab:abab:abab:abab:abab]:65535", text);
	sockaddr_to_16(ip, &port, (struct sockaddr *)&in6);
	assert_memory_equal(&in6.sin6_addr, ip, 16);
	assert_int_equal(65535, port);
	sockaddr_to_16(ip, &port, (struct sockaddr *)&in4);
	assert_memory_equal("\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff", ip, 16);
	sockaddr_to_16(ip, &port, &none);
	assert_memory_equal("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", ip, 16);
	assert_int_equal(0, port);
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(parses) + 5] = {
		cmocka_unit_test(test_tcp_options),
		cmocka_unit_test(test_reuseport),
		cmocka_unit_test(test_dual_stack),
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_text),
	};

	for (size_t i = 0; i < ARRAY_SIZE(parses); i++)
		t[5 + i] = (struct CMUnitTest){ parses[i].text, test_parse, NULL, NULL, (void *)&parses[i] };
	return cmocka_run_group_tests_name("listen", t, NULL, NULL);
}
