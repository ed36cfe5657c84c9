/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef XDERP_FILELIMIT_H
#define XDERP_FILELIMIT_H

/* Each connection is a descriptor: take as many as conns need, or all we are allowed, and say when that is less. */
void filelimit_raise(unsigned int conns);

#endif
