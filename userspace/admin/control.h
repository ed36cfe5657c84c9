/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket: a UNIX stream socket on which one request is one line, and its answer is one or more lines of
 * JSON up to the end of the stream. It is served by the main thread, which has nothing else to do: no shard ever waits
 * for it. Who connects must be root or have our own user id. What requests mean: commands.h. */
#ifndef XDERP_CONTROL_H
#define XDERP_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/textbuf.h"

#define CONTROL_MAX_CONNS	8U
#define CONTROL_MAX_REQUEST	65536U		/* bytes of a line */

/* What a handler makes of a request. All zero at first. */
struct control_reply {
	struct textbuf out;		/* freed by control.c */
	/* The rest of a long answer, a piece at a time, each after the one before has left: fills out; false: that was
	 * all. NULL: out is all. */
	bool (*more)(struct textbuf *out, void *state);
	void (*done)(void *state);	/* frees state, called once also if the client went away; may be NULL */
	void *state;
	bool end;			/* control_serve returns; the client sees the end of the stream when we are gone */
};

struct control_opts {
	const char *path;
	void (*handle)(const char *line, size_t n, struct control_reply *ret, void *ctx);
	void *ctx;
	uint64_t timeout_ns;		/* for a request, and for each piece of an answer; 0: 5 s */
};

struct control;

/* Bind. A socket whose owner is dead is replaced. -EADDRINUSE: its owner lives; other -errno. err: a sentence. */
int control_open(struct control **ret, const struct control_opts *o, char *err, size_t errlen);
/* The user we are about to become gets the socket, and may remove it if it gets dir as well (NULL: that is not ours to give). */
void control_give(struct control *c, const char *dir, uid_t uid, gid_t gid);
/* Closes all and removes the socket. Takes NULL. */
void control_close(struct control *c);

/* Serve until sigfd is readable (true) or a request ended it (false). c NULL: only wait for sigfd. */
bool control_serve(struct control *c, int sigfd);

#endif
