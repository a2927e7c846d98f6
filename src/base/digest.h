// SHA-256, HMAC-SHA-256 and MD5 by OpenSSL. The one includer of OpenSSL's digests.
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/str.h"

enum { DIGEST_SHA256_SIZE = 32, DIGEST_MD5_SIZE = 16 };

void digest_sha256(struct str bytes, unsigned char out[DIGEST_SHA256_SIZE]);
void digest_hmac_sha256(struct str key, struct str bytes, unsigned char out[DIGEST_SHA256_SIZE]);
// For APOP only (RFC 1939 section 7).
void digest_md5(struct str bytes, unsigned char out[DIGEST_MD5_SIZE]);

// Compares in time that depends on the lengths only.
bool digest_equal(struct str a, struct str b);

#endif
