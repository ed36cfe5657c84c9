/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/doctor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "admin/limits.h"
#include "base/cidr.h"
#include "base/feature.h"
#include "base/opener.h"
#include "base/util.h"
#include "net/cert.h"
#include "net/listen.h"
#include "relay/relay.h"

#define DAY_S		86400
#define BACKLOG		4096	/* what our listeners ask for */
#define TLS_KEY_PATH	4200	/* bytes */
#define TCP_BUFFER	(4L << 20)	/* bytes: 250 Mbit/s over 130 ms */

enum state { OK, WARN, FAIL, SKIP };

struct patient {
	const struct relay *r;		/* NULL: it does not run */
	const struct config *cfg;
	struct shard_stats st;
};

struct finding {
	enum state state;
	char found[300];
	const char *fix;
};

/* fix: NULL if there is nothing to do. */
static void say(struct finding *f, enum state state, const char *fix, const char *found, ...)
	__attribute__((format(printf, 4, 5)));
static void say(struct finding *f, enum state state, const char *fix, const char *found, ...)
{
	va_list ap;

	f->state = state;
	f->fix = fix;
	va_start(ap, found);
	vsnprintf(f->found, sizeof(f->found), found, ap);
	va_end(ap);
}

/* Number nr (from 0) in a file of the kernel's. */
static bool read_number(const char *path, unsigned int nr, long *ret)
{
	FILE *f = fopen(path, "re");
	bool found = f != NULL;

	for (unsigned int i = 0; found && i <= nr; i++)
		found = fscanf(f, "%ld", ret) == 1;
	if (f)
		fclose(f);
	return found;
}

static void at_least(struct finding *f, const char *path, unsigned int nr, long want, const char *fix)
{
	long v;

	if (!read_number(path, nr, &v))
		say(f, SKIP, NULL, "no %s here", path);
	else
		say(f, v < want ? WARN : OK, v < want ? fix : NULL, "%ld, wanted %ld", v, want);
}

/* --- what the process may use */

static void descriptors(const struct patient *p, struct finding *f)
{
	struct rlimit rl = { 0 };
	rlim_t want = p->cfg->max_conns + 256UL;

	getrlimit(RLIMIT_NOFILE, &rl);
	say(f, rl.rlim_cur < want ? WARN : OK, "raise LimitNOFILE (ulimit -n), or lower --max-connections",
	    "%llu, --max-connections needs %llu", (unsigned long long)rl.rlim_cur, (unsigned long long)want);
}

static void memory(const struct patient *p, struct finding *f)
{
	uint64_t have = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t want = p->cfg->queue_memory * p->cfg->shards;

	say(f, want > have / 2 ? WARN : OK, "lower --queue-memory: full queues must not push the relay out of memory",
	    "queues may take %llu of %llu MiB", (unsigned long long)want >> 20, (unsigned long long)have >> 20);
}

static void cores(const struct patient *p, struct finding *f)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);

	say(f, p->cfg->shards > (unsigned int)n ? WARN : OK, "lower --shards to the number of cores: more only take turns",
	    "%u shards on %d usable cores", p->cfg->shards, n);
}

