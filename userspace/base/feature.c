/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/feature.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct feature features[FEATURE_MAX];
static unsigned int count;

static struct feature *slot(const char *name)
{
	for (unsigned int i = 0; i < count; i++)
		if (!strcmp(features[i].name, name))
			return &features[i];
	return count < FEATURE_MAX ? &features[count++] : NULL;
}

/* Put f in its place. false: nothing new. */
static bool replace(const struct feature *f)
{
	struct feature *old;
	bool changed;

	pthread_mutex_lock(&lock);
	old = slot(f->name);
	changed = old && memcmp(old, f, sizeof(*f));
	if (changed)
		*old = *f;
	pthread_mutex_unlock(&lock);
	return changed;
}

void feature_set(const char *name, const char *state, const char *reason, ...)
{
	struct feature f;
	va_list ap;

	memset(&f, 0, sizeof(f));	/* compared as bytes */
	snprintf(f.name, sizeof(f.name), "%s", name);
	snprintf(f.state, sizeof(f.state), "%s", state);
	va_start(ap, reason);
	vsnprintf(f.reason, sizeof(f.reason), reason, ap);
	va_end(ap);
	if (replace(&f))
		log_event(LOG_LEVEL_INFO, "feature", "name=%s state=%s reason=%s", f.name, f.state, f.reason);
}

unsigned int feature_list(struct feature *ret, unsigned int max)
{
	unsigned int n;

	pthread_mutex_lock(&lock);
	n = min_of(count, max);
	memcpy(ret, features, n * sizeof(*ret));
	pthread_mutex_unlock(&lock);
	return n;
}
