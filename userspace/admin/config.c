/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/config.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/conffile.h"
#include "admin/flags.h"
#include "admin/keyfile.h"
#include "base/cidr.h"
#include "base/cpulist.h"
#include "base/util.h"
#include "net/cert.h"
#include "wire/handshake.h"

static const char *const certmodes[] = { "manual", "letsencrypt", "gcp", NULL };
static const char *const engines[] = { "auto", "uring", "epoll", NULL };
static const char *const affinities[] = { "hash", "cpu", NULL };
static const char *const record_layers[] = { "auto", "own", "openssl", NULL };
static const char *const switches[] = { "auto", "on", "off", NULL };
static const char *const xdp_modes[] = { "auto", "native", "generic", "off", NULL };
static const char *const off_on[] = { "off", "on", NULL };
static const char *const auto_off[] = { "auto", "off", NULL };
static const char *const levels[] = { "error", "warn", "info", "debug", NULL };
static const char *const only_empty[] = { "", NULL };
static const char *const only_false[] = { "false", "0", "f", "F", "FALSE", "False", NULL };

#define AT(field)	offsetof(struct config, field)
#define DEFAULT_HOSTNAME	"derp.tailscale.com"
#define ACME_DIR	"/var/lib/xderp/acme-challenge"
#define EAB		"use -certmode=letsencrypt and give xderp-acme the other CA: XDERP_ACME_CA, EAB_KID and EAB_HMAC_KEY in its environment"
#define SOURCE_EXEMPT	"127.0.0.0/8, ::1"
#define INTERNAL	"a service internal to Tailscale; put the mesh key into a file and use -mesh-psk-file"

