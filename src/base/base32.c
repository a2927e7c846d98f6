#include "base/base32.h"

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

// Bit `i` counted from the most significant end, after `pad` leading zero bits.
static unsigned bit_at(struct str bytes, size_t i, size_t pad)
{
    if (i < pad)
        return 0;
    i -= pad;
    return ((unsigned char)bytes.ptr[i / 8] >> (7 - i % 8)) & 1;
}

void base32_put(struct buf *out, struct str bytes)
{
    size_t chars = (bytes.len * 8 + 4) / 5;
    size_t pad = chars * 5 - bytes.len * 8;
    for (size_t c = 0; c < chars; c++) {
        unsigned value = 0;
        for (size_t k = 0; k < 5; k++)
            value = value << 1 | bit_at(bytes, c * 5 + k, pad);
        buf_put_byte(out, alphabet[value]);
    }
}

static int value_of(char c)
{
    if (c >= 'a' && c <= 'z')
        c = (char)(c - 'a' + 'A');
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

bool base32_read(struct str text, unsigned char *bytes, size_t size)
{
    size_t chars = (size * 8 + 4) / 5;
    size_t pad = chars * 5 - size * 8;
    if (text.len != chars)
        return false;
    memset(bytes, 0, size);
    for (size_t c = 0; c < chars; c++) {
        int value = value_of(text.ptr[c]);
        if (value < 0)
            return false;
        for (size_t k = 0; k < 5; k++) {
            unsigned bit = ((unsigned)value >> (4 - k)) & 1;
            size_t i = c * 5 + k;
            if (i < pad && bit)
                return false;
            if (i >= pad)
                bytes[(i - pad) / 8] |= (unsigned char)(bit << (7 - (i - pad) % 8));
        }
    }
    return true;
}
