/* SPDX-License-Identifier: BSD-3-Clause */
/* The other end of the control socket: one request, then lines of JSON. */
#ifndef XDERP_LINK_H
#define XDERP_LINK_H

#include <jansson.h>
#include <stdio.h>

/* Connect and send the request. NULL: a sentence in err. */
FILE *link_ask(const char *path, const json_t *request, char *err, size_t errlen);

/* The next line of the answer. NULL: there is none; err is "" at the end of the stream, else a sentence. */
json_t *link_next(FILE *link, char *err, size_t errlen);

#endif
