/* SPDX-License-Identifier: BSD-3-Clause */
/* SIGHUP and xderpctl reload: the settings from where they came, and the certificates. */
#ifndef XDERP_RELOAD_H
#define XDERP_RELOAD_H

#include "base/textbuf.h"

struct relay;

/* Main thread. All or nothing; logged. changed: names of the settings that differ now, separated by commas; why: sentences,
 * a line each, if it failed. 0 or -errno. */
int reload_all(struct relay *r, struct textbuf *changed, struct textbuf *why);

#endif