static const struct flag table[] = {
	{ "a", FLAG_STRING, AT(addr), ":443", "address to listen on; its host is also used for -http-port and -stun-port. TLS is spoken on port 443 and with -certmode manual", .fixed = true,
	  .group = "derper's flags:" },
	{ "http-port", FLAG_INT, AT(http_port), "80", "plain HTTP port beside TLS; -1 switches it off", -1, 65535, .fixed = true },
	{ "stun", FLAG_BOOL, AT(stun), "true", "answer STUN", .fixed = true },
	{ "stun-port", FLAG_PORT, AT(stun_port), "3478", "UDP port for STUN", 1, 65535, .fixed = true },
	{ "c", FLAG_STRING, AT(key_path), "as root /var/lib/derper/derper.key", "key file; made if it is not there", .fixed = true },
	{ "certmode", FLAG_CHOICE, AT(certmode), "letsencrypt", "manual: from files in -certdir that you put there; letsencrypt: that xderp-acme puts there, while the relay answers the CA's challenges on -http-port. gcp is refused", .fixed = true,
	  .choices = certmodes },
	{ "certdir", FLAG_STRING, AT(certdir), "~/.cache/tailscale/derper-certs", "directory of <hostname>.crt and <hostname>.key" },
	{ "hostname", FLAG_STRING, AT(hostname), DEFAULT_HOSTNAME, "TLS name; with an IP address a self-signed certificate is made" },
	{ "acme-email", FLAG_STRING, AT(acme_email), "", "address that xderp-acme gives the CA for its account" },
	{ "derp", FLAG_BOOL, AT(derp), "true", "relay; false leaves only STUN and the web pages" },
	{ "home", FLAG_STRING, AT(home), "", "root page: empty for the built-in one, blank, or a URL to redirect to" },
	{ "bootstrap-dns-names", FLAG_STRING, AT(bootstrap_names), "", "names whose addresses anybody gets from /bootstrap-dns, comma-separated; looked up every 10 minutes", .fixed = true },
	{ "unpublished-bootstrap-dns-names", FLAG_STRING, AT(unpublished_names), "", "names whose addresses only who asks for them (?q=name) gets there, comma-separated: name, or name/other, where other has a TXT record with the percentage of clients that get them", .fixed = true },
	{ "mesh-psk-file", FLAG_STRING, AT(mesh_psk_file), "", "file with the mesh key, 64 hex digits", .fixed = true },
	{ "mesh-with", FLAG_STRING, AT(mesh_with), "", "other nodes of the region, comma-separated: host[:port], or host[:port]/address to connect to the address and expect the host's certificate; up to 16. Needs a mesh key", .fixed = true },
	{ "verify-clients", FLAG_BOOL, AT(verify_clients), "false", "only nodes that the tailscaled of this machine knows may log in" },
	{ "socket", FLAG_STRING, AT(socket), "/var/run/tailscale/tailscaled.sock", "where that tailscaled listens" },
	{ "verify-client-url", FLAG_STRING, AT(verify_url), "", "only nodes that this http:// or https:// URL allows may log in" },
	{ "verify-client-url-fail-open", FLAG_BOOL, AT(verify_fail_open), "true", "allow them too if the URL can't be reached" },
	{ "accept-connection-limit", FLAG_FLOAT, AT(accept_limit), "+Inf", "new TLS connections per second; more are refused", 0.001, INFINITY },
	{ "accept-connection-burst", FLAG_FLOAT, AT(accept_burst), "9223372036854775807", "burst of that limit", 1, INFINITY },
	{ "tcp-keepalive-time", FLAG_DURATION, AT(keepalive_ns), "10m", "idle time before TCP keepalive probes; 0 switches them off", 0, 86400 },
	{ "tcp-user-timeout", FLAG_DURATION, AT(user_timeout_ns), "15s", "time unacknowledged data may wait before the connection is dropped", 0, 86400, .fixed = true },
	{ "tcp-write-timeout", FLAG_DURATION, AT(write_timeout_ns), "2s", "time a client may take no bytes before it is closed; 0: for ever; mesh clients have 30s", 0, 86400 },
	{ "rate-config", FLAG_STRING, AT(rate_config), "", "JSON file with the rate a client may send at: PerClientRateLimitBytesPerSec, PerClientRateBurstBytes" },
	{ "dev", FLAG_BOOL, AT(dev), "false", "development: plain HTTP on :3340, a fresh key, mesh key from TAILSCALE_DERPER_MESH_KEY", .fixed = true },

	{ "shards", FLAG_UINT, AT(shards), "one per usable core", "threads, each with its own sockets and connections", 0, 64, .fixed = true,
	  .group = "xderp's own flags:" },
	{ "shard-cpus", FLAG_STRING, AT(shard_cpus), "", "processors for the shards, such as 0-3,8: one each, and their memory on its node; there are as many shards unless --shards says otherwise", .fixed = true },
	{ "affinity", FLAG_CHOICE, AT(affinity), "hash", "which shard gets a connection: any (hash), or the one on whose processor its packets arrive (cpu), which needs --shard-cpus", .choices = affinities, .fixed = true },
	{ "io", FLAG_CHOICE, AT(io), "auto", "I/O engine", .choices = engines, .fixed = true },
	{ "records", FLAG_CHOICE, AT(records), "auto", "TLS 1.3 records after the handshake: our own layer (auto, own) or OpenSSL's", .choices = record_layers, .fixed = true },
	{ "ktls", FLAG_CHOICE, AT(ktls), "auto", "TLS 1.3 records by the kernel; auto: if a NIC offloads TLS or a trial at start finds it cheaper; on: don't start without", .choices = switches, .fixed = true },
	{ "acme-dir", FLAG_STRING, AT(acme_dir), "with -certmode=letsencrypt " ACME_DIR, "directory with the answers to http-01 challenges, files named as their tokens, which -http-port gives to whom asks" },
	{ "cert-poll", FLAG_DURATION, AT(cert_poll_ns), "10s", "how often the files of the certificate are looked at; changed ones are used from then on, once they are the same at two looks; 0: only SIGHUP reads them", 0, 3600, .fixed = true },
	{ "send-queue-depth", FLAG_UINT, AT(queue_depth), "32", "packets waiting per peer and kind; TS_DEBUG_DERP_PER_CLIENT_SEND_QUEUE_DEPTH sets it too", 1, 1024 },
	{ "queue-memory", FLAG_SIZE, AT(queue_memory), "256MiB", "bytes of waiting packets per shard", 4194304, 1099511627776.0 },
	{ "max-connections", FLAG_UINT, AT(max_conns), "100000", "open connections, split evenly over the shards", 1, 10000000 },
	{ "max-unauthenticated", FLAG_UINT, AT(max_unauth), "8192", "connections not logged in yet, web visitors too, split evenly over the shards", 1, 10000000 },
	{ "max-handshakes", FLAG_UINT, AT(max_handshakes), "4096", "of them in a TLS handshake, split evenly over the shards", 1, 10000000 },
	{ "max-connections-per-key", FLAG_UINT, AT(max_conns_per_key), "32", "connections of one node key", 1, 1024 },
	{ "max-connections-per-source", FLAG_UINT, AT(per_source.conns), "16384", "open connections of one source, an IPv4 address or an IPv6 /56; 0: any number", 0, 10000000 },
	{ "max-unauthenticated-per-source", FLAG_UINT, AT(per_source.unauth), "2048", "of them not logged in yet; 0: any number", 0, 10000000 },
	{ "source-login-rate", FLAG_FLOAT, AT(per_source.login_rate), "100", "logins per second of one source; 0: any number", 0, 1000000 },
	{ "source-login-burst", FLAG_UINT, AT(per_source.login_burst), "4096", "burst of that limit", 1, 10000000 },
	{ "source-exempt", FLAG_STRING, AT(source_exempt), SOURCE_EXEMPT, "networks to which the limits of a source do not apply, comma-separated: proxies without PROXY protocol, large NATs of your own" },
	{ "max-sources", FLAG_UINT, AT(max_sources), "131072", "sources remembered; of further ones connections are not limited", 1, 16777216, .fixed = true },
	{ "mesh-plain", FLAG_BOOL, AT(mesh_plain), "false", "speak plain HTTP to the nodes of -mesh-with (default port 80): only on networks where nobody else listens or answers", .fixed = true },
	{ "mesh-queue-depth", FLAG_UINT, AT(mesh_queue_depth), "512", "packets waiting per node of -mesh-with and kind", 1, 4096 },
	{ "max-mesh-peers", FLAG_UINT, AT(max_remote), "1000000", "node keys known through -mesh-with", 1, 4000000 },
	{ "allow-keys", FLAG_STRING, AT(allow_keys), "", "only the node keys in this file may log in, a line each, nodekey: and 64 hex digits, and behind it what that key may have: rate=, burst=, conns=; a line with * is for all others; read again on SIGHUP. Whatever else verifies clients must agree" },
	{ "max-verifications", FLAG_UINT, AT(max_verifications), "64", "clients that -verify-clients and -verify-client-url are asked about at a time; each has 5s", 1, 1024, .fixed = true },
	{ "max-unknown-frame", FLAG_SIZE, AT(max_skip), "64MiB", "longest frame of an unknown type that is skipped; longer ones close the connection", 0, 4294967295.0 },
	{ "drain-timeout", FLAG_DURATION, AT(drain_timeout_ns), "5s", "time SIGTERM gives queued frames to leave", 0, 600 },
	{ "notsent-lowat", FLAG_SIZE, AT(notsent_lowat), "128KiB", "bytes of unsent data the kernel may hold per connection (TCP_NOTSENT_LOWAT); 0: system default", 0, 67108864 },
	{ "pace", FLAG_DURATION, AT(pace_ns), "80us", "busy shards wake up at most this often; 0: after every event", 0, 0.001 },
	{ "busy-poll", FLAG_DURATION, AT(busy_poll_ns), "0", "how long a shard looks for events before it sleeps, if they came that soon before, and then lets the kernel ask network cards; 0: it sleeps at once", 0, 0.001, .fixed = true },
	{ "bpf", FLAG_CHOICE, AT(bpf), "auto", "keep the peers in pinned BPF maps; on: don't run without", .choices = switches, .fixed = true },
	{ "bpffs", FLAG_STRING, AT(bpffs), "/sys/fs/bpf/xderp", "directory for pinned BPF maps, one for each relay", .fixed = true },
	{ "bpf-peers", FLAG_UINT, AT(bpf_peers), "as many as --max-connections", "peers that the BPF map holds; the relay serves more, but they can't be seen there", 0, 10000000, .fixed = true },
	{ "splice", FLAG_CHOICE, AT(splice), "off", "let the kernel move packets between plain clients, without a wake-up of the relay; auto: those of quiet ones; on: those of all, and don't run without", .choices = switches, .fixed = true },
	{ "splice-peers", FLAG_UINT, AT(splice_peers), "16384", "plain clients that the kernel may serve at a time; the relay serves more", 2, 1000000, .fixed = true },
	{ "splice-queue", FLAG_UINT, AT(splice_queue), "256", "receive buffers with packets that may wait in the kernel for one client; more are dropped", 1, 65536, .fixed = true },
	{ "splice-pressure", FLAG_UINT, AT(splice_pressure), "64", "with --splice=auto a client whose packets find others waiting so many times more often than not goes back to the shards until it is quiet again", 1, 1000000, .fixed = true },
	{ "splice-tls", FLAG_CHOICE, AT(splice_tls), "off", "let the kernel route packets between TLS clients, too, by a loopback socket for each; on: don't run without. It costs more than the shards' own way", .choices = off_on, .fixed = true },
	{ "splice-tls-queue", FLAG_UINT, AT(splice_tls_queue), "4096", "packets that may wait in the kernel for the shard of one TLS client; more are dropped", 64, 65536, .fixed = true },
	{ "xdp", FLAG_CHOICE, AT(xdp), "auto", "XDP on --xdp-interfaces, in the driver (native) or before the stack (generic); auto: as far down as it goes", .choices = xdp_modes, .fixed = true },
	{ "xdp-interfaces", FLAG_STRING, AT(xdp_interfaces), "", "interfaces on which XDP answers STUN and guards the ports, comma-separated; with none there is no XDP", .fixed = true },
	{ "guard-rate", FLAG_FLOAT, AT(guard_rate), "200", "new TCP connections per second that XDP lets one source open, an IPv4 address or an IPv6 /56; 0: any number", 0, 1000000, .fixed = true },
	{ "guard-burst", FLAG_UINT, AT(guard_burst), "1000", "burst of that limit", 1, 1000000, .fixed = true },
	{ "guard-sources", FLAG_UINT, AT(guard_sources), "65536", "sources whose rate is remembered; the one longest not seen makes room", 1, 16777216, .fixed = true },
	{ "user", FLAG_STRING, AT(user), "as root xderp, or nobody if there is no such user", "who the relay goes on as once it has bound its sockets; root stays root", .fixed = true },
	{ "seccomp", FLAG_CHOICE, AT(seccomp), "auto", "allow only the system calls a running relay needs", .choices = auto_off, .fixed = true },
	{ "log-level", FLAG_CHOICE, AT(log_level), "info", "what is logged", .choices = levels },
	{ "deny", FLAG_STRING, AT(deny), "", "networks whose connections are refused, comma-separated; xderpctl deny adds to them" },
	{ "proxy-protocol-from", FLAG_STRING, AT(proxy_from), "", "networks of proxies, comma-separated: each connection from them must begin with a header of the PROXY protocol, version 1 or 2, and counts as from the address there" },
	{ "control-socket", FLAG_STRING, AT(control_socket), CONFIG_CONTROL_SOCKET, "UNIX socket for xderpctl; empty switches it off, and so does a default that can't be made", .fixed = true },
	{ "debug-cidrs", FLAG_STRING, AT(trusted_cidrs), "", "networks that may see debug pages and metrics, comma-separated; TS_DEBUG_TRUSTED_CIDRS sets it too" },

	{ "acme-eab-kid", FLAG_REFUSED, 0, "", EAB, .choices = only_empty,
	  .group = "derper's flags that are refused unless they have derper's default:" },
	{ "acme-eab-key", FLAG_REFUSED, 0, "", EAB, .choices = only_empty },
	{ "acme-ip-certs", FLAG_REFUSED, 0, "", "use -certmode manual with an IP address as -hostname: a self-signed certificate that clients pin", .choices = only_false, .boolean = true },
	{ "secrets-url", FLAG_REFUSED, 0, "", INTERNAL, .choices = only_empty },
		{ "ace", FLAG_REFUSED, 0, "", "a proxy internal to Tailscale", .choices = only_false, .boolean = true },

	{ "secrets-path-prefix", FLAG_REFUSED, 0, "", "only with -secrets-url",
	  .group = "derper's flags that mean nothing without one that is refused; any value is taken:" },
	{ "secrets-cache-dir", FLAG_REFUSED, 0, "", "only with -secrets-url" },

	{ "config", FLAG_STRING, AT(config_file), "", "file with settings, name = value, named as the flags; flags win; read again on SIGHUP",
	  .group = "Others:", .cli_only = true },
	{ "check-config", FLAG_BOOL, AT(check_config), "", "say what is wrong with the settings and exit", .cli_only = true },
	{ "version", FLAG_BOOL, AT(version), "", "print the version and exit", .cli_only = true },
	{ "help", FLAG_REFUSED, 0, "", "print this and exit; also -h", .boolean = true, .cli_only = true },
};

