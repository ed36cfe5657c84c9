/* SPDX-License-Identifier: BSD-3-Clause */
#include "kern/splice.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "bpf/splice.skel.h"
#include "kern/percpu.h"
#include "kern/pins.h"
#include "kern/splicer.h"
#include "kern/twin.h"

#define FLOWS_PER_PEER	4U
/* A program that looked at a place just before it was given back may still count there. */
#define REST_NS		NS_PER_S
/* The kernel writes half of the send buffer per tick of its clock, once that much is not acknowledged. */
#define SNDBUF_MIN	(1 << 20)
#define NOTICE_LEN	16U		/* a place, with what the ring puts in front */
#define BUSY_QUEUE	4U		/* frames in the kernel's queue: it does not keep up */

static size_t map_size(size_t value, unsigned int n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (value * n + page - 1) / page * page;
}

static void *share(const struct bpf_map *map, size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
}

static int resize(struct splicer *s)
{
	const struct { struct bpf_map *map; unsigned int n; } rows[] = {
		{ s->skel->maps.derp_conns, s->peers }, { s->skel->maps.derp_cookies, s->peers },
		{ s->skel->maps.derp_flows, s->peers * FLOWS_PER_PEER }, { s->skel->maps.derp_socks, s->peers },
		{ s->skel->maps.derp_sources, s->peers }, { s->skel->maps.derp_notices, s->shards },
		{ s->skel->maps.derp_twins, s->peers }, { s->skel->maps.derp_twin_keys, s->peers },
		{ s->skel->maps.derp_twin_ports, s->peers },
	};
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(rows); i++)
		err = bpf_map__set_max_entries(rows[i].map, rows[i].n);
	return err;
}

static int on_notice(void *ctx, void *data, size_t len)
{
	struct notices *n = ctx;
	struct derp_conn *c;
	uint32_t place;

	if (len < sizeof(place))
		return 0;
	memcpy(&place, data, sizeof(place));
	c = &n->splicer->conns[place];
	/* Pairs with notify() of the program: what it passes from here on is announced again. */
	__atomic_store_n(&c->noticed, 0, __ATOMIC_SEQ_CST);
	n->call(n->ctx, c);
	/* An error ends it behind this one. */
	return ++n->calls < SPLICE_NOTICES ? 0 : -EAGAIN;
}

/* Room for a notice of every peer: none is lost. */
static int open_notices(struct splicer *s)
{
	uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE), size = page;
	int outer = bpf_map__fd(s->skel->maps.derp_notices);

	while (size < s->peers * NOTICE_LEN)
		size *= 2;
	for (uint32_t i = 0; i < s->shards; i++) {
		struct notices *n = &s->notices[i];

		n->splicer = s;
		n->fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "derp_notice", 0, 0, size, NULL);
		if (n->fd < 0)
			return n->fd;
		n->ring = ring_buffer__new(n->fd, on_notice, n, NULL);
		if (!n->ring || bpf_map_update_elem(outer, &i, &n->fd, BPF_ANY))
			return -errno;
	}
	return 0;
}

static int map_memory(struct splicer *s)
{
	s->conns_size = map_size(sizeof(struct derp_conn), s->peers);
	s->settings_size = map_size(sizeof(struct derp_settings), 1);
	s->conns = share(s->skel->maps.derp_conns, s->conns_size);
	if (s->conns == MAP_FAILED)
		return -errno;
	s->settings = share(s->skel->maps.derp_settings, s->settings_size);
	return s->settings == MAP_FAILED ? -errno : 0;
}

static int load(struct splicer *s)
{
	int err;

	s->skel = splice__open();
	if (!s->skel)
		return -errno;
	err = resize(s);
	if (!err)
		err = splice__load(s->skel);
	if (err)
		return err;
	s->socks = bpf_map__fd(s->skel->maps.derp_socks);
	s->sources = bpf_map__fd(s->skel->maps.derp_sources);
	s->cookies = bpf_map__fd(s->skel->maps.derp_cookies);
	s->flows = bpf_map__fd(s->skel->maps.derp_flows);
	s->stats = bpf_map__fd(s->skel->maps.derp_stats);
	s->twins = bpf_map__fd(s->skel->maps.derp_twins);
	s->twin_ports = bpf_map__fd(s->skel->maps.derp_twin_ports);
	s->twin_keys = bpf_map__fd(s->skel->maps.derp_twin_keys);
	if (bpf_prog_attach(bpf_program__fd(s->skel->progs.derp_verdict), s->sources, BPF_SK_SKB_STREAM_VERDICT, 0) ||
	    bpf_prog_attach(bpf_program__fd(s->skel->progs.derp_msg), s->twins, BPF_SK_MSG_VERDICT, 0))
		return -errno;
	err = open_notices(s);
	return err ? err : map_memory(s);
}

static int pin(struct splicer *s, struct pins *pins, char *why, size_t len)
{
	struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map(map, s->skel->obj)
		if (!err && !bpf_map__is_internal(map))
			err = pins_add(pins, bpf_map__fd(map), bpf_map__name(map), why, len);
	return err;
}

