#include "proto/smtp_line.h"

#include "base/limits.h"

void smtp_line_init(struct smtp_line *l, size_t limit)
{
    *l = (struct smtp_line){.seen = 0};
    buf_init(&l->kept, limit);
}

void smtp_line_finish(struct smtp_line *l)
{
    buf_finish(&l->kept);
}

void smtp_line_drop(struct smtp_line *l)
{
    if (l->done)
        buf_release(&l->kept);
    l->done = false;
}

bool smtp_line_empty(const struct smtp_line *l)
{
    return !l->discarding && (l->done || l->kept.len == 0);
}

static void begin_discard(struct smtp_line *l, size_t seen, bool last_cr)
{
    buf_release(&l->kept);
    l->discarding = true;
    l->seen = (uint32_t)seen;
    l->last_cr = last_cr;
}

// Consumes up to and with the CRLF that ends the discarded line.
static size_t discard(struct smtp_line *l, struct str input, enum smtp_line_result *result)
{
    size_t at = 0;
    while (l->discarding && at < input.len) {
        size_t lf = str_index(str_skip(input, at), '\n') + at;
        bool cr = lf > at ? input.ptr[lf - 1] == '\r' : l->last_cr;
        l->last_cr = lf == input.len && cr;
        l->discarding = lf == input.len || !cr;
        at = lf < input.len ? lf + 1 : lf;
    }
    // Counted before the end is honoured, so that any cut of the input gives the same result.
    if (at > LIMIT_command_junk - l->seen) {
        *result = SMTP_LINE_FLOOD;
        return at;
    }
    l->seen += (uint32_t)at;
    return at;
}

static size_t take_line(struct smtp_line *l, struct str input, enum smtp_line_result *result,
                        struct str *line)
{
    size_t have = l->kept.len;
    struct str window = str_sub(input, 0, l->kept.limit - have);
    size_t lf = str_index(window, '\n');
    if (lf == window.len && have + lf == l->kept.limit) {
        *result = SMTP_LINE_TOO_LONG;
        begin_discard(l, have + lf, window.ptr[lf - 1] == '\r');
        return lf;
    }
    if (lf == window.len) {
        buf_put(&l->kept, window);
        return lf;
    }
    char before = lf > 0 ? window.ptr[lf - 1] : have > 0 ? l->kept.ptr[have - 1] : '\0';
    if (before != '\r') {
        *result = SMTP_LINE_BARE_LF;
        begin_discard(l, have + lf + 1, false);
        return lf + 1;
    }
    *result = SMTP_LINE_DONE;
    if (have == 0) {
        *line = str_sub(window, 0, lf - 1);
    } else {
        buf_put(&l->kept, str_sub(window, 0, lf + 1));
        *line = str_sub(buf_str(&l->kept), 0, l->kept.len - 2);
        l->done = true;
    }
    return lf + 1;
}

size_t smtp_line_feed(struct smtp_line *l, struct str input, enum smtp_line_result *result,
                      struct str *line)
{
    size_t used = 0;
    *result = SMTP_LINE_MORE;
    if (l->discarding)
        used = discard(l, input, result);
    if (used < input.len && *result == SMTP_LINE_MORE)
        used += take_line(l, str_skip(input, used), result, line);
    return used;
}