static const struct flag_table settings = { "xderpd", table, ARRAY_SIZE(table) };

const struct flag_table *config_flags(void)
{
	return &settings;
}

static unsigned int usable_cores(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);

	return (unsigned int)min_of(max_of(n, 1), 64);
}

/* A string of our own making, freed by config_done. */
static const char *own(struct config *cfg, char *s)
{
	if (cfg->nowned < ARRAY_SIZE(cfg->owned))
		cfg->owned[cfg->nowned++] = s;
	return s ? s : "";
}

static const char *default_certdir(struct config *cfg)
{
	const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char *s = NULL;

	if (asprintf(&s, "%s%s/tailscale/derper-certs", base && *base ? base : home ? home : "/root", base && *base ? "" : "/.cache") < 0)
		s = NULL;
	return own(cfg, s);
}

/* derper looks in these places when nothing was said. */
static const char *default_mesh_file(struct config *cfg)
{
	static const char system[] = "/home/derp/keys/derp-mesh.key";
	const char *home = getenv("HOME");
	char *s = NULL;

	if (!access(system, F_OK))
		return system;
	if (!home || asprintf(&s, "%s/keys/derp-mesh.key", home) < 0)
		return "";
	own(cfg, s);
	return access(s, F_OK) ? "" : s;
}

