/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/record.h"

#include <endian.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <string.h>

#include "base/util.h"
#include "net/hkdf.h"

#define KEY_UPDATE	24
#define ALERT_LEN	2
#define IDLE_MAX	32	/* as OpenSSL has it; a peer has no reason for even two */
/* AES-GCM stays safe for 2^24.5 full records (RFC 8446 section 5.5); one rule for all suites. */
#define REKEY_AFTER	(1U << 24)

/* Asks for no answer. */
const uint8_t record_key_update[RECORD_KEY_UPDATE_LEN] = { KEY_UPDATE, 0, 0, 1, 0 };

/* --- keys */

static size_t secret_len(enum aead_suite suite)
{
	return suite == AEAD_AES_256_GCM ? 48 : 32;
}

static void expand(enum aead_suite suite, uint8_t *ret, size_t n, const uint8_t *secret, const char *label)
{
	hkdf_expand_label(suite == AEAD_AES_256_GCM ? HKDF_SHA384 : HKDF_SHA256, ret, n, secret,
			  (struct view){ (const uint8_t *)label, strlen(label) }, (struct view){ 0 });
}

void record_dir_key(const struct record_keys *k, const struct record_dir *d, uint8_t *ret)
{
	expand(k->suite, ret, aead_key_len(k->suite), d->secret, "key");
}

static int dir_start(const struct record_keys *k, struct record_dir *d)
{
	uint8_t key[AEAD_KEY_MAX];
	int err;

	expand(k->suite, d->iv, sizeof(d->iv), d->secret, "iv");
	d->seq = 0;
	if (!d->key)
		return 0;
	record_dir_key(k, d, key);
	err = aead_key_set(d->key, key);
	OPENSSL_cleanse(key, sizeof(key));
	return err;
}

int record_dir_next(const struct record_keys *k, struct record_dir *d)
{
	uint8_t next[RECORD_SECRET_MAX];

	expand(k->suite, next, secret_len(k->suite), d->secret, "traffic upd");
	memcpy(d->secret, next, secret_len(k->suite));
	OPENSSL_cleanse(next, sizeof(next));
	return dir_start(k, d);
}

static int dir_init(const struct record_keys *k, struct record_dir *d, enum aead_engine engine, const uint8_t *secret)
{
	int err = aead_key_new(&d->key, k->suite, engine);

	if (err)
		return err;
	memcpy(d->secret, secret, secret_len(k->suite));
	return dir_start(k, d);
}

int record_keys_init(struct record_keys *k, enum aead_suite suite, enum aead_engine engine,
		     const uint8_t *rd_secret, const uint8_t *wr_secret)
{
	int err;

	*k = (struct record_keys){ .suite = suite, .rekey_after = REKEY_AFTER };
	err = dir_init(k, &k->rd, engine, rd_secret);
	if (!err)
		err = dir_init(k, &k->wr, engine, wr_secret);
	if (err)
		record_keys_done(k);
	return err;
}

void record_keys_done(struct record_keys *k)
{
	aead_key_free(k->rd.key);
	aead_key_free(k->wr.key);
	OPENSSL_cleanse(k, sizeof(*k));
}

void record_keys_hand_over(struct record_keys *k, bool can_update)
{
	struct record_dir *const dirs[] = { &k->rd, &k->wr };

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		aead_key_free(dirs[i]->key);
		dirs[i]->key = NULL;
		OPENSSL_cleanse(dirs[i]->iv, sizeof(dirs[i]->iv));
		if (!can_update)
			OPENSSL_cleanse(dirs[i]->secret, sizeof(dirs[i]->secret));
	}
	k->no_update = !can_update;
}

/* The input for this direction's next record; head is its additional data. The sequence number goes in as one word: bytes that
 * were written one by one can't be read again at once as the word that the cipher takes. */
static void set_input(struct aead_input *ret, const struct record_dir *d, const uint8_t *head)
{
	const size_t at = AEAD_NONCE_LEN - sizeof(d->seq);
	uint64_t low;

	memcpy(&low, d->iv + at, sizeof(low));
	low ^= htobe64(d->seq);
	memcpy(ret->nonce, d->iv, at);
	memcpy(ret->nonce + at, &low, sizeof(low));
	ret->aad = head;
	ret->aad_len = RECORD_HEAD_LEN;
}

/* --- opening */

static int broken(struct record_keys *k, enum record_alert alert, const char *why)
{
	k->alert = (uint8_t)alert;
	k->error = why;
	return -EPROTO;
}

