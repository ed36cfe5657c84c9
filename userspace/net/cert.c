/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/cert.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/dirs.h"

#define YEAR_S	(365L * 24 * 3600)

int cert_paths(char *crt, char *key, size_t len, const char *certdir, const char *hostname)
{
	char name[256];
	size_t n = 0;

	for (const char *p = hostname; *p; p++) {
		if (!isalnum((unsigned char)*p) && *p != '-' && *p != '.')
			continue;
		if (n == sizeof(name) - 1)
			return -ENAMETOOLONG;
		name[n++] = *p;
	}
	name[n] = '\0';
	if (snprintf(crt, len, "%s/%s.crt", certdir, name) >= (int)len ||
	    snprintf(key, len, "%s/%s.key", certdir, name) >= (int)len)
		return -ENAMETOOLONG;
	return 0;
}

bool cert_is_ip(const char *hostname)
{
	uint8_t ip[16];

	return inet_pton(AF_INET, hostname, ip) == 1 || inet_pton(AF_INET6, hostname, ip) == 1;
}

static X509 *read_leaf(const char *crt)
{
	FILE *f = fopen(crt, "re");
	X509 *x;

	if (!f)
		return NULL;
	x = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	ERR_clear_error();
	return x;
}

bool cert_is_self_signed(const char *crt)
{
	X509 *x = read_leaf(crt);
	bool self = x && X509_NAME_cmp(X509_get_subject_name(x), X509_get_issuer_name(x)) == 0 &&
		    X509_verify(x, X509_get0_pubkey(x)) == 1;

	X509_free(x);
	return self;
}

int cert_sha256_raw(char ret[static 65], const char *crt, char *err, size_t errlen)
{
	X509 *x = read_leaf(crt);
	uint8_t md[EVP_MAX_MD_SIZE];
	unsigned int n = 0;

	if (!x || !X509_digest(x, EVP_sha256(), md, &n) || n != 32) {
		X509_free(x);
		snprintf(err, errlen, "%s holds no certificate in PEM form", crt);
		return -EINVAL;
	}
	X509_free(x);
	for (unsigned int i = 0; i < n; i++)
		snprintf(ret + 2 * i, 3, "%02x", md[i]);
	return 0;
}

static bool add_ext(X509 *x, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;
	bool ok;

	X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = e && X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
	return ok;
}

static bool random_serial(X509 *x)
{
	BIGNUM *bn = BN_new();
	bool ok = bn && BN_rand(bn, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
		  BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x));

	BN_free(bn);
	return ok;
}

static X509 *make(EVP_PKEY *key, const char *ip)
{
	X509 *x = X509_new();
	char san[80];
	X509_NAME *name;

	if (!x)
		return NULL;
	snprintf(san, sizeof(san), "IP:%s", ip);
	name = X509_get_subject_name(x);
	if (X509_set_version(x, X509_VERSION_3) && random_serial(x) &&
	    X509_gmtime_adj(X509_getm_notBefore(x), -3600) && X509_gmtime_adj(X509_getm_notAfter(x), YEAR_S) &&
	    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)ip, -1, -1, 0) &&
	    X509_set_issuer_name(x, name) && X509_set_pubkey(x, key) &&
	    add_ext(x, NID_key_usage, "critical,digitalSignature") &&
	    add_ext(x, NID_ext_key_usage, "serverAuth") &&
	    add_ext(x, NID_basic_constraints, "critical,CA:FALSE") &&
	    add_ext(x, NID_subject_alt_name, san) && X509_sign(x, key, EVP_sha256()))
		return x;
	X509_free(x);
	return NULL;
}

static FILE *create(const char *path, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	return fd < 0 ? NULL : fdopen(fd, "w");
}

static int write_pair(const char *crt, const char *key, X509 *x, EVP_PKEY *pk)
{
	FILE *kf, *cf = NULL;
	int err = dirs_make_for(crt);
	bool ok;

	if (err)
		return err;
	kf = create(key, 0600);
	if (!kf)
		return -errno;
	cf = create(crt, 0644);
	if (!cf)
		err = -errno;
	ok = cf && PEM_write_PrivateKey(kf, pk, NULL, NULL, 0, NULL, NULL) && PEM_write_X509(cf, x);
	ok = !fclose(kf) && ok;
	ok = cf && !fclose(cf) && ok;
	if (ok)
		return 0;
	unlink(key);
	if (cf)
		unlink(crt);
	return err ? err : -EIO;
}

int cert_make_self_signed(const char *crt, const char *key, const char *ip, char *err, size_t errlen)
{
	EVP_PKEY *pk = EVP_EC_gen("P-256");
	X509 *x = pk ? make(pk, ip) : NULL;
	int e = x ? write_pair(crt, key, x, pk) : -ENOMEM;

	X509_free(x);
	EVP_PKEY_free(pk);
	if (e)
		snprintf(err, errlen, "can't make the self-signed certificate %s: %s; check -certdir", crt, strerror(-e));
	return e;
}
