/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/challenge.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_MAX	128
#define ANSWER_MAX	1024	/* token, point and thumbprint are under 200 */

static bool is_token(struct view v)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

	for (size_t i = 0; i < v.n; i++)
		if (!v.p[i] || !strchr(allowed, v.p[i]))
			return false;
	return v.n > 0 && v.n <= TOKEN_MAX;
}

/* O_NONBLOCK: a FIFO must not hold us up. */
static int open_token(const char *dir, struct view token)
{
	char name[TOKEN_MAX + 1];
	int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), fd;

	if (at == -1)
		return -1;
	memcpy(name, token.p, token.n);
	name[token.n] = '\0';
	fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	close(at);
	return fd;
}

bool challenge_answer(struct textbuf *out, const char *dir, struct view token)
{
	char text[ANSWER_MAX];
	struct stat st;
	ssize_t n = -1;
	int fd;

	if (!is_token(token))
		return false;
	fd = open_token(dir, token);
	if (fd == -1)
		return false;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size <= ANSWER_MAX)
		n = read(fd, text, sizeof(text));
	close(fd);
	if (n > 0)
		textbuf_put(out, text, (size_t)n);
	return n > 0;
}
