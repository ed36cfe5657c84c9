/* SPDX-License-Identifier: BSD-3-Clause */
/* What is gone after privileges are dropped, tried in a child each: an answer of 0 is success of the attempt. As root;
 * elsewhere only what needs none. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "admin/privdrop.h"
#include "base/opener.h"
#include "base/util.h"

static int result(int r)
{
	return r == -1 ? errno : 0;
}

/* --- attempts: 0 or errno */

static int become_root(void)
{
	return result(setuid(0));
}

static int take_group(void)
{
	const gid_t g = 0;

	return result(setgroups(1, &g));
}

static int low_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd == -1 ? errno : result(bind(fd, (struct sockaddr *)&a, sizeof(a)));
}

static int high_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd == -1 ? errno : result(bind(fd, (struct sockaddr *)&a, sizeof(a)));
}

static int read_shadow(void)
{
	return result(open("/etc/shadow", O_RDONLY));
}

static int packet_socket(void)
{
	return result(socket(AF_PACKET, SOCK_RAW, 0));
}

static int make_map(void)
{
	union bpf_attr a = { .map_type = BPF_MAP_TYPE_HASH, .key_size = 4, .value_size = 4, .max_entries = 1 };

	return result((int)syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof(a)));
}

/* The filter lets updates of maps through: they fail for want of a map. */
static int update_map(void)
{
	union bpf_attr a = { .map_fd = (__u32)-1 };

	return result((int)syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &a, sizeof(a)));
}

static int make_process(void)
{
	pid_t p = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (p == 0)
		_exit(0);
	return result(p);
}

static void *nothing(void *arg)
{
	return arg;
}

static int make_thread(void)
{
	pthread_t t;
	int err = pthread_create(&t, NULL, nothing, NULL);

	return err ? err : pthread_join(t, NULL);
}

static int run_program(void)
{
	char *argv[] = { "true", NULL };

	return result(execv("/bin/true", argv));
}

static int make_dir(void)
{
	return result(mkdir("/tmp/xderp-not-made", 0700));
}

#define KILLED	1000	/* by SIGSYS */

static const struct attempt {
	const char *name;
	int (*run)(void);
	bool filter;		/* with seccomp on, too */
	int want;
} attempts[] = {
	{ "become root again", become_root, false, EPERM },
	{ "take a group", take_group, false, EPERM },
	{ "bind a low port", low_port, false, EACCES },
	{ "bind a high port", high_port, false, 0 },
	{ "read what root may read", read_shadow, false, EACCES },
	{ "packet socket", packet_socket, false, EPERM },
	{ "make a BPF map", make_map, false, EPERM },
	{ "filter: become root again", become_root, true, ENOSYS },
	{ "filter: packet socket", packet_socket, true, ENOSYS },
	{ "filter: TCP socket", high_port, true, 0 },
	{ "filter: make a BPF map", make_map, true, ENOSYS },
	{ "filter: update a map", update_map, true, EBADF },
	{ "filter: make a process", make_process, true, ENOSYS },
	{ "filter: make a thread", make_thread, true, 0 },
	{ "filter: run a program", run_program, true, KILLED },
	{ "filter: make a directory", make_dir, true, ENOSYS },
};

/* In a child, because there is no way back. */
static int in_child(const struct attempt *a)
{
	pid_t pid = fork();
	struct account nobody;
	char err[256];
	int status;

	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		alarm(20);
		if (account_find(&nobody, "nobody", err, sizeof(err)) || privdrop(&nobody, err, sizeof(err)) ||
		    (a->filter && seccomp_on(err, sizeof(err)))) {
			fprintf(stderr, "%s\n", err);
			_exit(255);
		}
		syscall(SYS_exit_group, a->run());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? KILLED : -WTERMSIG(status);
	return WEXITSTATUS(status);
}

static void attempt(void **state)
{
	const struct attempt *a = *state;

	if (geteuid() != 0)
		skip();
	assert_int_equal(in_child(a), a->want);
}

/* --- who */

static void users(void **state)
{
	struct account a;
	char err[256] = "";
	bool root = geteuid() == 0;

	(void)state;
	assert_int_equal(account_find(&a, "", err, sizeof(err)), 0);
	assert_int_equal(a.change, root);
	assert_int_equal(account_find(&a, "no-such-user", err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "no-such-user"));
	if (!root) {
		assert_int_equal(account_find(&a, "root", err, sizeof(err)), -EPERM);
		return;
	}
	assert_int_equal(account_find(&a, "root", err, sizeof(err)), 0);
	assert_false(a.change);
	assert_int_equal(account_find(&a, "nobody", err, sizeof(err)), 0);
	assert_true(a.change && a.uid != 0 && a.gid != 0);
}

/* --- files that only root may read */

static int open_later(const char *file, const char *other)
{
	const char *const paths[] = { file };
	struct opener *o;
	struct account nobody;
	char err[256], text[8] = "";
	int fd, round;

	if (account_find(&nobody, "nobody", err, sizeof(err)) || opener_start(&o, paths, 1, nobody.uid, nobody.gid) || !o)
		return 1;
	if (privdrop(&nobody, err, sizeof(err)) || seccomp_on(err, sizeof(err)))
		return 2;
	for (round = 0; round < 3; round++) {
		fd = opener_open(o, file);
		if (fd < 0 || read(fd, text, sizeof(text)) != 6 || strncmp(text, "secret", 6))
			return 3;
		close(fd);
	}
	if (opener_open(o, other) != -EACCES)
		return 4;
	if (opener_open(o, "/no/such/file") != -ENOENT || opener_open(NULL, file) != -EACCES)
		return 5;
	opener_stop(o);
	return 0;
}

static void opener(void **state)
{
	char dir[] = "/tmp/xderp-opener.XXXXXX", file[64], other[64];
	int fd, status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(dir));		/* mode 0700 */
	snprintf(file, sizeof(file), "%s/key", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	fd = open(file, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "secret", 6), 6);
	close(fd);
	close(open(other, O_WRONLY | O_CREAT, 0600));
	pid = fork();
	if (pid == 0) {
		alarm(20);
		syscall(SYS_exit_group, open_later(file, other));
	}
	waitpid(pid, &status, 0);
	unlink(file);
	unlink(other);
	rmdir(dir);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* There is none where it is not needed. */
static void no_opener(void **state)
{
	const char *const paths[] = { "/etc/passwd" };
	struct opener *o = (void *)1;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(opener_start(&o, paths, 1, 65534, 65534), 0);
	assert_null(o);
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(attempts) + 3] = {
		cmocka_unit_test(users), cmocka_unit_test(opener), cmocka_unit_test(no_opener),
	};

	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++)
		t[3 + i] = (struct CMUnitTest){ attempts[i].name, attempt, NULL, NULL, (void *)&attempts[i] };
	return cmocka_run_group_tests(t, NULL, NULL);
}
