#include "base/str.h"

struct str str_of(const char *cstring)
{
    return (struct str){cstring ? cstring : "", cstring ? strlen(cstring) : 0};
}

struct str str_from(const void *ptr, size_t len)
{
    return (struct str){ptr, len};
}

bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i]))
            return false;
    return true;
}

bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && str_eq(str_sub(s, 0, prefix.len), prefix);
}

bool str_starts_nocase(struct str s, struct str prefix)
{
    return s.len >= prefix.len && str_eq_nocase(str_sub(s, 0, prefix.len), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.len >= suffix.len && str_eq(str_skip(s, s.len - suffix.len), suffix);
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.ptr, b.ptr, n) : 0;
    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

size_t str_index(struct str s, char byte)
{
    const char *hit = s.len ? memchr(s.ptr, byte, s.len) : NULL;
    return hit ? (size_t)(hit - s.ptr) : s.len;
}

size_t str_rindex(struct str s, char byte)
{
    for (size_t i = s.len; i > 0; i--)
        if (s.ptr[i - 1] == byte)
            return i - 1;
    return s.len;
}

size_t str_find(struct str s, struct str needle)
{
    if (needle.len == 0)
        return 0;
    for (size_t i = 0; i + needle.len <= s.len; i++) {
        i += str_index(str_skip(s, i), needle.ptr[0]);
        if (i + needle.len > s.len)
            break;
        if (memcmp(s.ptr + i, needle.ptr, needle.len) == 0)
            return i;
    }
    return s.len;
}

struct str str_sub(struct str s, size_t from, size_t len)
{
    if (from > s.len)
        from = s.len;
    if (len > s.len - from)
        len = s.len - from;
    return (struct str){s.ptr ? s.ptr + from : NULL, len};
}

struct str str_skip(struct str s, size_t n)
{
    return str_sub(s, n, s.len);
}

static struct str trim_set(struct str s, const char *set, size_t set_len)
{
    while (s.len && memchr(set, s.ptr[0], set_len))
        s = str_skip(s, 1);
    while (s.len && memchr(set, s.ptr[s.len - 1], set_len))
        s.len--;
    return s;
}

struct str str_trim_blanks(struct str s)
{
    return trim_set(s, " \t", 2);
}

struct str str_trim(struct str s)
{
    return trim_set(s, " \t\r\n", 4);
}

bool str_cut(struct str *s, char sep, struct str *head)
{
    if (s->len == 0)
        return false;
    size_t at = str_index(*s, sep);
    *head = str_sub(*s, 0, at);
    *s = str_skip(*s, at + 1);
    return true;
}

bool str_to_u64(struct str s, uint64_t *value)
{
    uint64_t n = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.ptr[i] - '0');
        if (n > (UINT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *value = n;
    return true;
}

uint64_t str_take_le(struct str *s, size_t n)
{
    uint64_t v = 0;
    must(n <= 8 && n <= s->len);
    for (size_t i = n; i > 0; i--)
        v = v << 8 | (unsigned char)s->ptr[i - 1];
    *s = str_skip(*s, n);
    return v;
}

bool str_is_ascii(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] >= 128)
            return false;
    return true;
}

bool str_is_utf8(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    for (size_t i = 0; i < s.len;) {
        unsigned char c = p[i++];
        if (c < 0x80)
            continue;
        size_t more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        if (c < 0xc2 || c > 0xf4 || more > s.len - i)
            return false;
        unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
        unsigned char high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        if (p[i] < low || p[i] > high)
            return false;
        for (size_t k = 1; k < more; k++)
            if ((p[i + k] & 0xc0) != 0x80)
                return false;
        i += more;
    }
    return true;
}

static uint64_t rotl(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

uint64_t str_hash(struct str s, const uint64_t key[2])
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575U, key[1] ^ 0x646f72616e646f6dU,
                     key[0] ^ 0x6c7967656e657261U, key[1] ^ 0x7465646279746573U};
    size_t whole = s.len & ~(size_t)7;
    for (size_t i = 0; i <= whole; i += 8) {
        uint64_t word = 0;
        if (i < whole)
            memcpy(&word, s.ptr + i, 8);
        else if (s.len > whole)
            memcpy(&word, s.ptr + whole, s.len - whole);
        if (i == whole)
            word |= (uint64_t)s.len << 56;
        v[3] ^= word;
        sip_round(v);
        sip_round(v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