static const char *env_or_empty(const char *name)
{
	const char *v = getenv(name);

	return v ? v : "";
}

/* What depends on who we are was found out when we were started. */
static void set_defaults(struct config *cfg, const struct config *running)
{
	*cfg = (struct config){
		.addr = ":443", .http_port = 80, .stun = true, .stun_port = 3478, .key_path = "",
		.certmode = CERTMODE_LETSENCRYPT, .hostname = DEFAULT_HOSTNAME, .acme_email = "", .acme_dir = "", .derp = true, .home = "", .bootstrap_names = "", .unpublished_names = "",
		.socket = "/var/run/tailscale/tailscaled.sock", .verify_url = "", .verify_fail_open = true,
		.allow_keys = "", .max_verifications = 64,
		.mesh_with = "", .mesh_queue_depth = 512, .max_remote = 1000000,
		.accept_limit = INFINITY, .accept_burst = INFINITY, .keepalive_ns = 600000000000ULL,
		.user_timeout_ns = 15000000000ULL, .write_timeout_ns = 2000000000ULL,
		.cert_poll_ns = 10000000000ULL, .queue_depth = 32, .queue_memory = 256ULL << 20, .max_conns = 100000, .max_unauth = 8192, .max_handshakes = 4096,
		.per_source = { .conns = 16384, .unauth = 2048, .login_rate = 100, .login_burst = 4096 }, .max_sources = 131072,
		.source_exempt = SOURCE_EXEMPT,
		.max_conns_per_key = 32, .max_skip = 64ULL << 20, .drain_timeout_ns = 5000000000ULL,
		.notsent_lowat = 131072, .pace_ns = 80000, .bpffs = "/sys/fs/bpf/xderp", .splice = SPLICE_OFF, .splice_peers = 16384, .splice_queue = 256, .splice_pressure = 64, .splice_tls_queue = 4096, .user = "", .xdp_interfaces = "",
		.guard_rate = 200, .guard_burst = 1000, .guard_sources = 65536, .log_level = LOG_LEVEL_INFO, .deny = "", .proxy_from = "",
		.config_file = "", .rate_config = "", .shard_cpus = "",
	};
	cfg->certdir = default_certdir(cfg);
	cfg->opener = running ? running->opener : NULL;
	cfg->default_mesh_file = running ? running->default_mesh_file : default_mesh_file(cfg);
	cfg->mesh_psk_file = cfg->default_mesh_file;
}

