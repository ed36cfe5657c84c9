/* SPDX-License-Identifier: BSD-3-Clause */
/* xderpd: the order in which it comes up and goes down, nothing else. */
#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/config.h"
#include "admin/filelimit.h"
#include "admin/pages.h"
#include "admin/privdrop.h"
#include "admin/reload.h"
#include "base/clock.h"
#include "base/feature.h"
#include "base/log.h"
#include "base/mappings.h"
#include "base/opener.h"
#include "kern/kern.h"
#include "kern/xdp.h"
#include "net/keyscope.h"
#include "relay/bootstrap.h"
#include "relay/relay.h"

/* Signals come to the main thread through a descriptor; shards inherit the mask and see none. */
static int block_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGIO);		/* addresses of this machine changed */
	sigaddset(&set, SIGALRM);	/* set_clock() */
	sigaddset(&set, SIGUSR1);	/* names were looked up */
	if (sigprocmask(SIG_BLOCK, &set, NULL) == -1)
		return -errno;
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* What the main thread looks at from time to time. */
static void set_clock(const struct config *cfg)
{
	bool names = *cfg->bootstrap_names || *cfg->unpublished_names;
	uint64_t ns = cfg->tls && cfg->cert_poll_ns ? cfg->cert_poll_ns : names ? 10 * NS_PER_S : 0;
	const struct timeval every = { (time_t)(ns / NS_PER_S), (suseconds_t)(ns % NS_PER_S / 1000) };
	const struct itimerval clock = { every, every };

	setitimer(ITIMER_REAL, &clock, NULL);
}

static void look_around(struct relay *relay)
{
	const struct config *cfg = relay->cfg;

	if (cfg->tls && cfg->cert_poll_ns)
		certificate_poll(relay);
	bootstrap_refresh(relay->bootstrap, cfg);
}

static void reload(struct relay *relay)
{
	struct textbuf changed = { 0 }, why = { 0 };

	reload_all(relay, &changed, &why);
	textbuf_done(&changed);
	textbuf_done(&why);
}

static void wait_for_end(int sigfd, struct relay *relay, struct control *control)
{
	struct signalfd_siginfo si;

	while (control_serve(control, sigfd)) {
		if (read(sigfd, &si, sizeof(si)) != sizeof(si))
			continue;
		if (si.ssi_signo == SIGHUP) {
			reload(relay);
		} else if (si.ssi_signo == SIGALRM) {
			look_around(relay);
		} else if (si.ssi_signo == SIGUSR1) {
			bootstrap_take(relay->bootstrap, relay);
		} else if (si.ssi_signo == SIGIO) {
			xdp_addresses_changed(relay->xdp);
		} else {
			log_event(LOG_LEVEL_INFO, "draining", "signal=%s", strsignal((int)si.ssi_signo));
			return;
		}
	}
	log_event(LOG_LEVEL_INFO, "draining", "asked=%s", "control socket");
}

/* A path that was asked for must work; the default is somebody else's where several relays run. */
static int open_control(struct control **ret, const struct config *cfg, struct relay *relay, char *err, size_t errlen)
{
	struct control_opts o = {
		.path = cfg->control_socket ? cfg->control_socket : CONFIG_CONTROL_SOCKET,
		.handle = commands_handle, .ctx = relay,
	};
	int e;

	*ret = NULL;
	if (!*o.path) {
		feature_set("control", "off", "--control-socket is empty");
		return 0;
	}
	e = control_open(ret, &o, err, errlen);
	if (e)
		feature_set("control", "off", "%s", err);
	else
		feature_set("control", "on", "%s", o.path);
	return cfg->control_socket ? e : 0;
}

static int open_kern(struct kern **ret, const struct config *cfg, char *err, size_t errlen)
{
	unsigned int max_peers = cfg->bpf_peers ? cfg->bpf_peers : cfg->max_conns;
	const struct kern_opts o = { .mode = cfg->bpf, .bpffs = cfg->bpffs, .max_peers = max_peers };
	char why[400];

	if (kern_open(ret, &o, why, sizeof(why))) {
		snprintf(err, errlen, "--bpf=on, but %s", why);
		return -1;
	}
	if (*ret)
		feature_set("bpf", "on", "up to %u peers in %s", max_peers, cfg->bpffs);
	else
		feature_set("bpf", "off", "%s", why);
	return 0;
}

static int open_splice(struct kern *kern, struct relay *relay, char *err, size_t errlen)
{
	const struct config *cfg = relay->cfg;
	const struct splice_opts o = {
		.mode = cfg->splice, .shards = cfg->shards, .peers = cfg->splice_peers, .queue_limit = cfg->splice_queue, .bulk_pressure = cfg->splice_pressure,
		.twin_limit = cfg->splice_tls ? cfg->splice_tls_queue : 0,
	};
	int e = kern_open_splice(kern, &o, &relay->splicer);

	if (e)
		snprintf(err, errlen, "%s, but the kernel does not move packets here: %s; use %s",
			 cfg->splice == SPLICE_ON ? "--splice=on" : "--splice-tls=on", strerror(-e),
			 cfg->splice == SPLICE_ON ? "--splice=auto" : "--splice-tls=off");
	splice_enable(relay->splicer, !cfg->rate.bytes_per_s);
	return e;
}

