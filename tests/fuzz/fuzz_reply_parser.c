// Replies of a hostile peer. The first octet chooses the piece that is fed at a time; whatever the
// cut, the same replies come out, within the limits, and their text is safe to log.
#include "base/limits.h"
#include "proto/reply_parser.h"

enum { INPUT_MAX = 128 * 1024, LOG_MAX = 16 * 1024 * 1024 };

static void must_be_for_people(struct str text)
{
    must(text.len <= (size_t)4 * LIMIT_peer_text);
    must(str_is_utf8(text));
    for (size_t i = 0; i < text.len; i++)
        must((unsigned char)text.ptr[i] >= 0x20 && text.ptr[i] != 0x7f);
}

static void run(struct str input, size_t step, struct buf *log)
{
    struct reply_parser p;
    enum reply_parser_result result = REPLY_PARSER_MORE;
    size_t lines = 0, octets = 0;
    reply_parser_init(&p);
    while (input.len > 0 && result != REPLY_PARSER_WRONG) {
        struct str piece = str_sub(input, 0, step);
        size_t n = reply_parser_feed(&p, piece, &result);
        must(n > 0 && n <= piece.len);
        must(result != REPLY_PARSER_MORE || n == piece.len);
        input = str_skip(input, n);
        octets += n;
        if (result == REPLY_PARSER_MORE)
            continue;
        buf_putf(log, "%d", (int)result);
        if (result == REPLY_PARSER_WRONG)
            break;
        must(++lines == p.lines && lines <= LIMIT_peer_lines && octets <= LIMIT_peer_reply);
        must(p.code >= 200 && p.code < 600 && p.status.class == p.code / 100);
        must(p.line.len < LIMIT_peer_line);
        if (result == REPLY_PARSER_LINE)
            continue;
        must_be_for_people(reply_parser_text(&p));
        buf_putf(log, " %u %u.%u.%u ", p.code, p.status.class, p.status.subject, p.status.detail);
        buf_put(log, reply_parser_text(&p));
        reply_parser_drop(&p);
        must(!p.kept.ptr && !p.raw.ptr && !p.cleaned.ptr);
        lines = octets = 0;
    }
    reply_parser_finish(&p);
    must(buf_ok(log));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, pieces;
    if (size < 1 || size > INPUT_MAX)
        return 0;
    struct str input = str_from(data + 1, size - 1);
    buf_init(&whole, LOG_MAX);
    buf_init(&pieces, LOG_MAX);
    run(input, SIZE_MAX, &whole);
    run(input, 1 + (size_t)data[0] % 64, &pieces);
    must(str_eq(buf_str(&whole), buf_str(&pieces)));
    buf_finish(&pieces);
    buf_finish(&whole);
    return 0;
}
