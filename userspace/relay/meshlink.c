/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/meshlink.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/worker.h"
#include "relay/mesh.h"
#include "relay/shard.h"
#include "wire/handshake.h"

#define DIAL_NS		(10 * NS_PER_S)
#define SILENCE_NS	(120 * NS_PER_S)	/* nodes send a KeepAlive every 60 to 65 s */
#define RETRY_FIRST_NS	NS_PER_S
#define RETRY_DOUBLINGS	3U
#define HEAD_MAX	4096U			/* of an HTTP answer */

enum { STAGE_HTTP, STAGE_KEY, STAGE_INFO };

struct dial_job {
	struct job job;
	unsigned int link;
	char host[DIAL_HOST_LEN];
	uint16_t port;
	int fd;			/* -errno */
	char err[160];
};

static void set_state(struct meshlink *l, enum meshlink_state state)
{
	struct shard_stats *st = &l->shard->stats;

	if (l->state == MESHLINK_UP)
		STAT_DEC(st, mesh_links_up);
	if (state == MESHLINK_UP)
		STAT_INC(st, mesh_links_up);
	__atomic_store_n(&l->state, state, __ATOMIC_RELAXED);
}

/* --- waiting and dialling */

/* 1, 2, 4, 8, 8 ... seconds, a quarter more or less, so that nodes that lost each other don't all come at once. */
static void try_later(struct meshlink *l)
{
	uint64_t ns = RETRY_FIRST_NS << min_of(l->failures, RETRY_DOUBLINGS);

	set_state(l, MESHLINK_WAITING);
	l->failures++;
	if (!l->shard->draining)
		timer_arm(&l->shard->wheel, &l->retry, l->shard->now_ns + ns * 3 / 4 +
			  randombytes_uniform((uint32_t)(ns / NS_PER_MS / 2)) * NS_PER_MS);
}

static void not_reached(struct meshlink *l)
{
	STAT_INC(&l->shard->stats, mesh_dial_failures);
	log_limited(LOG_LEVEL_WARN, "mesh_link_failed", "node=%s reason=%s", l->name, l->why);
	try_later(l);
}

void meshlink_failed(struct meshlink *l, const char *why)
{
	/* What is known already stays: snprintf would empty it first. */
	if (why != l->why)
		snprintf(l->why, sizeof(l->why), "%s", why);
}

static void dial_run(struct job *job)
{
	struct dial_job *j = container_of(job, struct dial_job, job);

	j->fd = dial_tcp(j->host, j->port, clock_now_ns() + DIAL_NS, j->err, sizeof(j->err));
}

static void dial_free(struct job *job)
{
	struct dial_job *j = container_of(job, struct dial_job, job);

	if (j->fd >= 0)
		close(j->fd);
	free(j);
}

static void dial_done(struct job *job, void *owner)
{
	struct dial_job *j = container_of(job, struct dial_job, job);
	struct shard *s = owner;
	struct meshlink *l = &s->relay->links[j->link];

	if (s->draining) {
		dial_free(job);
		return;
	}
	if (j->fd < 0) {
		meshlink_failed(l, j->err);
		not_reached(l);
	} else {
		set_state(l, MESHLINK_LOGIN);
		meshlink_failed(l, "");
		l->conn = conn_dialled(s, j->fd, l, l->host);
		if (!l->conn && l->state == MESHLINK_LOGIN) {
			meshlink_failed(l, "no memory, or --max-connections reached");
			not_reached(l);
		}
	}
	free(j);
}

static void dial(struct meshlink *l)
{
	struct shard *s = l->shard;
	struct dial_job *j = calloc(1, sizeof(*j));

	STAT_INC(&s->stats, mesh_dials);
	set_state(l, MESHLINK_DIALLING);
	if (j) {
		*j = (struct dial_job){
			.job = { .to = &s->inbox, .run = dial_run, .done = dial_done, .free = dial_free },
			.link = l->nr, .port = l->port, .fd = -1,
		};
		memcpy(j->host, l->dial, sizeof(j->host));
		if (workers_submit(s->relay->dialers, &j->job))
			return;
		free(j);
	}
	meshlink_failed(l, "no memory, or no thread to dial with");
	not_reached(l);
}

