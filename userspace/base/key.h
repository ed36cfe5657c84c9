/* SPDX-License-Identifier: BSD-3-Clause */
/* 32-byte keys and their text forms. */
#ifndef XDERP_KEY_H
#define XDERP_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KEY_LEN		32
#define KEY_HEX_LEN	64

struct key {
	uint8_t b[KEY_LEN];
};

static inline bool key_equal(const struct key *a, const struct key *b)
{
	return memcmp(a->b, b->b, KEY_LEN) == 0;
}

bool key_is_zero(const struct key *k);

/* For secrets: takes the same time whatever the bytes are. */
bool key_equal_secret(const struct key *a, const struct key *b);

/* 64 lowercase hex digits and a NUL. */
void key_to_hex(char ret[static KEY_HEX_LEN + 1], const struct key *k);

/* n hex digits of either case, exactly 64, else -EINVAL. */
int key_from_hex(struct key *ret, const char *hex, size_t n);

/* First five characters of base64 in brackets, "[NYBy1]": how Tailscale logs a node key. */
#define KEY_SHORT_LEN	8
void key_to_short(char ret[static KEY_SHORT_LEN], const struct key *k);

#endif
