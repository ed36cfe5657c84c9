/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/opener.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FLAGS	(O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)	/* a FIFO must not hold us up */
#define NAME	"xderp-opener"	/* "pidof xderpd" shall find the relay only */

struct opener {
	int fd;
	pid_t pid;
	pthread_mutex_t lock;
	unsigned int n;
	char *paths[OPENER_MAX];	/* owned */
};

/* --- the other process */

static bool can_read(const struct opener *o)
{
	int fd;

	for (unsigned int i = 0; i < o->n; i++) {
		fd = open(o->paths[i], FLAGS);
		if (fd == -1)
			return false;
		close(fd);
	}
	return true;
}

static int keep_one_capability(uid_t uid, gid_t gid)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = {
		{ .effective = 1U << CAP_DAC_READ_SEARCH, .permitted = 1U << CAP_DAC_READ_SEARCH },
	};

	if (prctl(PR_SET_KEEPCAPS, 1) || setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid) ||
	    syscall(SYS_capset, &h, d) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return 0;
}

/* err, and a descriptor if there is one. */
static int answer(int to, int err, int fd)
{
	union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } ctl = { .h = { 0 } };
	struct iovec iov = { &err, sizeof(err) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		m.msg_control = &ctl;
		m.msg_controllen = sizeof(ctl);
		ctl.h = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&ctl.h), &fd, sizeof(fd));
	}
	return sendmsg(to, &m, MSG_NOSIGNAL) == -1 ? -errno : 0;
}

static void serve(const struct opener *o)
{
	uint8_t i;
	int fd, err;

	while (recv(o->fd, &i, 1, 0) == 1 && i < o->n) {
		fd = open(o->paths[i], FLAGS);
		err = answer(o->fd, fd == -1 ? -errno : 0, fd);
		if (fd >= 0)
			close(fd);
		if (err)
			return;
	}
}

static void __attribute__((noreturn)) be_opener(struct opener *o, uid_t uid, gid_t gid)
{
	int err;

	prctl(PR_SET_NAME, NAME);
	strncpy(program_invocation_name, NAME, strlen(program_invocation_name));
	/* Nothing of the relay is held: not its sockets, not its locks. */
	if (dup2(o->fd, 3) == -1 || syscall(SYS_close_range, 4U, ~0U, 0U))
		_exit(1);
	o->fd = 3;
	if (setgroups(0, NULL) || setegid(gid) || seteuid(uid))
		_exit(1);
	err = can_read(o) ? 1 : 0;
	if (!err && (seteuid(0) || setegid(0)))
		_exit(1);
	if (!err)
		err = keep_one_capability(uid, gid);
	if (!answer(o->fd, err, -1) && !err)
		serve(o);
	_exit(0);
}

/* --- our side */

static int ask(struct opener *o, int *fd)
{
	union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } ctl;
	int err;
	struct iovec iov = { &err, sizeof(err) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ctl, .msg_controllen = sizeof(ctl) };

	if (recvmsg(o->fd, &m, MSG_CMSG_CLOEXEC) != sizeof(err))
		return -EPIPE;		/* it died */
	if (m.msg_controllen >= CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(&ctl.h), sizeof(*fd));
	return err;
}

void opener_stop(struct opener *o)
{
	if (!o)
		return;
	if (o->fd >= 0)
		close(o->fd);
	if (o->pid > 0)
		waitpid(o->pid, NULL, 0);
	for (unsigned int i = 0; i < o->n; i++)
		free(o->paths[i]);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

static int start(struct opener *o, uid_t uid, gid_t gid)
{
	int pair[2], none;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	o->pid = fork();
	o->fd = pair[o->pid == 0];
	if (o->pid == 0)
		be_opener(o, uid, gid);
	close(pair[1]);
	return o->pid == -1 ? -errno : ask(o, &none);
}

int opener_start(struct opener **ret, const char *const *paths, unsigned int n, uid_t uid, gid_t gid)
{
	struct opener *o = calloc(1, sizeof(*o));
	int err = -ENOMEM;

	*ret = NULL;
	if (!o)
		return err;
	o->fd = -1;
	pthread_mutex_init(&o->lock, NULL);
	for (; o->n < n && o->n < OPENER_MAX; o->n++) {
		o->paths[o->n] = strdup(paths[o->n]);
		if (!o->paths[o->n])
			goto fail;
	}
	err = start(o, uid, gid);
	if (!err) {
		*ret = o;
		return 0;
	}
fail:
	opener_stop(o);
	return err > 0 ? 0 : err;
}

int opener_open(struct opener *o, const char *path)
{
	int fd = open(path, FLAGS), err;
	uint8_t i;

	if (fd >= 0)
		return fd;
	err = -errno;
	if (err != -EACCES || !o)
		return err;
	for (i = 0; i < o->n && strcmp(o->paths[i], path); i++)
		;
	if (i == o->n)
		return err;
	pthread_mutex_lock(&o->lock);
	err = send(o->fd, &i, 1, MSG_NOSIGNAL) == 1 ? ask(o, &fd) : -EPIPE;
	pthread_mutex_unlock(&o->lock);
	return err ? err : fd;
}
