// Between two calls the decoder holds at most the two octets ".\r"; the state says which:
//
//     LINE_BEGIN --.--> DOT --CR--> DOT_CR --LF--> end
//         ^              |            | else: the dot was stuffing, the CR is looked at as such
//         |              v else: the dot was stuffing
//         +---CRLF--- IN_LINE --CR--> CR --LF--> LINE_BEGIN
//                        ^             | else: a bare CR, becomes a space
//                        +-------------+
//
// A bare LF becomes CRLF on its way out but leaves the state IN_LINE: what follows it is no line
// begin, so a dot there is text. In counted text no dot is anything else, so it has no LINE_BEGIN.
#include "proto/smtp_data.h"

enum { LINE_BEGIN, IN_LINE, CR, DOT, DOT_CR };

// How far one search looks. Without it a letter of nothing but CRs would be searched for an LF from
// each of them to the end of the input.
enum { WINDOW = 1024 };

void smtp_data_begin(struct smtp_data *d)
{
    // The CRLF of the DATA line itself counts: a lone "." at once is an empty message.
    *d = (struct smtp_data){.state = LINE_BEGIN, .line_begin = LINE_BEGIN};
}

void smtp_data_begin_counted(struct smtp_data *d)
{
    *d = (struct smtp_data){.state = IN_LINE, .line_begin = IN_LINE};
}

// The longest stretch from `from` that needs no change; returns where it ends, all consumed. At
// `from` stands no dot that begins a line.
static size_t feed_plain(struct smtp_data *d, struct str input, size_t from, struct str *piece)
{
    size_t at = from;
    d->state = IN_LINE;
    while (at < input.len) {
        const char *line = input.ptr + at;
        size_t window = input.len - at < WINDOW ? input.len - at : WINDOW;
        const char *cr = memchr(line, '\r', window);
        size_t len = cr ? (size_t)(cr - line) : window;
        const char *lf = memchr(line, '\n', len);
        if (lf) {
            d->bare_newline = true;
            at += (size_t)(lf - line);
            *piece = at > from ? str_sub(input, from, at - from) : STR("\r\n");
            return at > from ? at : at + 1;
        }
        at += len;
        if (!cr)
            continue;
        if (at + 1 == input.len || input.ptr[at + 1] != '\n') {
            d->state = CR;
            *piece = str_sub(input, from, at - from);
            return at + 1;
        }
        at += 2;
        if (at == input.len || input.ptr[at] == '.') {
            d->state = d->line_begin;
            break;
        }
    }
    *piece = str_sub(input, from, at - from);
    return at;
}

size_t smtp_data_feed(struct smtp_data *d, struct str input, struct str *piece, bool *end)
{
    size_t at = 0;
    *piece = STR("");
    *end = false;
    if (d->state == LINE_BEGIN && input.ptr[at] == '.') {
        d->state = DOT;
        at++;
    }
    if (d->state == DOT && at < input.len) {
        d->state = input.ptr[at] == '\r' ? DOT_CR : IN_LINE;
        at += d->state == DOT_CR;
    }
    if (at == input.len)
        return at;
    if (d->state == DOT_CR && input.ptr[at] == '\n') {
        *end = true;
        return at + 1;
    }
    if (d->state == CR && input.ptr[at] == '\n') {
        d->state = d->line_begin;
        *piece = STR("\r\n");
        return at + 1;
    }
    if (d->state == CR || d->state == DOT_CR) {
        d->state = IN_LINE;
        d->bare_newline = true;
        *piece = STR(" ");
        return at;
    }
    return feed_plain(d, input, at, piece);
}

struct str smtp_data_rest(struct smtp_data *d)
{
    bool bare_cr = d->state == CR;
    d->state = IN_LINE;
    d->bare_newline |= bare_cr;
    return bare_cr ? STR(" ") : STR("");
}
