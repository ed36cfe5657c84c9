/* SPDX-License-Identifier: BSD-3-Clause */
/* The JSON inside ClientInfo, read as Go's encoding/json reads it: names match in any case, the last
 * duplicate in the text wins, one wrong value refuses the whole. A tree of a general library forgets
 * the order of duplicates and leaves copies of the mesh key in freed heap, so the text is read in
 * place, one member at a time, without allocating. */
#include <sodium.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"
#include "wire/handshake.h"

/* Go gives up at 10000 levels; no client nests at all and this bounds our stack. */
#define MAX_DEPTH	64

struct text {
	const uint8_t *p, *end;
	unsigned int depth;
	enum login_refusal refusal;	/* a value of the wrong type; a syntax error outranks it */
};

/* A string without its escapes, as far as it fits; a code point beyond ASCII counts as one '?', good
 * enough because every name and value of ours is ASCII. */
struct word {
	char s[KEY_HEX_LEN];
	size_t n;		/* whole length, may exceed sizeof(s) */
};

static bool skip_value(struct text *t);

static int peek(struct text *t)
{
	while (t->p < t->end && (*t->p == ' ' || *t->p == '\t' || *t->p == '\n' || *t->p == '\r'))
		t->p++;
	return t->p < t->end ? *t->p : -1;
}

static bool take(struct text *t, char c)
{
	if (peek(t) != c)
		return false;
	t->p++;
	return true;
}

static bool take_word(struct text *t, const char *s)
{
	size_t n = strlen(s);

	peek(t);
	if ((size_t)(t->end - t->p) < n || memcmp(t->p, s, n) != 0)
		return false;
	t->p += n;
	return true;
}

static void word_put(struct word *w, unsigned int c)
{
	if (w->n < sizeof(w->s))
		w->s[w->n] = c < 0x80 ? (char)c : '?';
	w->n++;
}

static bool word_is(const struct word *w, const char *s)
{
	return w->n == strlen(s) && strncasecmp(w->s, s, w->n) == 0;
}

static bool scan_hex4(struct text *t, unsigned int *ret)
{
	unsigned int v = 0;

	if (t->end - t->p < 4)
		return false;
	for (int i = 0; i < 4; i++, t->p++) {
		uint8_t c = *t->p, lower = c | 0x20;

		if (c >= '0' && c <= '9')
			v = v << 4 | (unsigned int)(c - '0');
		else if (lower >= 'a' && lower <= 'f')
			v = v << 4 | (unsigned int)(lower - 'a' + 10);
		else
			return false;
	}
	*ret = v;
	return true;
}

