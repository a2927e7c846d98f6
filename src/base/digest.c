#include "base/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

void digest_sha256(struct str bytes, unsigned char out[DIGEST_SHA256_SIZE])
{
    unsigned int len = 0;
    int ok = EVP_Digest(bytes.ptr, bytes.len, out, &len, EVP_sha256(), NULL);
    must(ok == 1 && len == DIGEST_SHA256_SIZE);
}

void digest_hmac_sha256(struct str key, struct str bytes, unsigned char out[DIGEST_SHA256_SIZE])
{
    unsigned int len = 0;
    must(key.len <= INT32_MAX);
    // A NULL key means to OpenSSL that none was given.
    const unsigned char *mac = HMAC(EVP_sha256(), key.len ? key.ptr : "", (int)key.len,
                                    (const unsigned char *)bytes.ptr, bytes.len, out, &len);
    must(mac != NULL && len == DIGEST_SHA256_SIZE);
}

void digest_md5(struct str bytes, unsigned char out[DIGEST_MD5_SIZE])
{
    unsigned int len = 0;
    int ok = EVP_Digest(bytes.ptr, bytes.len, out, &len, EVP_md5(), NULL);
    must(ok == 1 && len == DIGEST_MD5_SIZE);
}

bool digest_equal(struct str a, struct str b)
{
    return a.len == b.len && CRYPTO_memcmp(a.ptr, b.ptr, a.len) == 0;
}
