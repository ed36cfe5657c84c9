/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/units.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

size_t units_decimal(double *ret, const char *v)
{
	size_t whole = strspn(v, "0123456789"), n = whole;

	if (v[n] == '.')
		n += 1 + strspn(v + n + 1, "0123456789");
	if (n == whole ? !whole : n == 1)
		return 0;
	*ret = strtod(v, NULL);
	return n;
}

int units_size(uint64_t *ret, const char *v)
{
	static const struct { const char *unit; double bytes; } units[] = {
		{ "", 1 }, { "B", 1 }, { "KiB", 1024 }, { "K", 1024 }, { "MiB", 1048576 }, { "M", 1048576 },
		{ "GiB", 1073741824 }, { "G", 1073741824 },
	};
	double x;
	size_t n = units_decimal(&x, v);

	for (size_t i = 0; n && i < ARRAY_SIZE(units); i++) {
		if (!strcmp(v + n, units[i].unit)) {
			x *= units[i].bytes;
			if (x > 9.2e18)
				return -ERANGE;
			*ret = (uint64_t)x;
			return 0;
		}
	}
	return -EINVAL;
}
