/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection, from accept to its last completion, on its shard's thread.
 *
 * Receive path: io event -> transport (TLS or none) -> conn_input, which walks the states below.
 * Send path: frames collect in the peer's queues during a turn; conn_flush makes one gathered send of
 * them; the next starts when that one has completed. Never two sends in flight on one socket. */
#ifndef XDERP_CONN_H
#define XDERP_CONN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/timer.h"
#include "net/io.h"
#include "net/transport.h"
#include "relay/directory.h"
#include "relay/gone.h"
#include "relay/keylist.h"
#include "relay/limit.h"
#include "relay/pkt.h"
#include "relay/stats.h"
#include "wire/http1.h"

enum conn_state {
	CONN_FREE,
	CONN_EXPECT_PROXY,		/* the header of a proxy, in front of the stream */
	CONN_HANDSHAKE,			/* TLS */
	CONN_HTTP,			/* request heads */
	CONN_EXPECT_CLIENT_INFO,
	CONN_EXPECT_VERDICT,		/* ClientInfo is fine; may this key log in? */
	CONN_LINK_LOGIN,		/* we log in to another node */
	CONN_RELAYING,			/* logged in, they here or we there: peer is set */
	CONN_CLOSING,			/* flush, then FIN, then wait for the other side */
	CONN_DEAD,			/* closed; waits for what the kernel still holds */
};

/* What a logged-in DERP connection has on top. */
struct peer {
	struct conn *conn;		/* whose it is */
	struct key key;
	uint64_t hash;			/* key_hash(key) */
	uint32_t node;			/* in the directory */
	bool mesh, prober, not_ideal, home, pong_waiting, hidden;
	uint64_t login_ns;
	struct peer_facts facts;
	struct list touched;		/* on the shard's list if facts changed */
	uint64_t published;		/* sum of the counters when they were last written to the BPF map */

	/* Last destination looked up, good while the directory's version is dst_version. */
	struct key dst;
	struct conn_id dst_id;
	uint64_t dst_version;

	struct pktq q[PKT_CLASS_NR];	/* waiting */
	struct pktq flight;		/* in the send under way, or left over by it; head_off bytes of its head are gone */
	uint32_t head_off;
	uint32_t ctl_bytes;		/* in q[PKT_CTL] */

	struct gone_receiver gone;
	struct key_caps caps;		/* of its own; changed by login_cap() only */
	struct bucket rate;		/* rate.h, as are the next two */
	uint64_t hold_ns;		/* this long nothing is to be read; not acted upon yet */
	struct timer hold;		/* while conn->held */
	struct spliced *spliced;	/* owned; NULL: the kernel has no part in it */
	struct twinned *twinned;	/* owned; NULL: it has no twin */
	struct bucket not_here;		/* PeerGone(not here): burst 3, 1 per second */

	struct list watcher;		/* on the shard's list if it watches */
	uint32_t walk;			/* where its PeerPresent flood is in the directory */
	bool walking;
	uint8_t slab_class;
};

struct conn {
	struct shard *shard;
	int fd;
	uint32_t slot, gen;
	uint32_t heard_turn;		/* when something was last received */
	uint8_t state;			/* enum conn_state; assigned by conn_enter_* and conn_close only */
	uint8_t inflight;		/* operations armed in the io engine */
	bool main_port;			/* false: the plain port beside TLS */
	uint8_t source;			/* enum source_kind: what src is */
	uint32_t source_handle;		/* its place in the table of sources; 0: not counted there */
	bool receiving, sending, blocked;
	bool not_ideal;			/* Ideal-Node was in the request */
	bool held;			/* not read at present: the client sends too much */
	bool eof;			/* the other side will send nothing more */
	bool shut;			/* our FIN is out */
	bool was_source;		/* of the splice */
	bool waits_kernel;		/* blocked: what the kernel was to write comes first */
	uint8_t finish_reason;		/* CONN_CLOSING: counted when it is over */
	uint8_t tls_minor;		/* 2, 3, or 0: which gauge it is counted in */
	bool ktls;			/* counted in ktls_active */

	struct transport transport;
	struct outbuf out;
	struct sendop *send;		/* the send under way */
	struct list dirty;		/* on the shard's list if it has something to flush */
	struct list starved;		/* on the shard's list if it must receive again */

	/* An HTTP head or a ClientInfo frame that is not all there yet. */
	uint8_t *in;
	uint32_t in_len, in_cap;
	uint8_t in_class;
	uint8_t hdr_len, hdr[5];	/* frame head under assembly */
	size_t scanned;			/* http1_parse's memory */
	uint64_t skip;			/* bytes of an unknown frame or a request body still to come */
	struct http1_chunked chunked;	/* a request body of unknown length being skipped */
	bool skip_chunked;
	struct pkt *assembling;		/* a frame torn across reads */
	uint32_t assembled;

