/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/ktls.h"

#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/util.h"

#ifndef TCP_ULP
#define TCP_ULP			31
#endif
#ifndef TLS_RX_EXPECT_NO_PAD
#define TLS_RX_EXPECT_NO_PAD	4	/* Linux 6.0 */
#endif

union crypto_info {
	struct tls_crypto_info info;
	struct tls12_crypto_info_aes_gcm_128 aes128;
	struct tls12_crypto_info_aes_gcm_256 aes256;
	struct tls12_crypto_info_chacha20_poly1305 chacha;
};

/* The kernel splits GCM's nonce: the first 4 bytes are the "salt", the rest is the "iv"; ChaCha20 has no salt. */
#define FILL(dst, type, key, iv_, seq)								\
	do {											\
		(dst)->info = (struct tls_crypto_info){ TLS_1_3_VERSION, type };		\
		memcpy((dst)->key, key, sizeof((dst)->key));					\
		memcpy((dst)->salt, iv_, sizeof((dst)->salt));					\
		memcpy((dst)->iv, (iv_) + sizeof((dst)->salt), sizeof((dst)->iv));		\
		memcpy((dst)->rec_seq, seq, sizeof((dst)->rec_seq));				\
	} while (0)

static socklen_t fill(union crypto_info *ci, const struct record_keys *k, const struct record_dir *d, const uint8_t *key)
{
	uint8_t seq[8];

	for (unsigned int i = 0; i < sizeof(seq); i++)
		seq[i] = (uint8_t)(d->seq >> (56 - 8 * i));
	switch (k->suite) {
	case AEAD_AES_128_GCM:
		FILL(&ci->aes128, TLS_CIPHER_AES_GCM_128, key, d->iv, seq);
		return sizeof(ci->aes128);
	case AEAD_AES_256_GCM:
		FILL(&ci->aes256, TLS_CIPHER_AES_GCM_256, key, d->iv, seq);
		return sizeof(ci->aes256);
	default:
		FILL(&ci->chacha, TLS_CIPHER_CHACHA20_POLY1305, key, d->iv, seq);
		return sizeof(ci->chacha);
	}
}

static int set_keys(int fd, int option, const struct record_keys *k, const struct record_dir *d)
{
	union crypto_info ci = { 0 };
	uint8_t key[AEAD_KEY_MAX];
	socklen_t len;
	int err = 0;

	record_dir_key(k, d, key);
	len = fill(&ci, k, d, key);
	if (setsockopt(fd, SOL_TLS, option, &ci, len))
		err = -errno;
	OPENSSL_cleanse(&ci, sizeof(ci));
	OPENSSL_cleanse(key, sizeof(key));
	return err;
}

int ktls_attach(int fd)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) ? -errno : 0;
}

int ktls_set_rx(int fd, const struct record_keys *k)
{
	const int one = 1;
	int err = set_keys(fd, TLS_RX, k, &k->rd);

	/* Peers hardly ever pad: decrypt to the receiver's buffer at once, and again if a record turns out padded. */
	if (!err)
		setsockopt(fd, SOL_TLS, TLS_RX_EXPECT_NO_PAD, &one, sizeof(one));
	return err;
}

int ktls_set_tx(int fd, const struct record_keys *k)
{
	return set_keys(fd, TLS_TX, k, &k->wr);
}

/* --- records that are no data */

union control {
	struct cmsghdr head;
	uint8_t space[CMSG_SPACE(1)];
};

ssize_t ktls_recv(int fd, enum record_type *type, uint8_t *buf, size_t cap)
{
	union control control;
	struct iovec iov = { buf, cap };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
	};
	const struct cmsghdr *c;
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_level != SOL_TLS || c->cmsg_type != TLS_GET_RECORD_TYPE)
		return -EIO;
	*type = *CMSG_DATA(c);
	return n;
}

int ktls_take_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) ? -errno : -err;
}

int ktls_send(int fd, enum record_type type, const uint8_t *p, size_t n)
{
	union control control = { 0 };
	struct iovec iov = { (uint8_t *)p, n };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_TLS;
	c->cmsg_type = TLS_SET_RECORD_TYPE;
	c->cmsg_len = CMSG_LEN(1);
	*CMSG_DATA(c) = (uint8_t)type;
	return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == -1 ? -errno : 0;
}

/* --- trying it out */

static int set_timeouts(int fd)
{
	const struct timeval limit = { .tv_sec = 2 };

	return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	       setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ? -errno : 0;
}