static void on_retry(struct timer *t, void *ctx)
{
	(void)ctx;
	dial(container_of(t, struct meshlink, retry));
}

void meshlinks_start(struct shard *s)
{
	for (unsigned int i = 0; i < s->relay->nlinks; i++)
		if (s->relay->links[i].shard == s)
			dial(&s->relay->links[i]);
}

/* --- login */

static void refused(struct conn *c, const char *why)
{
	meshlink_failed(c->link, why);
	conn_close(c, CLOSE_MESH_REFUSED);
}

void meshlink_established(struct conn *c)
{
	char head[DIAL_HOST_LEN + 128];
	int n = snprintf(head, sizeof(head), "GET /derp HTTP/1.1\r\nHost: %s\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n",
			 c->link->name);

	c->link->stage = STAGE_HTTP;
	conn_enter_link_login(c);
	if (conn_write(c, head, (size_t)n))
		conn_close(c, CLOSE_NO_MEMORY);
}

static size_t http_answer(struct conn *c, const uint8_t *p, size_t n)
{
	struct http1_response r;
	size_t old = c->in_len, take = min_of(n, HEAD_MAX - old);
	char why[80];
	int got;

	if (conn_stash(c, p, take)) {
		conn_close(c, CLOSE_NO_MEMORY);
		return n;
	}
	got = http1_parse_response(&r, c->in, c->in_len);
	if (got < 0 || (!got && c->in_len == HEAD_MAX)) {
		refused(c, "it does not answer in HTTP; is TLS spoken on both sides (--mesh-plain)?");
		return n;
	}
	if (!got)
		return take;
	conn_unstash(c);
	if (r.status == 101) {
		c->link->stage = STAGE_KEY;
	} else {
		snprintf(why, sizeof(why), "it answers the upgrade to DERP with status %d", r.status);
		refused(c, why);
	}
	return r.head_len - old;
}

static void send_login(struct conn *c)
{
	const struct config *cfg = c->shard->cfg;
	struct meshlink *l = c->link;
	uint8_t out[CLIENT_INFO_MESH_LEN + DERP_HDR_LEN];
	int err;

	err = client_info_seal_mesh(out, &cfg->public_key, &cfg->private_key, &l->server, &cfg->mesh_key);
	frame_watch_conns(out + CLIENT_INFO_MESH_LEN);
	if (err)
		refused(c, "its key is no key");
	else if (conn_write(c, out, sizeof(out)))
		conn_close(c, CLOSE_NO_MEMORY);
	else
		l->stage = STAGE_INFO;
}

static void server_key(struct conn *c, const uint8_t *body)
{
	struct meshlink *l = c->link;

	if (memcmp(body, DERP_MAGIC, DERP_MAGIC_LEN) != 0) {
		refused(c, "its ServerKey frame is none");
		return;
	}
	memcpy(l->server.b, body + DERP_MAGIC_LEN, KEY_LEN);
	if (key_equal(&l->server, &c->shard->cfg->public_key))
		conn_close(c, CLOSE_MESH_SELF);
	else
		send_login(c);
}

static void up(struct conn *c)
{
	struct shard *s = c->shard;
	struct meshlink *l = c->link;
	struct peer *p;
	uint8_t cls;
	char key[KEY_SHORT_LEN];

	p = slab_alloc(&s->out, sizeof(*p), &cls);
	if (!p) {
		conn_close(c, CLOSE_NO_MEMORY);
		return;
	}
	/* Hidden: it is no client of ours and not in the directory. */
	*p = (struct peer){
		.conn = c, .key = l->server, .mesh = true, .hidden = true, .login_ns = s->now_ns, .slab_class = cls,
	};
	gone_receiver_init(&p->gone);
	list_init(&p->watcher);
	list_init(&p->touched);
	conn_enter_relaying(c, p);
	directory_link_up(s->relay->directory, l->nr, conn_id(c));
	set_state(l, MESHLINK_UP);
	key_to_short(key, &l->server);
	log_event(LOG_LEVEL_INFO, "mesh_link_up", "node=%s key=%s transport=%s", l->name, key, c->transport.tls ? "tls" : "plain");
}

