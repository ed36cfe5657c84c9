/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/certificate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/opener.h"
#include "derp_proto.h"
#include "net/cert.h"
#include "net/tls.h"
#include "relay/relay.h"

#define PATH_LEN	4096

bool certificate_paths(char *crt, char *key, const struct config *cfg)
{
	return !cert_paths(crt, key, PATH_LEN, cfg->certdir, cfg->hostname);
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

int certificate_load(struct tls_ctx **ret, const struct config *cfg, char *err, size_t errlen)
{
	char crt[PATH_LEN], key[PATH_LEN];
	struct tls_opts o = {
		.hostname = cfg->hostname, .cert_file = crt, .key_file = key, .opener = cfg->opener,
		.derp_public = &cfg->public_key, .derp_version = DERP_VERSION,
	};
	int e;

	if (!certificate_paths(crt, key, cfg)) {
		snprintf(err, errlen, "-certdir and -hostname together are too long");
		return -ENAMETOOLONG;
	}
	if (cert_is_ip(cfg->hostname) && is_missing(crt) && is_missing(key)) {
		e = cert_make_self_signed(crt, key, cfg->hostname, err, errlen);
		if (e)
			return e;
	}
	e = tls_ctx_new(ret, &o, err, errlen);
	if (!e)
		log_pinned(cfg, crt);
	return e;
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
	char crt[PATH_LEN], key[PATH_LEN];

	memset(&s, 0, sizeof(s));	/* padding, too: stamps are compared as bytes */
	if (certificate_paths(crt, key, cfg)) {
		look_at(&s, 0, cfg->opener, crt);
		look_at(&s, 1, cfg->opener, key);
	}
	return s;
}

static bool equal(const struct certificate_stamp *a, const struct certificate_stamp *b)
{
	return !memcmp(a, b, sizeof(*a));
}

int certificate_load_noted(struct tls_ctx **ret, struct certificate_watch *w, const struct config *cfg, char *err,
			   size_t errlen)
{
	/* Before: a change while they are read must not go unseen. */
	w->tried = w->seen = look(cfg);
	return certificate_load(ret, cfg, err, errlen);
}

static bool nothing(struct shard *s, void *ctx)
{
	(void)s;
	(void)ctx;
	return false;
}

static void use(struct relay *r, struct tls_ctx *ctx)
{
	struct tls_ctx *before = r->tls;

	__atomic_store_n(&r->tls, ctx, __ATOMIC_RELEASE);
	ask_all(r, nothing, NULL);	/* no shard holds the one before any more */
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
	if (certificate_load_noted(&ctx, w, cfg, err, sizeof(err))) {
		count(&w->refused);
		log_event(LOG_LEVEL_ERROR, "certificate_kept", "hostname=%s error=%s", cfg->hostname, err);
		return;
	}
	use(r, ctx);
	count(&w->taken);
	log_event(LOG_LEVEL_INFO, "certificate_changed", "hostname=%s not_after=%lld", cfg->hostname,
		  (long long)tls_ctx_not_after(ctx));
}
