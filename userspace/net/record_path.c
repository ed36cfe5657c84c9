/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/record_path.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

#define PACKET		1200
#define BATCH		8
#define ROUNDS		5
#define BATCHES		60		/* a round is some 3 ms */
/* The kernel's way must be this much cheaper: it costs a system call more per login, and keys can't be changed on
 * kernels before 6.14. */
#define WORTH_PERCENT	95

/* --- NIC offload: ethtool's features "tls-hw-tx-offload" and "tls-hw-rx-offload" */

static int ethtool(int fd, const char *ifname, void *cmd)
{
	struct ifreq ifr = { .ifr_data = cmd };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	return ioctl(fd, SIOCETHTOOL, &ifr);
}

static unsigned int feature_count(int fd, const char *ifname)
{
	/* The kernel puts the count behind the struct, where its array begins. */
	union {
		struct ethtool_sset_info info;
		uint8_t room[sizeof(struct ethtool_sset_info) + sizeof(uint32_t)];
	} q = { .info = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ULL << ETH_SS_FEATURES } };

	return ethtool(fd, ifname, &q) || !q.info.sset_mask ? 0 : q.info.data[0];
}

static bool is_active(int fd, const char *ifname, unsigned int n, const char *feature)
{
	struct ethtool_gstrings *names = calloc(1, sizeof(*names) + n * ETH_GSTRING_LEN);
	struct ethtool_gfeatures *f = calloc(1, sizeof(*f) + (n + 31) / 32 * sizeof(f->features[0]));
	bool active = false;

	if (!names || !f)
		goto out;
	*names = (struct ethtool_gstrings){ .cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_FEATURES, .len = n };
	f->cmd = ETHTOOL_GFEATURES;
	f->size = (n + 31) / 32;
	if (ethtool(fd, ifname, names) || ethtool(fd, ifname, f))
		goto out;
	for (unsigned int i = 0; i < n && !active; i++)
		active = !strncmp((const char *)names->data + i * ETH_GSTRING_LEN, feature, ETH_GSTRING_LEN) &&
			 f->features[i / 32].active & 1U << i % 32;
out:
	free(names);
	free(f);
	return active;
}

static bool offloads(int fd, const char *ifname)
{
	unsigned int n = feature_count(fd, ifname);

	return n && n < 1024 && is_active(fd, ifname, n, "tls-hw-tx-offload");
}

static void find_nic(char ret[static IF_NAMESIZE])
{
	struct ifaddrs *all = NULL;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (getifaddrs(&all))
		all = NULL;
	for (const struct ifaddrs *a = all; a && !*ret; a = a->ifa_next)
		if (a->ifa_flags & IFF_UP && !(a->ifa_flags & IFF_LOOPBACK) && offloads(fd, a->ifa_name))
			snprintf(ret, IF_NAMESIZE, "%s", a->ifa_name);
	freeifaddrs(all);
	close(fd);
}

/* --- calibration: the same packets over the same kind of socket, sealed and opened either way */

/* What a relay does to a batch of packets: one side of a socket pair seals, the other opens. */
struct bench {
	int fd[2];
	struct record_keys tx, rx;
	struct tls_out out;
	uint8_t *in;			/* owned, as is out.p */
	struct iovec iov[BATCH];
	uint8_t packet[PACKET];
};

static int never_grow(struct tls_out *o, size_t need)
{
	(void)o;
	(void)need;
	return -ENOMEM;
}

static int bench_keys(struct bench *b)
{
	uint8_t secret[RECORD_SECRET_MAX];
	int err;

	if (RAND_bytes(secret, sizeof(secret)) != 1)
		return -EIO;
	err = record_keys_init(&b->tx, AEAD_AES_128_GCM, AEAD_AUTO, secret, secret);
	return err ? err : record_keys_init(&b->rx, AEAD_AES_128_GCM, AEAD_AUTO, secret, secret);
}

static int bench_open(struct bench *b, bool ktls)
{
	int err = ktls_socket_pair(b->fd);

	if (err) {
		b->fd[0] = b->fd[1] = -1;
		return err;
	}
	b->in = malloc(RECORD_MAX);
	b->out = (struct tls_out){ .p = malloc(RECORD_MAX), .cap = RECORD_MAX, .grow = never_grow };
	for (unsigned int i = 0; i < BATCH; i++)
		b->iov[i] = (struct iovec){ b->packet, PACKET };
	if (!b->in || !b->out.p)
		return -ENOMEM;
	err = bench_keys(b);
	if (err || !ktls)
		return err;
	if (ktls_attach(b->fd[0]) || ktls_attach(b->fd[1]))
		return -ENOTSUP;
	err = ktls_set_tx(b->fd[0], &b->tx);
	return err ? err : ktls_set_rx(b->fd[1], &b->rx);
}