/* A whole frame is in c->in. */
static void login_frame(struct conn *c, const struct frame_head *h)
{
	const uint8_t *body = c->in + DERP_HDR_LEN;

	if (c->link->stage == STAGE_KEY)
		server_key(c, body);
	else if (server_info_opens(body, h->len, &c->link->server, &c->shard->cfg->private_key))
		up(c);
	else
		refused(c, "its ServerInfo does not open");
	conn_unstash(c);
}

size_t meshlink_input(struct conn *c, struct rbuf *b, uint8_t *p, size_t n)
{
	enum derp_frame_type want = c->link->stage == STAGE_KEY ? DERP_SERVER_KEY : DERP_SERVER_INFO;
	struct frame_head h;
	size_t take;
	int r;

	(void)b;
	if (c->link->stage == STAGE_HTTP)
		return http_answer(c, p, n);
	take = login_collect(c, p, n, FRAME_FROM_RELAY, &h, &r);
	if (r == -ENOMEM)
		conn_close(c, CLOSE_NO_MEMORY);
	else if (r < 0 || (c->in_len >= DERP_HDR_LEN && h.type != want))
		refused(c, "it does not speak DERP as it should at login");
	else if (r)
		login_frame(c, &h);
	return take;
}

/* --- up and down */

void meshlink_peer(struct meshlink *l, const struct key *k, bool present)
{
	struct shard *s = l->shard;
	struct directory *d = s->relay->directory;
	uint64_t hash = key_hash(d, k);
	enum directory_left left;
	int r;

	l->failures = 0;
	if (!present) {
		if (!directory_remove_forwarder(d, k, hash, l->nr, &left))
			return;
		__atomic_store_n(&l->peers, l->peers - 1, __ATOMIC_RELAXED);
		if (left == DIRECTORY_GONE)
			mesh_announce_gone(s, k, hash, MESH_GONE_REGION);
		return;
	}
	r = directory_add_forwarder(d, k, hash, l->nr, s->cfg->max_remote);
	if (r == 1)
		__atomic_store_n(&l->peers, l->peers + 1, __ATOMIC_RELAXED);
	if (r >= 0)
		return;
	STAT_INC(&s->stats, mesh_present_refused);
	log_limited(LOG_LEVEL_ERROR, "mesh_peer_refused", "node=%s reason=%s", l->name,
		    r == -ENOSPC ? "--max-mesh-peers reached" : "no memory");
}

/* A node with the same mesh key begins by telling of ourselves. */
static const char *reason_of(const struct meshlink *l, enum close_reason why)
{
	if (*l->why)
		return l->why;
	if (l->state == MESHLINK_UP && l->failures && why == CLOSE_EOF)
		return "it ended the connection before it told of any peer; are the mesh keys the same (-mesh-psk-file)?";
	return close_reason_name(why);
}

void meshlink_closed(struct conn *c, enum close_reason why)
{
	struct meshlink *l = c->link;

	l->conn = NULL;
	if (why == CLOSE_MESH_SELF) {
		log_event(LOG_LEVEL_INFO, "mesh_link_self", "node=%s note=%s", l->name, "it is this relay; not dialled again");
		set_state(l, MESHLINK_SELF);
	} else if (l->state == MESHLINK_UP) {
		log_limited(LOG_LEVEL_WARN, "mesh_link_down", "node=%s reason=%s peers=%u", l->name, reason_of(l, why), l->peers);
		set_state(l, MESHLINK_CLEARING);
		l->cursor = 0;
		l->shard->clearing = true;
	} else {
		meshlink_failed(l, reason_of(l, why));
		not_reached(l);
	}
}

