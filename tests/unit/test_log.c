/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdarg.h>
#include <setjmp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static int real_stderr;
static int pipe_fd[2];

static void capture(void)
{
	assert_int_equal(pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK), 0);
	real_stderr = dup(STDERR_FILENO);
	dup2(pipe_fd[1], STDERR_FILENO);
}

static char *captured(void)
{
	static char text[65536];
	ssize_t n = read(pipe_fd[0], text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = '\0';
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	return text;
}

#define assert_logs(want, ...) do {						\
	capture();								\
	log_event(LOG_LEVEL_INFO, "ev", __VA_ARGS__);				\
	assert_string_equal(captured(), "level=info event=ev " want "\n");	\
} while (0)

static void values_are_escaped(void **state)
{
	char *volatile nothing = NULL;	/* hidden from the compiler, which warns */

	(void)state;
	assert_logs("a=plain", "a=%s", "plain");
	assert_logs("a=[::1]:443 b=2", "a=%s b=%d", "[::1]:443", 2);
	assert_logs("a=\"\"", "a=%s", "");
	assert_logs("a=\"two words\"", "a=%s", "two words");
	assert_logs("a=\"x=y\"", "a=%s", "x=y");
	assert_logs("a=\"say \\\"hi\\\"\"", "a=%s", "say \"hi\"");
	assert_logs("a=\"back\\\\slash\"", "a=%s", "back\\slash");
	assert_logs("a=\"x\\nlevel=error event=forged\"", "a=%s", "x\nlevel=error event=forged");
	assert_logs("a=\"\\x1b[31m\\x7f\\xff\\x0d\"", "a=%s", "\x1b[31m\x7f\xff\r");
	assert_logs("a=(null)", "a=%s", nothing);
	assert_logs("c=x d=\" \"", "c=%c d=%c", 'x', ' ');
}

static void precision_bounds_the_read(void **state)
{
	char *p = test_malloc(3);

	(void)state;
	memcpy(p, "abc", 3);	/* no terminator */
	assert_logs("a=abc b=1", "a=%.*s b=%d", 3, p, 1);
	assert_logs("a=ab", "a=%.2s", p);
	assert_logs("a=\"\"", "a=%.*s", 0, p);
	assert_logs("a=abc b=2", "a=%.*s b=%d", -1, "abc", 2);
	test_free(p);
}

static void numbers(void **state)
{
	(void)state;
	assert_logs("-1 4294967295 ff 0XFF 07", "%d %u %x %#X %02i", -1, UINT32_MAX, 255, 255, 7);
	assert_logs("-5 5 -6 6", "%ld %lu %lld %llu", -5L, 5UL, -6LL, 6ULL);
	assert_logs("7 -8 100%", "%zu %zd 100%%", (size_t)7, (ssize_t)-8);
	assert_logs("18446744073709551615", "%" PRIu64, UINT64_MAX);
	assert_logs("ffffffffffffffff", "%" PRIx64, UINT64_MAX);
	assert_logs("1.500000 2.25 3.1", "%f %.2f %.*f", 1.5, 2.25, 1, 3.14);
	assert_logs("[   42] [42   ]", "[%5d] [%-*d]", 42, 5, 42);
	assert_logs("200 65535", "%hhu %hu", (unsigned char)200, (unsigned short)65535);
}

static void errno_is_kept(void **state)
{
	(void)state;
	capture();
	errno = ENOENT;
	log_event(LOG_LEVEL_WARN, "ev", "err=%m n=%d", 3);
	assert_int_equal(errno, ENOENT);
	assert_string_equal(captured(),
			    "level=warn event=ev err=\"No such file or directory\" n=3\n");
	capture();
	close(STDERR_FILENO);
	errno = ENOENT;
	log_event(LOG_LEVEL_WARN, "ev", "n=%d", 3);
	assert_int_equal(errno, ENOENT);
	captured();
}

