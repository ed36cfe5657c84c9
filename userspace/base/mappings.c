/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/mappings.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct mapping {
	unsigned long from, to;		/* to 0: none that could be released */
	unsigned long resident;		/* KiB */
};

/* "7f00-7f10 r-xp 00001000 fe:00 123   /usr/lib/..." */
static void begin(struct mapping *m, const char *line)
{
	char perms[5];

	*m = (struct mapping){ 0 };
	if (sscanf(line, "%lx-%lx %4s", &m->from, &m->to, perms) != 3 || perms[1] == 'w' || perms[3] != 'p' || !strchr(line, '/'))
		m->to = 0;
}

/* A page of our own is what the linker relocated, or where a probe or a debugger has a breakpoint: such a mapping stays whole. */
static void end(const struct mapping *m, unsigned long own)
{
	if (m->to && m->resident && !own)
		madvise((void *)m->from, m->to - m->from, MADV_DONTNEED);
}

void mappings_release(void)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	struct mapping m = { 0 };
	char line[512];
	unsigned long n;

	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (strchr("0123456789abcdef", line[0]))
			begin(&m, line);
		else if (sscanf(line, "Rss: %lu kB", &n) == 1)
			m.resident = n;
		else if (sscanf(line, "Anonymous: %lu kB", &n) == 1)
			end(&m, n);
	}
	fclose(f);
}
