/* SPDX-License-Identifier: BSD-3-Clause */
/* Values in the query of a URL, as Go's net/url reads them. */
#ifndef XDERP_FORM_H
#define XDERP_FORM_H

#include "base/util.h"

#define FORM_MAX	1024	/* bytes of a name or a value; longer ones are passed over */

/* The first value called name that is well-formed: its length, 0 if there is none or it is empty. */
size_t form_value(uint8_t ret[static FORM_MAX], struct view query, const char *name);

#endif