	struct verdict_wait *waiting;	/* owned; CONN_EXPECT_VERDICT */
	struct peer *peer;
	struct websocket *ws;		/* owned; NULL: DERP bytes are in no WebSocket messages */
	struct traffic *traffic;	/* owned; a stream of /debug/traffic: no more requests are read */
	struct meshlink *link;		/* we dialled it, to another node of the mesh; NULL: it came to us */
	struct timer deadline;		/* of the state; keepalive once relaying */
	struct timer write_timer;
	union {
		struct sockaddr sa;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
	} src;
};

static inline bool conn_is_relaying(const struct conn *c)
{
	return c->state == CONN_RELAYING;
}

static inline bool conn_is_mesh(const struct conn *c)
{
	return c->peer && c->peer->mesh;
}

struct conn_id conn_id(const struct conn *c);

/* A socket was accepted: takes it over, also when it refuses it. */
void conn_accept(struct shard *s, int fd, bool main_port);

/* A socket connected for a link, taken over; host: whose certificate is expected. NULL: no memory, or too many connections. */
struct conn *conn_dialled(struct shard *s, int fd, struct meshlink *link, const char *host);

/* Close now: drop what is queued, by name; idempotent. The struct lives until its last completion. */
void conn_close(struct conn *c, enum close_reason why);
/* Close in order: what is queued is flushed first. */
void conn_finish(struct conn *c, enum close_reason why);

/* io events of a live generation. */
void conn_on_recv(struct conn *c, const struct io_event *ev);
void conn_on_send(struct conn *c, const struct io_event *ev);
void conn_on_writable(struct conn *c, const struct io_event *ev);
/* An operation of a closed connection ended. */
void conn_reap(struct conn *c);

/* Seal pieces of the stream into the out buffer; as transport_seal(). */
int conn_seal(struct conn *c, const struct iovec *iov, unsigned int n);
/* Bytes before login (HTTP answers, ServerKey, ServerInfo). Never after: they would tear frames. */
int conn_write(struct conn *c, const void *p, size_t n);

/* Something to flush at the end of this turn. */
void conn_mark_dirty(struct conn *c);
void conn_flush(struct conn *c);

/* Receive again after the pool was empty. */
void conn_rearm(struct conn *c);
/* Stop and resume reading. */
void conn_hold(struct conn *c, bool hold);

/* Neither closing nor closed. */
bool conn_takes_input(const struct conn *c);
/* Plaintext that was held back, or wrapped, as if it came now. */
void conn_replay(struct conn *c, uint8_t *p, size_t n);
/* Receive no more until conn_rearm; some may still come. */
void conn_pause(struct conn *c);

/* Keep n more bytes of a head; the memory grows with what came, never with what was announced. -ENOMEM. */
int conn_stash(struct conn *c, const uint8_t *p, size_t n);
void conn_unstash(struct conn *c);

/* Go on to the next state. begin: the stream begins, with TLS or without. */
void conn_enter_proxy(struct conn *c);
void conn_begin(struct conn *c);
void conn_enter_http(struct conn *c, uint64_t timeout_ns);
void conn_enter_client_info(struct conn *c);
void conn_enter_verdict(struct conn *c);
void conn_enter_link_login(struct conn *c);
void conn_enter_relaying(struct conn *c, struct peer *p);

/* What each state does with plaintext: returns how many of the n bytes it took, at least 1. It may have closed
 * the connection; the caller looks at state before it goes on. */
size_t http_input(struct conn *c, struct rbuf *b, uint8_t *p, size_t n);	/* http.c */
size_t login_input(struct conn *c, struct rbuf *b, uint8_t *p, size_t n);	/* login.c */
size_t login_hold(struct conn *c, struct rbuf *b, uint8_t *p, size_t n);	/* login.c */
size_t meshlink_input(struct conn *c, struct rbuf *b, uint8_t *p, size_t n);	/* meshlink.c: CONN_LINK_LOGIN */
size_t peer_input(struct conn *c, struct rbuf *b, uint8_t *p, size_t n);	/* peer.c */

/* One frame of a login collects in c->in: takes what belongs to it of the n bytes. *r: 1, it is whole; 0; or as frame_head() answers,
 * or -ENOMEM. login.c */
size_t login_collect(struct conn *c, const uint8_t *p, size_t n, enum frame_sender who, struct frame_head *h, int *r);

/* login.c: what the key may have by --allow-keys, from now on. */
void login_cap(struct conn *c, const struct key_caps *caps);

/* login.c: no verdict came in time; the connection ends before there was one. */
void login_late(struct conn *c);
void login_forget(struct conn *c);

void http_answer_on_tls_port(struct conn *c);	/* http.c */

/* peer.c. hide: nobody finds the peer any more; what is queued may still go out. leave: hide, and drop
 * what is queued. free: the kernel holds nothing of it any more. */
void peer_hide(struct conn *c);
void peer_leave(struct conn *c, enum drop_reason why);
void peer_free(struct conn *c);

#endif
