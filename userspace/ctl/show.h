/* SPDX-License-Identifier: BSD-3-Clause */
/* Answers for people. */
#ifndef XDERP_SHOW_H
#define XDERP_SHOW_H

#include <jansson.h>
#include <stdbool.h>

struct show_column {
	const char *title;
	const char *key;		/* in each row */
	bool right;			/* numbers */
};

/* An array of objects as a table, as wide as it must be. n: columns; the last may be as long as it likes. */
void show_table(const json_t *rows, const struct show_column *cols, unsigned int n);

/* What the relay refused, on stderr. */
void show_refusal(const json_t *answer);

void show_status(const json_t *answer);
void show_peers(const json_t *answer);
void show_peer(const json_t *row);	/* each line behind it */
void show_checks(const json_t *answer);
void show_sources(const json_t *answer);
void show_drops(const json_t *answer);
void show_denied(const json_t *answer);
void show_reload(const json_t *answer);
void show_settings(const json_t *answer);
void show_drain(const json_t *answer);

#endif
