/* SPDX-License-Identifier: BSD-3-Clause */
#include "kern/nic.h"

#include <linux/ethtool.h>
#include <linux/if_vlan.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define VLAN_DRIVER	"802.1Q VLAN Support"	/* net/8021q/vlan_dev.c */

static bool ask(const char *name, void *what)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_data = what };
	bool ok;

	if (fd == -1)
		return false;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	ok = !ioctl(fd, SIOCETHTOOL, &ifr);
	close(fd);
	return ok;
}

static bool has_driver(const char *name, const char *driver)
{
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };

	return ask(name, &info) && !strncmp(info.driver, driver, sizeof(info.driver));
}

static bool lies_on(const char *vlan, const char *name)
{
	struct vlan_ioctl_args args = { .cmd = GET_VLAN_REALDEV_NAME_CMD };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool yes;

	if (fd == -1)
		return false;
	snprintf(args.device1, sizeof(args.device1), "%s", vlan);
	yes = !ioctl(fd, SIOCGIFVLAN, &args) && !strcmp(args.u.device2, name);
	close(fd);
	return yes;
}

bool nic_has_vlans(const char *name)
{
	struct if_nameindex *all = if_nameindex();
	bool found = false;

	for (struct if_nameindex *i = all; i && i->if_index && !found; i++)
		found = has_driver(i->if_name, VLAN_DRIVER) && lies_on(i->if_name, name);
	if (all)
		if_freenameindex(all);
	return found;
}

/* A veth hands over what the other end sends: tags beside the packet, whatever it says here. */
bool nic_strips_tags(const char *name)
{
	struct ethtool_value v = { .cmd = ETHTOOL_GFLAGS };

	return has_driver(name, "veth") || (ask(name, &v) && v.data & ETH_FLAG_RXVLAN);
}
