/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "base/key.h"
#include "base/util.h"
#include "lib/unit.h"
#include "lib/vectors.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct hex_case {
	const char *name, *hex;
	int want;
} hex_cases[] = {
	{ "lower case",          HEX64, 0 },
	{ "upper case",          "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF", 0 },
	{ "empty",               "", -EINVAL },
	{ "63 digits",           HEX64 + 1, -EINVAL },
	{ "65 digits",           HEX64 "0", -EINVAL },
	{ "66 digits",           HEX64 "00", -EINVAL },
	{ "g as first digit",    "g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", -EINVAL },
	{ "slash below 0",       "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde/", -EINVAL },
	{ "colon above 9",       "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde:", -EINVAL },
	{ "at sign below A",     "0123456789abcdef0123456789abcdef@123456789abcdef0123456789abcdef", -EINVAL },
	{ "G above F",           "0123456789abcdef0123456789abcdefG123456789abcdef0123456789abcdef", -EINVAL },
	{ "backquote below a",   "0123456789abcdef0123456789abcdef`123456789abcdef0123456789abcdef", -EINVAL },
	{ "byte above ASCII",    "\xc3" "123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", -EINVAL },
};

static void hex_case(void **state)
{
	const struct hex_case *c = *state;
	struct t_bytes b = t_copy(c->hex, strlen(c->hex));
	struct key k, untouched;
	char text[KEY_HEX_LEN + 1];

	memset(&k, 0xa5, sizeof(k));
	untouched = k;
	assert_int_equal(c->want, key_from_hex(&k, (const char *)b.p, b.n));
	if (c->want) {
		assert_true(key_equal(&untouched, &k));
	} else {
		key_to_hex(text, &k);
		assert_string_equal(HEX64, text);
	}
	for (size_t n = 0; n < b.n && n < KEY_HEX_LEN; n++) {
		struct t_bytes cut = t_copy(c->hex, n);

		assert_int_equal(-EINVAL, key_from_hex(&k, (const char *)cut.p, n));
		free(cut.p);
	}
	free(b.p);
}

static void short_form(void **state)
{
	static const char *const who[] = { "server", "client_a", "client_b", "mesh_peer" };
	json_t *root = t_load_vectors();
	char text[KEY_SHORT_LEN];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(who); i++) {
		json_t *keys = json_object_get(json_object_get(root, "keys"), who[i]);
		struct key k = t_key(root, who[i], "pub");

		key_to_short(text, &k);
		assert_string_equal(t_str(keys, "short"), text);
	}
	json_decref(root);
}

/* Every single bit must count, for both comparisons and for the zero test. */
static void every_bit_counts(void **state)
{
	struct key a = { { 0 } }, b = a;

	(void)state;
	assert_true(key_is_zero(&a));
	assert_true(key_equal(&a, &b) && key_equal_secret(&a, &b));
	for (unsigned int bit = 0; bit < 8 * KEY_LEN; bit++) {
		b = a;
		b.b[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_false(key_is_zero(&b));
		assert_false(key_equal(&a, &b) || key_equal_secret(&a, &b));
	}
}

int main(void)
{
	struct CMUnitTest t[ARRAY_SIZE(hex_cases) + 2];
	size_t n = 0;

	for (; n < ARRAY_SIZE(hex_cases); n++)
		t[n] = (struct CMUnitTest){ hex_cases[n].name, hex_case, NULL, NULL, (void *)&hex_cases[n] };
	t[n++] = (struct CMUnitTest)cmocka_unit_test(short_form);
	t[n++] = (struct CMUnitTest)cmocka_unit_test(every_bit_counts);
	return cmocka_run_group_tests(t, NULL, NULL);
}
