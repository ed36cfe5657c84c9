/* SPDX-License-Identifier: BSD-3-Clause */
#include "kern/local.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "derp_maps.h"

int local_open(struct local *l, int map, const uint8_t only[static 16])
{
	struct sockaddr_nl nl = {
		.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
	};

	*l = (struct local){ .map = map };
	memcpy(l->only, only, sizeof(l->only));
	l->watch = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (l->watch == -1)
		return -errno;
	if (bind(l->watch, (struct sockaddr *)&nl, sizeof(nl)) || fcntl(l->watch, F_SETOWN, getpid()) ||
	    fcntl(l->watch, F_SETSIG, SIGIO) || fcntl(l->watch, F_SETFL, O_NONBLOCK | O_ASYNC)) {
		int err = -errno;

		local_close(l);
		return err;
	}
	return 0;
}

void local_close(struct local *l)
{
	if (l->watch >= 0)
		close(l->watch);
	l->watch = -1;
}

/* What it says does not matter, nor what it lost (ENOBUFS): everything is read anew. */
void local_drain(struct local *l)
{
	char buf[8192];

	while (recv(l->watch, buf, sizeof(buf), 0) > 0 || errno == ENOBUFS)
		;
}

static bool to_16(uint8_t ip[static 16], const struct sockaddr *sa)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (sa && sa->sa_family == AF_INET6) {
		memcpy(ip, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
		return true;
	}
	if (!sa || sa->sa_family != AF_INET)
		return false;
	memcpy(ip, mapped, sizeof(mapped));
	memcpy(ip + 12, &((const struct sockaddr_in *)sa)->sin_addr, 4);
	return true;
}

/* Loopback and link-local addresses count on their own interface only. */
static bool reaches(const struct ifaddrs *a, uint32_t ifindex)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a->ifa_addr;
	const struct sockaddr_in *in = (const struct sockaddr_in *)a->ifa_addr;
	bool own = if_nametoindex(a->ifa_name) == ifindex;

	if (a->ifa_addr->sa_family == AF_INET)
		return own || ntohl(in->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET;
	return own || !(IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) || IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr));
}

static bool counts(const struct local *l, const uint8_t ip[static 16])
{
	static const uint8_t any[16];

	return !memcmp(l->only, any, sizeof(any)) || !memcmp(l->only, ip, sizeof(l->only));
}

static int enter(const struct local *l, const struct ifaddrs *a, const struct local_interface *by)
{
	struct derp_local_key key = { .ifindex = by->ifindex };
	struct derp_local v;

	memset(&v, 0, sizeof(v));
	v.round = l->round;
	v.stun = by->stun;
	if (!(a->ifa_flags & IFF_UP) || !to_16(key.ip, a->ifa_addr) || !counts(l, key.ip) || !reaches(a, by->ifindex))
		return 0;
	return bpf_map_update_elem(l->map, &key, &v, BPF_ANY);
}

static void remove_older(const struct local *l)
{
	struct derp_local_key key, next;
	struct derp_local v;
	bool more = !bpf_map_get_next_key(l->map, NULL, &next);

	while (more) {
		key = next;
		more = !bpf_map_get_next_key(l->map, &key, &next);
		if (!bpf_map_lookup_elem(l->map, &key, &v) && v.round != l->round)
			bpf_map_delete_elem(l->map, &key);
	}
}

int local_sync(struct local *l, const struct local_interface *by, unsigned int n)
{
	struct ifaddrs *all;
	int err = 0;

	if (getifaddrs(&all))
		return -errno;
	l->round++;
	for (struct ifaddrs *a = all; a; a = a->ifa_next)
		for (unsigned int i = 0; i < n; i++)
			if (enter(l, a, &by[i]))
				err = -E2BIG;
	freeifaddrs(all);
	remove_older(l);
	return err;
}
