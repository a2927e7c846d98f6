// SHA-256 and HMAC-SHA-256 by OpenSSL. The one includer of OpenSSL's digests.
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/str.h"

enum { DIGEST_SHA256_SIZE = 32 };

void digest_sha256(struct str bytes, unsigned char out[DIGEST_SHA256_SIZE]);
void digest_hmac_sha256(struct str key, struct str bytes, unsigned char out[DIGEST_SHA256_SIZE]);

// Compares in time that depends on the lengths only.
bool digest_equal(struct str a, struct str b);

#endif