static void governor(const struct patient *p, struct finding *f)
{
	FILE *in = fopen("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "re");
	char name[32] = "";

	(void)p;
	if (in && fscanf(in, "%31s", name) == 1)
		say(f, !strcmp(name, "powersave") ? WARN : OK, "cpupower frequency-set -g schedutil: packets wait for a slow clock",
		    "%s", name);
	else
		say(f, SKIP, NULL, "the kernel does not set the frequency here");
	if (in)
		fclose(in);
}

/* --- the kernel's settings */

static void somaxconn(const struct patient *p, struct finding *f)
{
	(void)p;
	at_least(f, "/proc/sys/net/core/somaxconn", 0, BACKLOG,
		 "sysctl -w net.core.somaxconn=4096: a reconnect storm overflows a short queue");
}

static void syn_backlog(const struct patient *p, struct finding *f)
{
	(void)p;
	at_least(f, "/proc/sys/net/ipv4/tcp_max_syn_backlog", 0, 1024, "sysctl -w net.ipv4.tcp_max_syn_backlog=4096");
}

static void syncookies(const struct patient *p, struct finding *f)
{
	(void)p;
	at_least(f, "/proc/sys/net/ipv4/tcp_syncookies", 0, 1, "sysctl -w net.ipv4.tcp_syncookies=1: a SYN flood locks clients out");
}

static void tcp_rmem(const struct patient *p, struct finding *f)
{
	(void)p;
	at_least(f, "/proc/sys/net/ipv4/tcp_rmem", 2, TCP_BUFFER,
		 "sysctl -w net.ipv4.tcp_rmem='4096 131072 6291456': small windows are slow over long distances");
}

static void tcp_wmem(const struct patient *p, struct finding *f)
{
	(void)p;
	at_least(f, "/proc/sys/net/ipv4/tcp_wmem", 2, TCP_BUFFER,
		 "sysctl -w net.ipv4.tcp_wmem='4096 16384 4194304': small windows are slow over long distances");
}

static void udp_rmem(const struct patient *p, struct finding *f)
{
	(void)p;
	at_least(f, "/proc/sys/net/core/rmem_default", 0, 212992, "sysctl -w net.core.rmem_default=212992: bursts of STUN are lost");
}

static void conntrack(const struct patient *p, struct finding *f)
{
	at_least(f, "/proc/sys/net/netfilter/nf_conntrack_max", 0, (long)p->cfg->max_conns * 2,
		 "raise net.netfilter.nf_conntrack_max, or exempt the relay's ports from tracking (notrack)");
}

/* --- files */

/* By ourselves, or by the process that may still open what we may not. */
static int look_at(const struct patient *p, const char *path, struct stat *st)
{
	int fd, err;

	if (!stat(path, st))
		return 0;
	if (errno != EACCES)
		return -errno;
	fd = opener_open(p->cfg->opener, path);
	if (fd < 0)
		return fd;
	err = fstat(fd, st) ? -errno : 0;
	close(fd);
	return err;
}

static void private_file(const struct patient *p, struct finding *f, const char *path, const char *fix)
{
	struct stat st;
	int err;

	if (!*path) {
		say(f, SKIP, NULL, "not used");
		return;
	}
	err = look_at(p, path, &st);
	if (err == -EACCES)
		say(f, SKIP, NULL, "%s is where the relay's user may not look", path);
	else if (err)
		say(f, WARN, "put it back: the next start needs it", "%s is not there", path);
	else if (st.st_mode & 077)
		say(f, FAIL, fix, "%s has mode %o: others may read or change the key", path, st.st_mode & 0777);
	else
		say(f, OK, NULL, "%s", path);
}

/* Before the first start. */
static bool is_still_missing(const struct patient *p, const char *path)
{
	return !p->r && access(path, F_OK) && errno == ENOENT;
}

static void key_file(const struct patient *p, struct finding *f)
{
	if (!p->cfg->dev && is_still_missing(p, p->cfg->key_path))
		say(f, OK, NULL, "the first start makes %s", p->cfg->key_path);
	else
		private_file(p, f, p->cfg->dev ? "" : p->cfg->key_path, "chmod 600 the file of -c");
}

static void mesh_key_file(const struct patient *p, struct finding *f)
{
	private_file(p, f, p->cfg->dev ? "" : p->cfg->mesh_psk_file, "chmod 600 the file of -mesh-psk-file");
}

static void tls_key_path(char ret[static TLS_KEY_PATH], const struct config *cfg)
{
	snprintf(ret, TLS_KEY_PATH, "%s/%s.key", cfg->certdir, cfg->hostname);
}

static void tls_key_file(const struct patient *p, struct finding *f)
{
	char path[TLS_KEY_PATH] = "";

	if (p->cfg->tls)
		tls_key_path(path, p->cfg);
	if (p->cfg->tls && is_still_missing(p, path))
		say(f, SKIP, NULL, "%s is not there yet", path);
	else
		private_file(p, f, path, "chmod 600 <hostname>.key in -certdir");
}

static void certificate_end(const struct patient *p, struct finding *f)
{
	int64_t left;

	if (!p->r->tls) {
		say(f, SKIP, NULL, "no TLS");
		return;
	}
	if (!tls_ctx_not_after(p->r->tls)) {
		say(f, FAIL, "run xderp-acme; systemctl enable --now xderp-acme.timer does from now on", "there is none for %s", p->cfg->hostname);
		return;
	}
	left = tls_ctx_not_after(p->r->tls) - time(NULL);
	say(f, left < 0 ? FAIL : left < 14 * DAY_S ? WARN : OK, "renew it; the relay sees the new one by itself (--cert-poll)", "%lld days left",
	    (long long)left / DAY_S);
}

static void certificate_files(const struct patient *p, struct finding *f)
{
	char err[300], path[TLS_KEY_PATH];

	tls_key_path(path, p->cfg);
	if (!p->cfg->tls)
		say(f, SKIP, NULL, "no TLS");
	else if (is_still_missing(p, path) && cert_is_ip(p->cfg->hostname))
		say(f, OK, NULL, "the first start makes a self-signed one for %s", p->cfg->hostname);
	else if (is_still_missing(p, path) && p->cfg->certmode == CERTMODE_LETSENCRYPT)
		say(f, WARN, "run xderp-acme; until then no client can connect", "there is none yet for %s", p->cfg->hostname);
	else if (relay_check_certificate(p->cfg, err, sizeof(err)))
		say(f, FAIL, "put it right: a reload is refused and a start fails until then", "%s", err);
	else
		say(f, OK, NULL, "key, name and dates of %s fit", p->cfg->hostname);
}

/* --- what the relay found out about this machine */

static bool feature(const char *name, struct feature *ret)
{
	struct feature list[FEATURE_MAX];
	unsigned int n = feature_list(list, FEATURE_MAX);

	for (unsigned int i = 0; i < n; i++) {
		if (!strcmp(list[i].name, name)) {
			*ret = list[i];
			return true;
		}
	}
	return false;
}

static void io_engine(const struct patient *p, struct finding *f)
{
	struct feature io = { 0 };

	(void)p;
	feature("io", &io);
	say(f, strcmp(io.state, "io_uring") ? WARN : OK,
	    "allow io_uring (sysctl kernel.io_uring_disabled=0, seccomp profile of the container): epoll costs more", "%s: %s",
	    io.state, io.reason);
}

static void stun(const struct patient *p, struct finding *f)
{
	struct feature s = { 0 };

	feature("stun", &s);
	if (!p->cfg->stun)
		say(f, SKIP, NULL, "%s", s.reason);
	else if (strcmp(s.state, "on"))
		say(f, FAIL, "free the port or choose another with -stun-port: clients can't measure this region", "%s", s.reason);
	else if (!p->st.stun_success && p->st.logins >= 10)
		say(f, WARN, "let UDP through to -stun-port: is there a firewall?", "no STUN request, but %llu logins",
		    (unsigned long long)p->st.logins);
	else
		say(f, OK, NULL, "%llu requests answered", (unsigned long long)p->st.stun_success);
}

static void ktls_module(const struct patient *p, struct finding *f)
{
	struct stat st;

	if (!p->cfg->tls)
		say(f, SKIP, NULL, "no TLS");
	else if (stat("/sys/module/tls", &st))
		say(f, WARN, "modprobe tls (at boot: /etc/modules-load.d), or --ktls=off to do without", "the kernel's module tls is not loaded");
	else
		say(f, OK, NULL, "loaded");
}

static void bpffs(const struct patient *p, struct finding *f)
{
	struct statfs fs;

	(void)p;
	if (statfs("/sys/fs/bpf", &fs) || fs.f_type != BPF_FS_MAGIC)
		say(f, WARN, "mount -t bpf bpf /sys/fs/bpf, or --bpf=off to do without", "no BPF file system at /sys/fs/bpf");
	else
		say(f, OK, NULL, "mounted");
}

static void memlock(const struct patient *p, struct finding *f)
{
	struct rlimit rl = { 0 };

	(void)p;
	getrlimit(RLIMIT_MEMLOCK, &rl);
	say(f, rl.rlim_cur < 64 << 10 ? WARN : OK, "LimitMEMLOCK=infinity (ulimit -l): rings and maps can't be made",
	    "%lld KiB", rl.rlim_cur == RLIM_INFINITY ? -1LL : (long long)(rl.rlim_cur >> 10));
}

static void clock_sane(const struct patient *p, struct finding *f)
{
	struct timex t = { 0 };
	int r = adjtimex(&t);

	(void)p;
	say(f, r == -1 ? SKIP : r == TIME_ERROR || (t.status & STA_UNSYNC) ? WARN : OK,
	    "run chrony or systemd-timesyncd: certificates are judged by this clock", r == TIME_ERROR ? "not synchronised" : "synchronised");
}

static void ipv6(const struct patient *p, struct finding *f)
{
	struct stat st;

	(void)p;
	if (stat("/proc/net/if_inet6", &st))
		say(f, WARN, "give the machine an IPv6 address, or leave IPv6 out of the DERP map", "the kernel has no IPv6");
	else
		say(f, OK, NULL, "there");
}

/* --- settings and counters */

static void debug_access(const struct patient *p, struct finding *f)
{
	static const char *const outside[] = { "::ffff:1.1.1.1", "2606:4700::1" };
	uint8_t ip[16];
	bool open = false;

	for (size_t i = 0; i < ARRAY_SIZE(outside); i++) {
		inet_pton(AF_INET6, outside[i], ip);
		open |= cidr_list_holds(p->cfg->trusted_cidrs, ip);
	}
	say(f, open ? WARN : OK, "name only your own networks in --debug-cidrs", open ? "the whole internet may see debug pages" :
	    "debug pages are for loopback, Tailscale addresses and --debug-cidrs");
}

static void limits_hit(const struct patient *p, struct finding *f)
{
	struct limit_row rows[LIMITS_MAX];
	unsigned int n = limits_list(rows, p->r, &p->st), met = 0, most = 0;

	for (unsigned int i = 0; i < n; i++) {
		met += rows[i].refused > 0;
		if (rows[i].refused > rows[most].refused)
			most = i;
	}
	if (met)
		say(f, WARN, "xderpctl status has all, xderpctl sources who was refused; docs/drops.md, what to do",
		    "%u met; %s, %llu times", met, rows[most].name, (unsigned long long)rows[most].refused);
	else
		say(f, OK, NULL, "none was met");
}

static void overload(const struct patient *p, struct finding *f)
{
	uint64_t n = 0;

	for (unsigned int kind = 0; kind < KIND_NR; kind++)
		n += p->st.packets_dropped[DROP_QUEUE_MEMORY][kind] + p->st.packets_dropped[DROP_CROSS_FULL][kind];
	say(f, n ? WARN : OK, "more cores and --shards, or more --queue-memory", "%llu packets dropped because the relay was full",
	    (unsigned long long)n);
}

/* --- what a start would meet */

static void try_port(struct finding *f, const struct listen_addr *a, bool udp, const char *flag)
{
	const struct listen_tcp_opts o = { 0 };
	int fd = udp ? listen_udp(a, false) : listen_tcp(a, &o);

	if (fd >= 0)
		close(fd);
	else if (f->state != FAIL)
		say(f, FAIL, fd == -EACCES ? "run this as root, or give the relay CAP_NET_BIND_SERVICE or other ports" :
		    "stop what has it (ss -lntup), or choose another", "port %u of %s: %s", listen_addr_port(a), flag, strerror(-fd));
}

static void ports(const struct patient *p, struct finding *f)
{
	const struct config *cfg = p->cfg;
	struct listen_addr a;
	char err[200];

	if (listen_addr_parse(&a, cfg->addr, err, sizeof(err))) {
		say(f, FAIL, "give -a an address of this machine and a port", "%s", err);
		return;
	}
	say(f, OK, NULL, "free");
	try_port(f, &a, false, "-a");
	if (cfg->tls && cfg->http_port >= 0) {
		listen_addr_set_port(&a, (uint16_t)cfg->http_port);
		try_port(f, &a, false, "-http-port");
	}
	if (cfg->stun) {
		listen_addr_set_port(&a, (uint16_t)cfg->stun_port);
		try_port(f, &a, true, "-stun-port");
	}
}

static void io_uring(const struct patient *p, struct finding *f)
{
	struct io_uring_params params = { 0 };
	long fd = syscall(SYS_io_uring_setup, 2, &params);

	(void)p;
	say(f, fd < 0 ? WARN : OK, "allow io_uring (sysctl kernel.io_uring_disabled=0, seccomp profile of the container): epoll costs more",
	    "%s", fd < 0 ? strerror(errno) : "the kernel lets us have it");
	if (fd >= 0)
		close((int)fd);
}

enum when { ALWAYS, RUNNING, STOPPED };

static const struct {
	const char *name;
	void (*run)(const struct patient *p, struct finding *f);
	enum when when;
} checks[] = {
	{ "ports", ports, STOPPED }, { "io_uring", io_uring, STOPPED },
	{ "descriptors", descriptors }, { "memory", memory }, { "cores", cores }, { "governor", governor },
	{ "somaxconn", somaxconn }, { "syn_backlog", syn_backlog }, { "syncookies", syncookies }, { "tcp_rmem", tcp_rmem },
	{ "tcp_wmem", tcp_wmem }, { "udp_rmem", udp_rmem }, { "conntrack", conntrack }, { "key_file", key_file },
	{ "mesh_key_file", mesh_key_file }, { "tls_key_file", tls_key_file }, { "certificate_end", certificate_end, RUNNING },
	{ "certificate_files", certificate_files }, { "io", io_engine, RUNNING }, { "stun", stun, RUNNING }, { "ktls_module", ktls_module },
	{ "bpffs", bpffs }, { "memlock", memlock }, { "clock", clock_sane }, { "ipv6", ipv6 }, { "debug_access", debug_access },
	{ "limits", limits_hit, RUNNING }, { "overload", overload, RUNNING },
};

static json_t *examine(const struct patient *p)
{
	static const char *const states[] = { [OK] = "ok", [WARN] = "warn", [FAIL] = "fail", [SKIP] = "skip" };
	json_t *all = json_array();
	int fails = 0;

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		struct finding f = { 0 };
		bool sick;

		if (checks[i].when == (p->r ? STOPPED : RUNNING))
			continue;
		checks[i].run(p, &f);
		sick = f.state == WARN || f.state == FAIL;
		fails += f.state == FAIL;
		json_array_append_new(all, json_pack("{ssssssss}", "check", checks[i].name, "state", states[f.state],
						     "found", f.found, "fix", sick && f.fix ? f.fix : ""));
	}
	return json_pack("{siso}", "fails", fails, "checks", all);
}

json_t *doctor_examine(const struct relay *r)
{
	struct patient p = { .r = r, .cfg = r->cfg };

	relay_stats(r, &p.st);
	return examine(&p);
}

json_t *doctor_examine_settings(const struct config *cfg)
{
	const struct patient p = { .cfg = cfg };

	return examine(&p);
}
