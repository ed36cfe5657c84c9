/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/admission.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "base/log.h"
#include "base/worker.h"
#include "net/dial.h"
#include "net/listen.h"
#include "relay/shard.h"

#define ASK_NS		(5 * NS_PER_S)	/* each of the two */
#define ANSWER_MAX	(16U * 1024)
#define CAP_VERSION	133		/* what derper v1.96.4 says it is, as Tailscale-Cap */
#define NODEKEY_LEN	(sizeof("nodekey:") + KEY_HEX_LEN)

struct admission {
	unsigned int refs;		/* atomic: the relay, and every job */
	const char *socket;		/* of tailscaled; NULL: it is not asked */
	char *url;			/* owned; NULL: none is asked */
	const char *target;		/* in url: path and query, "" for "/" */
	char host[DIAL_HOST_LEN], authority[DIAL_HOST_LEN + 8];
	uint16_t port;
	bool fail_open;
	struct tls_ctx *tls;		/* owned; https */
	struct workers *workers;	/* borrowed */
	struct keylist *list;		/* owned; NULL: there is none */
};

struct ask_job {
	struct job job;
	struct admission *a;		/* a share */
	struct conn_id id;
	admission_verdict verdict;
	struct key key;
	char nodekey[NODEKEY_LEN], source[INET6_ADDRSTRLEN];
	uint64_t start_by_ns;		/* nobody waits for an answer to what is asked later */
	enum admission_outcome outcome;
	char text[256];			/* why */
};

/* --- set up */

static void put(struct admission *a)
{
	if (__atomic_sub_fetch(&a->refs, 1, __ATOMIC_ACQ_REL))
		return;
	tls_ctx_free(a->tls);
	keylist_free(a->list);
	free(a->url);
	free(a);
}

static bool printable(const char *s)
{
	while (*s > ' ' && *s < 0x7f)
		s++;
	return !*s;
}

static int set_url(struct admission *a, const char *url, char *err, size_t errlen)
{
	bool https = !strncasecmp(url, "https://", 8), http = !strncasecmp(url, "http://", 7);
	const char *p = url + (https ? 8 : http ? 7 : 0);
	size_t n = strcspn(p, "/?#");

	if ((!http && !https) || !n || !printable(url) || memchr(p, '@', n) || n >= sizeof(a->authority) || dial_split(a->host, &a->port, p, n, https ? 443 : 80)) {
		snprintf(err, errlen, "-verify-client-url: \"%s\" is wrong; allowed: http:// or https://, a host, and what follows", url);
		return -EINVAL;
	}
	a->url = strndup(url, strcspn(url, "#"));
	if (!a->url)
		return -ENOMEM;
	memcpy(a->authority, p, n);
	a->target = a->url + (p - url) + n;
	return https ? tls_ctx_new_client(&a->tls, err, errlen) : 0;
}

int admission_new(struct admission **ret, const struct config *cfg, struct workers *w, char *err, size_t errlen)
{
	struct admission *a;
	int e = 0;

	if (!cfg->verify_clients && !*cfg->verify_url && !*cfg->allow_keys)
		return 0;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->refs = 1;
	a->workers = w;
	a->socket = cfg->verify_clients ? cfg->socket : NULL;
	a->fail_open = cfg->verify_fail_open;
	if (*cfg->verify_url)
		e = set_url(a, cfg->verify_url, err, errlen);
	if (!e && *cfg->allow_keys)
		e = keylist_read(&a->list, cfg->opener, cfg->allow_keys, err, errlen);
	if (e) {
		put(a);
		return e;
	}
	*ret = a;
	return 0;
}

void admission_free(struct admission *a)
{
	if (a)
		put(a);
}

/* --- asking, on a worker */

/* An answer: its head, and its body if that was waited for. */
struct answer {
	uint8_t buf[ANSWER_MAX];
	struct http1_response r;
	struct view body;
	bool head_only;			/* unless the status says that something is wrong */
};

static int whole(void *ctx, uint8_t *buf, size_t n, int ended)
{
	struct answer *w = ctx;
	int r = http1_parse_response(&w->r, buf, n);

	if (r != 1)
		return r;
	if (w->head_only && (w->r.status == 200 || w->r.status == 404))
		return 1;
	return http1_response_body(&w->body, &w->r, buf, n, ended);
}

