/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/rateconfig.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/opener.h"
#include "base/util.h"

static int take(uint64_t *ret, const json_t *v, const char *file, const char *name, char *err, size_t errlen)
{
	if (json_is_integer(v) && json_integer_value(v) >= 0) {
		*ret = (uint64_t)json_integer_value(v);
		return 0;
	}
	snprintf(err, errlen, "-rate-config: %s: %s must be a whole number of bytes, not negative", file, name);
	return -EINVAL;
}

static int take_all(struct rate *ret, json_t *root, const char *file, char *err, size_t errlen)
{
	const char *name;
	json_t *v;
	int e;

	json_object_foreach(root, name, v) {
		if (!strcmp(name, "PerClientRateLimitBytesPerSec")) {
			e = take(&ret->bytes_per_s, v, file, name, err, errlen);
		} else if (!strcmp(name, "PerClientRateBurstBytes")) {
			e = take(&ret->burst, v, file, name, err, errlen);
		} else {
			snprintf(err, errlen, "-rate-config: %s: unknown \"%s\"; allowed: PerClientRateLimitBytesPerSec, "
				 "PerClientRateBurstBytes", file, name);
			e = -EINVAL;
		}
		if (e)
			return e;
	}
	return 0;
}

int rateconfig_load(struct rate *ret, struct opener *opener, const char *file, char *err, size_t errlen)
{
	json_error_t why;
	int e = -EINVAL, fd = opener_open(opener, file);
	json_t *root;

	*ret = (struct rate){ 0 };
	if (fd < 0) {
		snprintf(err, errlen, "-rate-config: can't read %s: %s", file, strerror(-fd));
		return e;
	}
	root = json_loadfd(fd, JSON_REJECT_DUPLICATES, &why);
	close(fd);
	if (!root)
		snprintf(err, errlen, "-rate-config: %s, line %d: %s", file, why.line, why.text);
	else if (!json_is_object(root))
		snprintf(err, errlen, "-rate-config: %s must hold an object: {\"PerClientRateLimitBytesPerSec\": bytes, "
			 "\"PerClientRateBurstBytes\": bytes}", file);
	else
		e = take_all(ret, root, file, err, errlen);
	json_decref(root);
	ret->burst = max_of(ret->burst, (uint64_t)RATE_MIN_BURST);
	return e;
}
