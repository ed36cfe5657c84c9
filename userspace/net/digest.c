/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/digest.h"

#include <errno.h>
#include <openssl/evp.h>

int digest_sha1(uint8_t ret[static SHA1_LEN], const void *p, size_t n)
{
	return EVP_Digest(p, n, ret, NULL, EVP_sha1(), NULL) == 1 ? 0 : -ENOMEM;
}