static bool scan_escape(struct text *t, unsigned int *ret)
{
	static const uint8_t plain[256] = {
		['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b',
		['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t',
	};
	uint8_t c;

	if (t->p == t->end)
		return false;
	c = *t->p++;
	if (c == 'u')
		return scan_hex4(t, ret);
	*ret = plain[c];
	return plain[c];
}

static bool scan_string(struct text *t, struct word *ret)
{
	ret->n = 0;
	if (!take(t, '"'))
		return false;
	while (t->p < t->end) {
		unsigned int c = *t->p++;

		if (c == '"')
			return true;
		if (c < 0x20)
			return false;
		if (c == '\\' && !scan_escape(t, &c))
			return false;
		word_put(ret, c);
	}
	return false;
}

static size_t skip_digits(struct text *t)
{
	const uint8_t *start = t->p;

	while (t->p < t->end && *t->p >= '0' && *t->p <= '9')
		t->p++;
	return (size_t)(t->p - start);
}

static bool at(const struct text *t, char c)
{
	return t->p < t->end && *t->p == c;
}

/* RFC 8259 section 6. *integer: neither fraction nor exponent. */
static bool scan_number(struct text *t, struct view *ret, bool *integer)
{
	peek(t);
	ret->p = t->p;
	t->p += at(t, '-');
	if (at(t, '0'))
		t->p++;
	else if (!skip_digits(t))
		return false;
	*integer = !at(t, '.') && !at(t, 'e') && !at(t, 'E');
	if (at(t, '.') && (t->p++, !skip_digits(t)))
		return false;
	if (at(t, 'e') || at(t, 'E')) {
		t->p++;
		t->p += at(t, '+') || at(t, '-');
		if (!skip_digits(t))
			return false;
	}
	ret->n = (size_t)(t->p - ret->p);
	return true;
}

static bool skip_array(struct text *t)
{
	t->p++;
	if (take(t, ']'))
		return true;
	do {
		if (!skip_value(t))
			return false;
	} while (take(t, ','));
	return take(t, ']');
}

static bool refuse(struct text *t, enum login_refusal why)
{
	t->refusal = why;
	return skip_value(t);
}

static bool to_int64(struct view v, int64_t *ret)
{
	bool negative = v.p[0] == '-';
	int64_t sum = 0;

	/* Summed below zero, where INT64_MIN fits. */
	for (size_t i = negative; i < v.n; i++)
		if (__builtin_mul_overflow(sum, 10, &sum) ||
		    __builtin_sub_overflow(sum, v.p[i] - '0', &sum))
			return false;
	if (!negative && __builtin_sub_overflow(0, sum, &sum))
		return false;
	*ret = sum;
	return true;
}

static bool scan_version(struct text *t, int64_t *ret)
{
	int c = peek(t);
	bool integer;
	struct view v;

	if (c != '-' && (c < '0' || c > '9'))
		return take_word(t, "null") || refuse(t, LOGIN_BAD_JSON);
	if (!scan_number(t, &v, &integer))
		return false;
	if (!integer || !to_int64(v, ret))
		t->refusal = LOGIN_BAD_JSON;
	return true;
}

static bool scan_bool(struct text *t, bool *ret)
{
	if (take_word(t, "true"))
		*ret = true;
	else if (take_word(t, "false"))
		*ret = false;
	else if (!take_word(t, "null"))		/* null leaves the field as it was */
		return refuse(t, LOGIN_BAD_JSON);
	return true;
}

static bool scan_mesh_key(struct text *t, struct client_info *ci)
{
	struct word hex;
	bool ok;

	if (peek(t) != '"')
		return refuse(t, LOGIN_BAD_MESH_KEY);
	ok = scan_string(t, &hex);
	if (ok && key_from_hex(&ci->mesh_key, hex.s, hex.n))
		t->refusal = LOGIN_BAD_MESH_KEY;
	ci->has_mesh_key = ok && !key_is_zero(&ci->mesh_key);
	sodium_memzero(&hex, sizeof(hex));
	return ok;
}

static bool scan_member(struct text *t, struct client_info *ci, const struct word *name)
{
	if (word_is(name, "meshKey"))
		return scan_mesh_key(t, ci);
	if (word_is(name, "version"))
		return scan_version(t, &ci->version);
	if (word_is(name, "CanAckPings"))
		return scan_bool(t, &ci->can_ack_pings);
	if (word_is(name, "IsProber"))
		return scan_bool(t, &ci->is_prober);
	return skip_value(t);
}

/* into == NULL: an object inside a value nobody wants. */
static bool scan_object(struct text *t, struct client_info *into)
{
	struct word name;

	t->p++;
	if (take(t, '}'))
		return true;
	do {
		if (!scan_string(t, &name) || !take(t, ':'))
			return false;
		if (!(into ? scan_member(t, into, &name) : skip_value(t)))
			return false;
	} while (take(t, ','));
	return take(t, '}');
}

static bool skip_nested(struct text *t, bool object)
{
	bool ok;

	if (t->depth == MAX_DEPTH)
		return false;
	t->depth++;
	ok = object ? scan_object(t, NULL) : skip_array(t);
	t->depth--;
	return ok;
}

static bool skip_value(struct text *t)
{
	struct word w;
	struct view v;
	bool integer;

	switch (peek(t)) {
	case '{':
		return skip_nested(t, true);
	case '[':
		return skip_nested(t, false);
	case '"':
		return scan_string(t, &w);
	case 't':
		return take_word(t, "true");
	case 'f':
		return take_word(t, "false");
	case 'n':
		return take_word(t, "null");
	default:
		return scan_number(t, &v, &integer);
	}
}

enum login_refusal client_info_parse(struct client_info *ret, const char *json, size_t n)
{
	struct text t = { .p = (const uint8_t *)json, .end = (const uint8_t *)json + n };
	struct client_info ci = { 0 };
	bool ok;

	ok = peek(&t) == '{' ? scan_object(&t, &ci) : take_word(&t, "null");
	if (!ok || peek(&t) != -1)
		t.refusal = LOGIN_BAD_JSON;
	if (t.refusal == LOGIN_OK)
		*ret = ci;
	sodium_memzero(&ci, sizeof(ci));
	return t.refusal;
}
