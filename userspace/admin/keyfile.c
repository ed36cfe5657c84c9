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

#include "base/dirs.h"
#include "base/log.h"

#define MAX_FILE	(64U * 1024)
#define PREFIX		"privkey:"

/* derper takes such files, so they are no fault; but whoever can read the key can be this relay. */
static void warn_if_shared(int fd, const char *path)
{
	struct stat st;

	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_mode & 077)
		log_event(LOG_LEVEL_WARN, "key_file_mode", "path=%s mode=%04o fix=%s", path,
			  (unsigned int)(st.st_mode & 07777), "chmod 600: others can read the secret");
}

/* Whole file, NUL-terminated; returns its length without the NUL. Secret: the caller wipes it. */
static ssize_t read_file(const char *path, char buf[static MAX_FILE])
{
	size_t n = 0;
	ssize_t k = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;

	if (fd == -1)
		return -errno;
	while (n < MAX_FILE - 1 && (k = read(fd, buf + n, MAX_FILE - 1 - n)) > 0)
		n += (size_t)k;
	err = k == -1 ? -errno : k > 0 ? -EFBIG : 0;
	if (!err)
		warn_if_shared(fd, path);
	close(fd);
	buf[n] = '\0';
	return err ? err : (ssize_t)n;
}

static int key_from_json(struct key *ret, const char *text, size_t n)
{
	json_t *root = json_loadb(text, n, 0, NULL), *value;
	const char *name, *s = NULL;
	int err = -EINVAL;
	struct key k;

	/* Go matches field names in any case. */
	json_object_foreach(root, name, value)
		if (!strcasecmp(name, "PrivateKey"))
			s = json_string_value(value);
	if (s && !strncmp(s, PREFIX, sizeof(PREFIX) - 1))
		err = key_from_hex(&k, s + sizeof(PREFIX) - 1, strlen(s + sizeof(PREFIX) - 1));
	if (!err && key_is_zero(&k))
		err = -EINVAL;
	if (!err)
		*ret = k;
	sodium_memzero(&k, sizeof(k));
	if (s)
		sodium_memzero((char *)s, strlen(s));	/* jansson frees without wiping */
	json_decref(root);
	return err;
}

void keyfile_generate(struct key *ret)
{
	randombytes_buf(ret->b, sizeof(ret->b));
	ret->b[0] &= 248;
	ret->b[31] = (uint8_t)((ret->b[31] & 127) | 64);
}

static int write_key(int fd, const struct key *k)
{
	char hex[KEY_HEX_LEN + 1], text[160];
	int n, err = 0;

	key_to_hex(hex, k);
	n = snprintf(text, sizeof(text), "{\n\t\"PrivateKey\": \"" PREFIX "%s\"\n}", hex);
	errno = ENOSPC;			/* a short write sets none */
	if (write(fd, text, (size_t)n) != n || fsync(fd) == -1)
		err = -errno;
	sodium_memzero(hex, sizeof(hex));
	sodium_memzero(text, sizeof(text));
	return err;
}

/* Never over somebody else's: link() refuses an existing name. Some file systems have no links. */
static int move_new(const char *from, const char *to)
{
	if (!link(from, to))
		return 0;
	if (errno == EPERM || errno == EOPNOTSUPP)
		return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == -1 ? -errno : 0;
	return -errno;
}

/* A new name must survive a power cut, or the relay comes back as another one. */
static void sync_dir(char *path)
{
	char *slash = strrchr(path, '/');
	int fd;

	if (slash)
		slash[slash == path] = '\0';
	fd = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return;
	fsync(fd);
	close(fd);
}

/* Written aside and moved into place: never half a key. -EEXIST: somebody was faster. */
static int write_new(const char *path, const struct key *k)
{
	char tmp[4096];
	int fd, err;

	err = dirs_make_for(path);
	if (err)
		return err;
	if (snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path) >= (int)sizeof(tmp))
		return -ENAMETOOLONG;
	fd = mkostemp(tmp, O_CLOEXEC);		/* mode 0600 */
	if (fd == -1)
		return -errno;
	err = write_key(fd, k);
	close(fd);
	if (!err)
		err = move_new(tmp, path);
	unlink(tmp);
	if (!err)
		sync_dir(tmp);
	return err;
}

int keyfile_load_or_create(struct key *ret, const char *path, char *err, size_t errlen)
{
	static char text[MAX_FILE];
	ssize_t n = read_file(path, text);
	struct key fresh;
	int e;

	if (n == -ENOENT) {
		keyfile_generate(&fresh);
		e = write_new(path, &fresh);
		if (!e)
			*ret = fresh;
		sodium_memzero(&fresh, sizeof(fresh));
		if (e != -EEXIST) {
			if (e)
				snprintf(err, errlen, "-c: can't create the key file %s: %s", path, strerror(-e));
			return e;
		}
		n = read_file(path, text);
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
	struct key k;
	int err;

	while (n && strchr(" \t\r\n\v\f", text[n - 1]))
		n--;
	while (n && strchr(" \t\r\n\v\f", *text)) {
		text++;
		n--;
	}
	err = key_from_hex(&k, text, n);
	if (!err && key_is_zero(&k))
		err = -EINVAL;
	if (!err)
		*ret = k;
	sodium_memzero(&k, sizeof(k));
	return err;
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
