/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef XDERP_DIRS_H
#define XDERP_DIRS_H

/* Make the directories that path lies in, mode 0700, as far as they are not there. -errno. */
int dirs_make_for(const char *path);

#endif
