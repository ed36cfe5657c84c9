/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/meta_cert.h"

#include <openssl/x509v3.h>
#include <stdbool.h>

#define VALID_S	(30L * 86400)	/* before and after now; clients do not look at it */

/* Critical, and an empty sequence: not a CA. There must be no key identifiers: derpprobe leaves
 * a certificate out of its expiry check only if both are equal, and absent is equal. */
static bool add_basic_constraints(X509 *x)
{
	static const uint8_t empty_sequence[] = { 0x30, 0x00 };
	ASN1_OCTET_STRING *der = ASN1_OCTET_STRING_new();
	X509_EXTENSION *ext = NULL;
	bool ok;

	ok = der && ASN1_OCTET_STRING_set(der, empty_sequence, sizeof(empty_sequence)) &&
	     (ext = X509_EXTENSION_create_by_NID(NULL, NID_basic_constraints, 1, der)) &&
	     X509_add_ext(x, ext, -1);
	X509_EXTENSION_free(ext);
	ASN1_OCTET_STRING_free(der);
	return ok;
}

static bool add_names(X509 *x, const struct key *derp_public)
{
	char cn[7 + KEY_HEX_LEN + 1] = "derpkey";
	X509_NAME *name = X509_get_subject_name(x);

	key_to_hex(cn + 7, derp_public);
	/* The MBSTRING types refuse a common name above 64 characters. */
	return X509_NAME_add_entry_by_NID(name, NID_commonName, V_ASN1_PRINTABLESTRING,
					  (const uint8_t *)cn, -1, -1, 0) &&
	       X509_set_issuer_name(x, name);
}

/* OpenSSL keeps the encoding of a certificate that it has read; that of one it made is worked out for every handshake. */
static X509 *read_back(const X509 *made)
{
	uint8_t *der = NULL;
	int n = i2d_X509(made, &der);
	const uint8_t *p = der;
	X509 *x = n > 0 ? d2i_X509(NULL, &p, n) : NULL;

	OPENSSL_free(der);
	return x;
}

X509 *meta_cert_new(const struct key *derp_public, unsigned int derp_version)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	X509 *x = X509_new(), *ret = NULL;

	if (key && x && X509_set_version(x, X509_VERSION_3) &&
	    ASN1_INTEGER_set(X509_get_serialNumber(x), (long)derp_version) &&
	    X509_gmtime_adj(X509_getm_notBefore(x), -VALID_S) &&
	    X509_gmtime_adj(X509_getm_notAfter(x), VALID_S) &&
	    add_names(x, derp_public) && add_basic_constraints(x) &&
	    X509_set_pubkey(x, key) && X509_sign(x, key, NULL))
		ret = read_back(x);
	X509_free(x);
	EVP_PKEY_free(key);
	return ret;
}
