/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket: who gets it, what a client may do to it. */
#include "lib/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/control.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

#define LONG_LINES	20000

struct world {
	char dir[32], path[64];
	struct control *c;
	int sigfd;
	pthread_t thread;
	bool ended_by_request;
};

static int freed;

static bool more_lines(struct textbuf *out, void *state)
{
	int *n = state;

	if (!*n)
		return false;
	textbuf_printf(out, "line %d\n", (*n)--);
	return true;
}

static void count_and_free(void *state)
{
	free(state);
	__atomic_add_fetch(&freed, 1, __ATOMIC_SEQ_CST);
}

/* echo: the line back; long: LONG_LINES lines; end. */
static void handle(const char *line, size_t n, struct control_reply *ret, void *ctx)
{
	int *left;

	assert_string_equal("ctx", ctx);
	if (n == 4 && !memcmp(line, "long", 4)) {
		left = malloc(sizeof(*left));
		*left = LONG_LINES;
		ret->more = more_lines;
		ret->done = count_and_free;
		ret->state = left;
		return;
	}
	textbuf_put(&ret->out, line, n);
	textbuf_puts(&ret->out, "\n");
	ret->end = n == 3 && !memcmp(line, "end", 3);
}

static void *serve(void *arg)
{
	struct world *w = arg;

	w->ended_by_request = !control_serve(w->c, w->sigfd);
	return NULL;
}

static int open_at(const char *path, struct control **ret, uint64_t timeout_ns, char *err, size_t n)
{
	struct control_opts o = { .path = path, .handle = handle, .ctx = (char *)"ctx", .timeout_ns = timeout_ns };

	return control_open(ret, &o, err, n);
}

static struct world *start_with(uint64_t timeout_ns)
{
	struct world *w = calloc(1, sizeof(*w));
	char err[256];

	snprintf(w->dir, sizeof(w->dir), "/tmp/ctl-XXXXXX");	/* mkdtemp fills it in */
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->path, sizeof(w->path), "%s/s", w->dir);
	if (open_at(w->path, &w->c, timeout_ns, err, sizeof(err)))
		fail_msg("%s", err);
	w->sigfd = eventfd(0, EFD_CLOEXEC);
	pthread_create(&w->thread, NULL, serve, w);
	return w;
}

static int start(void **state)
{
	*state = start_with(0);
	return 0;
}

static int start_impatient(void **state)
{
	*state = start_with(20 * NS_PER_MS);
	return 0;
}

static int stop(void **state)
{
	struct world *w = *state;
	struct stat st;

	eventfd_write(w->sigfd, 1);
	pthread_join(w->thread, NULL);
	control_close(w->c);
	assert_int_equal(-1, stat(w->path, &st));
	close(w->sigfd);
	rmdir(w->dir);
	free(w);
	return 0;
}

static int dial(const struct world *w)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", w->path);
	assert_int_equal(0, connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal((ssize_t)strlen(text), send(fd, text, strlen(text), MSG_NOSIGNAL));
}

/* Everything up to the end. */
static size_t hear(int fd, char *buf, size_t n)
{
	size_t len = 0;
	ssize_t r;

	while (len < n - 1 && (r = read(fd, buf + len, n - 1 - len)) > 0)
		len += (size_t)r;
	buf[len] = '\0';
	return len;
}

static void mode_and_answer(void **state)
{
	struct stat st;
	char buf[64];
	int fd;

	assert_int_equal(0, stat(((struct world *)*state)->path, &st));
	assert_int_equal(S_IFSOCK | 0660, st.st_mode);
	fd = dial(*state);
	say(fd, "hel");
	say(fd, "lo\nignored");
	hear(fd, buf, sizeof(buf));
	assert_string_equal("hello\n", buf);
	close(fd);
}

