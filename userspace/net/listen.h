/* SPDX-License-Identifier: BSD-3-Clause */
/* Sockets: listeners (one per shard, SO_REUSEPORT), UDP for STUN, options of accepted sockets. */
#ifndef XDERP_LISTEN_H
#define XDERP_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Go's listen address: ":443", "127.0.0.1:3340", "[::1]:443", ":http", "host:port". An empty host, 0.0.0.0 and [::] are
 * all the dual-stack wildcard (IPv4 only where the kernel has no IPv6). On failure -EINVAL and a sentence in err. */
struct listen_addr {
	struct sockaddr_storage sa;
	socklen_t len;
	bool dual_stack;
};
int listen_addr_parse(struct listen_addr *ret, const char *text, char *err, size_t errlen);
/* The same host with another port. */
void listen_addr_set_port(struct listen_addr *a, uint16_t port);
uint16_t listen_addr_port(const struct listen_addr *a);
/* "[::]:443", "127.0.0.1:80" */
#define LISTEN_TEXT_LEN	64
void sockaddr_text(char ret[static LISTEN_TEXT_LEN], const struct sockaddr *sa);

struct accepted_opts {
	unsigned int keepalive_s;	/* idle before the first probe; 0: keepalive off. Interval 15 s, 9 probes */
	unsigned int notsent_lowat;	/* bytes of unsent data the kernel may hold; 0: system default */
};
/* TCP_NODELAY, keepalive, TCP_NOTSENT_LOWAT: of a connection, or of a listening socket, whose accepted ones inherit them. */
void accepted_setup(int fd, const struct accepted_opts *o);

struct listen_tcp_opts {
	unsigned int user_timeout_ms;	/* TCP_USER_TIMEOUT, inherited by accepted sockets; 0: none */
	struct accepted_opts accepted;
	bool reuseport;
	const int *cpu;			/* of the listeners of a port, this one gets what arrives on this processor; NULL: its share */
};
/* A listening socket: non-blocking, close-on-exec, SO_REUSEADDR, backlog 4096. fd or -errno. */
int listen_tcp(const struct listen_addr *a, const struct listen_tcp_opts *o);
/* A bound UDP socket, non-blocking, SO_REUSEPORT if asked. fd or -errno. */
int listen_udp(const struct listen_addr *a, bool reuseport);

/* IPv4 as ::ffff:a.b.c.d, port in host order. */
void sockaddr_to_16(uint8_t ip[static 16], uint16_t *port, const struct sockaddr *sa);

#endif