static bool env_is_true(const char *name)
{
	static const struct flag f = { "", FLAG_BOOL };
	const char *v = getenv(name);
	bool is = false;
	FILE *none = v ? fopen("/dev/null", "we") : NULL;

	/* As derper: what is no boolean is false. */
	if (none) {
		flags_set(&f, &is, "", name, v, none);
		fclose(none);
	}
	return is;
}

/* derper's variables; those that only change its log are not here. */
static int from_environment(struct config *cfg, FILE *err)
{
	static const char name[] = "TS_DEBUG_DERP_PER_CLIENT_SEND_QUEUE_DEPTH";
	static const char flag[] = "send-queue-depth";
	const char *v = getenv(name);

	cfg->trusted_cidrs = env_or_empty("TS_DEBUG_TRUSTED_CIDRS");
	cfg->allow_debug_ip = env_or_empty("TS_ALLOW_DEBUG_IP");
	cfg->debug_key_path = env_or_empty("TS_DEBUG_KEY_PATH");
	cfg->no_rtt = env_is_true("TS_DERP_DISABLE_RTT_STATS");
	if (env_is_true("DERP_DEBUG_LOGS"))
		cfg->log_level = LOG_LEVEL_DEBUG;
	return v && *v ? flags_set(flags_find(&settings, flag, strlen(flag)), cfg, settings.program, name, v, err) : 0;
}

