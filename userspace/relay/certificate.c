/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/certificate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/feature.h"
#include "base/log.h"
#include "base/opener.h"
#include "derp_proto.h"
#include "net/cert.h"
#include "net/tls.h"
#include "relay/relay.h"

/* What an operator does about a missing one. */
#define CERTIFICATE_HOW	"run xderp-acme, or systemctl enable --now xderp-acme.timer, which requests one; this relay answers the challenge on port 80"

bool certificate_paths(struct certificate_paths *ret, const struct config *cfg)
{
	int n = snprintf(ret->cache, sizeof(ret->cache), "%s/%s", cfg->certdir, cfg->hostname);

	return !cert_paths(ret->crt, ret->key, sizeof(ret->crt), cfg->certdir, cfg->hostname) && n < (int)sizeof(ret->cache);
}

/* A DERPNode to paste into a DERP map: what derper logs in this mode, so that clients trust the certificate. */
static void log_pinned(const struct config *cfg, const char *crt)
{
	char pin[65], err[256];

	if (!cert_is_self_signed(crt) || cert_sha256_raw(pin, crt, err, sizeof(err)))
		return;
	log_event(LOG_LEVEL_INFO, "self_signed_certificate", "hostname=%s cert_name=sha256-raw:%s file=%s",
		  cfg->hostname, pin, crt);
}

/* On reload the directory may be one that we can't enter any more: that says nothing. */
static bool is_missing(const char *path)
{
	struct stat st;

	return stat(path, &st) && errno == ENOENT;
}

/* Also where we may not look ourselves. */
static bool opens(struct opener *o, const char *path)
{
	int fd = opener_open(o, path);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

int certificate_load(struct tls_ctx **ret, const struct config *cfg, char *err, size_t errlen)
{
	struct certificate_paths p;
	struct tls_opts o = {
		.hostname = cfg->hostname, .cert_file = p.crt, .key_file = p.key, .opener = cfg->opener,
		.derp_public = &cfg->public_key, .derp_version = DERP_VERSION,
	};
	int e;

	if (!certificate_paths(&p, cfg)) {
		snprintf(err, errlen, "-certdir and -hostname together are too long");
		return -ENAMETOOLONG;
	}
	if (cert_is_ip(cfg->hostname) && is_missing(p.crt) && is_missing(p.key)) {
		e = cert_make_self_signed(p.crt, p.key, cfg->hostname, err, errlen);
		if (e)
			return e;
	}
	/* What derper got goes on being used until there is something newer. */
	if (cfg->certmode == CERTMODE_LETSENCRYPT && !opens(cfg->opener, p.crt) && opens(cfg->opener, p.cache))
		o.cert_file = o.key_file = p.cache;
	e = tls_ctx_new(ret, &o, err, errlen);
	if (!e)
		log_pinned(cfg, p.crt);
	return e;
}

static bool has_none(const struct relay *r)
{
	return !r->tls || !tls_ctx_not_after(r->tls);
}

void certificate_list(const struct relay *r, const struct config *cfg)
{
	if (!cfg->tls)
		feature_set("tls", "off", "-a has a port other than 443 and there is no -certmode manual");
	else if (has_none(r))
		feature_set("tls", "waiting", "no certificate for %s yet: " CERTIFICATE_HOW, cfg->hostname);
	else
		feature_set("tls", "on", "TLS 1.2 and 1.3 at %s for %s", cfg->addr, cfg->hostname);
}

/* --- while the relay runs: files are looked at through the opener, which follows links as they are now and sees directories
 * that we may not enter; inotify does neither */

static void look_at(struct certificate_stamp *ret, unsigned int i, struct opener *opener, const char *path)
{
	int fd = opener_open(opener, path);
	struct stat st;

	if (fd < 0 || fstat(fd, &st)) {
		ret->file[i].error = fd < 0 ? -fd : errno;
	} else {
		ret->file[i].device = st.st_dev;
		ret->file[i].inode = st.st_ino;
		ret->file[i].size = (uint64_t)st.st_size;
		ret->file[i].changed_ns = st.st_ctim.tv_sec * (int64_t)NS_PER_S + st.st_ctim.tv_nsec;
	}
	if (fd >= 0)
		close(fd);
}

static struct certificate_stamp look(const struct config *cfg)
{
	struct certificate_stamp s;
	struct certificate_paths p;

	memset(&s, 0, sizeof(s));	/* padding, too: stamps are compared as bytes */
	if (certificate_paths(&p, cfg)) {
		look_at(&s, 0, cfg->opener, p.crt);
		look_at(&s, 1, cfg->opener, p.key);
	}
	return s;
}

static bool equal(const struct certificate_stamp *a, const struct certificate_stamp *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static int load_noted(struct tls_ctx **ret, struct certificate_watch *w, const struct config *cfg, char *err, size_t errlen)
{
	/* Before: a change while they are read must not go unseen. */
	w->tried = w->seen = look(cfg);
	return certificate_load(ret, cfg, err, errlen);
}

int certificate_renew(struct tls_ctx **ret, struct relay *r, const struct config *cfg, char *err, size_t errlen)
{
	const struct tls_opts none = { .hostname = cfg->hostname };
	int e = load_noted(ret, &r->certificate, cfg, err, errlen);

	if (!e || cfg->certmode != CERTMODE_LETSENCRYPT || !has_none(r))
		return e;
	log_event(LOG_LEVEL_ERROR, "no_certificate", "hostname=%s error=%s fix=%s", cfg->hostname, err, CERTIFICATE_HOW);
	return tls_ctx_new(ret, &none, err, errlen);
}

static void use(struct relay *r, struct tls_ctx *ctx)
{
	struct tls_ctx *before = r->tls;

	__atomic_store_n(&r->tls, ctx, __ATOMIC_RELEASE);
	ask_nothing(r);
	tls_ctx_free(before);
}

static void count(uint64_t *n)
{
	__atomic_store_n(n, *n + 1, __ATOMIC_RELAXED);
}

/* Two files are not replaced in one step: act when they are the same twice. */
void certificate_poll(struct relay *r)
{
	struct certificate_watch *w = &r->certificate;
	const struct config *cfg = r->cfg;
	struct certificate_stamp now = look(cfg);
	bool rests = equal(&now, &w->seen);
	struct tls_ctx *ctx = NULL;
	char err[512];

	w->seen = now;
	if (!rests || equal(&now, &w->tried))
		return;
	if (load_noted(&ctx, w, cfg, err, sizeof(err))) {
		count(&w->refused);
		log_event(LOG_LEVEL_ERROR, "certificate_kept", "hostname=%s error=%s", cfg->hostname, err);
		return;
	}
	use(r, ctx);
	count(&w->taken);
	certificate_list(r, cfg);
	log_event(LOG_LEVEL_INFO, "certificate_changed", "hostname=%s not_after=%lld", cfg->hostname,
		  (long long)tls_ctx_not_after(ctx));
}