static void open_xdp(struct kern *kern, struct relay *relay)
{
	const struct config *cfg = relay->cfg;
	struct relay_bound bound;
	struct xdp_opts o = {
		.mode = cfg->xdp, .interfaces = cfg->xdp_interfaces, .guard_rate = cfg->guard_rate,
		.guard_burst = cfg->guard_burst, .guard_sources = cfg->guard_sources,
	};

	relay_bound(relay, &bound);
	memcpy(o.address, bound.address, sizeof(o.address));
	o.tcp_ports[0] = bound.main_port;
	o.tcp_ports[1] = bound.plain_port;
	o.stun_port = bound.stun_port;
	relay->xdp = kern_open_xdp(kern, &o);
	xdp_deny(relay->xdp, relay->deny.set);
}

/* Who we shall be, and, forked while there are no secrets in memory, who opens what we may not read then. */
static int find_account(struct account *ret, struct config *cfg, char *err, size_t errlen)
{
	int e = account_find(ret, cfg->user, err, errlen);

	if (e || !ret->change)
		return e;
	e = relay_opener(&cfg->opener, cfg, ret->uid, ret->gid);
	if (e && !*cfg->user)
		return 0;	/* then we can't become that user either */
	if (e)
		snprintf(err, errlen, "can't start the process that opens certificates on reload: %s; --user=root does without",
			 strerror(-e));
	return e;
}

static int drop_privileges(const struct config *cfg, const struct account *a, struct kern *kern, struct control *control,
			   char *err, size_t errlen)
{
	char why[200];

	if (a->change) {
		kern_give(kern, a->uid, a->gid);
		if (control)
			control_give(control, cfg->control_socket ? NULL : CONFIG_CONTROL_DIR, a->uid, a->gid);
	}
	/* A container may have no other user. */
	if (!privdrop(a, err, errlen))
		feature_set("user", a->name, "%s", a->uid ? "no capability, no new privileges" : "root keeps its capabilities");
	else if (*cfg->user)
		return -1;
	else
		feature_set("user", "root", "%s", err);
	if (!cfg->seccomp && !seccomp_on(why, sizeof(why)))
		feature_set("seccomp", "on", "%s", "the system calls of a running relay");
	else
		feature_set("seccomp", "off", "%s", cfg->seccomp ? "--seccomp=off" : why);
	return 0;
}

static int fail(const char *err)
{
	log_event(LOG_LEVEL_ERROR, "start_failed", "error=%s", err);
	return 1;
}

int main(int argc, char **argv)
{
	struct config *cfg = calloc(1, sizeof(*cfg));
	struct control *control = NULL;
	struct relay *relay = NULL;
	struct account account;
	struct kern *kern;
	char err[512];
	int r, sigfd;

	keyscope_init();
	if (!cfg)
		return fail("out of memory");
	r = config_parse(cfg, argc, argv, stderr);
	if (r) {
		free(cfg);
		return r > 0 ? 0 : 2;
	}
	log_set_level(cfg->log_level);
	if (sodium_init() < 0)
		return fail("libsodium does not start");
	sigfd = block_signals();
	if (sigfd < 0)
		return fail("no signalfd");
	if (find_account(&account, cfg, err, sizeof(err)))
		return fail(err);
	if (config_load_keys(cfg, err, sizeof(err)))
		return fail(err);
	filelimit_raise(cfg->max_conns + (cfg->splice_tls ? cfg->splice_peers : 0));
	if (open_kern(&kern, cfg, err, sizeof(err)))
		return fail(err);
	if (relay_new(&relay, cfg, kern_peers(kern), err, sizeof(err))) {
		kern_close(kern);
		return fail(err);
	}
	relay->page = pages_render;
	if (open_splice(kern, relay, err, sizeof(err)))
		return fail(err);
	open_xdp(kern, relay);
	if (open_control(&control, cfg, relay, err, sizeof(err)))
		return fail(err);
	set_clock(cfg);
	mappings_release();
	if (drop_privileges(cfg, &account, kern, control, err, sizeof(err)))
		return fail(err);
	/* Some shards may run already: what they use must not be taken apart under them. */
	if (relay_start(relay, err, sizeof(err)))
		_exit(fail(err));
	relay_log_ready(relay);
	bootstrap_refresh(relay->bootstrap, cfg);

	wait_for_end(sigfd, relay, control);

	relay_drain(relay);
	relay_join(relay);
	log_event(LOG_LEVEL_INFO, "stopped", "version=%s", xderp_version);
	cfg = (struct config *)relay->cfg;	/* the last of them */
	relay_free(relay);
	kern_close(kern);
	control_close(control);
	opener_stop(cfg->opener);
	config_free(cfg);
	close(sigfd);
	return 0;
}