/* 0, or -errno and a sentence in j->text. Takes fd. */
static int exchange(struct ask_job *j, int fd, struct tls *tls, const char *req, uint64_t deadline_ns, struct answer *w)
{
	ssize_t n = dial_exchange(fd, tls, req, strlen(req), w->buf, sizeof(w->buf), deadline_ns, whole, w, j->text, sizeof(j->text));

	close(fd);
	return n < 0 ? (int)n : 0;
}

static void say(struct ask_job *j, enum admission_outcome o, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(struct ask_job *j, enum admission_outcome o, const char *fmt, ...)
{
	char text[sizeof(j->text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(j->text, text, sizeof(text));
	j->outcome = o;
}

static void judge_tailscaled(struct ask_job *j, const struct answer *w)
{
	if (w->r.status == 200)
		j->outcome = ADMISSION_ALLOWED;
	else if (w->r.status == 404)
		say(j, ADMISSION_TAILSCALED, "the local tailscaled does not know it: it is in no tailnet of this machine");
	else if (w->body.n && memmem(w->body.p, w->body.n, "invalid 'addr' parameter", 24))
		say(j, ADMISSION_TAILSCALED_ERROR, "the local tailscaled is too old to be asked about a node key; update it");
	else
		say(j, ADMISSION_TAILSCALED_ERROR, "the local tailscaled answers with status %d", w->r.status);
}

static void ask_tailscaled(struct ask_job *j, struct answer *w)
{
	uint64_t deadline = clock_now_ns() + ASK_NS;
	char req[256];
	int fd = dial_unix(j->a->socket, deadline, j->text, sizeof(j->text));

	/* The colon of "nodekey:" is escaped, as derper's client does. */
	snprintf(req, sizeof(req), "GET /localapi/v0/whois?addr=nodekey%%3A%s HTTP/1.1\r\nHost: local-tailscaled.sock\r\n"
		 "Tailscale-Cap: %d\r\nConnection: close\r\n\r\n", j->nodekey + sizeof("nodekey:") - 1, CAP_VERSION);
	w->head_only = true;
	if (fd < 0 || exchange(j, fd, NULL, req, deadline, w))
		say(j, ADMISSION_TAILSCALED_ERROR, "the local tailscaled (-socket) can't be asked: %.180s", j->text);
	else
		judge_tailscaled(j, w);
}

/* Go looks for the field's name in any case; a missing one is false. */
static bool is_allowed(json_t *o)
{
	const char *name;
	json_t *v;
	bool allow = false;

	json_object_foreach(o, name, v)
		if (!strcasecmp(name, "Allow"))
			allow = json_is_true(v);
	return allow;
}

static void judge_url(struct ask_job *j, const struct answer *w)
{
	json_t *o;

	if (w->r.status != 200) {
		say(j, ADMISSION_URL, "-verify-client-url answers with status %d", w->r.status);
		return;
	}
	o = json_loadb((const char *)w->body.p, w->body.n, JSON_DISABLE_EOF_CHECK, NULL);
	if (!json_is_object(o))
		say(j, ADMISSION_URL, "-verify-client-url does not answer with a JSON object");
	else if (is_allowed(o))
		j->outcome = ADMISSION_ALLOWED;
	else
		say(j, ADMISSION_URL, "-verify-client-url does not allow it");
	json_decref(o);
}

static int post(struct ask_job *j, struct answer *w)
{
	struct admission *a = j->a;
	uint64_t deadline = clock_now_ns() + ASK_NS;
	struct tls *tls = NULL;
	char *req, body[256];
	int fd, e, n;

	n = snprintf(body, sizeof(body), "{\"NodePublic\":\"%s\",\"Source\":\"%s\"}", j->nodekey, j->source);
	fd = dial_tcp(a->host, a->port, deadline, j->text, sizeof(j->text));
	if (fd < 0)
		return fd;
	tls = a->tls ? tls_new_client(a->tls, a->host) : NULL;
	if ((a->tls && !tls) ||
	    asprintf(&req, "POST %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: xderp\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		     *a->target == '/' ? "" : "/", a->target, a->authority, n, body) < 0) {
		snprintf(j->text, sizeof(j->text), "out of memory");
		tls_free(tls);
		close(fd);
		return -ENOMEM;
	}
	w->head_only = false;
	e = exchange(j, fd, tls, req, deadline, w);
	tls_free(tls);
	free(req);
	return e;
}

static void ask_url(struct ask_job *j, struct answer *w)
{
	if (!post(j, w))
		judge_url(j, w);
	else if (j->a->fail_open)
		say(j, ADMISSION_FAIL_OPEN, "-verify-client-url can't be asked: %.180s", j->text);
	else
		say(j, ADMISSION_URL_ERROR, "-verify-client-url can't be asked, and -verify-client-url-fail-open is off: %.140s", j->text);
}

static void ask_run(struct job *job)
{
	struct ask_job *j = container_of(job, struct ask_job, job);
	struct answer *w = calloc(1, sizeof(*w));

	if (!w || clock_now_ns() > j->start_by_ns) {
		say(j, ADMISSION_BUSY, "too many are being verified; raise --max-verifications, or look why the answers take long");
		free(w);
		return;
	}
	j->outcome = ADMISSION_ALLOWED;
	if (j->a->socket)
		ask_tailscaled(j, w);
	if (j->a->url && j->outcome == ADMISSION_ALLOWED)
		ask_url(j, w);
	free(w);
}

static void ask_free(struct job *job)
{
	struct ask_job *j = container_of(job, struct ask_job, job);

	put(j->a);
	free(j);
}

static void ask_done(struct job *job, void *owner)
{
	struct ask_job *j = container_of(job, struct ask_job, job);

	j->verdict(owner, j->id, &j->key, j->outcome, j->text);
	ask_free(job);
}

/* --- on a shard */

const struct key_caps *admission_caps(const struct admission *a, const struct key *k)
{
	static const struct key_caps none;
	const struct key_caps *c = a && a->list ? keylist_find(a->list, k) : NULL;

	return c ? c : &none;
}

bool admission_has_caps(const struct admission *a)
{
	return a && a->list && keylist_has_caps(a->list);
}

static void source_text(char ret[static INET6_ADDRSTRLEN], const struct sockaddr *src)
{
	static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
	uint8_t ip[16];
	uint16_t port;

	sockaddr_to_16(ip, &port, src);
	if (!memcmp(ip, v4, sizeof(v4)))
		inet_ntop(AF_INET, ip + sizeof(v4), ret, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, ip, ret, INET6_ADDRSTRLEN);
}

enum admission_outcome admission_ask(struct admission *a, struct shard *s, struct conn_id id, const struct key *k,
				     const struct sockaddr *src, admission_verdict verdict, const char **why)
{
	struct ask_job *j;

	*why = "its key is not in --allow-keys";
	if (a->list && !keylist_find(a->list, k))
		return ADMISSION_NOT_LISTED;
	if (!a->socket && !a->url)
		return ADMISSION_ALLOWED;
	*why = "too many wait to be verified, or there is no memory";
	j = calloc(1, sizeof(*j));
	if (!j)
		return ADMISSION_BUSY;
	j->job = (struct job){ .to = &s->inbox, .run = ask_run, .done = ask_done, .free = ask_free };
	j->a = a;
	j->id = id;
	j->verdict = verdict;
	j->key = *k;
	memcpy(j->nodekey, "nodekey:", 8);
	key_to_hex(j->nodekey + 8, k);
	source_text(j->source, src);
	j->start_by_ns = s->now_ns + ASK_NS;
	__atomic_add_fetch(&a->refs, 1, __ATOMIC_RELAXED);
	if (workers_submit(a->workers, &j->job))
		return ADMISSION_ASKED;
	ask_free(&j->job);
	return ADMISSION_BUSY;
}

enum admission_outcome admission_late(const struct admission *a)
{
	if (!a)
		return ADMISSION_ALLOWED;
	return a->socket ? ADMISSION_TAILSCALED_ERROR : a->fail_open ? ADMISSION_FAIL_OPEN : ADMISSION_URL_ERROR;
}
