/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The relay answers at once; a drain takes up to its --drain-timeout, at most 10 min. */
#define PATIENCE_S	660

static void explain(char *err, size_t errlen, const char *path, int why)
{
	if (why == ENOENT || why == ECONNREFUSED)
		snprintf(err, errlen, "no relay answers at %s: start xderpd, or name its socket with --socket (it logs "
			 "name=control when it starts)", path);
	else if (why == EACCES)
		snprintf(err, errlen, "no access to %s: only root and the user the relay runs as may ask", path);
	else
		snprintf(err, errlen, "%s: %s", path, strerror(why));
}

static int connect_to(const char *path)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, err;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -errno;
	if (!setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) &&
	    !setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) &&
	    !connect(fd, (const struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

FILE *link_ask(const char *path, const json_t *request, char *err, size_t errlen)
{
	int fd = connect_to(path);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");

	if (!f) {
		explain(err, errlen, path, fd < 0 ? -fd : errno);
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	/* A relay that refuses whoever we are has already answered and closed: read that. */
	if (!json_dumpfd(request, fd, JSON_COMPACT))
		(void)!send(fd, "\n", 1, MSG_NOSIGNAL);
	return f;
}

json_t *link_next(FILE *link, char *err, size_t errlen)
{
	json_error_t e;
	json_t *v = NULL;
	char *line = NULL;
	size_t cap = 0;
	ssize_t n = getline(&line, &cap, link);

	snprintf(err, errlen, "%s", n == -1 && ferror(link) ? strerror(errno) : "");
	if (n > 0) {
		v = json_loadb(line, (size_t)n, 0, &e);
		if (!v)
			snprintf(err, errlen, "the relay's answer is not JSON: %s", e.text);
	}
	free(line);
	return v;
}
