#include "base/err.h"

#include <errno.h>

#include "base/buf.h"

// Text beyond the room is cut at its end, with "..." to show it: a message for people.
PRINTF_LIKE(2, 0)
static void err_put(struct err *err, const char *fmt, va_list args, const char *tail)
{
    char raw[ERR_TEXT_MAX + 16]; // more than fits: what is cut here is cut again below
    struct buf safe;
    int written = vsnprintf(raw, sizeof raw, fmt, args);
    must(written >= 0);
    buf_init(&safe, 8 * sizeof raw);
    buf_put_escaped(&safe, str_of(raw));
    if (tail)
        buf_putf(&safe, ": %s", tail);
    must(buf_ok(&safe));
    size_t n = safe.len;
    if (n > ERR_TEXT_MAX - 1) {
        n = ERR_TEXT_MAX - 1 - 3;
        while (((unsigned char)safe.ptr[n] & 0xc0) == 0x80) // not within a character
            n--;
        memcpy(safe.ptr + n, "...", 3);
        n += 3;
    }
    if (n)
        memcpy(err->text, safe.ptr, n);
    err->text[n] = '\0';
    buf_finish(&safe);
}

bool err_set(struct err *err, enum err_class class, struct status status, const char *fmt, ...)
{
    va_list args;
    *err = (struct err){.class = class, .status = status};
    va_start(args, fmt);
    err_put(err, fmt, args, NULL);
    va_end(args);
    return false;
}

bool err_system(struct err *err, int code, const char *fmt, ...)
{
    va_list args;
    int number = code < 0 ? -code : code;
    bool space = number == ENOSPC || number == EDQUOT;
    *err = (struct err){.class = ERR_TRY_LATER,
                        .status = space ? STATUS(4, 3, 1) : STATUS(4, 3, 0),
                        .code = number};
    va_start(args, fmt);
    err_put(err, fmt, args, strerror(number));
    va_end(args);
    return false;
}

struct str err_text(const struct err *err)
{
    return str_of(err->text);
}