static int make_places(struct splicer *s)
{
	s->notices = calloc(s->shards, sizeof(*s->notices));
	if (!s->notices)
		return -ENOMEM;
	for (unsigned int i = 0; i < s->shards; i++)
		s->notices[i].fd = -1;
	s->rest = malloc(s->peers * sizeof(*s->rest));
	s->since_ns = calloc(s->peers, sizeof(*s->since_ns));
	if (!s->rest || !s->since_ns)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->peers; i++)
		s->rest[i] = i;
	s->nfree = s->peers;
	return 0;
}

int splice_open(struct splicer **ret, struct pins *pins, const struct splice_opts *o, char *why, size_t len)
{
	struct splicer *s = calloc(1, sizeof(*s));
	int err = -ENOMEM;

	if (s) {
		s->mode = o->mode;
		s->peers = o->peers;
		s->shards = o->shards;
		s->conns = MAP_FAILED;
		s->settings = MAP_FAILED;
		pthread_mutex_init(&s->lock, NULL);
		err = make_places(s);
	}
	if (!err)
		err = load(s);
	if (err) {
		pins_explain(why, len, "load the splice, which needs Linux 6.2 with BTF", err);
		splice_close(s);
		return err;
	}
	*s->settings = (struct derp_settings){
		.enabled = 1, .queue_limit = o->queue_limit, .busy_queue = BUSY_QUEUE,
		.twin_limit = o->twin_limit, .bulk_pressure = o->mode == SPLICE_ON ? 0 : o->bulk_pressure,
	};
	err = o->mode == SPLICE_OFF ? 0 : splice_trial(s, why, len);
	if (!err && o->twin_limit)
		err = twin_trial(s, why, len);
	percpu_clear(s->stats, DERP_STATS_SOCKETS, sizeof(struct derp_stats));
	percpu_clear(s->stats, DERP_STATS_TWINS, sizeof(struct derp_stats));
	if (!err)
		err = pin(s, pins, why, len);
	if (err) {
		splice_close(s);
		return err;
	}
	*ret = s;
	return 0;
}

void splice_close(struct splicer *s)
{
	if (!s)
		return;
	if (s->conns != MAP_FAILED)
		munmap(s->conns, s->conns_size);
	if (s->settings != MAP_FAILED)
		munmap(s->settings, s->settings_size);
	for (unsigned int i = 0; s->notices && i < s->shards; i++) {
		ring_buffer__free(s->notices[i].ring);
		if (s->notices[i].fd >= 0)
			close(s->notices[i].fd);
	}
	free(s->notices);
	splice__destroy(s->skel);
	pthread_mutex_destroy(&s->lock);
	free(s->since_ns);
	free(s->rest);
	free(s);
}

enum splice_mode splice_mode(const struct splicer *s)
{
	return s->mode;
}

