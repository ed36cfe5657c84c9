/* SPDX-License-Identifier: BSD-3-Clause */
/* The system calls of a running relay. A call that is not here fails with ENOSYS, so that a C library newer than this list takes its
 * older way; what only an intruder would call ends the process. What goes through io_uring is not seen here: the rings restrict
 * themselves (net/uring.c). */
#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "admin/privdrop.h"
#include "base/util.h"

#define CALL(name)	SCMP_SYS(name)

static const int allowed[] = {
	/* memory; mapping libraries too: name resolution loads some when it is first used */
	CALL(mmap), CALL(munmap), CALL(mremap), CALL(mprotect), CALL(madvise), CALL(brk), CALL(mlock),
	/* threads, their locks and their end; clone has a rule of its own */
	CALL(futex), CALL(set_robust_list), CALL(rseq), CALL(exit), CALL(exit_group), CALL(sched_yield),
	CALL(sched_getaffinity), CALL(sched_setaffinity), CALL(gettid), CALL(getpid), CALL(getuid), CALL(geteuid), CALL(getgid), CALL(getegid),
	CALL(prctl), CALL(restart_syscall), CALL(wait4),
	/* abort() */
	CALL(tgkill), CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(sigaltstack),
	/* clocks and chance */
	CALL(clock_gettime), CALL(clock_getres), CALL(gettimeofday), CALL(time), CALL(nanosleep), CALL(clock_nanosleep),
	CALL(getrandom),
	/* rings, epoll, what the main thread waits with */
	CALL(io_uring_setup), CALL(io_uring_enter), CALL(io_uring_register), CALL(epoll_create1), CALL(epoll_ctl),
	CALL(epoll_wait), CALL(epoll_pwait), CALL(epoll_pwait2), CALL(eventfd2), CALL(poll), CALL(ppoll), CALL(select),
	CALL(pselect6),
	/* sockets; socket has a rule of its own */
	CALL(accept4), CALL(connect), CALL(bind), CALL(sendto), CALL(sendmsg), CALL(sendmmsg), CALL(recvfrom),
	CALL(recvmsg), CALL(recvmmsg), CALL(shutdown), CALL(getsockname), CALL(getpeername), CALL(getsockopt),
	CALL(setsockopt),
	/* files: certificates again, resolver configuration, /proc/self; the log; pins and sockets are removed at the end */
	CALL(open), CALL(openat), CALL(close), CALL(close_range), CALL(read), CALL(readv), CALL(pread64), CALL(write),
	CALL(writev), CALL(lseek), CALL(fstat), CALL(stat), CALL(lstat), CALL(newfstatat), CALL(fstatat64), CALL(statx), CALL(statfs),
	CALL(fstatfs), CALL(access), CALL(faccessat), CALL(faccessat2), CALL(readlink), CALL(readlinkat), CALL(getdents64),
	CALL(getcwd), CALL(fcntl), CALL(ioctl), CALL(dup), CALL(unlink), CALL(unlinkat),
	/* the process looks at itself */
	CALL(uname), CALL(sysinfo), CALL(getrusage), CALL(getrlimit), CALL(prlimit64),
};

static const int fatal[] = {
	CALL(execve), CALL(execveat), CALL(ptrace), CALL(process_vm_readv), CALL(process_vm_writev), CALL(init_module),
	CALL(finit_module), CALL(mount), CALL(kexec_load),
};

static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };

/* On maps that are held: no program and no map is made any more. */
static const int bpf_commands[] = {
	BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_MAP_DELETE_ELEM, BPF_MAP_GET_NEXT_KEY, BPF_MAP_LOOKUP_BATCH,
	BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH, BPF_OBJ_GET_INFO_BY_FD,
};

static int rules(scmp_filter_ctx f)
{
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(allowed); i++)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; !err && i < ARRAY_SIZE(fatal); i++)
		err = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, fatal[i], 0);
	for (size_t i = 0; !err && i < ARRAY_SIZE(families); i++)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(socket), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]));
	for (size_t i = 0; !err && i < ARRAY_SIZE(bpf_commands); i++)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(bpf), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)bpf_commands[i]));
	/* Threads, no processes. The flags of clone3 can't be seen: it gets ENOSYS, and the C library takes clone. */
	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	return err;
}

int seccomp_on(char *why, size_t len)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	int err = -ENOMEM;

	if (f)
		err = rules(f);
	/* A tree: the number of comparisons grows with the logarithm of the list. */
	if (!err)
		seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!err)
		err = seccomp_load(f);
	seccomp_release(f);
	if (err)
		snprintf(why, len, "the kernel takes no filter: %s", strerror(-err));
	return err;
}
