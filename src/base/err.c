#include "base/err.h"

#include <errno.h>

#include "base/buf.h"

// Text beyond the room is cut at its end, with "..." to show it: a message for people.
PRINTF_LIKE(2, 0)
static void err_put(struct err *err, const char *fmt, va_list args, const char *tail)
{
    struct buf raw, safe;
    buf_init(&raw, 4096);
    buf_init(&safe, 16384);
    buf_vputf(&raw, fmt, args);
    if (tail)
        buf_putf(&raw, ": %s", tail);
    buf_put_escaped(&safe, buf_str(&raw));
    size_t n = safe.len < ERR_TEXT_MAX - 1 ? safe.len : ERR_TEXT_MAX - 1;
    if (n)
        memcpy(err->text, safe.ptr, n);
    if (n < safe.len)
        memcpy(err->text + n - 3, "...", 3);
    err->text[n] = '\0';
    buf_finish(&raw);
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
