/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"

#define BACKLOG			4096
#define KEEPALIVE_INTERVAL_S	15
#define KEEPALIVE_PROBES	9

static int parse_port(uint16_t *ret, const char *text)
{
	unsigned long v;
	char *end;

	if (!strcmp(text, "http") || !strcmp(text, "https")) {
		*ret = text[4] ? 443 : 80;
		return 0;
	}
	v = strtoul(text, &end, 10);
	if (!strspn(text, "0123456789") || *end || v > UINT16_MAX)
		return -EINVAL;
	*ret = (uint16_t)v;
	return 0;
}

static bool have_ipv6(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static void wildcard(struct listen_addr *a)
{
	if (have_ipv6()) {
		*(struct sockaddr_in6 *)&a->sa = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
		a->len = sizeof(struct sockaddr_in6);
		a->dual_stack = true;
	} else {
		*(struct sockaddr_in *)&a->sa = (struct sockaddr_in){ .sin_family = AF_INET };
		a->len = sizeof(struct sockaddr_in);
	}
}

static bool is_wildcard(const struct listen_addr *a)
{
	if (a->sa.ss_family == AF_INET)
		return ((const struct sockaddr_in *)&a->sa)->sin_addr.s_addr == INADDR_ANY;
	return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&a->sa)->sin6_addr);
}

/* A name that stands for several addresses means its first IPv4 one, as in Go. */
static int resolve(struct listen_addr *ret, const char *host, char *err, size_t errlen)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *list, *ai;
	int e;

	e = getaddrinfo(host, NULL, &hints, &list);
	if (e) {
		snprintf(err, errlen, "-a: \"%s\" is no address and does not resolve: %s", host, gai_strerror(e));
		return -EINVAL;
	}
	for (ai = list; ai && ai->ai_family != AF_INET; )
		ai = ai->ai_next;
	if (!ai)
		ai = list;
	memcpy(&ret->sa, ai->ai_addr, ai->ai_addrlen);
	ret->len = ai->ai_addrlen;
	freeaddrinfo(list);
	return 0;
}

/* Split text into host, without brackets, and port. */
static int split(char *host, size_t hostlen, const char **port, const char *text)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;

	if (!colon)
		return -EINVAL;
	if (*text == '[') {
		if (n < 2 || text[n - 1] != ']')
			return -EINVAL;
		text++;
		n -= 2;
	} else if (memchr(text, ':', n)) {
		return -EINVAL;
	}
	if (n >= hostlen || memchr(text, '[', n) || memchr(text, ']', n))
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = '\0';
	*port = colon + 1;
	return 0;
}

int listen_addr_parse(struct listen_addr *ret, const char *text, char *err, size_t errlen)
{
	struct listen_addr a = { 0 };
	const char *port_text;
	char host[256];
	uint16_t port;
	int e;

	if (split(host, sizeof(host), &port_text, text) || parse_port(&port, port_text)) {
		snprintf(err, errlen, "-a: \"%s\" is not host:port; write :443, 192.0.2.1:443 or [2001:db8::1]:443", text);
		return -EINVAL;
	}
	if (*host) {
		e = resolve(&a, host, err, errlen);
		if (e)
			return e;
	}
	/* Go takes 0.0.0.0 and [::] for "everything" too. */
	if (!*host || is_wildcard(&a))
		wildcard(&a);
	listen_addr_set_port(&a, port);
	*ret = a;
	return 0;
}

void listen_addr_set_port(struct listen_addr *a, uint16_t port)
{
	/* The port stands at the same place in both families. */
	((struct sockaddr_in *)&a->sa)->sin_port = htons(port);
}

uint16_t listen_addr_port(const struct listen_addr *a)
{
	return ntohs(((const struct sockaddr_in *)&a->sa)->sin_port);
}

void sockaddr_text(char ret[static LISTEN_TEXT_LEN], const struct sockaddr *sa)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)sa;
	char ip[INET6_ADDRSTRLEN] = "?";

	if (sa->sa_family == AF_INET) {
		inet_ntop(AF_INET, &in4->sin_addr, ip, sizeof(ip));
		snprintf(ret, LISTEN_TEXT_LEN, "%s:%u", ip, ntohs(in4->sin_port));
	} else if (sa->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], ip, sizeof(ip));
		snprintf(ret, LISTEN_TEXT_LEN, "%s:%u", ip, ntohs(in6->sin6_port));
	} else {
		if (sa->sa_family == AF_INET6)
			inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
		snprintf(ret, LISTEN_TEXT_LEN, "[%s]:%u", ip, ntohs(in6->sin6_port));
	}
}

static int bound_socket(const struct listen_addr *a, int type, bool reuseport)
{
	int one = 1, zero = 0, err;
	int fd = socket(a->sa.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (reuseport)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (a->dual_stack)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, (const struct sockaddr *)&a->sa, a->len)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

void accepted_setup(int fd, const struct accepted_opts *o)
{
	int one = 1, on = !!o->keepalive_s, idle = (int)o->keepalive_s, interval = KEEPALIVE_INTERVAL_S, probes = KEEPALIVE_PROBES;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &o->notsent_lowat, sizeof(o->notsent_lowat));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (!on)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

int listen_tcp(const struct listen_addr *a, const struct listen_tcp_opts *o)
{
	int fd = bound_socket(a, SOCK_STREAM, o->reuseport), err;

	if (fd < 0)
		return fd;
	/* Accepted sockets inherit these: six calls less for each. */
	accepted_setup(fd, &o->accepted);
	if (o->user_timeout_ms)
		setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &o->user_timeout_ms, sizeof(o->user_timeout_ms));
	/* Before Linux 6.2 (commit b261eda84ec1) it says nothing to a group of SO_REUSEPORT. */
	if (o->cpu)
		setsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, o->cpu, sizeof(*o->cpu));
	if (listen(fd, BACKLOG)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int listen_udp(const struct listen_addr *a, bool reuseport)
{
	return bound_socket(a, SOCK_DGRAM, reuseport);
}

void sockaddr_to_16(uint8_t ip[static 16], uint16_t *port, const struct sockaddr *sa)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)sa;

	memset(ip, 0, 16);
	*port = 0;
	if (sa->sa_family == AF_INET6) {
		memcpy(ip, &in6->sin6_addr, 16);
		*port = ntohs(in6->sin6_port);
	} else if (sa->sa_family == AF_INET) {
		ip[10] = ip[11] = 0xff;
		memcpy(ip + 12, &in4->sin_addr, 4);
		*port = ntohs(in4->sin_port);
	}
}