static void long_answer_to_a_slow_reader(void **state)
{
	int fd = dial(*state), size = 4096, lines = 0;
	char *buf = malloc(LONG_LINES * 16);

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	say(fd, "long\n");
	hear(fd, buf, LONG_LINES * 16);
	for (const char *p = buf; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(LONG_LINES, lines);
	assert_non_null(strstr(buf, "\nline 1\n"));
	free(buf);
	close(fd);
}

static void reader_that_leaves(void **state)
{
	int fd = dial(*state), before = __atomic_load_n(&freed, __ATOMIC_SEQ_CST);

	say(fd, "long\n");
	close(fd);
	while (__atomic_load_n(&freed, __ATOMIC_SEQ_CST) == before)
		usleep(1000);
}

static void too_long(void **state)
{
	char *line = malloc(CONTROL_MAX_REQUEST + 1), buf[128];
	int fd = dial(*state);

	memset(line, 'x', CONTROL_MAX_REQUEST);
	line[CONTROL_MAX_REQUEST] = '\0';
	say(fd, line);
	hear(fd, buf, sizeof(buf));
	assert_string_equal("{\"error\": \"the request is too long\"}\n", buf);
	free(line);
	close(fd);
}

/* All places taken by clients that say nothing: the next one is served when their time is up. */
static void silent_clients_leave(void **state)
{
	int fds[CONTROL_MAX_CONNS + 2], last;
	char buf[16];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = dial(*state);
	last = dial(*state);
	say(last, "hi\n");
	hear(last, buf, sizeof(buf));
	assert_string_equal("hi\n", buf);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		assert_int_equal(0, hear(fds[i], buf, sizeof(buf)));
		close(fds[i]);
	}
	close(last);
}

static void end_is_heard_at_the_end(void **state)
{
	struct world *w = *state;
	int fd = dial(w);
	char buf[16];

	say(fd, "end\n");
	pthread_join(w->thread, NULL);
	assert_true(w->ended_by_request);
	assert_int_equal(4, recv(fd, buf, sizeof(buf), 0));
	assert_int_equal(-1, recv(fd, buf, sizeof(buf), MSG_DONTWAIT));
	assert_int_equal(EAGAIN, errno);
	pthread_create(&w->thread, NULL, serve, w);
	stop(state);
	assert_int_equal(0, recv(fd, buf, sizeof(buf), 0));
	close(fd);
}

static void live_owner_is_left_alone(void **state)
{
	struct world *w = *state;
	struct control *second;
	char err[256], buf[16];
	int fd;

	assert_int_equal(-EADDRINUSE, open_at(w->path, &second, 0, err, sizeof(err)));
	assert_non_null(strstr(err, "another relay answers at"));
	assert_non_null(strstr(err, "--control-socket"));
	fd = dial(w);
	say(fd, "still\n");
	hear(fd, buf, sizeof(buf));
	assert_string_equal("still\n", buf);
	close(fd);
}

static void dead_owner_is_replaced(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/ctl-XXXXXX", err[256];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct control *c;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", dir);
	assert_int_equal(0, bind(fd, (struct sockaddr *)&addr, sizeof(addr)));
	close(fd);
	assert_int_equal(0, open_at(addr.sun_path, &c, 0, err, sizeof(err)));
	control_close(c);
	rmdir(dir);
}

static void a_file_is_left_alone(void **state)
{
	char path[] = "/tmp/ctl-XXXXXX", err[256];
	struct control *c;
	struct stat st;

	(void)state;
	close(mkstemp(path));
	assert_int_equal(-ENOTSOCK, open_at(path, &c, 0, err, sizeof(err)));
	assert_non_null(strstr(err, "is no socket"));
	assert_int_equal(0, stat(path, &st));
	unlink(path);
}

static void directories_are_made(void **state)
{
	char dir[] = "/tmp/ctl-XXXXXX", path[64], err[256];
	struct control *c;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/run/s", dir);
	assert_int_equal(0, open_at(path, &c, 0, err, sizeof(err)));
	control_close(c);
	*strrchr(path, '/') = '\0';
	rmdir(path);
	rmdir(dir);
}

static void path_too_long(void **state)
{
	struct control *c;
	char path[200], err[512];

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(-ENAMETOOLONG, open_at(path, &c, 0, err, sizeof(err)));
	assert_non_null(strstr(err, "at most 107 bytes"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(mode_and_answer, start, stop),
		cmocka_unit_test_setup_teardown(long_answer_to_a_slow_reader, start, stop),
		cmocka_unit_test_setup_teardown(reader_that_leaves, start, stop),
		cmocka_unit_test_setup_teardown(too_long, start, stop),
		cmocka_unit_test_setup_teardown(silent_clients_leave, start_impatient, stop),
		cmocka_unit_test_setup(end_is_heard_at_the_end, start),
		cmocka_unit_test_setup_teardown(live_owner_is_left_alone, start, stop),
		cmocka_unit_test(dead_owner_is_replaced),
		cmocka_unit_test(a_file_is_left_alone),
		cmocka_unit_test(directories_are_made),
		cmocka_unit_test(path_too_long),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
