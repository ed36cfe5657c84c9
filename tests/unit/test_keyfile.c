/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/keyfile.h"
#include "base/util.h"
#include "lib/certs.h"

#define HEX64	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define UPPER64	"0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"
#define ZERO64	"0000000000000000000000000000000000000000000000000000000000000000"

static char *dir;
static char path[128], err[512];

static int setup(void **state)
{
	(void)state;
	dir = t_dir_new();
	snprintf(path, sizeof(path), "%s/a/b/derper.key", dir);
	err[0] = '\0';
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_dir_free(dir);
	return 0;
}

static void put_file(const char *name, const void *p, size_t n)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(n, write(fd, p, n));
	close(fd);
}

static unsigned int mode_of(const char *name)
{
	struct stat st;

	assert_int_equal(0, stat(name, &st));
	return st.st_mode & 07777;
}

static unsigned int entries(const char *name)
{
	struct dirent **list;
	int n = scandir(name, &list, NULL, NULL);

	for (int i = 0; i < n; i++)
		free(list[i]);
	free(list);
	return (unsigned int)n - 2;
}

/* Directories and file are ours alone, nothing is left beside it, and the text is what derper writes. */
static void created(void **state)
{
	char text[256] = "", hex[KEY_HEX_LEN + 1], want[256];
	struct key k, again;
	FILE *f;

	(void)state;
	umask(0);
	assert_int_equal(0, keyfile_load_or_create(&k, path, err, sizeof(err)));
	assert_int_equal(0600, mode_of(path));
	assert_int_equal(0, k.b[0] & 7);
	assert_int_equal(64, k.b[31] & 192);
	f = fopen(path, "r");
	assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
	fclose(f);
	key_to_hex(hex, &k);
	snprintf(want, sizeof(want), "{\n\t\"PrivateKey\": \"privkey:%s\"\n}", hex);
	assert_string_equal(want, text);
	assert_int_equal(0, keyfile_load_or_create(&again, path, err, sizeof(err)));
	assert_true(key_equal(&k, &again));
	*strrchr(path, '/') = '\0';
	assert_int_equal(0700, mode_of(path));
	assert_int_equal(1, entries(path));
}

/* As process 1 of a container does after a crash: what lies around of the last try must not matter. */
static void leftovers(void **state)
{
	char old[160];
	struct key k;

	(void)state;
	snprintf(path, sizeof(path), "%s/derper.key", dir);
	snprintf(old, sizeof(old), "%s.%d.new", path, (int)getpid());
	put_file(old, "x", 1);
	assert_int_equal(0, keyfile_load_or_create(&k, path, err, sizeof(err)));
}

static void cannot_create(void **state)
{
	char below[192];
	struct key k, untouched;

	(void)state;
	memset(&k, 0xa5, sizeof(k));
	untouched = k;
	snprintf(path, sizeof(path), "%s/file", dir);
	put_file(path, "x", 1);
	snprintf(below, sizeof(below), "%s/derper.key", path);
	assert_int_equal(-ENOTDIR, keyfile_load_or_create(&k, below, err, sizeof(err)));
	assert_non_null(strstr(err, below));
	assert_int_equal(-EISDIR, keyfile_load_or_create(&k, dir, err, sizeof(err)));
	assert_non_null(strstr(err, "Is a directory"));
	/* A link to nowhere: the name is taken, by nothing that could be read. */
	snprintf(path, sizeof(path), "%s/dangling", dir);
	assert_int_equal(0, symlink("/nonexistent/x", path));
	assert_int_equal(-ENOENT, keyfile_load_or_create(&k, path, err, sizeof(err)));
	assert_int_equal(2, entries(dir));
	assert_true(key_equal(&k, &untouched));
}

/* What goes to stderr while the key is read. */
static void load_and_listen(char *said, size_t n)
{
	FILE *f = tmpfile();
	int saved = dup(STDERR_FILENO);
	struct key k;
	size_t len;

	dup2(fileno(f), STDERR_FILENO);
	assert_int_equal(0, keyfile_load_or_create(&k, path, err, sizeof(err)));
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(f);
	len = fread(said, 1, n - 1, f);
	said[len] = '\0';
	fclose(f);
}

static void others_can_read(void **state)
{
	char said[512];

	(void)state;
	load_and_listen(said, sizeof(said));
	assert_string_equal("", said);
	assert_int_equal(0, chmod(path, 0640));
	load_and_listen(said, sizeof(said));
	assert_non_null(strstr(said, "event=key_file_mode"));
	assert_non_null(strstr(said, "mode=0640"));
	assert_int_equal(0, chmod(path, 0400));
	load_and_listen(said, sizeof(said));
	assert_string_equal("", said);
}