static void levels(void **state)
{
	(void)state;
	capture();
	log_event(LOG_LEVEL_DEBUG, "quiet", "n=%d", 1);
	log_set_level(LOG_LEVEL_DEBUG);
	log_event(LOG_LEVEL_DEBUG, "loud", "n=%d", 2);
	log_set_level(LOG_LEVEL_ERROR);
	log_event(LOG_LEVEL_WARN, "quiet", "n=%d", 3);
	log_event(LOG_LEVEL_ERROR, "loud", "n=%d", 4);
	log_set_level(LOG_LEVEL_INFO);
	assert_string_equal(captured(),
			    "level=debug event=loud n=2\nlevel=error event=loud n=4\n");
}

/* Whatever the length, one line, and a cut one says so. */
static void long_lines_are_cut(void **state)
{
	static char big[5000];

	(void)state;
	for (size_t n = 1900; n < 2200; n++) {
		char *text;
		size_t got;

		memset(big, 'x', n);
		if (n & 1)
			big[n - 3] = '\n';
		big[n] = '\0';
		capture();
		log_event(LOG_LEVEL_INFO, "ev", "a=%s z=%d", big, 123456);
		text = captured();
		got = strlen(text);
		assert_true(got <= 2048);
		assert_ptr_equal(strchr(text, '\n'), text + got - 1);
		if (!strstr(text, "z=123456\n"))
			assert_string_equal(text + got - 4, "...\n");
		else
			assert_true(n < 2040);
	}
}

static void timestamp_without_journal(void **state)
{
	char *text;
	struct tm tm;
	char *end;

	(void)state;
	unsetenv("JOURNAL_STREAM");
	capture();
	log_event(LOG_LEVEL_INFO, "ev", "a=%d", 1);
	text = captured();
	setenv("JOURNAL_STREAM", "8:1", 1);
	end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	assert_non_null(end);
	assert_int_equal(end[0], '.');
	assert_string_equal(end + 4, "Z level=info event=ev a=1\n");
}

static void repeats_are_counted(void **state)
{
	struct log_limit l = { 0 };
	uint32_t suppressed = 99;

	(void)state;
	for (int i = 0; i < LOG_LIMIT_BURST; i++) {
		assert_true(log_limit_pass(&l, &suppressed));
		assert_int_equal(suppressed, 0);
	}
	for (int i = 0; i < 42; i++)
		assert_false(log_limit_pass(&l, &suppressed));
	l.window -= LOG_LIMIT_PERIOD_NS;	/* the period is over */
	assert_true(log_limit_pass(&l, &suppressed));
	assert_int_equal(suppressed, 42);
	assert_true(log_limit_pass(&l, &suppressed));
	assert_int_equal(suppressed, 0);
}

static void log_here(int i)
{
	log_limited(LOG_LEVEL_INFO, "often", "i=%d", i);
}

static void call_site_is_limited(void **state)
{
	char *text;
	int lines = 0;

	(void)state;
	capture();
	for (int i = 0; i < 100; i++)
		log_here(i);
	text = captured();
	for (; *text; text++)
		lines += *text == '\n';
	assert_int_equal(lines, LOG_LIMIT_BURST);
}

static struct log_limit shared;

static void *hammer(void *arg)
{
	uint32_t *passed = arg, suppressed;

	for (int i = 0; i < 20000; i++)
		*passed += log_limit_pass(&shared, &suppressed);
	return NULL;
}

static void threads_share_the_limit(void **state)
{
	uint32_t passed[4] = { 0 };
	pthread_t t[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hammer, &passed[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	/* A stall of a whole period opens another window; each lets exactly the burst through. */
	assert_int_equal((passed[0] + passed[1] + passed[2] + passed[3]) % LOG_LIMIT_BURST, 0);
	assert_true(shared.suppressed >= 4 * 20000 - 10 * LOG_LIMIT_BURST);
}

int main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test(values_are_escaped),
		cmocka_unit_test(precision_bounds_the_read),
		cmocka_unit_test(numbers),
		cmocka_unit_test(errno_is_kept),
		cmocka_unit_test(levels),
		cmocka_unit_test(long_lines_are_cut),
		cmocka_unit_test(timestamp_without_journal),
		cmocka_unit_test(repeats_are_counted),
		cmocka_unit_test(call_site_is_limited),
		cmocka_unit_test(threads_share_the_limit),
	};

	setenv("JOURNAL_STREAM", "8:1", 1);
	return cmocka_run_group_tests(t, NULL, NULL);
}
