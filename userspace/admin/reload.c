/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/reload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/config.h"
#include "admin/filelimit.h"
#include "base/log.h"
#include "relay/relay.h"

/* What the command line, the environment and the file say now. */
static struct config *read_settings(const struct config *running, struct textbuf *changed, struct textbuf *why)
{
	struct config *next = malloc(sizeof(*next));
	char *said = NULL;
	size_t n = 0;
	FILE *err = open_memstream(&said, &n);

	if (!next || !err || config_reparse(next, running, changed, err)) {
		free(next);
		next = NULL;
	}
	if (err)
		fclose(err);
	textbuf_puts(why, said ? said : "out of memory\n");
	free(said);
	return next;
}

static int use(struct relay *r, struct config *next, struct textbuf *why)
{
	char err[512];
	int e = relay_reload(r, next, err, sizeof(err));

	if (e) {
		textbuf_printf(why, "%s\n", err);
		return e;
	}
	log_set_level(next->log_level);
	filelimit_raise(next->max_conns);
	return 0;
}

static int reload(struct relay *r, struct textbuf *changed, struct textbuf *why)
{
	struct config *running = (struct config *)r->cfg, *next = read_settings(running, changed, why);
	int e;

	if (!next)
		return -EINVAL;
	if (!changed->len) {
		config_free(next);
		return use(r, running, why);
	}
	e = use(r, next, why);
	if (e)
		config_free(next);
	else
		next->before = running;
	return e;
}

int reload_all(struct relay *r, struct textbuf *changed, struct textbuf *why)
{
	int e = reload(r, changed, why);
	char line[1024];

	for (const char *p = e ? why->p : NULL; p && *p; p += strcspn(p, "\n") + 1) {
		snprintf(line, sizeof(line), "%.*s", (int)strcspn(p, "\n"), p);
		log_event(LOG_LEVEL_ERROR, "reload_failed", "error=%s kept=%s", line, "all settings and the certificate");
	}
	if (!e)
		log_event(LOG_LEVEL_INFO, "reloaded", "changed=%s certificate=%s", changed->len ? changed->p : "",
			  r->tls ? "read again" : "none");
	return e;
}
