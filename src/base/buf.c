#include "base/buf.h"

enum { FIRST_CAP = 64 };

void buf_init(struct buf *b, size_t limit)
{
    *b = (struct buf){.limit = limit};
}

void buf_finish(struct buf *b)
{
    free(b->ptr);
    *b = (struct buf){.limit = 0};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->overflow = false;
}

void buf_release(struct buf *b)
{
    size_t limit = b->limit;
    buf_finish(b);
    b->limit = limit;
}

bool buf_ok(const struct buf *b)
{
    return !b->overflow;
}

struct str buf_str(const struct buf *b)
{
    return (struct str){b->ptr ? b->ptr : "", b->len};
}

char *buf_reserve(struct buf *b, size_t n)
{
    if (b->overflow || n > b->limit - b->len) {
        b->overflow = true;
        return NULL;
    }
    if (b->cap - b->len < n || !b->ptr) {
        size_t cap = b->cap ? b->cap : FIRST_CAP;
        while (cap < b->len + n)
            cap *= 2;
        if (cap > b->limit)
            cap = b->limit;
        char *ptr = realloc(b->ptr, cap ? cap : 1);
        must(ptr != NULL); // true exhaustion: the process ends, nothing unacknowledged is lost
        b->ptr = ptr;
        b->cap = cap;
    }
    return b->ptr + b->len;
}

void buf_added(struct buf *b, size_t n)
{
    must(n <= b->cap - b->len);
    b->len += n;
}

void buf_put(struct buf *b, struct str s)
{
    char *to = buf_reserve(b, s.len);
    if (to && s.len) {
        memcpy(to, s.ptr, s.len);
        b->len += s.len;
    }
}

void buf_put_byte(struct buf *b, char byte)
{
    buf_put(b, (struct str){&byte, 1});
}

void buf_vputf(struct buf *b, const char *fmt, va_list args)
{
    enum { GUESS = 128 };
    va_list again;
    va_copy(again, args);
    char *to = b->overflow || b->limit - b->len < GUESS ? NULL : buf_reserve(b, GUESS);
    size_t room = to ? GUESS : 0;
    int n = vsnprintf(to, room, fmt, args);
    must(n >= 0);
    if (to && (size_t)n < room) {
        b->len += (size_t)n;
    } else if (buf_reserve(b, (size_t)n)) {
        // vsnprintf wants room for a NUL that is not ours to keep.
        char *text = malloc((size_t)n + 1);
        must(text != NULL);
        vsnprintf(text, (size_t)n + 1, fmt, again);
        buf_put(b, (struct str){text, (size_t)n});
        free(text);
    }
    va_end(again);
}

void buf_putf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    buf_vputf(b, fmt, args);
    va_end(args);
}

static void put_le(struct buf *b, uint64_t v, size_t bytes)
{
    char le[8];
    for (size_t i = 0; i < bytes; i++)
        le[i] = (char)(unsigned char)(v >> (8 * i));
    buf_put(b, (struct str){le, bytes});
}

void buf_put_u16(struct buf *b, uint16_t v)
{
    put_le(b, v, 2);
}

void buf_put_u32(struct buf *b, uint32_t v)
{
    put_le(b, v, 4);
}

void buf_put_u64(struct buf *b, uint64_t v)
{
    put_le(b, v, 8);
}

void buf_drop(struct buf *b, size_t n)
{
    must(n <= b->len);
    if (n && n < b->len)
        memmove(b->ptr, b->ptr + n, b->len - n);
    b->len -= n;
}

void buf_put_escaped(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c >= 0x20 && c < 0x7f && c != '\\') {
            buf_put_byte(b, s.ptr[i++]);
            continue;
        }
        size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;
        // C1 controls (U+0080..U+009F) are written as bytes: terminals obey them.
        bool c1 = c == 0xc2 && i + 1 < s.len && (unsigned char)s.ptr[i + 1] < 0xa0;
        if (n > 1 && !c1 && n <= s.len - i && str_is_utf8(str_sub(s, i, n))) {
            buf_put(b, str_sub(s, i, n));
            i += n;
            continue;
        }
        buf_putf(b, "\\x%02x", c);
        i++;
    }
}
