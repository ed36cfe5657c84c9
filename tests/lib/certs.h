/* SPDX-License-Identifier: BSD-3-Clause */
/* Certificates made on the spot, in a directory that goes away again. */
#ifndef XDERP_TESTS_CERTS_H
#define XDERP_TESTS_CERTS_H

#include <ftw.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define T_CERT_DAY	86400L

struct t_cert {
	const char *cn, *san;		/* san as in "DNS:a,IP:192.0.2.1"; NULL: none */
	long from_s, to_s;		/* from now; 0 and 0: yesterday until tomorrow */
	const char *password;		/* of the key file */
};

static __attribute__((unused)) void t_cert_die(const char *what)
{
	fprintf(stderr, "certs: %s\n", what);
	exit(99);
}

static __attribute__((unused)) char *t_dir_new(void)
{
	char *dir = strdup("/tmp/xderp-test-XXXXXX");

	if (!dir || !mkdtemp(dir))
		t_cert_die("mkdtemp");
	return dir;
}

static __attribute__((unused)) int t_dir_remove(const char *path, const struct stat *st, int type,
						struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static __attribute__((unused)) void t_dir_free(char *dir)
{
	nftw(dir, t_dir_remove, 8, FTW_DEPTH | FTW_PHYS);
	free(dir);
}

static __attribute__((unused)) X509 *t_cert_new(const struct t_cert *c, EVP_PKEY *key)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);
	X509_EXTENSION *e;

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
	X509_gmtime_adj(X509_getm_notBefore(x), c->to_s ? c->from_s : -T_CERT_DAY);
	X509_gmtime_adj(X509_getm_notAfter(x), c->to_s ? c->to_s : T_CERT_DAY);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)c->cn, -1, -1, 0);
	X509_set_issuer_name(x, name);
	X509_set_pubkey(x, key);
	if (c->san) {
		e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, c->san);
		if (!e || !X509_add_ext(x, e, -1))
			t_cert_die(c->san);
		X509_EXTENSION_free(e);
	}
	if (!X509_sign(x, key, EVP_sha256()))
		t_cert_die("sign");
	return x;
}

static __attribute__((unused)) void t_cert_write(const struct t_cert *c, const char *crt, const char *key)
{
	EVP_PKEY *pk = EVP_EC_gen("P-256");
	FILE *cf = fopen(crt, "w"), *kf = fopen(key, "w");
	X509 *x = t_cert_new(c, pk);
	int n = c->password ? (int)strlen(c->password) : 0;

	if (!cf || !kf || !PEM_write_X509(cf, x) ||
	    !PEM_write_PKCS8PrivateKey(kf, pk, n ? EVP_aes_128_cbc() : NULL, c->password, n, NULL, NULL))
		t_cert_die(crt);
	fclose(cf);
	fclose(kf);
	X509_free(x);
	EVP_PKEY_free(pk);
}

#endif