int splicer_take_place(struct splicer *s, uint32_t *ret)
{
	uint32_t place;
	int err = -ENOSPC;

	pthread_mutex_lock(&s->lock);
	place = s->rest[s->first];
	if (s->nfree && clock_now_ns() - s->since_ns[place] >= REST_NS) {
		s->first = (s->first + 1) % s->peers;
		s->nfree--;
		*ret = place;
		err = 0;
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

static void place_return(struct splicer *s, uint32_t place)
{
	pthread_mutex_lock(&s->lock);
	s->rest[(s->first + s->nfree) % s->peers] = place;
	s->since_ns[place] = clock_now_ns();
	s->nfree++;
	pthread_mutex_unlock(&s->lock);
}

void splicer_return_place(struct splicer *s, uint32_t place)
{
	struct derp_conn *c = &s->conns[place];

	__atomic_store_n(&c->generation, c->generation + 1, __ATOMIC_SEQ_CST);
	memset(c->pub, 0, sizeof(c->pub));
	place_return(s, place);
}

struct derp_conn *splicer_begin(struct splicer *s, uint32_t place, const struct splice_conn *from)
{
	struct derp_conn *c = &s->conns[place];

	*c = (struct derp_conn){
		.generation = c->generation, .owner = DERP_SHARD,
		.shard = from->shard, .slot = from->slot, .slot_generation = from->generation,
	};
	memcpy(c->pub, from->key, sizeof(c->pub));
	return c;
}

void splice_widen(int fd)
{
	int size = 0;
	socklen_t len = sizeof(size);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &len) || size >= SNDBUF_MIN)
		return;
	/* The kernel doubles what it is told, up to net.core.wmem_max: less than wanted is no reason not to go on. */
	size = SNDBUF_MIN / 2;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

struct derp_conn *splice_join(struct splicer *s, const struct splice_conn *from, uint32_t *place, int *err)
{
	socklen_t len = sizeof(uint64_t);
	uint64_t cookie, value = (uint64_t)from->fd;
	struct derp_conn *c;

	*err = getsockopt(from->fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) ? -errno : splicer_take_place(s, place);
	if (*err)
		return NULL;
	c = splicer_begin(s, *place, from);
	c->cookie = cookie;
	if (!bpf_map_update_elem(s->cookies, &cookie, place, BPF_NOEXIST) &&
	    !bpf_map_update_elem(s->socks, from->key, &value, BPF_NOEXIST))
		return c;
	*err = -errno;
	bpf_map_delete_elem(s->cookies, &cookie);
	place_return(s, *place);
	return NULL;
}

int splice_attach(struct splicer *s, uint32_t place, int fd)
{
	uint64_t value = (uint64_t)fd;
	uint8_t byte;

	if (bpf_map_update_elem(s->sources, &place, &value, BPF_ANY))
		return -errno;
	/* What has come meanwhile waits until somebody asks for it. */
	(void)!recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	return 0;
}

void splice_leave(struct splicer *s, uint32_t place)
{
	struct derp_conn *c = &s->conns[place];

	splice_hold(c);
	bpf_map_delete_elem(s->socks, c->pub);
	bpf_map_delete_elem(s->cookies, &c->cookie);
	splicer_return_place(s, place);
}

void splice_discard(int fd)
{
	uint8_t waste[16384];

	while (recv(fd, waste, sizeof(waste), MSG_DONTWAIT) > 0)
		;
}

uint32_t splice_generation(const struct splicer *s, uint32_t place)
{
	return __atomic_load_n(&s->conns[place].generation, __ATOMIC_RELAXED);
}

int splice_open_flow(struct splicer *s, uint32_t source, uint32_t destination)
{
	const struct derp_conn *to = &s->conns[destination];
	struct derp_flow_key k = {
		.source = source, .generation = splice_generation(s, source),
	};
	struct derp_flow v = { .destination = destination, .generation = to->generation };

	if (__atomic_load_n(&s->conns[source].twin, __ATOMIC_RELAXED) != to->twin)
		return -EXDEV;
	memcpy(k.destination, to->pub, sizeof(k.destination));
	return bpf_map_update_elem(s->flows, &k, &v, BPF_ANY) ? -errno : 0;
}

void splice_hold_key(struct splicer *s, const uint8_t key[static DERP_KEY_LEN])
{
	uint64_t cookie;
	uint32_t place;

	if (!bpf_map_lookup_elem(s->socks, key, &cookie) && !bpf_map_lookup_elem(s->cookies, &cookie, &place))
		splice_hold(&s->conns[place]);
	if (!bpf_map_lookup_elem(s->twin_keys, key, &place))
		splice_hold(&s->conns[place]);
}

void splice_enable(struct splicer *s, bool on)
{
	if (s)
		__atomic_store_n(&s->settings->enabled, on, __ATOMIC_SEQ_CST);
}

/* What was acknowledged and what was not yet. They are read apart: only if the first did not move in between they belong together. */
int splice_written(int fd, uint64_t *ret)
{
	struct tcp_info before, after;
	socklen_t len = sizeof(before);
	int waiting;

	for (int tries = 0; tries < 8; tries++) {
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &before, &len) || ioctl(fd, SIOCOUTQ, &waiting) ||
		    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &after, &len))
			return -errno;
		if (before.tcpi_bytes_acked == after.tcpi_bytes_acked) {
			*ret = before.tcpi_bytes_acked + (uint64_t)waiting;
			return 0;
		}
	}
	return -EAGAIN;
}

int splice_give(struct derp_conn *c, int fd, uint64_t *base)
{
	uint64_t written;
	int err = splice_written(fd, &written);

	if (err)
		return err;
	*base = written - __atomic_load_n(&c->redirected, __ATOMIC_SEQ_CST);
	__atomic_store_n(&c->owner, DERP_KERNEL, __ATOMIC_SEQ_CST);
	return 0;
}

void splice_take(struct derp_conn *c)
{
	__atomic_store_n(&c->owner, DERP_SHARD, __ATOMIC_SEQ_CST);
}

uint64_t splice_undelivered(const struct derp_conn *c, int fd, uint64_t base)
{
	uint64_t written;

	if (splice_written(fd, &written))
		return UINT64_MAX;
	return __atomic_load_n(&c->redirected, __ATOMIC_SEQ_CST) - (written - base);
}

bool splice_drained(const struct derp_conn *c, int fd, uint64_t base)
{
	return splice_undelivered(c, fd, base) == 0;
}

int splice_notice_fd(const struct splicer *s, unsigned int shard)
{
	return s->notices[shard].fd;
}

bool splice_notices(struct splicer *s, unsigned int shard, void (*call)(void *ctx, const struct derp_conn *c), void *ctx)
{
	struct notices *n = &s->notices[shard];

	n->call = call;
	n->ctx = ctx;
	n->calls = 0;
	return ring_buffer__consume(n->ring) < 0;
}

void splice_stats(const struct splicer *s, struct derp_stats *ret)
{
	if (s)
		percpu_sum(s->stats, DERP_STATS_SOCKETS, ret, sizeof(*ret));
	else
		memset(ret, 0, sizeof(*ret));
}

void twin_stats(const struct splicer *s, struct derp_stats *ret)
{
	if (s)
		percpu_sum(s->stats, DERP_STATS_TWINS, ret, sizeof(*ret));
	else
		memset(ret, 0, sizeof(*ret));
}

bool twin_wanted(const struct splicer *s)
{
	return s->settings->twin_limit;
}
