/* SPDX-License-Identifier: BSD-3-Clause */
/* Flags in Go's syntax, settings and the sentences for wrong ones. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "admin/config.h"
#include "admin/flags.h"
#include "base/util.h"

#define MAX_ARGS	8

/* Runs config_parse with its complaints caught. The settings keep pointing to argv. */
static int parse(struct config *cfg, const char *const *args, char *said, size_t n)
{
	static char *argv[MAX_ARGS + 2] = { (char *)"xderpd" };
	FILE *f = tmpfile();
	int argc = 1, r;
	size_t k;

	for (; argc <= MAX_ARGS && args[argc - 1]; argc++)
		argv[argc] = (char *)args[argc - 1];
	r = config_parse(cfg, argc, argv, f);
	rewind(f);
	k = fread(said, 1, n - 1, f);
	said[k] = '\0';
	fclose(f);
	return r;
}

static const struct bad_case {
	const char *name;
	const char *args[MAX_ARGS];
	const char *says;
} bad[] = {
	{ "unknown flag", { "-hostnme", "x" }, "did you mean -hostname?" },
	{ "no value", { "-c", "k", "-a" }, "-a needs a value" },
	{ "left over", { "-c", "k", "-a", ":1", "relay" }, "\"relay\" is left over" },
	{ "boolean with a separate value", { "-c", "k", "-a", ":1", "-stun", "false" },
	  "\"false\" is left over: all settings are flags (-help lists them); did you mean -stun=false?" },
	{ "port", { "-stun-port", "70000" }, "-stun-port: \"70000\" is wrong; allowed: a port number from 1 to 65535" },
	{ "duration without unit", { "-tcp-write-timeout=2" }, "-tcp-write-timeout: \"2\" is wrong; allowed: a duration such as 2s" },
	{ "negative duration", { "-tcp-write-timeout=-2s" }, "-tcp-write-timeout" },
	{ "boolean", { "-stun=maybe" }, "-stun: \"maybe\" is wrong; allowed: true or false" },
	{ "choice", { "--io=kqueue" }, "allowed: one of auto, uring, epoll" },
	{ "size", { "--queue-memory=lots" }, "a size such as" },
	{ "size below its limit", { "--queue-memory=1" }, "from 4MiB to 1024GiB" },
	{ "not whole", { "--shards=1.5" }, "-shards: \"1.5\" is wrong" },
	{ "processors", { "-dev", "--shard-cpus=0,0" }, "--shard-cpus: \"0,0\" is no list of processors; write 0-3,8, each once" },
	{ "more processors than shards can be", { "-dev", "--shard-cpus=0-64" }, "at most 64" },
	{ "a processor that is not there", { "-dev", "--shard-cpus=1023" }, "may not use processor 1023" },
	{ "affinity to nothing", { "-dev", "--affinity=cpu" }, "--affinity=cpu needs --shard-cpus" },
	{ "home", { "-c", "k", "-a", ":1", "-home", "ftp://x" }, "-home: \"ftp://x\" is wrong" },
	{ "certificates on 443", { "-c", "k" }, "-certmode=letsencrypt needs -hostname, the name" },
	{ "gcp", { "-c", "k", "-certmode=gcp", "-hostname=derp.example.com" }, "-certmode=gcp is not supported: use -certmode=letsencrypt" },
	{ "no name for the CA", { "-c", "k" }, "-certmode=letsencrypt needs -hostname" },
	{ "no certificates for addresses", { "-c", "k", "-hostname=192.0.2.1" }, "-certmode=letsencrypt gives none for an IP address" },
	{ "nowhere to be asked", { "-c", "k", "-hostname=derp.example.com", "-http-port=-1" }, "-certmode=letsencrypt needs -http-port" },
	{ "networks", { "-dev", "--debug-cidrs=10.0.0.0/8,10/8" }, "\"10/8\" is wrong; allowed: addresses and networks" },
	{ "faults of values and of their meaning, first", { "-stun=maybe", "-c", "k", "-home", "x" }, "-stun" },
	{ "faults of values and of their meaning, second", { "-stun=maybe", "-c", "k", "-home", "x" }, "-home: \"x\"" },
	{ "behind an unknown flag with a value", { "-frobnicate", "x", "-stun=maybe" }, "-stun: \"maybe\" is wrong" },
	{ "version, but there is a fault", { "-version", "-stun=maybe" }, "-stun" },
	{ "all faults are said, first", { "-stun=maybe", "--io=kqueue" }, "-stun" },
	{ "all faults are said, second", { "-stun=maybe", "--io=kqueue" }, "-io" },
};