static int connect_both(int l, int s[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	if (bind(l, (struct sockaddr *)&a, len) || listen(l, 1) || getsockname(l, (struct sockaddr *)&a, &len))
		return -errno;
	s[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s[1] < 0 || set_timeouts(s[1]) || connect(s[1], (struct sockaddr *)&a, len))
		return -errno;
	s[0] = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	return s[0] < 0 ? -errno : set_timeouts(s[0]);
}

static void close_pair(const int s[2])
{
	for (int i = 0; i < 2; i++)
		if (s[i] >= 0)
			close(s[i]);
}

int ktls_socket_pair(int s[2])
{
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	s[0] = s[1] = -1;
	if (l < 0)
		return -errno;
	err = connect_both(l, s);
	close(l);
	if (err)
		close_pair(s);
	return err;
}

/* Both ends of the trial: the kernel's and our own record layer's, over one socket pair. */
struct trial {
	int fd[2];			/* kernel's, ours */
	struct record_keys kernel, own;
	struct {
		struct tls_out o;
		uint8_t space[512];
	} out;				/* ours */
};

static int no_room(struct tls_out *o, size_t need)
{
	(void)o;
	(void)need;
	return -ENOMEM;
}

static const uint8_t trial_text[] = "sealed on one side, opened on the other";

/* Seal with our layer, receive from the kernel. */
static bool kernel_opens(struct trial *t)
{
	struct iovec iov = { (uint8_t *)trial_text, sizeof(trial_text) };
	uint8_t got[sizeof(trial_text)];

	if (record_seal(&t->own, &iov, 1, &t->out.o) ||
	    send(t->fd[1], t->out.o.p, t->out.o.len, MSG_NOSIGNAL) != (ssize_t)t->out.o.len)
		return false;
	t->out.o.len = 0;
	return recv(t->fd[0], got, sizeof(got), MSG_WAITALL) == sizeof(got) && !memcmp(got, trial_text, sizeof(got));
}

static bool kernel_seals(struct trial *t)
{
	uint8_t got[sizeof(trial_text) + RECORD_OVERHEAD];
	struct record r;

	return send(t->fd[0], trial_text, sizeof(trial_text), MSG_NOSIGNAL) == sizeof(trial_text) &&
	       recv(t->fd[1], got, sizeof(got), MSG_WAITALL) == sizeof(got) &&
	       record_open(&t->own, got, sizeof(got), &r) == 1 && r.n == sizeof(trial_text) &&
	       !memcmp(r.p, trial_text, r.n);
}

/* We announce our next key: can the kernel follow, and go on to one of its own? */
static bool kernel_changes_keys(struct trial *t)
{
	enum record_type type;
	uint8_t buf[RECORD_KEY_UPDATE_LEN];

	t->own.update_due = true;
	if (kernel_opens(t))
		return false;		/* it took the KeyUpdate for data */
	if (ktls_recv(t->fd[0], &type, buf, sizeof(buf)) != sizeof(buf) || type != RECORD_HANDSHAKE)
		return false;
	return !record_dir_next(&t->kernel, &t->kernel.rd) && !ktls_set_rx(t->fd[0], &t->kernel) &&
	       recv(t->fd[0], buf, sizeof(buf), 0) == sizeof(buf) &&
	       !ktls_send(t->fd[0], RECORD_HANDSHAKE, record_key_update, sizeof(record_key_update)) &&
	       !record_dir_next(&t->kernel, &t->kernel.wr) && !ktls_set_tx(t->fd[0], &t->kernel);
}

static int trial_keys(struct trial *t, enum aead_suite suite)
{
	uint8_t one[RECORD_SECRET_MAX], two[RECORD_SECRET_MAX];

	memset(one, 1, sizeof(one));
	memset(two, 2, sizeof(two));
	if (record_keys_init(&t->kernel, suite, AEAD_EVP, one, two))
		return -ENOMEM;
	return record_keys_init(&t->own, suite, AEAD_EVP, two, one);
}

static const char *try_suite(struct ktls_support *s, enum aead_suite suite, bool rekey)
{
	struct trial t = { .out.o = { .p = t.out.space, .cap = sizeof(t.out.space), .grow = no_room } };
	const char *missing = "it fails its self-test";
	int err = trial_keys(&t, suite);

	if (err || ktls_socket_pair(t.fd)) {
		missing = "no memory or no loopback for a self-test";
		goto out;
	}
	err = ktls_attach(t.fd[0]);
	if (err) {
		missing = err == -ENOENT ? "the kernel has no tls module, or may not load it (modprobe tls)" :
					   "the kernel refuses TCP_ULP tls";
	} else if (ktls_set_rx(t.fd[0], &t.kernel) || ktls_set_tx(t.fd[0], &t.kernel)) {
		missing = "the kernel's tls module refuses the keys of TLS 1.3";
	} else if (kernel_opens(&t) && kernel_seals(&t)) {
		s->suites[suite] = s->any = true;
		if (rekey)
			s->rekey = kernel_changes_keys(&t);
	}
	close_pair(t.fd);
out:
	record_keys_done(&t.kernel);
	record_keys_done(&t.own);
	return missing;
}

void ktls_probe(struct ktls_support *ret)
{
	const char *missing = "";

	*ret = (struct ktls_support){ 0 };
	for (enum aead_suite i = 0; i < AEAD_SUITE_NR; i++)
		missing = try_suite(ret, i, i == 0);
	ret->missing = ret->any ? "" : missing;
}
