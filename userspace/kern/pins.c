/* SPDX-License-Identifier: BSD-3-Clause */
#include "kern/pins.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"

#define BPFFS	"/sys/fs/bpf"	/* where every distribution has it */
#define PREFIX	"derp_"

struct pins {
	int dir;		/* flock()ed */
	char path[];
};

void pins_explain(char *why, size_t len, const char *what, int err)
{
	snprintf(why, len, "can't %s: %s%s", what, strerror(-err),
		 err == -EPERM || err == -EACCES ? "; BPF needs root, or CAP_BPF with CAP_NET_ADMIN and a --bpffs directory of one's own" :
		 "");
}

static bool is_bpffs(const char *path)
{
	struct statfs st;

	return !statfs(path, &st) && st.f_type == BPF_FS_MAGIC;
}

/* systemd mounts it at boot; elsewhere nobody may have. As root, bpftool and iproute2 do the same. */
static void mount_bpffs(const char *path)
{
	if (strncmp(path, BPFFS "/", sizeof(BPFFS)) || is_bpffs(BPFFS))
		return;
	if (!mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
		log_event(LOG_LEVEL_INFO, "bpffs_mounted", "dir=%s", BPFFS);
}

static int make_dir(const char *path, char *why, size_t len)
{
	bool made;

	mount_bpffs(path);
	made = !mkdir(path, 0700);
	if (!made && errno != EEXIST) {
		int err = -errno;

		pins_explain(why, len, "make the directory for BPF maps (--bpffs)", err);
		return err;
	}
	if (is_bpffs(path))
		return 0;
	if (made)
		rmdir(path);
	snprintf(why, len, "--bpffs: %s is not in a BPF file system; mount -t bpf bpf " BPFFS, path);
	return -ENOTDIR;
}

/* Nobody holds the lock, so nobody lives who could miss these. Other things in the directory are not ours. */
static void remove_pins(struct pins *p, bool left_over)
{
	int fd = openat(p->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	unsigned int n = 0;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(d)))
		if (!strncmp(e->d_name, PREFIX, sizeof(PREFIX) - 1) && !unlinkat(p->dir, e->d_name, 0))
			n++;
	closedir(d);
	if (n && left_over)
		log_event(LOG_LEVEL_INFO, "bpf_pins_replaced", "dir=%s pins=%u left_by=%s", p->path, n, "a daemon that died");
}

int pins_open(struct pins **ret, const char *dir, char *why, size_t len)
{
	size_t size = strlen(dir) + 1;
	struct pins *p;
	int err;

	err = make_dir(dir, why, len);
	if (err)
		return err;
	p = malloc(sizeof(*p) + size);
	if (!p) {
		snprintf(why, len, "out of memory");
		return -ENOMEM;
	}
	memcpy(p->path, dir, size);
	p->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->dir == -1) {
		err = -errno;
		pins_explain(why, len, "open the directory for BPF maps (--bpffs)", err);
		free(p);
		return err;
	}
	if (flock(p->dir, LOCK_EX | LOCK_NB)) {
		err = -errno;
		snprintf(why, len, "another xderpd has its BPF maps in %s; give this one a --bpffs directory of its own", dir);
		close(p->dir);
		free(p);
		return err;
	}
	remove_pins(p, true);
	*ret = p;
	return 0;
}

int pins_add(struct pins *p, int fd, const char *name, char *why, size_t len)
{
	char path[4096], what[64];
	int err;

	snprintf(path, sizeof(path), "%s/%s", p->path, name);
	err = bpf_obj_pin(fd, path);
	if (!err)
		return 0;
	snprintf(what, sizeof(what), "pin %s", name);
	pins_explain(why, len, what, err);
	return err;
}

void pins_give(struct pins *p, uid_t uid, gid_t gid)
{
	if (fchown(p->dir, uid, gid))
		log_event(LOG_LEVEL_WARN, "bpf_pins_stay", "dir=%s error=%s", p->path, strerror(errno));
}

void pins_close(struct pins *p)
{
	if (!p)
		return;
	remove_pins(p, false);
	close(p->dir);
	free(p);
}
