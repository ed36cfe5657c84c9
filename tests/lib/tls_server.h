/* SPDX-License-Identifier: BSD-3-Clause */
/* A server's TLS context with a certificate of its own, and the suites of TLS 1.3 by name. */
#ifndef XDERP_TESTS_TLS_SERVER_H
#define XDERP_TESTS_TLS_SERVER_H

#include "lib/certs.h"
#include "net/aead.h"
#include "net/tls.h"

#define T_HOST	"derp.example.com"

static const char *const t_suite_names[AEAD_SUITE_NR] = {
	[AEAD_AES_128_GCM]	 = "TLS_AES_128_GCM_SHA256",
	[AEAD_AES_256_GCM]	 = "TLS_AES_256_GCM_SHA384",
	[AEAD_CHACHA20_POLY1305] = "TLS_CHACHA20_POLY1305_SHA256",
};

struct t_server {
	char *dir;
	struct tls_ctx *ctx;
};

static __attribute__((unused)) void t_server_init(struct t_server *s)
{
	struct t_cert cert = { .cn = "x", .san = "DNS:" T_HOST };
	struct key derp = { { 1 } };
	char crt[128], key[128], err[256];
	struct tls_opts o = { .hostname = T_HOST, .cert_file = crt, .key_file = key,
			      .derp_public = &derp, .derp_version = 2 };

	s->dir = t_dir_new();
	snprintf(crt, sizeof(crt), "%s/a.crt", s->dir);
	snprintf(key, sizeof(key), "%s/a.key", s->dir);
	t_cert_write(&cert, crt, key);
	if (tls_ctx_new(&s->ctx, &o, err, sizeof(err)))
		t_cert_die(err);
}

static __attribute__((unused)) void t_server_done(struct t_server *s)
{
	tls_ctx_free(s->ctx);
	t_dir_free(s->dir);
}

#endif
