/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/cert_load.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/opener.h"
#include "net/cert.h"

/* Never ask a terminal. */
static int no_password(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)arg;
	return -1;
}

static int fail(char *err, size_t errlen, const char *file, const char *what)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());

	snprintf(err, errlen, "%s %s%s%s%s", file, what, why ? " (" : "", why ? why : "", why ? ")" : "");
	ERR_clear_error();
	return -EINVAL;
}

/* OpenSSL has no words for what the system refuses. NULL: *e and err say why. */
static BIO *open_file(const struct tls_opts *o, const char *file, int *e, char *err, size_t errlen)
{
	int fd = opener_open(o->opener, file);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	BIO *b = f ? BIO_new_fp(f, BIO_CLOSE) : NULL;

	if (b)
		return b;
	*e = fd < 0 ? fd : -ENOMEM;
	if (f)
		fclose(f);
	else if (fd >= 0)
		close(fd);
	snprintf(err, errlen, "can't read %s: %s; -certdir must hold <hostname>.crt and <hostname>.key, readable by "
		 "the user that starts the relay", file, strerror(-*e));
	return NULL;
}

/* Leaf, then issuers, then nothing that looks like PEM. */
static bool use_chain(SSL_CTX *s, BIO *in)
{
	X509 *x = PEM_read_bio_X509_AUX(in, NULL, no_password, NULL);
	bool ok = x && SSL_CTX_use_certificate(s, x) == 1;

	X509_free(x);
	while (ok && (x = PEM_read_bio_X509(in, NULL, no_password, NULL))) {
		ok = SSL_CTX_add0_chain_cert(s, x) == 1;
		if (!ok)
			X509_free(x);
	}
	if (!ok || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return false;
	ERR_clear_error();
	return true;
}

static bool use_key(SSL_CTX *s, BIO *in)
{
	EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, no_password, NULL);
	bool ok = key && SSL_CTX_use_PrivateKey(s, key) == 1;

	EVP_PKEY_free(key);
	return ok;
}

static int load_key(SSL_CTX *s, const struct tls_opts *o, BIO *in, char *err, size_t errlen)
{
	if (use_key(s, in))
		return 0;
	if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH ||
	    ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_TYPE_MISMATCH) {
		ERR_clear_error();
		return fail(err, errlen, o->key_file, "does not belong to the certificate beside it; "
			    "install the two together");
	}
	return fail(err, errlen, o->key_file, "is no PEM private key without a password");
}

static int load_files(SSL_CTX *s, const struct tls_opts *o, char *err, size_t errlen)
{
	BIO *cert, *key = NULL;
	int e = 0;

	cert = open_file(o, o->cert_file, &e, err, errlen);
	if (cert)
		key = open_file(o, o->key_file, &e, err, errlen);
	ERR_clear_error();
	if (key && !use_chain(s, cert))
		e = fail(err, errlen, o->cert_file, "is no PEM file with the certificate first and then its issuers");
	if (!e)
		e = load_key(s, o, key, err, errlen);
	BIO_free(cert);
	BIO_free(key);
	return e;
}

static int64_t to_unix(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : 0;
}

/* As Go looks at it: only subject alternative names count. */
static bool leaf_names(X509 *x, const char *hostname)
{
	unsigned int flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;

	if (cert_is_ip(hostname))
		return X509_check_ip_asc(x, hostname, 0) == 1;
	return X509_check_host(x, hostname, 0, flags, NULL) == 1;
}

static int check_leaf(SSL_CTX *s, const struct tls_opts *o, int64_t *not_after, char *err, size_t errlen)
{
	X509 *x = SSL_CTX_get0_certificate(s);
	const char *what = NULL;

	if (!leaf_names(x, o->hostname)) {
		snprintf(err, errlen, "%s is not valid for %s; get one that has it as a subject alternative name, "
			 "or change -hostname", o->cert_file, o->hostname);
		return -EINVAL;
	}
	if (X509_cmp_current_time(X509_get0_notAfter(x)) < 0)
		what = "has expired; renew it";
	else if (X509_cmp_current_time(X509_get0_notBefore(x)) > 0)
		what = "is not valid yet; check the clock";
	if (what)
		return fail(err, errlen, o->cert_file, what);
	*not_after = to_unix(X509_get0_notAfter(x));
	return 0;
}

int cert_load(SSL_CTX *s, const struct tls_opts *o, int64_t *not_after, char *err, size_t errlen)
{
	int e = load_files(s, o, err, errlen);

	return e ? e : check_leaf(s, o, not_after, err, errlen);
}
