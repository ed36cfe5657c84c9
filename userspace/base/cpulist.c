/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/cpulist.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define CPU_MAX	1023UL		/* what cpu_set_t holds */

static bool parse_cpu(unsigned long *ret, const char **text)
{
	char *end;

	if (**text < '0' || **text > '9')
		return false;
	*ret = strtoul(*text, &end, 10);
	*text = end;
	return *ret <= CPU_MAX;
}

static bool has(const uint16_t *list, unsigned int n, unsigned long cpu)
{
	while (n--)
		if (list[n] == cpu)
			return true;
	return false;
}

int cpulist_parse(uint16_t *ret, unsigned int max, const char *text)
{
	unsigned long from, to;
	unsigned int n = 0;

	do {
		if (!parse_cpu(&from, &text))
			return -EINVAL;
		to = from;
		if (*text == '-' && (text++, !parse_cpu(&to, &text) || to < from))
			return -EINVAL;
		for (; from <= to; from++) {
			if (has(ret, n, from))
				return -EINVAL;
			if (n == max)
				return -E2BIG;
			ret[n++] = (uint16_t)from;
		}
	} while (*text == ',' && text++);
	return *text ? -EINVAL : (int)n;
}
