/* SPDX-License-Identifier: BSD-3-Clause */
/* TLS 1.3 records (RFC 8446 section 5) once the handshake is over: opened and sealed in place, without OpenSSL's state.
 * Keys come from tls_detach(). One thread at a time. */
#ifndef XDERP_RECORD_H
#define XDERP_RECORD_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <sys/uio.h>

#include "net/aead.h"
#include "net/tls.h"

#define RECORD_HEAD_LEN		5
#define RECORD_PLAIN_MAX	16384
#define RECORD_MAX		(RECORD_HEAD_LEN + RECORD_PLAIN_MAX + 256)
#define RECORD_SECRET_MAX	48
#define RECORD_KEY_UPDATE_LEN	5	/* type, u24 length of 1, "and you?" (RFC 8446 section 4.6.3) */
/* What sealing adds to each record: head, content type, tag. */
#define RECORD_OVERHEAD		(RECORD_HEAD_LEN + 1 + AEAD_TAG_LEN)

enum record_type {
	RECORD_CHANGE_CIPHER_SPEC	= 20,
	RECORD_ALERT			= 21,
	RECORD_HANDSHAKE		= 22,
	RECORD_DATA			= 23,
};

enum record_alert {
	RECORD_CLOSE_NOTIFY		= 0,
	RECORD_UNEXPECTED_MESSAGE	= 10,
	RECORD_BAD_MAC			= 20,
	RECORD_OVERFLOW			= 22,
	RECORD_ILLEGAL_PARAMETER	= 47,
	RECORD_DECODE_ERROR		= 50,
	RECORD_INTERNAL_ERROR		= 80,
	RECORD_USER_CANCELED		= 90,
};

/* The message, asking for no answer. */
extern const uint8_t record_key_update[RECORD_KEY_UPDATE_LEN];

/* One direction. */
struct record_dir {
	struct aead_key *key;		/* owned; NULL once handed over */
	uint64_t seq;			/* of the next record */
	uint8_t iv[AEAD_NONCE_LEN];
	uint8_t secret[RECORD_SECRET_MAX];
};

/* All secrets of a connection. */
struct record_keys {
	struct record_dir rd, wr;
	uint64_t rekey_after;		/* records sealed with one key; then we change it */
	const char *error;		/* static; what was wrong, once record_open() answered -EPROTO */
	enum aead_suite suite;
	uint8_t alert;			/* ... and what to tell the peer: record_seal_alert(); 0: nothing */
	uint8_t idle;			/* records in a row that brought no data */
	uint8_t hs_len;
	uint8_t hs[RECORD_KEY_UPDATE_LEN];			/* a KeyUpdate that comes in parts */
	bool update_due;		/* the peer wants new keys from us before our next data */
	bool no_update;			/* whoever has the keys can't change them */
};

/* Secrets are as long as the suite's hash: 32 bytes, 48 for AES-256. -ENOMEM, -ENOTSUP as aead_key_new(). */
int record_keys_init(struct record_keys *k, enum aead_suite suite, enum aead_engine engine,
		     const uint8_t *rd_secret, const uint8_t *wr_secret);
/* Takes zeroed memory too; wipes everything. The only exit. */
void record_keys_done(struct record_keys *k);

/* Somebody else opens and seals from now on (net/ktls.h) and has the keys: forget them. Secrets, from which later keys
 * follow, stay only if those can be set. */
void record_keys_hand_over(struct record_keys *k, bool can_update);
/* The key of a direction as it is now, for somebody else: aead_key_len() bytes, which the caller wipes. */
void record_dir_key(const struct record_keys *k, const struct record_dir *d, uint8_t *ret);
/* Go on to a direction's next key, as a KeyUpdate announces. -ENOMEM. */
int record_dir_next(const struct record_keys *k, struct record_dir *d);
/* The content of a record, no data, that somebody else opened. Returns what record_open() does; -EKEYEXPIRED: a
 * KeyUpdate, and there can be none. A whole KeyUpdate has moved rd to its next key. */
int record_take_control(struct record_keys *k, enum record_type type, const uint8_t *p, size_t n);

/* How long the record at p is, head included, as it says itself; 0 if n bytes don't tell yet. */
size_t record_size(const uint8_t *p, size_t n);

struct record {
	uint8_t *p;		/* plaintext, inside the caller's buffer; n may be 0 */
	size_t n;
	size_t used;		/* bytes this record took of the input */
};

/* Open the record at p, in place. Only application data is handed out; what else may come (KeyUpdate, padding, empty
 * records) is dealt with and gives n = 0. Returns 1; 0: close_notify; -EAGAIN: not all there; -EPROTO: broken for good,
 * see error and alert; -ENOMEM. */
int record_open(struct record_keys *k, uint8_t *p, size_t n, struct record *ret);

/* Seal all of iov into as few records as possible, behind what is in out. Returns 0; -ENOMEM: out could not grow and
 * nothing was done; -EIO: the cipher failed, send no more. */
int record_seal(struct record_keys *k, const struct iovec *iov, unsigned int n, struct tls_out *out);
/* The last thing to send: RECORD_CLOSE_NOTIFY, or why we end it. */
int record_seal_alert(struct record_keys *k, enum record_alert alert, struct tls_out *out);

#endif
