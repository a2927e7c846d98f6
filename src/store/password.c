#include "store/password.h"

#include <crypt.h>

#include "base/base32.h"
#include "base/digest.h"
#include "base/limits.h"
#include "base/wipe.h"
#include "os/random.h"

// libxcrypt's scratch space (32 KiB: too much for a thread's stack), with the password in front.
struct scratch {
    char password[LIMIT_password + 1];
    char hash[CRYPT_OUTPUT_SIZE];
    struct crypt_data data;
};

static bool usable(struct str password)
{
    return password.len && password.len <= LIMIT_password &&
           str_index(password, '\0') == password.len;
}

// The hash, inside the scratch, of the password there; empty when libxcrypt cannot.
static struct str crypt_scratch(struct scratch *scratch)
{
    const char *hash =
        crypt_rn(scratch->password, scratch->hash, &scratch->data, (int)sizeof(scratch->data));
    return str_of(hash);
}

static struct scratch *scratch_open(struct str password)
{
    struct scratch *scratch = calloc(1, sizeof(*scratch));
    must(scratch);
    must(password.len < sizeof(scratch->password));
    if (password.len)
        memcpy(scratch->password, password.ptr, password.len);
    return scratch;
}

static void scratch_close(struct scratch *scratch)
{
    wipe(scratch, sizeof(*scratch));
    free(scratch);
}

bool password_hash(struct str password, struct buf *hash, struct err *err)
{
    if (!usable(password))
        return err_set(err, ERR_GIVE_UP, STATUS(5, 0, 0),
                       "a password has 1 to %d octets and no NUL", LIMIT_password);
    char salt[16];
    os_random(salt, sizeof(salt));
    struct scratch *scratch = scratch_open(password);
    struct str made = {0};
    // Cost 0 is libxcrypt's own choice for the method.
    if (crypt_gensalt_rn("$y$", 0, salt, (int)sizeof(salt), scratch->hash,
                         (int)sizeof(scratch->hash)))
        made = crypt_scratch(scratch);
    buf_put(hash, made);
    scratch_close(scratch);
    return made.len || err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "yescrypt: no memory");
}

bool password_matches(struct str password, struct str hash)
{
    if (!hash.len || hash.len >= CRYPT_OUTPUT_SIZE)
        return false;
    bool possible = usable(password);
    struct scratch *scratch = scratch_open(possible ? password : STR("?"));
    memcpy(scratch->hash, hash.ptr, hash.len);
    bool equal = digest_equal(crypt_scratch(scratch), hash);
    scratch_close(scratch);
    return possible && equal;
}

void password_make(struct buf *out)
{
    enum { GROUPS = 4, GROUP = 4 };
    unsigned char bits[10];
    struct buf text;
    os_random(bits, sizeof(bits));
    buf_init(&text, GROUPS * GROUP);
    base32_put(&text, str_from(bits, sizeof(bits)));
    must(text.len == GROUPS * GROUP);
    for (size_t i = 0; i < text.len; i++) {
        if (i && i % GROUP == 0)
            buf_put_byte(out, '-');
        buf_put_byte(out, ascii_lower(text.ptr[i]));
    }
    wipe(text.ptr, text.len);
    wipe(bits, sizeof(bits));
    buf_finish(&text);
}
