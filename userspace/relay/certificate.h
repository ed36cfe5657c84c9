/* SPDX-License-Identifier: BSD-3-Clause */
/* The relay's certificate: where its files are, and that they are looked at again while it runs. Main thread. */
#ifndef XDERP_CERTIFICATE_H
#define XDERP_CERTIFICATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;
struct relay;
struct tls_ctx;

/* What two files looked like: enough to notice that either was written, replaced or became readable. */
struct certificate_stamp {
	struct { uint64_t device, inode, size; int64_t changed_ns; int error; } file[2];
};

/* In struct relay. Counters are atomic, written by the main thread. */
struct certificate_watch {
	struct certificate_stamp seen;	/* at the last look */
	struct certificate_stamp tried;	/* when the files were last loaded, whatever came of it */
	uint64_t taken, refused;	/* by certificate_poll */
};

/* Load what these settings name; for an IP address without files, make them first. -errno and a sentence in err. */
int certificate_load(struct tls_ctx **ret, const struct config *cfg, char *err, size_t errlen);
/* The same for a relay that starts, or whose settings change to these; certificate_poll() will not try again before the
 * files change. With -certmode=letsencrypt a relay that has no certificate yet goes on without: handshakes fail until the
 * ACME client has brought one. */
int certificate_renew(struct tls_ctx **ret, struct relay *r, const struct config *cfg, char *err, size_t errlen);
/* Say in the list of features how TLS stands. */
void certificate_list(const struct relay *r, const struct config *cfg);

/* At each --cert-poll: if the files have changed and are at rest, use them from now on. Open connections keep what they
 * have. What can't be used is said once per change, and nothing changes. */
void certificate_poll(struct relay *r);

/* Files that the opener must be able to open. False: their names are too long. */
struct certificate_paths {
	char crt[4096], key[4096];
	char cache[4096];	/* of derper with -certmode=letsencrypt: key and certificates in one file */
};
bool certificate_paths(struct certificate_paths *ret, const struct config *cfg);

#endif