/* A record that brought no data costs us as much as one that did. */
static int idle(struct record_keys *k)
{
	if (k->idle == IDLE_MAX)
		return broken(k, RECORD_UNEXPECTED_MESSAGE, "too many records without data");
	k->idle++;
	return 1;
}

static int take_key_update(struct record_keys *k)
{
	int err;

	if (k->hs[4] > 1)
		return broken(k, RECORD_ILLEGAL_PARAMETER, "bad KeyUpdate request");
	k->hs_len = 0;
	if (k->no_update)
		return -EKEYEXPIRED;
	err = record_dir_next(k, &k->rd);
	if (err)
		return err;
	/* One answer serves all requests since our last data. */
	if (k->hs[4])
		k->update_due = true;
	return idle(k);
}

/* Clients send nothing but KeyUpdate: we gave them no ticket and asked for no certificate. Nothing may
 * follow it in its record, for the keys have changed. */
static int take_handshake(struct record_keys *k, const uint8_t *p, size_t n)
{
	size_t part = min_of(n, sizeof(k->hs) - k->hs_len);

	if (!n || (k->hs_len ? k->hs[0] : p[0]) != KEY_UPDATE)
		return broken(k, RECORD_UNEXPECTED_MESSAGE, "unexpected handshake message");
	memcpy(k->hs + k->hs_len, p, part);
	k->hs_len += (uint8_t)part;
	if (k->hs_len >= 4 && (k->hs[1] || k->hs[2] || k->hs[3] != 1))
		return broken(k, RECORD_DECODE_ERROR, "bad KeyUpdate length");
	if (part < n)
		return broken(k, RECORD_UNEXPECTED_MESSAGE, "record goes on behind a KeyUpdate");
	return k->hs_len < RECORD_KEY_UPDATE_LEN ? idle(k) : take_key_update(k);
}

/* The level does not matter in TLS 1.3: all alerts but these two end it. */
static int take_alert(struct record_keys *k, const uint8_t *p, size_t n)
{
	if (n != ALERT_LEN)
		return broken(k, n ? RECORD_DECODE_ERROR : RECORD_UNEXPECTED_MESSAGE, "bad alert length");
	if (p[1] == RECORD_CLOSE_NOTIFY)
		return 0;
	if (p[1] == RECORD_USER_CANCELED)
		return idle(k);
	return broken(k, 0, SSL_alert_desc_string_long(p[1]));
}

int record_take_control(struct record_keys *k, enum record_type type, const uint8_t *p, size_t n)
{
	if (k->hs_len && type != RECORD_HANDSHAKE)
		return broken(k, RECORD_UNEXPECTED_MESSAGE, "record inside a handshake message");
	switch (type) {
	case RECORD_HANDSHAKE:
		return take_handshake(k, p, n);
	case RECORD_ALERT:
		return take_alert(k, p, n);
	default:
		return broken(k, RECORD_UNEXPECTED_MESSAGE, "unexpected content type");
	}
}

static int take_data(struct record_keys *k, size_t n)
{
	if (k->hs_len)
		return broken(k, RECORD_UNEXPECTED_MESSAGE, "record inside a handshake message");
	if (!n)
		return idle(k);
	k->idle = 0;
	return 1;
}

size_t record_size(const uint8_t *p, size_t n)
{
	return n < RECORD_HEAD_LEN ? 0 : (size_t)RECORD_HEAD_LEN + get_be16(p + 3);
}

int record_open(struct record_keys *k, uint8_t *p, size_t n, struct record *ret)
{
	size_t size = record_size(p, n), inner;
	struct record r = { .used = size };
	struct aead_input in;
	uint8_t type;
	int res;

	if (k->error)
		return -EPROTO;
	if (!size)
		return -EAGAIN;
	/* The version in the head must be ignored (RFC 8446 section 5.1); it is authenticated anyway. */
	if (p[0] != RECORD_DATA)
		return broken(k, RECORD_UNEXPECTED_MESSAGE, "record without protection");
	if (size > RECORD_MAX)
		return broken(k, RECORD_OVERFLOW, "record too long");
	if (n < size)
		return -EAGAIN;
	if (size < RECORD_HEAD_LEN + AEAD_TAG_LEN)
		return broken(k, RECORD_BAD_MAC, "record too short");
	inner = size - RECORD_HEAD_LEN - AEAD_TAG_LEN;
	set_input(&in, &k->rd, p);
	res = aead_open(k->rd.key, &in, p + RECORD_HEAD_LEN, inner);
	OPENSSL_cleanse(in.nonce, sizeof(in.nonce));	/* of the first record it is the secret iv */
	if (res)
		return broken(k, RECORD_BAD_MAC, "bad record MAC");
	k->rd.seq++;
	if (inner > RECORD_PLAIN_MAX + 1)
		return broken(k, RECORD_OVERFLOW, "plaintext too long");

	r.p = p + RECORD_HEAD_LEN;
	while (inner && !r.p[inner - 1])
		inner--;
	if (!inner)
		return broken(k, RECORD_UNEXPECTED_MESSAGE, "record without content type");
	type = r.p[inner - 1];
	r.n = inner - 1;
	res = type == RECORD_DATA ? take_data(k, r.n) : record_take_control(k, type, r.p, r.n);
	if (res < 0)
		return res;
	if (type != RECORD_DATA)
		r.n = 0;
	*ret = r;
	return res;
}

