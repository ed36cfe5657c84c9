/* SPDX-License-Identifier: BSD-3-Clause */
/* Answers to http-01 challenges (RFC 8555 section 8.3), which an ACME client leaves as files: <dir>/<token>. */
#ifndef XDERP_CHALLENGE_H
#define XDERP_CHALLENGE_H

#include <stdbool.h>

#include "base/textbuf.h"
#include "base/util.h"

/* Append the answer to token. False: there is none, or token is no name that a CA would choose (base64url, up to 128
 * characters): nothing else is looked for, no link is followed, and what is no regular file of at most 1 KiB is not read.
 * Any thread; takes an open and a read of a small file. */
bool challenge_answer(struct textbuf *out, const char *dir, struct view token);

#endif