static void run_bad(void **state)
{
	const struct bad_case *c = *state;
	struct config cfg;
	char said[4096];

	assert_int_equal(-EINVAL, parse(&cfg, c->args, said, sizeof(said)));
	if (!strstr(said, c->says))
		fail_msg("said: %s", said);
}

static void test_values(void **state)
{
	static const char *const args[] = {
		"-a=127.0.0.1:3340", "--c", "k", "-stun=F", "-tcp-write-timeout=1m2.5s", "-accept-connection-limit=+Inf",
		"--queue-memory=64MiB", "-verify-clients=false",
	};
	struct config cfg;
	char said[4096];

	(void)state;
	assert_int_equal(0, parse(&cfg, args, said, sizeof(said)));
	assert_string_equal("", said);
	assert_string_equal("127.0.0.1:3340", cfg.addr);
	assert_string_equal("k", cfg.key_path);
	assert_false(cfg.stun);
	assert_false(cfg.tls);
	assert_true(cfg.write_timeout_ns == 62500000000ULL);
	assert_true(isinf(cfg.accept_limit));
	assert_true(cfg.queue_memory == 64ULL << 20);
	assert_true(cfg.shards >= 1);
	config_done(&cfg);
}

static void test_when_tls(void **state)
{
	static const char *const manual[] = { "-c", "k", "-a", ":8443", "-certmode", "manual", NULL };
	static const char *const https[] = { "-c", "k", "-a", ":https", "-certmode=manual", NULL };
	static const char *const acme[] = { "-c", "k", "-hostname", "derp.example.com", NULL };
	static const char *const plain[] = { "-c", "k", "-a=:8080", "-certmode=letsencrypt", NULL };
	static const char *const dev[] = { "-dev", NULL };
	struct config cfg;
	char said[4096];

	(void)state;
	assert_int_equal(0, parse(&cfg, acme, said, sizeof(said)));
	assert_true(cfg.tls);
	assert_string_equal("/var/lib/xderp/acme-challenge", cfg.acme_dir);
	config_done(&cfg);
	assert_int_equal(0, parse(&cfg, plain, said, sizeof(said)));
	assert_false(cfg.tls);
	assert_string_equal("", cfg.acme_dir);
	config_done(&cfg);
	assert_int_equal(0, parse(&cfg, manual, said, sizeof(said)));
	assert_true(cfg.tls);
	config_done(&cfg);
	assert_int_equal(0, parse(&cfg, https, said, sizeof(said)));
	assert_true(cfg.tls);
	config_done(&cfg);
	assert_int_equal(0, parse(&cfg, dev, said, sizeof(said)));
	assert_false(cfg.tls);
	assert_string_equal(":3340", cfg.addr);
	config_done(&cfg);
}

static void test_queue_depth_from_environment(void **state)
{
	static const char name[] = "TS_DEBUG_DERP_PER_CLIENT_SEND_QUEUE_DEPTH";
	static const char *const args[] = { "-dev", NULL };
	static const char *const both[] = { "-dev", "--send-queue-depth=7", NULL };
	struct config cfg;
	char said[4096];

	(void)state;
	setenv(name, "64", 1);
	assert_int_equal(0, parse(&cfg, args, said, sizeof(said)));
	assert_int_equal(64, cfg.queue_depth);
	config_done(&cfg);
	assert_int_equal(0, parse(&cfg, both, said, sizeof(said)));
	assert_int_equal(7, cfg.queue_depth);
	config_done(&cfg);
	setenv(name, "many", 1);
	assert_int_equal(-EINVAL, parse(&cfg, args, said, sizeof(said)));
	assert_non_null(strstr(said, name));
	unsetenv(name);
}

static void test_ignored_and_default_values(void **state)
{
	static const char *const args[] = {
		"-c=k", "-a=:1", "-socket=/x", "-verify-client-url-fail-open=false", "-secrets-cache-dir", "/y",
		"-mesh-with=", "--notsent-lowat=64KiB",
	};
	struct config cfg;
	char said[4096];

	(void)state;
	assert_int_equal(0, parse(&cfg, args, said, sizeof(said)));
	assert_string_equal("", said);
	assert_int_equal(65536, cfg.notsent_lowat);
	config_done(&cfg);
}

