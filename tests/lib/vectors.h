/* SPDX-License-Identifier: BSD-3-Clause */
/* Golden vectors for unit tests: bytes that the Go implementation made or answered. Failures here are
 * broken tests, not failed ones: they end the program. */
#ifndef XDERP_TESTS_VECTORS_H
#define XDERP_TESTS_VECTORS_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/key.h"

#define T_UNUSED __attribute__((unused))

struct t_bytes {
	uint8_t *p;		/* heap block of exactly n bytes: ASan sees one too far */
	size_t n;
};

static T_UNUSED void t_die(const char *what)
{
	fprintf(stderr, "vectors: %s\n", what);
	exit(99);
}

/* Run from the repository root, or say where in XDERP_VECTORS. */
static T_UNUSED json_t *t_load_vectors(void)
{
	const char *path = getenv("XDERP_VECTORS");
	json_error_t err;
	json_t *root = json_load_file(path ? path : "tests/vectors/derp_vectors.json", 0, &err);

	if (!root)
		t_die(err.text);
	return root;
}

static T_UNUSED const char *t_str(json_t *obj, const char *name)
{
	const char *s = json_string_value(json_object_get(obj, name));

	if (!s)
		t_die(name);
	return s;
}

static T_UNUSED struct t_bytes t_copy(const void *p, size_t n)
{
	struct t_bytes b = { malloc(n), n };

	if (n && !b.p)
		t_die("no memory");
	if (n)
		memcpy(b.p, p, n);
	return b;
}

static T_UNUSED struct t_bytes t_unhex(const char *hex)
{
	size_t n = strlen(hex) / 2;
	struct t_bytes b = { malloc(n), n };

	for (size_t i = 0; i < n; i++) {
		unsigned int v;

		if (sscanf(hex + 2 * i, "%2x", &v) != 1)
			t_die(hex);
		b.p[i] = (uint8_t)v;
	}
	return b;
}

static T_UNUSED struct t_bytes t_hex(json_t *obj, const char *name)
{
	return t_unhex(t_str(obj, name));
}

/* keys.<who>.<part>, as in "server", "priv". */
static T_UNUSED struct key t_key(json_t *root, const char *who, const char *part)
{
	json_t *obj = json_object_get(json_object_get(root, "keys"), who);
	const char *hex = t_str(obj, part);
	struct key k;

	if (key_from_hex(&k, hex, strlen(hex)))
		t_die(hex);
	return k;
}

static T_UNUSED json_t *t_named(json_t *root, const char *array, const char *name)
{
	json_t *row;
	size_t i;

	json_array_foreach(json_object_get(root, array), i, row)
		if (!strcmp(t_str(row, "name"), name))
			return row;
	t_die(name);
	return NULL;
}

#endif
