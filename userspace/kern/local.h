/* SPDX-License-Identifier: BSD-3-Clause */
/* derp_local, kept in step with the addresses of this machine. Main thread. */
#ifndef XDERP_LOCAL_H
#define XDERP_LOCAL_H

#include <stdbool.h>
#include <stdint.h>

struct local_interface {
	uint32_t ifindex;
	bool stun;
};

struct local {
	int map;			/* borrowed */
	int watch;			/* netlink; -1: none */
	uint32_t round;
	uint8_t only[16];		/* the one address that counts; all zero: every one */
};

/* Start watching: SIGIO comes to the process when something may have changed. -errno. */
int local_open(struct local *l, int map, const uint8_t only[static 16]);
void local_close(struct local *l);

/* Something changed: nothing more to read from the watch. */
void local_drain(struct local *l);
/* Read all addresses, for packets that come by n interfaces. -errno; -E2BIG: the map is full. */
int local_sync(struct local *l, const struct local_interface *by, unsigned int n);

#endif