static bool port_is_443(const char *addr)
{
	const char *colon = strrchr(addr, ':');

	return colon && (!strcmp(colon, ":443") || !strcmp(colon, ":https"));
}

static int check_home(const char *home, FILE *err)
{
	if (*home && strcmp(home, "blank") && strncmp(home, "http://", 7) && strncmp(home, "https://", 8)) {
		fprintf(err, "xderpd: -home: \"%s\" is wrong; allowed: nothing, blank, or a URL that begins with http:// or https://\n",
			home);
		return -EINVAL;
	}
	for (; *home; home++)
		if ((uint8_t)*home < 0x21 || *home == 0x7f) {	/* others are encoded when they are sent */
			fprintf(err, "xderpd: -home: no spaces or control characters in a URL\n");
			return -EINVAL;
		}
	return 0;
}

static int check_networks(const char *name, const char *list, FILE *err)
{
	size_t n;
	const char *bad = cidr_list_bad(list, &n);

	if (!bad)
		return 0;
	fprintf(err, "xderpd: %s: \"%.*s\" is wrong; "
		"allowed: addresses and networks such as 10.0.0.0/8, separated by commas\n", name, (int)n, bad);
	return -EINVAL;
}

/* Networks that are asked for at each connection. NULL if there are none. */
static int make_set(struct cidr_set **ret, const char *list, FILE *err)
{
	int e = cidr_set_of_list(ret, list, NULL, 0);

	if (e)
		fprintf(err, "xderpd: out of memory\n");
	return e;
}

static int load_rate(struct config *cfg, FILE *err)
{
	char why[512];

	if (!*cfg->rate_config || !rateconfig_load(&cfg->rate, cfg->opener, cfg->rate_config, why, sizeof(why)))
		return 0;
	fprintf(err, "xderpd: %s\n", why);
	return -EINVAL;
}

/* Where no key file is named, root has a default. */
static int find_key_path(struct config *cfg, FILE *err)
{
	if (*cfg->key_path || cfg->dev)
		return 0;
	/* Who started us: on reload we may be somebody else. */
	if (getauxval(AT_EUID) == 0) {
		cfg->key_path = "/var/lib/derper/derper.key";
		return 0;
	}
	fprintf(err, "xderpd: -c is needed: where to keep the key file (only root has a default)\n");
	return -EINVAL;
}

static int check_cpus(struct config *cfg, FILE *err)
{
	cpu_set_t usable;
	int n = 0;

	if (*cfg->shard_cpus) {
		n = cpulist_parse(cfg->cpus, ARRAY_SIZE(cfg->cpus), cfg->shard_cpus);
		if (n < 0)
			fprintf(err, "xderpd: --shard-cpus: \"%s\" is no list of processors; write 0-3,8, %s\n", cfg->shard_cpus,
				n == -E2BIG ? "at most 64 of them" : "each once");
	} else if (cfg->affinity == AFFINITY_CPU) {
		fprintf(err, "xderpd: --affinity=cpu needs --shard-cpus, so that a shard stays where its connections arrive\n");
		n = -EINVAL;
	}
	for (int i = 0; i < n && !sched_getaffinity(0, sizeof(usable), &usable); i++) {
		if (!CPU_ISSET(cfg->cpus[i], &usable)) {
			fprintf(err, "xderpd: --shard-cpus: this process may not use processor %u; see Cpus_allowed_list in /proc/self/status\n",
				cfg->cpus[i]);
			n = -EINVAL;
		}
	}
	cfg->ncpus = n > 0 ? (unsigned int)n : 0;
	return n < 0 ? -EINVAL : 0;
}

