/* SPDX-License-Identifier: BSD-3-Clause */
/* Settings from an INI file: the names of the flags, without dashes, one "name = value" a line. Headings in brackets are
 * for the reader; lines that begin with ; or # are comments, and so is what stands behind " ;". A line that begins with
 * white space continues the value before it, so that lists fit: a line may have 198 bytes. */
#ifndef XDERP_CONFFILE_H
#define XDERP_CONFFILE_H

#include <stdio.h>

#include "admin/flags.h"

struct conffile;
struct opener;

/* Read path and put its values into settings. Each fault is a sentence on err: file, line, name, what is wrong and what
 * would have been right. opener (may be NULL) opens it. The strings in settings live as long as *ret, which is made even then.
 * -EINVAL: there was a fault, the rest is set; other -errno: the file can't be read (said, too). */
int conffile_load(struct conffile **ret, const struct flag_table *t, void *settings, struct opener *opener, const char *path,
		  FILE *err);
void conffile_free(struct conffile *f);	/* takes NULL */

#endif
