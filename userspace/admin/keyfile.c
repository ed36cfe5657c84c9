/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE	(64U * 1024)
#define PREFIX		"privkey:"

/* Whole file, NUL-terminated; *n without the NUL. Secret: the caller wipes it. */
static ssize_t read_file(const char *path, char buf[static MAX_FILE])
{
	size_t n = 0;
	ssize_t k;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while (n < MAX_FILE - 1 && (k = read(fd, buf + n, MAX_FILE - 1 - n)) > 0)
		n += (size_t)k;
	close(fd);
	buf[n] = '\0';
	return (ssize_t)n;
}

static int key_from_json(struct key *ret, const char *text, size_t n)
{
	json_t *root = json_loadb(text, n, 0, NULL), *value;
	const char *name, *s = NULL;
	int err = -EINVAL;

	/* Go matches field names in any case. */
	json_object_foreach(root, name, value)
		if (!strcasecmp(name, "PrivateKey"))
			s = json_string_value(value);
	if (s && !strncmp(s, PREFIX, sizeof(PREFIX) - 1))
		err = key_from_hex(ret, s + sizeof(PREFIX) - 1, strlen(s + sizeof(PREFIX) - 1));
	if (!err && key_is_zero(ret))
		err = -EINVAL;
	json_decref(root);
	return err;
}

void keyfile_generate(struct key *ret)
{
	randombytes_buf(ret->b, sizeof(ret->b));
	ret->b[0] &= 248;
	ret->b[31] = (uint8_t)((ret->b[31] & 127) | 64);
}

static int make_dirs(const char *path)
{
	char dir[4096];

	if (strlen(path) >= sizeof(dir))
		return -ENAMETOOLONG;
	strcpy(dir, path);
	for (char *p = strchr(dir + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (mkdir(dir, 0700) && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return 0;
}

/* Written aside and linked into place: never half a key, never over somebody else's. */
static int write_new(const char *path, const struct key *k)
{
	char tmp[4096], hex[KEY_HEX_LEN + 1], text[160];
	int fd, n, err;

	err = make_dirs(path);
	if (err)
		return err;
	if (snprintf(tmp, sizeof(tmp), "%s.%d.new", path, (int)getpid()) >= (int)sizeof(tmp))
		return -ENAMETOOLONG;
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	key_to_hex(hex, k);
	n = snprintf(text, sizeof(text), "{\n\t\"PrivateKey\": \"" PREFIX "%s\"\n}", hex);
	err = write(fd, text, (size_t)n) == n && !fsync(fd) ? 0 : -EIO;
	close(fd);
	sodium_memzero(hex, sizeof(hex));
	sodium_memzero(text, sizeof(text));
	if (!err && link(tmp, path))
		err = -errno;
	unlink(tmp);
	return err;
}

int keyfile_load_or_create(struct key *ret, const char *path, char *err, size_t errlen)
{
	static char text[MAX_FILE];
	ssize_t n = read_file(path, text);
	int e;

	if (n == -ENOENT) {
		keyfile_generate(ret);
		e = write_new(path, ret);
		if (e)
			snprintf(err, errlen, "-c: can't create the key file %s: %s", path, strerror(-e));
		return e;
	}
	if (n < 0) {
		snprintf(err, errlen, "-c: can't read the key file %s: %s", path, strerror((int)-n));
		return (int)n;
	}
	e = key_from_json(ret, text, (size_t)n);
	sodium_memzero(text, sizeof(text));
	if (e)
		snprintf(err, errlen, "-c: %s is no key file; it must hold {\"PrivateKey\":\"privkey:<64 hex digits>\"}", path);
	return e;
}

int keyfile_parse_mesh(struct key *ret, const char *text, size_t n)
{
	int err;

	while (n && strchr(" \t\r\n\v\f", text[n - 1]))
		n--;
	while (n && strchr(" \t\r\n\v\f", *text)) {
		text++;
		n--;
	}
	err = key_from_hex(ret, text, n);
	return err ? err : key_is_zero(ret) ? -EINVAL : 0;
}

int keyfile_load_mesh(struct key *ret, const char *path, char *err, size_t errlen)
{
	static char text[MAX_FILE];
	ssize_t n = read_file(path, text);
	int e;

	if (n < 0) {
		snprintf(err, errlen, "-mesh-psk-file: can't read %s: %s", path, strerror((int)-n));
		return (int)n;
	}
	e = keyfile_parse_mesh(ret, text, (size_t)n);
	sodium_memzero(text, sizeof(text));
	if (e)
		snprintf(err, errlen, "-mesh-psk-file: %s must hold 64 hex digits, not all of them zero", path);
	return e;
}