static void test_certdir(void **state)
{
	static const char *const args[] = { "-dev", NULL };
	static const struct { const char *xdg, *home, *want; } rows[] = {
		{ "/x", "/h", "/x/tailscale/derper-certs" },
		{ "", "/h", "/h/.cache/tailscale/derper-certs" },
		{ NULL, "/h", "/h/.cache/tailscale/derper-certs" },
	};
	struct config cfg;
	char said[4096];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		unsetenv("XDG_CACHE_HOME");
		if (rows[i].xdg)
			setenv("XDG_CACHE_HOME", rows[i].xdg, 1);
		setenv("HOME", rows[i].home, 1);
		assert_int_equal(0, parse(&cfg, args, said, sizeof(said)));
		assert_string_equal(rows[i].want, cfg.certdir);
		config_done(&cfg);
	}
}

/* Keys of a development relay: fresh each time, the mesh key from the environment. */
static void test_dev_keys(void **state)
{
	static const char name[] = "TAILSCALE_DERPER_MESH_KEY";
	static const char *const args[] = { "-dev", NULL };
	struct config a, b;
	char said[4096], err[256];
	struct key zero = { { 0 } };

	(void)state;
	assert_int_equal(0, parse(&a, args, said, sizeof(said)));
	assert_int_equal(0, parse(&b, args, said, sizeof(said)));
	unsetenv(name);
	assert_int_equal(0, config_load_keys(&a, err, sizeof(err)));
	assert_false(a.has_mesh_key);
	setenv(name, "ABCDEF0000000000000000000000000000000000000000000000000000000001", 1);
	assert_int_equal(0, config_load_keys(&b, err, sizeof(err)));
	assert_true(b.has_mesh_key && b.mesh_key.b[0] == 0xab);
	assert_false(key_equal(&a.private_key, &b.private_key) || key_equal(&a.public_key, &b.public_key));
	setenv(name, "short", 1);
	assert_int_equal(-EINVAL, config_load_keys(&b, err, sizeof(err)));
	assert_non_null(strstr(err, name));
	unsetenv(name);
	config_done(&a);
	config_done(&b);
	assert_true(key_equal(&a.private_key, &zero) && key_equal(&b.mesh_key, &zero));
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* What is built in < environment < file < command line. */
static void test_file_between_environment_and_flags(void **state)
{
	char path[] = "/tmp/conf-XXXXXX";
	const char *const args[] = { "-max-handshakes", "7", "-config", path, "-stun=false", NULL };
	struct config cfg;
	char said[4096];

	(void)state;
	close(mkstemp(path));
	write_file(path, "a = :1\nc = k\nmax-handshakes = 8\nmax-connections = 9\nstun = true\n"
		   "debug-cidrs = 10.0.0.0/8\nlog-level = warn\n");
	setenv("TS_DEBUG_TRUSTED_CIDRS", "192.0.2.0/24", 1);
	setenv("DERP_DEBUG_LOGS", "true", 1);
	setenv("TS_DERP_DISABLE_RTT_STATS", "1", 1);
	assert_int_equal(0, parse(&cfg, args, said, sizeof(said)));
	assert_string_equal("", said);
	assert_string_equal(":1", cfg.addr);
	assert_int_equal(7, cfg.max_handshakes);
	assert_int_equal(9, cfg.max_conns);
	assert_false(cfg.stun);
	assert_string_equal("10.0.0.0/8", cfg.trusted_cidrs);
	assert_int_equal(LOG_LEVEL_WARN, cfg.log_level);
	assert_true(cfg.no_rtt);
	config_done(&cfg);

	write_file(path, "a = :1\nc = k\n");
	setenv("TS_DERP_DISABLE_RTT_STATS", "maybe", 1);
	assert_int_equal(0, parse(&cfg, args, said, sizeof(said)));
	assert_string_equal("192.0.2.0/24", cfg.trusted_cidrs);
	assert_int_equal(LOG_LEVEL_DEBUG, cfg.log_level);
	assert_false(cfg.no_rtt);
	config_done(&cfg);
	unsetenv("TS_DEBUG_TRUSTED_CIDRS");
	unsetenv("DERP_DEBUG_LOGS");
	unsetenv("TS_DERP_DISABLE_RTT_STATS");
	unlink(path);
}

static void test_bad_file(void **state)
{
	char path[] = "/tmp/conf-XXXXXX";
	const char *const args[] = { "-config", path, NULL };
	static const char *const missing[] = { "-config=/nonexistent", NULL };
	struct config cfg;
	char said[4096];

	(void)state;
	close(mkstemp(path));
	write_file(path, "a = :1\nc = k\nhome = nonsense\nmax-conections = 9\n");
	assert_int_equal(-EINVAL, parse(&cfg, args, said, sizeof(said)));
	assert_non_null(strstr(said, ":4: there is no setting \"max-conections\"; did you mean max-connections?"));
	assert_non_null(strstr(said, "-home: \"nonsense\" is wrong"));
	assert_int_equal(-EINVAL, parse(&cfg, missing, said, sizeof(said)));
	assert_non_null(strstr(said, "/nonexistent: can't read the configuration"));
	assert_null(strstr(said, "certmode"));
	unlink(path);
}

static int reparse(struct config *ret, const struct config *running, char *changed, char *said, size_t n)
{
	struct textbuf t = { 0 };
	FILE *f = fmemopen(said, n, "w");
	int r;

	said[0] = '\0';
	r = config_reparse(ret, running, &t, f);
	fclose(f);
	snprintf(changed, n, "%s", t.p ? t.p : "");
	textbuf_done(&t);
	return r;
}

static void test_reparse(void **state)
{
	char path[] = "/tmp/conf-XXXXXX", changed[1024], said[1024];
	const char *const args[] = { "-config", path, "-max-handshakes=7", NULL };
	struct config a, b;

	(void)state;
	close(mkstemp(path));
	write_file(path, "a = :1\nc = k\nhome = blank\n");
	assert_int_equal(0, parse(&a, args, said, sizeof(said)));
	a.private_key.b[0] = a.mesh_key.b[31] = 7;
	a.has_mesh_key = true;
	assert_int_equal(0, reparse(&b, &a, changed, said, sizeof(said)));
	assert_string_equal("", changed);
	assert_true(key_equal(&a.private_key, &b.private_key) && key_equal(&a.mesh_key, &b.mesh_key) && b.has_mesh_key);
	config_done(&b);

	write_file(path, "a = :1\nc = k\nhome = http://x/\nmax-connections = 5\nmax-handshakes = 9\npace = 0\n");
	assert_int_equal(0, reparse(&b, &a, changed, said, sizeof(said)));
	assert_string_equal("home,max-connections,pace", changed);
	assert_int_equal(7, b.max_handshakes);
	config_done(&b);

	write_file(path, "a = :2\nc = k\nhome = http://x/\nstun-port = 9\n");
	assert_int_equal(-EINVAL, reparse(&b, &a, changed, said, sizeof(said)));
	assert_non_null(strstr(said, "xderpd: a can't change while the relay runs"));
	assert_non_null(strstr(said, "xderpd: stun-port can't change while the relay runs"));
	assert_null(strstr(said, "home"));
	assert_string_equal("blank", a.home);
	config_done(&a);
	unlink(path);
}

/* The help names each default in words of its own: the settings must be the same. */
static void test_defaults_are_as_the_help_says(void **state)
{
	const char *const least[] = { "-c", "k", "-hostname=derp.example.com", NULL };
	const struct flag_table *t = config_flags();
	struct config cfg, said;
	FILE *null = fopen("/dev/null", "we");
	unsigned int wrong = 0;
	char err[4096];

	(void)state;
	assert_non_null(null);
	assert_int_equal(parse(&cfg, least, err, sizeof(err)), 0);
	for (size_t i = 0; i < t->n; i++) {
		const struct flag *f = &t->flags[i];

		/* "one per usable core" and the like depend on the machine; derper's largest number is as good as infinite. */
		said = cfg;
		if (f->type == FLAG_REFUSED || f->type == FLAG_STRING || !strcmp(f->name, "accept-connection-burst") ||
		    flags_set(f, &said, "", f->name, f->value, null) || flags_equal(f, &cfg, &said))
			continue;
		print_error("-%s is not %s\n", f->name, f->value);
		wrong++;
	}
	assert_int_equal(wrong, 0);
	fclose(null);
	config_done(&cfg);
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(bad) + 10] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_when_tls),
		cmocka_unit_test(test_queue_depth_from_environment),
		cmocka_unit_test(test_ignored_and_default_values),
		cmocka_unit_test(test_certdir),
		cmocka_unit_test(test_dev_keys),
		cmocka_unit_test(test_file_between_environment_and_flags),
		cmocka_unit_test(test_bad_file),
		cmocka_unit_test(test_reparse),
		cmocka_unit_test(test_defaults_are_as_the_help_says),
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		t[10 + i] = (struct CMUnitTest){ bad[i].name, run_bad, NULL, NULL, (void *)&bad[i] };
	return cmocka_run_group_tests(t, NULL, NULL);
}
