/* SPDX-License-Identifier: BSD-3-Clause */
/* What an interface does with VLAN tags before XDP sees a packet. Needs no privilege. */
#ifndef XDERP_NIC_H
#define XDERP_NIC_H

#include <stdbool.h>

/* Are there VLANs on top of this interface, in our network namespace? */
bool nic_has_vlans(const char *name);
/* Does the driver take tags off and keep them beside the packet (ethtool calls it rxvlan)? */
bool nic_strips_tags(const char *name);

#endif