/* Its keys are forgotten step by step; only then it is dialled again. */
static void clear_step(struct meshlink *l)
{
	struct shard *s = l->shard;
	struct directory *d = s->relay->directory;
	struct key gone[DIRECTORY_STEP];
	unsigned int n;
	bool more;

	more = directory_drop_link(d, l->nr, &l->cursor, gone, &n);
	for (unsigned int i = 0; i < n; i++)
		mesh_announce_gone(s, &gone[i], key_hash(d, &gone[i]), MESH_GONE_REGION);
	if (more) {
		s->clearing = true;
		return;
	}
	__atomic_store_n(&l->peers, 0, __ATOMIC_RELAXED);
	try_later(l);
}

void meshlinks_clear(struct shard *s)
{
	if (!s->clearing)
		return;
	s->clearing = false;
	for (unsigned int i = 0; i < s->relay->nlinks; i++)
		if (s->relay->links[i].shard == s && s->relay->links[i].state == MESHLINK_CLEARING)
			clear_step(&s->relay->links[i]);
}

void meshlink_check(struct conn *c)
{
	struct shard *s = c->shard;
	uint64_t due = c->link->heard_ns + SILENCE_NS;

	if (s->now_ns >= due)
		conn_close(c, CLOSE_MESH_SILENT);
	else
		timer_arm(&s->wheel, &c->deadline, due);
}

/* --- the list */

static int add_link(struct relay *r, const char *item, size_t n, char *err, size_t errlen)
{
	uint16_t default_port = r->cfg->mesh_plain ? 80 : 443, ignored;
	const char *slash = memchr(item, '/', n);
	size_t name = slash ? (size_t)(slash - item) : n;
	struct meshlink *l = &r->links[r->nlinks];

	if (r->nlinks == DIRECTORY_MAX_LINKS) {
		snprintf(err, errlen, "-mesh-with names more than %d nodes", DIRECTORY_MAX_LINKS);
		return -E2BIG;
	}
	*l = (struct meshlink){ .nr = r->nlinks, .shard = r->shards[r->nlinks % r->nshards] };
	timer_init(&l->retry, on_retry);
	if (name >= sizeof(l->name) || dial_split(l->host, &l->port, item, name, default_port) ||
	    (slash && (memchr(slash + 1, '/', n - name - 1) || dial_split(l->dial, &ignored, slash + 1, n - name - 1, 1)))) {
		snprintf(err, errlen, "-mesh-with: \"%.*s\" is wrong; allowed: host, host:port, host/address or host:port/address "
			 "(connect to the address, expect the host's certificate), separated by commas", (int)n, item);
		return -EINVAL;
	}
	memcpy(l->name, item, name);
	if (!slash)
		memcpy(l->dial, l->host, sizeof(l->dial));
	r->nlinks++;
	return 0;
}

int meshlinks_new(struct relay *r, char *err, size_t errlen)
{
	const char *p = r->cfg->mesh_with;
	size_t n;
	int e = 0;

	if (!*p)
		return 0;
	if (!r->cfg->has_mesh_key) {
		snprintf(err, errlen, "-mesh-with needs a mesh key: name its file with -mesh-psk-file");
		return -EINVAL;
	}
	r->links = calloc(DIRECTORY_MAX_LINKS, sizeof(*r->links));
	if (!r->links)
		return -ENOMEM;
	for (; !e; p += n + 1) {
		n = strcspn(p, ",");
		e = add_link(r, p, n, err, errlen);
		if (!p[n])
			break;
	}
	if (!e && !r->cfg->mesh_plain)
		e = tls_ctx_new_client(&r->client_tls, err, errlen);
	/* One thread each, if need be: a name that does not resolve holds up no other. */
	return e ? e : workers_new(&r->dialers, r->nlinks, r->nlinks);
}

void meshlinks_free(struct relay *r)
{
	workers_stop(r->dialers);
	tls_ctx_free(r->client_tls);
	free(r->links);
}