/* --- sealing */

static int reserve(struct tls_out *out, size_t n)
{
	return out->cap - out->len < n ? out->grow(out, n) : 0;
}

/* Make a record of the n bytes that stand behind the place of its head at the end of out. There is room. */
static int seal_one(struct record_keys *k, enum record_type type, size_t n, struct tls_out *out)
{
	uint8_t *head = out->p + out->len;
	struct aead_input in;
	int err;

	head[0] = RECORD_DATA;
	head[1] = head[2] = 3;
	put_be16(head + 3, (uint16_t)(n + 1 + AEAD_TAG_LEN));
	head[RECORD_HEAD_LEN + n] = (uint8_t)type;
	set_input(&in, &k->wr, head);
	err = aead_seal(k->wr.key, &in, head + RECORD_HEAD_LEN, n + 1);
	OPENSSL_cleanse(in.nonce, sizeof(in.nonce));
	if (err)
		return err;
	k->wr.seq++;
	out->len += n + RECORD_OVERHEAD;
	return 0;
}

static int seal_key_update(struct record_keys *k, struct tls_out *out)
{
	int err;

	memcpy(out->p + out->len + RECORD_HEAD_LEN, record_key_update, RECORD_KEY_UPDATE_LEN);
	err = seal_one(k, RECORD_HANDSHAKE, RECORD_KEY_UPDATE_LEN, out);
	if (err)
		return err;
	k->update_due = false;
	return record_dir_next(k, &k->wr) ? -EIO : 0;
}

struct cursor {
	const struct iovec *iov;
	unsigned int n;
	size_t off;		/* in the first */
};

/* Copying small frames together and encrypting once is several times as fast as one call each. */
static size_t gather(uint8_t *p, size_t cap, struct cursor *c)
{
	size_t have = 0, k;

	while (c->n && have < cap) {
		k = min_of(c->iov->iov_len - c->off, cap - have);
		if (k)
			memcpy(p + have, (const uint8_t *)c->iov->iov_base + c->off, k);
		have += k;
		c->off += k;
		if (c->off == c->iov->iov_len) {
			c->iov++;
			c->n--;
			c->off = 0;
		}
	}
	return have;
}

int record_seal(struct record_keys *k, const struct iovec *iov, unsigned int n, struct tls_out *out)
{
	struct cursor c = { .iov = iov, .n = n };
	size_t total = 0, records, len;
	int err = 0;

	for (unsigned int i = 0; i < n; i++)
		total += iov[i].iov_len;
	if (!total)
		return 0;
	/* One more for a KeyUpdate. */
	records = (total + RECORD_PLAIN_MAX - 1) / RECORD_PLAIN_MAX + 1;
	if (reserve(out, total + records * RECORD_OVERHEAD + RECORD_KEY_UPDATE_LEN))
		return -ENOMEM;
	if (k->update_due || k->wr.seq >= k->rekey_after)
		err = seal_key_update(k, out);
	while (!err && (len = gather(out->p + out->len + RECORD_HEAD_LEN, RECORD_PLAIN_MAX, &c)))
		err = seal_one(k, RECORD_DATA, len, out);
	return err;
}

int record_seal_alert(struct record_keys *k, enum record_alert alert, struct tls_out *out)
{
	uint8_t *body;

	if (reserve(out, ALERT_LEN + RECORD_OVERHEAD))
		return -ENOMEM;
	body = out->p + out->len + RECORD_HEAD_LEN;
	body[0] = alert == RECORD_CLOSE_NOTIFY || alert == RECORD_USER_CANCELED ? 1 : 2;
	body[1] = (uint8_t)alert;
	return seal_one(k, RECORD_ALERT, ALERT_LEN, out);
}