static void bench_close(struct bench *b)
{
	for (int i = 0; i < 2; i++)
		if (b->fd[i] >= 0)
			close(b->fd[i]);
	record_keys_done(&b->tx);
	record_keys_done(&b->rx);
	free(b->in);
	free(b->out.p);
}

static bool own_batch(struct bench *b)
{
	struct record r;
	ssize_t n;

	b->out.len = 0;
	if (record_seal(&b->tx, b->iov, BATCH, &b->out))
		return false;
	n = (ssize_t)b->out.len;
	return send(b->fd[0], b->out.p, b->out.len, MSG_NOSIGNAL) == n &&
	       recv(b->fd[1], b->in, b->out.len, MSG_WAITALL) == n &&
	       record_open(&b->rx, b->in, b->out.len, &r) == 1 && r.n == BATCH * PACKET;
}

static bool ktls_batch(struct bench *b)
{
	const struct msghdr msg = { .msg_iov = b->iov, .msg_iovlen = BATCH };

	return sendmsg(b->fd[0], &msg, MSG_NOSIGNAL) == BATCH * PACKET &&
	       recv(b->fd[1], b->in, BATCH * PACKET, MSG_WAITALL) == BATCH * PACKET;
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* CPU time per packet; 0 if it fails. */
static unsigned int round_ns(struct bench *b, bool (*batch)(struct bench *b))
{
	uint64_t t0 = cpu_ns();

	for (unsigned int i = 0; i < BATCHES; i++)
		if (!batch(b))
			return 0;
	return (unsigned int)max_of((cpu_ns() - t0) / (BATCHES * BATCH), (uint64_t)1);
}

/* In turn, and the best of each: what disturbs one round must not decide. */
static void calibrate(struct record_path *p)
{
	struct bench own = { .fd = { -1, -1 } }, ktls = { .fd = { -1, -1 } };
	unsigned int best_own = UINT32_MAX, best_ktls = UINT32_MAX, a = 0, b = 0;

	if (bench_open(&own, false) || bench_open(&ktls, true))
		goto out;
	for (unsigned int i = 0; i < ROUNDS; i++) {
		a = round_ns(&own, own_batch);
		b = round_ns(&ktls, ktls_batch);
		if (!a || !b)
			goto out;
		best_own = min_of(best_own, a);
		best_ktls = min_of(best_ktls, b);
	}
	p->own_ns = best_own;
	p->ktls_ns = best_ktls;
out:
	bench_close(&own);
	bench_close(&ktls);
}

static void decide(struct record_path *p)
{
	find_nic(p->nic);
	if (*p->nic) {
		p->ktls = true;
		snprintf(p->why, sizeof(p->why), "%s offloads TLS", p->nic);
		return;
	}
	calibrate(p);
	if (!p->own_ns) {
		snprintf(p->why, sizeof(p->why), "the calibration of kTLS failed");
		return;
	}
	p->ktls = (uint64_t)p->ktls_ns * 100 < (uint64_t)p->own_ns * WORTH_PERCENT;
	snprintf(p->why, sizeof(p->why), "a packet costs %u ns by kTLS and %u ns by our own records here", p->ktls_ns, p->own_ns);
}

int record_path_choose(struct record_path *ret, enum ktls_mode mode)
{
	*ret = (struct record_path){ 0 };
	if (mode == KTLS_MODE_OFF) {
		snprintf(ret->why, sizeof(ret->why), "--ktls=off");
		return 0;
	}
	ktls_probe(&ret->kernel);
	if (!ret->kernel.any) {
		snprintf(ret->why, sizeof(ret->why), "%s", ret->kernel.missing);
		return mode == KTLS_MODE_ON ? -ENOTSUP : 0;
	}
	if (mode == KTLS_MODE_AUTO) {
		decide(ret);
		return 0;
	}
	ret->ktls = true;
	snprintf(ret->why, sizeof(ret->why), "--ktls=on");
	return 0;
}
