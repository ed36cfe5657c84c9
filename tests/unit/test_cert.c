/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/unit.h"

#include <errno.h>

#include "base/util.h"
#include "lib/certs.h"
#include "net/cert.h"
#include "net/tls.h"

static char *dir, crt[160], key[160], err[256];

static int set_up(void **state)
{
	(void)state;
	dir = t_dir_new();
	snprintf(crt, sizeof(crt), "%s/a/b/192.0.2.1.crt", dir);
	snprintf(key, sizeof(key), "%s/a/b/192.0.2.1.key", dir);
	*err = '\0';
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	t_dir_free(dir);
	return 0;
}

static const struct path_case {
	const char *host, *want;
} paths[] = {
	{ "derp.example.com", "/d/derp.example.com" },
	{ "192.0.2.1", "/d/192.0.2.1" },
	{ "2001:db8::1", "/d/2001db81" },
	{ "a/../b_c\n\xc3\xa4Z9-", "/d/a..bcZ9-" },
	{ "", "/d/" },
};

static void test_paths(void **state)
{
	char long_name[400], c[64], k[64], want[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		assert_int_equal(0, cert_paths(c, k, sizeof(c), "/d", paths[i].host));
		snprintf(want, sizeof(want), "%s.crt", paths[i].want);
		assert_string_equal(want, c);
		snprintf(want, sizeof(want), "%s.key", paths[i].want);
		assert_string_equal(want, k);
	}
	assert_int_equal(0, cert_paths(c, k, 9, "/d", "a"));
	assert_int_equal(-ENAMETOOLONG, cert_paths(c, k, 8, "/d", "ab"));
	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(-ENAMETOOLONG, cert_paths(c, k, sizeof(c), "/d", long_name));
}

static void test_is_ip(void **state)
{
	static const char *const yes[] = { "192.0.2.1", "::1", "2001:db8::1", "::ffff:192.0.2.1" };
	static const char *const no[] = { "", "a", "192.0.2", "192.0.2.256", "[::1]", "::1%lo", "1.2.3.4:5" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
		assert_true(cert_is_ip(yes[i]));
	for (size_t i = 0; i < ARRAY_SIZE(no); i++)
		assert_false(cert_is_ip(no[i]));
}

static X509 *load(const char *file)
{
	FILE *f = fopen(file, "r");
	X509 *x = PEM_read_X509(f, NULL, NULL, NULL);

	fclose(f);
	return x;
}

static void check_fields(const char *ip)
{
	X509 *x = load(crt);
	char cn[64];
	int days, seconds;

	assert_int_equal(1, X509_check_ip_asc(x, ip, 0));
	X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn, sizeof(cn));
	assert_string_equal(ip, cn);
	assert_int_equal(EVP_PKEY_EC, EVP_PKEY_id(X509_get0_pubkey(x)));
	assert_int_equal(256, EVP_PKEY_bits(X509_get0_pubkey(x)));
	assert_int_equal(XKU_SSL_SERVER, X509_get_extended_key_usage(x));
	assert_int_equal(EXFLAG_BCONS, X509_get_extension_flags(x) & (EXFLAG_BCONS | EXFLAG_CA));
	assert_int_equal(1, ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x)));
	assert_true(days == 364 || days == 365);
	assert_true(ASN1_STRING_length(X509_get0_serialNumber(x)) >= 15);
	X509_free(x);
}

/* The relay takes what was made. */
static void check_use(const char *ip)
{
	struct key derp = { { 1 } };
	struct tls_opts o = { .hostname = ip, .cert_file = crt, .key_file = key,
			      .derp_public = &derp, .derp_version = 2 };
	struct tls_ctx *ctx = NULL;

	assert_int_equal(0, tls_ctx_new(&ctx, &o, err, sizeof(err)));
	tls_ctx_free(ctx);
}

