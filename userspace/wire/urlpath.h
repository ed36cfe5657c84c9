/* SPDX-License-Identifier: BSD-3-Clause */
/* Paths of URLs: cleaned in their encoded form, compared in their decoded one, as Go's mux does. All append to out. */
#ifndef XDERP_URLPATH_H
#define XDERP_URLPATH_H

#include "base/textbuf.h"
#include "base/util.h"

/* Percent-decoded, but for encoded slashes. */
void urlpath_decode(struct textbuf *out, struct view in);
/* As Go's URL.EscapedPath has it: as it came, unless it holds what should have been encoded. */
void urlpath_escape(struct textbuf *out, struct view in);
/* path.Clean of Go, with a trailing slash kept; out is empty. */
void urlpath_clean(struct textbuf *out, struct view in);
/* One byte of a path, encoded unless Go would leave it alone. */
void urlpath_encode_byte(struct textbuf *out, uint8_t c);

#endif