/* Where TLS is spoken. */
static int check_certmode(struct config *cfg, FILE *err)
{
	const char *what = NULL;

	if (cfg->certmode == CERTMODE_GCP)
		what = "gcp is not supported: " EAB;
	else if (cfg->certmode != CERTMODE_LETSENCRYPT)
		return 0;
	else if (cert_is_ip(cfg->hostname))
		what = "letsencrypt gives none for an IP address as -hostname: with -certmode=manual a self-signed one is made, which clients pin";
	else if (!strcmp(cfg->hostname, DEFAULT_HOSTNAME))
		what = "letsencrypt needs -hostname, the name that clients know this relay by; for your own files, -certmode=manual";
	else if (cfg->http_port < 0)
		what = "letsencrypt needs -http-port, where the CA's challenges are answered; for your own files, -certmode=manual";
	if (what) {
		fprintf(err, "xderpd: -certmode=%s\n", what);
		return -EINVAL;
	}
	if (!*cfg->acme_dir)
		cfg->acme_dir = ACME_DIR;
	return 0;
}

static int check(struct config *cfg, FILE *err)
{
	int bad = 0;

	if (cfg->dev) {
		cfg->addr = ":3340";
		cfg->tls = false;
	} else {
		cfg->tls = port_is_443(cfg->addr) || cfg->certmode == CERTMODE_MANUAL;
	}
	if (cfg->tls)
		bad |= check_certmode(cfg, err);
	bad |= find_key_path(cfg, err);
	bad |= check_home(cfg->home, err);
	bad |= check_cpus(cfg, err);
	bad |= check_networks("-debug-cidrs (or TS_DEBUG_TRUSTED_CIDRS)", cfg->trusted_cidrs, err);
	bad |= check_networks("-deny", cfg->deny, err);
	bad |= check_networks("-proxy-protocol-from", cfg->proxy_from, err);
	bad |= make_set(&cfg->proxies, cfg->proxy_from, err);
	bad |= check_networks("-source-exempt", cfg->source_exempt, err);
	bad |= make_set(&cfg->exempt, cfg->source_exempt, err);
	bad |= load_rate(cfg, err);
	return bad ? -EINVAL : 0;
}

/* What is built in, the environment, and the file if there is one. */
static int below_argv(struct config *cfg, const struct config *running, const char *file, FILE *err)
{
	set_defaults(cfg, running);
	if (from_environment(cfg, err))
		return -EINVAL;
	return *file ? conffile_load(&cfg->file, &settings, cfg, cfg->opener, file, err) : 0;
}

/* argv is read twice: for the name of the file, and then over what the file says. -EINVAL: there were faults; other -errno:
 * so many that it makes no sense to look for more; 1: help was asked for. */
static int read_all(struct config *cfg, const struct config *running, int argc, char **argv, FILE *err)
{
	int bad = below_argv(cfg, running, "", err), r;
	const char *file;

	r = flags_parse(&settings, cfg, argc, argv, NULL, err);
	if (r || bad || !*cfg->config_file)
		return r == 1 ? 1 : r | bad ? -EINVAL : 0;
	file = cfg->config_file;
	config_done(cfg);
	bad = below_argv(cfg, running, file, err);
	r = flags_parse(&settings, cfg, argc, argv, NULL, err);
	return bad ? bad : r;
}

/* -help, -version and --check-config. True: that was all. */
static bool answer(const struct config *cfg, bool help)
{
	if (help) {
		printf("xderpd: a DERP relay. Flags in Go's syntax: -x v, -x=v, --x v; booleans -x or -x=false.\n");
		flags_help(&settings, stdout);
	} else if (cfg->version) {
		printf("xderp %s\n", xderp_version);
	} else if (cfg->check_config) {
		printf("xderpd: the settings are good%s%s\n", *cfg->config_file ? ": " : "", cfg->config_file);
	} else {
		return false;
	}
	return true;
}

