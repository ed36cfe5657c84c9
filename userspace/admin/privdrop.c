/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/privdrop.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A small container may have no list of users: nobody has this number everywhere. */
static const struct passwd *default_user(void)
{
	static const struct passwd nobody = { .pw_name = "nobody", .pw_uid = 65534, .pw_gid = 65534 };
	const struct passwd *pw = getpwnam("xderp");

	if (!pw)
		pw = getpwnam("nobody");
	return pw ? pw : &nobody;
}

int account_find(struct account *ret, const char *user, char *err, size_t errlen)
{
	bool root = geteuid() == 0;
	const struct passwd *pw;

	*ret = (struct account){ .uid = geteuid(), .gid = getegid() };
	pw = *user ? getpwnam(user) : root ? default_user() : getpwuid(ret->uid);
	if (!pw && !*user && !root)
		return 0;
	if (!pw) {
		snprintf(err, errlen, "--user: there is no user %s; useradd --system it, or --user=root to stay root", user);
		return -ENOENT;
	}
	if (!root && pw->pw_uid != ret->uid) {
		snprintf(err, errlen, "--user=%s needs to be started as root", user);
		return -EPERM;
	}
	ret->uid = pw->pw_uid;
	ret->gid = pw->pw_gid;
	ret->change = pw->pw_uid != geteuid();
	snprintf(ret->name, sizeof(ret->name), "%s", pw->pw_name);
	return 0;
}

static int become(const struct account *a)
{
	/* Keys are locked in memory; without CAP_IPC_LOCK there is a limit. */
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_MEMLOCK, &all);
	/* The bounding set ends with the first number the kernel does not know. */
	for (unsigned long cap = 0; !prctl(PR_CAPBSET_DROP, cap); cap++)
		;
	if (setgroups(0, NULL) || setresgid(a->gid, a->gid, a->gid) || setresuid(a->uid, a->uid, a->uid))
		return -errno;
	return 0;
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[2] = { 0 };

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &h, none) ? -errno : 0;
}

/* What must fail now. */
static bool way_back(const struct account *a)
{
	return a->change && (!setresuid(0, 0, 0) || !setresgid(0, 0, 0) || !setgroups(0, NULL));
}

int privdrop(const struct account *a, char *err, size_t errlen)
{
	int e = a->change ? become(a) : 0;

	if (!e && a->uid)
		e = drop_capabilities();
	if (!e && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		e = -errno;
	if (!e && way_back(a))
		e = -EACCES;
	if (e)
		snprintf(err, errlen, "can't become user %s: %s; --user=root stays root", a->name, strerror(-e));
	return e;
}
