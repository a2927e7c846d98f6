#include "base/digest.h"

#include "../check.h"

static void check_hex_of(const unsigned char *digest, size_t size, const char *want)
{
    struct buf hex;
    buf_init(&hex, 100);
    for (size_t i = 0; i < size; i++)
        buf_putf(&hex, "%02x", digest[i]);
    check_put(&hex, want);
    buf_finish(&hex);
}

static void check_hex(const unsigned char digest[DIGEST_SHA256_SIZE], const char *want)
{
    check_hex_of(digest, DIGEST_SHA256_SIZE, want);
}

// RFC 1939 section 7, the example.
static void md5(void **state)
{
    (void)state;
    unsigned char out[DIGEST_MD5_SIZE];
    digest_md5(STR("<1896.697170952@dbc.mtview.ca.us>tanstaaf"), out);
    check_hex_of(out, sizeof out, "c4c9334bac560ecc979e58001b3e22fb");
    digest_md5((struct str){NULL, 0}, out);
    check_hex_of(out, sizeof out, "d41d8cd98f00b204e9800998ecf8427e");
}

// FIPS 180-4.
static void sha256(void **state)
{
    (void)state;
    unsigned char out[DIGEST_SHA256_SIZE];
    digest_sha256(STR("abc"), out);
    check_hex(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest_sha256((struct str){NULL, 0}, out);
    check_hex(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

// RFC 4231, cases 1, 2 and 6 (a key longer than the block).
static void hmac_sha256(void **state)
{
    (void)state;
    unsigned char out[DIGEST_SHA256_SIZE];
    char key[131];
    memset(key, 0x0b, 20);
    digest_hmac_sha256(str_from(key, 20), STR("Hi There"), out);
    check_hex(out, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    digest_hmac_sha256(STR("Jefe"), STR("what do ya want for nothing?"), out);
    check_hex(out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    digest_hmac_sha256(str_from(key, sizeof key),
                       STR("Test Using Larger Than Block-Size Key - Hash Key First"), out);
    check_hex(out, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    // An empty key and an empty text are a key and a text.
    digest_hmac_sha256((struct str){NULL, 0}, (struct str){NULL, 0}, out);
    check_hex(out, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void equality(void **state)
{
    (void)state;
    assert_true(digest_equal(STR("same\0x"), STR("same\0x")));
    assert_false(digest_equal(STR("same\0x"), STR("same\0y")));
    assert_false(digest_equal(STR("same"), STR("same ")));
    assert_true(digest_equal(STR(""), STR("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(md5),
        cmocka_unit_test(sha256),
        cmocka_unit_test(hmac_sha256),
        cmocka_unit_test(equality),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