static int parse(struct config *ret, const struct config *running, int argc, char **argv, FILE *err)
{
	struct config cfg;
	int r = read_all(&cfg, running, argc, argv, err);

	if ((r == 0 && !cfg.version) || r == -EINVAL)
		r = check(&cfg, err) ? -EINVAL : r;
	if (r >= 0 && answer(&cfg, r == 1))
		r = 1;
	if (r) {
		config_done(&cfg);
		return r < 0 ? -EINVAL : r;
	}
	cfg.own_records = strcmp(record_layers[cfg.records], "openssl") != 0;
	if (!cfg.shards)
		cfg.shards = cfg.ncpus ? cfg.ncpus : usable_cores();
	cfg.argc = argc;
	cfg.argv = argv;
	*ret = cfg;
	return 0;
}

int config_parse(struct config *ret, int argc, char **argv, FILE *err)
{
	return parse(ret, NULL, argc, argv, err);
}

/* Keys stay what they are: their files are read once. */
static void take_keys(struct config *to, const struct config *from)
{
	to->private_key = from->private_key;
	to->public_key = from->public_key;
	to->has_mesh_key = from->has_mesh_key;
	to->mesh_key = from->mesh_key;
}

static void note_changed(struct textbuf *changed, const char *name)
{
	textbuf_printf(changed, "%s%s", changed->len ? "," : "", name);
}

int config_reparse(struct config *ret, const struct config *running, struct textbuf *changed, FILE *err)
{
	struct config cfg;
	int bad = 0;

	if (parse(&cfg, running, running->argc, running->argv, err))
		return -EINVAL;
	for (size_t i = 0; i < settings.n; i++) {
		const struct flag *f = &table[i];

		if (flags_equal(f, running, &cfg))
			continue;
		note_changed(changed, f->name);
		if (f->fixed) {
			fprintf(err, "xderpd: %s can't change while the relay runs: restart it, or take the change back\n", f->name);
			bad = -EINVAL;
		}
	}
	if (bad) {
		config_done(&cfg);
		return bad;
	}
	/* The same file with something else in it. */
	if (!strcmp(cfg.rate_config, running->rate_config) && memcmp(&cfg.rate, &running->rate, sizeof(cfg.rate)))
		note_changed(changed, "rate-config");
	take_keys(&cfg, running);
	*ret = cfg;
	return 0;
}

int config_load_keys(struct config *cfg, char *err, size_t errlen)
{
	const char *env = getenv("TAILSCALE_DERPER_MESH_KEY");
	int e = 0;

	if (cfg->dev)
		keyfile_generate(&cfg->private_key);
	else
		e = keyfile_load_or_create(&cfg->private_key, cfg->key_path, err, errlen);
	if (e)
		return e;
	handshake_public_key(&cfg->public_key, &cfg->private_key);
	if (cfg->dev && env && *env) {
		e = keyfile_parse_mesh(&cfg->mesh_key, env, strlen(env));
		if (e)
			snprintf(err, errlen, "TAILSCALE_DERPER_MESH_KEY must be 64 hex digits, not all of them zero");
		cfg->has_mesh_key = !e;
	} else if (!cfg->dev && *cfg->mesh_psk_file) {
		e = keyfile_load_mesh(&cfg->mesh_key, cfg->mesh_psk_file, err, errlen);
		cfg->has_mesh_key = !e;
	}
	return e;
}

void config_free(struct config *cfg)
{
	struct config *before;

	for (; cfg; cfg = before) {
		before = cfg->before;
		config_done(cfg);
		free(cfg);
	}
}

void config_done(struct config *cfg)
{
	sodium_memzero(&cfg->private_key, sizeof(cfg->private_key));
	sodium_memzero(&cfg->mesh_key, sizeof(cfg->mesh_key));
	for (unsigned int i = 0; i < cfg->nowned; i++)
		free(cfg->owned[i]);
	cfg->nowned = 0;
	free(cfg->proxies);
	free(cfg->exempt);
	cfg->proxies = cfg->exempt = NULL;
	conffile_free(cfg->file);
	cfg->file = NULL;
}
