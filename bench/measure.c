/* SPDX-License-Identifier: BSD-3-Clause */
#include "measure.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

uint64_t hist_value(unsigned int index)
{
	unsigned int exp;

	if (index < HIST_SUB)
		return index;
	exp = index / HIST_SUB - 1;
	return (uint64_t)(HIST_SUB + index % HIST_SUB) << exp;
}

void hist_merge(struct hist *to, const struct hist *from)
{
	to->n += from->n;
	if (from->max > to->max)
		to->max = from->max;
	for (unsigned int i = 0; i < HIST_BUCKETS; i++)
		to->bucket[i] += from->bucket[i];
}

uint64_t hist_quantile(const struct hist *h, double q)
{
	uint64_t want = (uint64_t)(q * (double)h->n), seen = 0, mid;

	if (!h->n)
		return 0;
	if (want >= h->n)
		return h->max;
	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen <= want)
			continue;
		mid = hist_value(i) + (hist_value(i + 1) - hist_value(i)) / 2;
		return mid < h->max ? mid : h->max;
	}
	return h->max;
}

/* The scheduler's own sum in ns; /proc/PID/stat has ticks of 10 ms and /proc/PID/task loses threads that ended. */
static int server_time(uint64_t *ret, pid_t pid)
{
	struct timespec ts;
	clockid_t clock;
	int err;

	err = clock_getcpuclockid(pid, &clock);
	if (err)
		return -err;
	if (clock_gettime(clock, &ts) == -1)
		return -errno;
	*ret = (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
	return 0;
}

/* The children of kthreadd, process 2. Those that ended meanwhile are missed: they did hardly anything. */
static bool is_kernel_thread(const char *pid)
{
	char path[280], line[512], *paren;
	FILE *f;
	int parent = 0;

	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	paren = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	fclose(f);
	return paren && sscanf(paren + 1, " %*c %d", &parent) == 1 && parent == 2;
}

static uint64_t kernel_time(void)
{
	uint64_t sum = 0, ns;
	DIR *dir = opendir("/proc");
	struct dirent *de;
	char path[280];
	FILE *f;

	while (dir && (de = readdir(dir))) {
		if (de->d_name[0] < '0' || de->d_name[0] > '9' || !is_kernel_thread(de->d_name))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/schedstat", de->d_name);
		f = fopen(path, "re");
		if (f && fscanf(f, "%" SCNu64, &ns) == 1)
			sum += ns;
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return sum;
}

/* Busy is what idle is not: the idle time is kept in microseconds by the kernel, while user, system and
 * softirq are sampled by the tick and miss what runs between two of them. */
static int machine_time(struct cpu_sample *s)
{
	uint64_t user, nice, sys, idle, iowait, irq, softirq, steal;
	long hz = sysconf(_SC_CLK_TCK), cpus = sysconf(_SC_NPROCESSORS_ONLN);
	char line[512];
	FILE *f;
	int n;

	f = fopen("/proc/stat", "re");
	if (!f)
		return -errno;
	n = fscanf(f, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		   " %" SCNu64, &user, &nice, &sys, &idle, &iowait, &irq, &softirq, &steal);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "ctxt %" SCNu64, &s->switches) == 1)
			break;
	fclose(f);
	if (n != 8)
		return -EPROTO;
	s->stolen_ns = steal * (NS_PER_S / (uint64_t)hz);
	s->machine_ns = s->wall_ns * (uint64_t)cpus - (idle + iowait) * (NS_PER_S / (uint64_t)hz) - s->stolen_ns;
	return 0;
}

int cpu_sample(struct cpu_sample *ret, pid_t pid)
{
	uint64_t kernel_ns = kernel_time();	/* takes a while, and is nobody's work: before the clock is read */
	struct cpu_sample s = { .wall_ns = clock_now_ns(), .kernel_ns = kernel_ns };
	struct rusage self;
	int err = 0;

	if (pid)
		err = server_time(&s.server_ns, pid);
	if (!err)
		err = machine_time(&s);
	if (err)
		return err;
	if (getrusage(RUSAGE_SELF, &self) == -1)
		return -errno;
	s.self_ns = ((uint64_t)self.ru_utime.tv_sec + (uint64_t)self.ru_stime.tv_sec) * NS_PER_S +
		    ((uint64_t)self.ru_utime.tv_usec + (uint64_t)self.ru_stime.tv_usec) * 1000;
	*ret = s;
	return 0;
}

static uint64_t tcp_memory(void)
{
	uint64_t pages = 0;
	char line[256];
	FILE *f;

	f = fopen("/proc/net/sockstat", "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "TCP:", 4) && strstr(line, "mem "))
			pages = strtoull(strstr(line, "mem ") + 4, NULL, 10);
	fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

int mem_sample(struct mem_sample *ret, pid_t pid)
{
	struct mem_sample s = { .tcp = tcp_memory() };
	char line[256];
	FILE *f;

	snprintf(line, sizeof(line), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(line, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		sscanf(line, "Rss: %" SCNu64, &s.rss);
		sscanf(line, "Pss: %" SCNu64, &s.pss);
		sscanf(line, "Anonymous: %" SCNu64, &s.anon);
	}
	fclose(f);
	s.rss *= 1024;
	s.pss *= 1024;
	s.anon *= 1024;
	*ret = s;
	return 0;
}

int pin_thread(const char *list, unsigned int i)
{
	unsigned int cpu[64], n = 0;
	const char *p = list;
	cpu_set_t set;
	char *end;

	while (n < 64) {
		cpu[n++] = (unsigned int)strtoul(p, &end, 10);
		if (end == p)
			return -EINVAL;
		if (*end != ',')
			break;
		p = end + 1;
	}
	if (*end)
		return -EINVAL;
	CPU_ZERO(&set);
	CPU_SET(cpu[i % n], &set);
	return sched_setaffinity(0, sizeof(set), &set) == -1 ? -errno : 0;
}
