/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tables of peers cost at a given size: the directory, and with it the BPF map derp_peers. And what one cache line costs
 * that two processors write in turn, since that is what shards pay each other: bench/SCALING.md.
 *
 *     build/bench-tables [PEERS]	# 100000; the BPF map takes root
 */
#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "kern/peermap.h"
#include "kern/pins.h"
#include "relay/directory.h"

#define LOOKUPS		2000000U
#define PINS		"/sys/fs/bpf/xderp-bench-tables"
#define EXCHANGES	20000U
#define ATTEMPTS	20

static struct key *keys;		/* as many that are not there behind those that are */
static uint32_t *nodes;
static uint32_t npeers = 100000;
static struct directory *dir;

static void row(const char *what, double value, const char *unit)
{
	printf("  %-58s %12.1f %s\n", what, value, unit);
}

static void die(const char *what)
{
	fprintf(stderr, "bench-tables: %s\n", what);
	exit(1);
}

/* Of this thread: on a busy machine the wall clock would tell of others. */
static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void add_all(void)
{
	static const struct peer_facts facts = { .connected_at = 1 };
	uint64_t began = cpu_ns(), half = 0, now;
	bool dup;

	for (uint32_t i = 0; i < npeers; i++) {
		struct directory_member m = { .id = { .slot = i }, .facts = &facts, .present.key = keys[i] };

		if (i == npeers / 2)
			half = cpu_ns();
		if (directory_add(dir, &m, key_hash(dir, &keys[i]), 1, &nodes[i], &dup) || dup)
			die("a peer was not added");
	}
	now = cpu_ns();
	row("insert, first half (tables grow)", (double)(half - began) / (npeers / 2), "ns");
	row("insert, second half", (double)(now - half) / (npeers - npeers / 2), "ns");
}

static void remove_all(void)
{
	uint64_t began = cpu_ns();

	for (uint32_t i = 0; i < npeers; i++)
		if (directory_remove(dir, nodes[i], (struct conn_id){ .slot = i }) != DIRECTORY_GONE)
			die("a peer was not removed");
	row("remove", (double)(cpu_ns() - began) / npeers, "ns");
}

struct reader {
	pthread_t thread;
	int cpu;
	bool absent;		/* look for keys that are not there */
	double ns;		/* each */
};

/* Random order: at this size no cache holds it all, which is what a shard meets. */
static void *reader_main(void *arg)
{
	struct reader *r = arg;
	uint32_t x = 0x2545f491U + (uint32_t)r->cpu, i;
	struct conn_id id;
	uint64_t began;

	pin(r->cpu);
	began = cpu_ns();
	for (uint32_t n = 0; n < LOOKUPS; n++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		i = (uint32_t)((uint64_t)x * npeers >> 32) + (r->absent ? npeers : 0);
		if (directory_find(dir, &keys[i], key_hash(dir, &keys[i]), &id) == r->absent)
			die("a lookup was wrong");
	}
	r->ns = (double)(cpu_ns() - began) / LOOKUPS;
	return NULL;
}

static void look_up(const char *what, int nreaders, bool absent)
{
	struct reader r[2];
	double sum = 0;

	for (int i = 0; i < nreaders; i++) {
		r[i] = (struct reader){ .cpu = i, .absent = absent };
		if (pthread_create(&r[i].thread, NULL, reader_main, &r[i]))
			die("pthread_create");
	}
	for (int i = 0; i < nreaders; i++) {
		pthread_join(r[i].thread, NULL);
		sum += r[i].ns;
	}
	row(what, sum / nreaders, "ns");
}

/* Of the BPF map that this process holds, by the kernel's account. */
static double map_memory(void)
{
	char path[300], line[256];
	double bytes = 0, n;
	DIR *fds = opendir("/proc/self/fdinfo");
	struct dirent *de;
	bool is_hash;
	FILE *f;

	while (fds && (de = readdir(fds))) {
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", de->d_name);
		f = fopen(path, "re");
		is_hash = false;
		while (f && fgets(line, sizeof(line), f)) {
			is_hash |= !strcmp(line, "map_type:\t1\n");	/* BPF_MAP_TYPE_HASH */
			if (is_hash && sscanf(line, "memlock: %lf", &n) == 1)
				bytes += n;
		}
		if (f)
			fclose(f);
	}
	if (fds)
		closedir(fds);
	return bytes;
}

static void directory_run(const char *title, struct peermap *map)
{
	size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;

	printf("%s\n", title);
	if (directory_new(&dir, map))
		die("directory_new");
	add_all();
	row("memory per peer, user", (double)(mallinfo2().uordblks + mallinfo2().hblkhd - before) / npeers, "bytes");
	if (map) {
		row("memory per peer, kernel", map_memory() / npeers, "bytes");
	} else {
		look_up("lookup, hash of the key included", 1, false);
		look_up("lookup of a key that is not there", 1, true);
		if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
			look_up("lookup, on two processors at once, each", 2, false);
	}
	remove_all();
	directory_free(dir);
}

static void map_run(void)
{
	char why[256] = "";
	struct pins *pins = NULL;
	struct peermap *map = NULL;

	if (pins_open(&pins, PINS, why, sizeof(why)) || peermap_open(&map, pins, npeers, why, sizeof(why))) {
		printf("directory and derp_peers: left out: %s\n", why);
	} else {
		directory_run("directory and derp_peers, the BPF map", map);
		row("inserts that the map refused", (double)peermap_refused(map), "");
	}
	peermap_close(map);
	if (pins)
		pins_close(pins);
}

static struct {
	uint32_t turn __attribute__((aligned(64)));
} line;

static void *bounce(void *arg)
{
	uint32_t mine = *(uint32_t *)arg;

	pin((int)mine);
	for (uint32_t n = 0; n < EXCHANGES; n++) {
		while (__atomic_load_n(&line.turn, __ATOMIC_ACQUIRE) != mine)
			;
		__atomic_store_n(&line.turn, !mine, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* The smallest of several: in the others somebody else had one of the processors. */
static void line_run(void)
{
	uint32_t id[2] = { 0, 1 };
	uint64_t began, best = UINT64_MAX;
	pthread_t thread[2];

	for (int n = 0; n < ATTEMPTS; n++) {
		began = clock_now_ns();
		for (int i = 0; i < 2; i++)
			if (pthread_create(&thread[i], NULL, bounce, &id[i]))
				die("pthread_create");
		for (int i = 0; i < 2; i++)
			pthread_join(thread[i], NULL);
		best = min_of(best, clock_now_ns() - began);
	}
	printf("one cache line, written by two processors in turn\n");
	row("each hand-over", (double)best / (2 * EXCHANGES), "ns");
}

int main(int argc, char **argv)
{
	if (argc > 1)
		npeers = (uint32_t)strtoul(argv[1], NULL, 10);
	if (argc > 2 || npeers < 2 || npeers > 2000000) {
		fprintf(stderr, "bench-tables [PEERS], 2 to 2000000\n");
		return 2;
	}
	keys = calloc(2 * (size_t)npeers, sizeof(*keys));
	nodes = calloc(npeers, sizeof(*nodes));
	if (!keys || !nodes || sodium_init() < 0)
		die("no memory");
	randombytes_buf(keys, 2 * (size_t)npeers * sizeof(*keys));
	printf("%u peers\n", npeers);
	directory_run("directory", NULL);
	map_run();
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		line_run();
	free(keys);
	free(nodes);
	return 0;
}