static void check_pin(void)
{
	uint8_t *der = NULL, md[32];
	char want[65], got[65];
	X509 *x = load(crt);
	int n = i2d_X509(x, &der);

	assert_int_equal(1, EVP_Digest(der, (size_t)n, md, NULL, EVP_sha256(), NULL));
	for (int i = 0; i < 32; i++)
		snprintf(want + 2 * i, 3, "%02x", md[i]);
	assert_int_equal(0, cert_sha256_raw(got, crt, err, sizeof(err)));
	assert_string_equal(want, got);
	OPENSSL_free(der);
	X509_free(x);
}

static void test_self_signed(void **state)
{
	static const char *const ips[] = { "192.0.2.1", "2001:db8::1" };
	struct stat st;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ips); i++) {
		assert_int_equal(0, cert_make_self_signed(crt, key, ips[i], err, sizeof(err)));
		assert_int_equal(0, stat(key, &st));
		assert_int_equal(0600, st.st_mode & 0777);
		assert_int_equal(0, stat(crt, &st));
		check_fields(ips[i]);
		check_use(ips[i]);
		check_pin();
		assert_true(cert_is_self_signed(crt));
		unlink(crt);
		unlink(key);
	}
}

/* What is there stays, and nothing half-made is left. */
static void test_never_overwrites(void **state)
{
	const char *const files[] = { crt, key };
	struct stat st;

	(void)state;
	assert_int_equal(0, cert_make_self_signed(crt, key, "192.0.2.1", err, sizeof(err)));
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		const char *there = files[i], *gone = files[1 - i];
		FILE *f;

		unlink(gone);
		f = fopen(there, "w");
		fputs("precious", f);
		fclose(f);
		assert_int_equal(-EEXIST, cert_make_self_signed(crt, key, "192.0.2.1", err, sizeof(err)));
		assert_non_null(strstr(err, "File exists; check -certdir"));
		assert_int_equal(0, stat(there, &st));
		assert_int_equal(8, st.st_size);
		assert_int_equal(-1, stat(gone, &st));
		unlink(there);
		assert_int_equal(0, cert_make_self_signed(crt, key, "192.0.2.1", err, sizeof(err)));
	}
}

static void test_no_directory(void **state)
{
	char file[200];
	FILE *f;

	(void)state;
	snprintf(file, sizeof(file), "%s/a", dir);
	f = fopen(file, "w");
	fclose(f);
	assert_int_equal(-ENOTDIR, cert_make_self_signed(crt, key, "192.0.2.1", err, sizeof(err)));
	assert_non_null(strstr(err, "192.0.2.1.crt: Not a directory"));
}

static void test_issued_by_another(void **state)
{
	struct t_cert c = { .cn = "leaf", .san = "DNS:leaf" };
	EVP_PKEY *ca = EVP_EC_gen("P-256"), *pk = EVP_EC_gen("P-256");
	char file[200], got[65];
	X509 *x = t_cert_new(&c, pk);
	FILE *f;

	(void)state;
	snprintf(file, sizeof(file), "%s/x.crt", dir);
	X509_sign(x, ca, EVP_sha256());		/* same names, another key */
	f = fopen(file, "w");
	PEM_write_X509(f, x);
	fclose(f);
	assert_false(cert_is_self_signed(file));
	f = fopen(file, "w");
	fputs("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n", f);
	fclose(f);
	assert_false(cert_is_self_signed(file));
	assert_int_equal(-EINVAL, cert_sha256_raw(got, file, err, sizeof(err)));
	assert_non_null(strstr(err, "x.crt holds no certificate in PEM form"));
	unlink(file);
	assert_false(cert_is_self_signed(file));
	assert_int_equal(-EINVAL, cert_sha256_raw(got, file, err, sizeof(err)));
	X509_free(x);
	EVP_PKEY_free(ca);
	EVP_PKEY_free(pk);
}

int main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_is_ip),
		cmocka_unit_test_setup_teardown(test_self_signed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_never_overwrites, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_directory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_issued_by_another, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("cert", t, NULL, NULL);
}