static const struct text_case {
	const char *name, *text;
	int want;
} texts[] = {
	{ "as derper writes it",     "{\n\t\"PrivateKey\": \"privkey:" HEX64 "\"\n}", 0 },
	{ "upper case digits",       "{\"PrivateKey\":\"privkey:" UPPER64 "\"}", 0 },
	{ "name in any case",        "{\"privatekey\":\"privkey:" HEX64 "\"}", 0 },
	{ "unknown fields",          "{\"a\":[1,{}],\"PrivateKey\":\"privkey:" HEX64 "\",\"z\":null}", 0 },
	{ "white space around",      " \n{\"PrivateKey\":\"privkey:" HEX64 "\"}\n\n", 0 },
	{ "the last one counts",     "{\"PrivateKey\":\"privkey:" ZERO64 "\",\"privateKey\":\"privkey:" HEX64 "\"}", 0 },
	{ "empty file",              "", -EINVAL },
	{ "no object",               "[]", -EINVAL },
	{ "null",                    "null", -EINVAL },
	{ "no key",                  "{}", -EINVAL },
	{ "key is null",             "{\"PrivateKey\":null}", -EINVAL },
	{ "key is a number",         "{\"PrivateKey\":1}", -EINVAL },
	{ "key is empty",            "{\"PrivateKey\":\"\"}", -EINVAL },
	{ "only the prefix",         "{\"PrivateKey\":\"privkey:\"}", -EINVAL },
	{ "no prefix",               "{\"PrivateKey\":\"" HEX64 "\"}", -EINVAL },
	{ "a public key",            "{\"PrivateKey\":\"nodekey:" HEX64 "\"}", -EINVAL },
	{ "a digit too many",        "{\"PrivateKey\":\"privkey:" HEX64 "0\"}", -EINVAL },
	{ "all zero",                "{\"PrivateKey\":\"privkey:" ZERO64 "\"}", -EINVAL },
	{ "text behind it",          "{\"PrivateKey\":\"privkey:" HEX64 "\"}x", -EINVAL },
	{ "only hex digits",         HEX64, -EINVAL },
};

static void text_case(void **state)
{
	const struct text_case *c = *state;
	char hex[KEY_HEX_LEN + 1];
	struct key k, untouched;
	size_t n = strlen(c->text), whole = n;

	memset(&k, 0xa5, sizeof(k));
	untouched = k;
	snprintf(path, sizeof(path), "%s/derper.key", dir);
	put_file(path, c->text, n);
	assert_int_equal(c->want, keyfile_load_or_create(&k, path, err, sizeof(err)));
	if (c->want) {
		assert_non_null(strstr(err, path));
		assert_true(key_equal(&k, &untouched));
		return;
	}
	key_to_hex(hex, &k);
	assert_string_equal(HEX64, hex);
	while (whole && c->text[whole - 1] == '\n')
		whole--;
	for (size_t cut = 0; cut < whole; cut++) {
		put_file(path, c->text, cut);
		assert_int_equal(-EINVAL, keyfile_load_or_create(&k, path, err, sizeof(err)));
	}
}

static void too_long(void **state)
{
	static char text[70000];
	struct key k;

	(void)state;
	memset(text, ' ', sizeof(text));
	memcpy(text, HEX64, 64);
	snprintf(path, sizeof(path), "%s/mesh", dir);
	put_file(path, text, sizeof(text));
	assert_int_equal(-EFBIG, keyfile_load_mesh(&k, path, err, sizeof(err)));
	put_file(path, text, 65534);
	assert_int_equal(0, keyfile_load_mesh(&k, path, err, sizeof(err)));
}

static const struct mesh_case {
	const char *name, *text;
	int want;
} meshes[] = {
	{ "lower case", HEX64, 0 },
	{ "upper case", UPPER64, 0 },
	{ "white space around", " \t\r\n\v\f" HEX64 "\n \t", 0 },
	{ "white space inside", "01234567 89abcdef" HEX64, -EINVAL },
	{ "empty", "", -EINVAL },
	{ "only white space", " \n", -EINVAL },
	{ "a digit too many", HEX64 "0", -EINVAL },
	{ "no digit", "g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", -EINVAL },
	{ "all zero", ZERO64, -EINVAL },
	{ "with a prefix", "privkey:" HEX64, -EINVAL },
};

static void mesh_case(void **state)
{
	const struct mesh_case *c = *state;
	size_t n = strlen(c->text);
	struct key k, untouched;
	char hex[KEY_HEX_LEN + 1], *block;

	memset(&k, 0xa5, sizeof(k));
	untouched = k;
	for (size_t cut = 0; cut <= n; cut++) {
		block = malloc(cut);
		memcpy(block, c->text, cut);
		if (cut == n)
			assert_int_equal(c->want, keyfile_parse_mesh(&k, block, cut));
		else if (cut < 64)
			assert_int_equal(-EINVAL, keyfile_parse_mesh(&k, block, cut));
		free(block);
	}
	if (c->want)
		assert_true(key_equal(&k, &untouched));
	key_to_hex(hex, &k);
	assert_int_equal(!c->want, !strcmp(HEX64, hex));
	snprintf(path, sizeof(path), "%s/mesh", dir);
	put_file(path, c->text, n);
	assert_int_equal(c->want, keyfile_load_mesh(&k, path, err, sizeof(err)));
	assert_int_equal(c->want != 0, strstr(err, path) != NULL);
	assert_int_equal(0, unlink(path));
	assert_int_equal(-ENOENT, keyfile_load_mesh(&k, path, err, sizeof(err)));
}

int main(void)
{
	struct CMUnitTest t[5 + ARRAY_SIZE(texts) + ARRAY_SIZE(meshes)] = {
		cmocka_unit_test_setup_teardown(created, setup, teardown),
		cmocka_unit_test_setup_teardown(leftovers, setup, teardown),
		cmocka_unit_test_setup_teardown(cannot_create, setup, teardown),
		cmocka_unit_test_setup_teardown(too_long, setup, teardown),
		cmocka_unit_test_setup_teardown(others_can_read, setup, teardown),
	};
	size_t n = 5;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		t[n++] = (struct CMUnitTest){ texts[i].name, text_case, setup, teardown, (void *)&texts[i] };
	for (size_t i = 0; i < ARRAY_SIZE(meshes); i++)
		t[n++] = (struct CMUnitTest){ meshes[i].name, mesh_case, setup, teardown, (void *)&meshes[i] };
	return cmocka_run_group_tests(t, NULL, NULL);
}
