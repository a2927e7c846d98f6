#include "proto/reply_parser.h"

#include "base/limits.h"

enum { CODE_LENGTH = 3, STATUS_DIGITS = 3 };

void reply_parser_init(struct reply_parser *p)
{
    *p = (struct reply_parser){.done = false};
    buf_init(&p->kept, LIMIT_peer_line);
    buf_init(&p->raw, LIMIT_peer_text);
    buf_init(&p->cleaned, (size_t)4 * LIMIT_peer_text); // an octet becomes \xNN
}

void reply_parser_finish(struct reply_parser *p)
{
    buf_finish(&p->cleaned);
    buf_finish(&p->raw);
    buf_finish(&p->kept);
}

void reply_parser_drop(struct reply_parser *p)
{
    if (!p->done)
        return;
    reply_parser_finish(p);
    reply_parser_init(p);
}

struct str reply_parser_text(struct reply_parser *p)
{
    buf_clear(&p->cleaned);
    buf_put_escaped(&p->cleaned, buf_str(&p->raw));
    must(buf_ok(&p->cleaned));
    return buf_str(&p->cleaned);
}

// ---- enhanced status codes, RFC 2034 section 4

static bool take_number(struct str *text, uint16_t *number)
{
    size_t digits = 0;
    *number = 0;
    while (digits < text->len && digits < STATUS_DIGITS && text->ptr[digits] >= '0' &&
           text->ptr[digits] <= '9')
        *number = (uint16_t)(*number * 10 + (text->ptr[digits++] - '0'));
    *text = str_skip(*text, digits);
    return digits > 0;
}

static bool take_dot(struct str *text)
{
    bool dot = text->len > 0 && text->ptr[0] == '.';
    *text = str_skip(*text, dot);
    return dot;
}

// Takes "class.subject.detail" and the blanks behind it off the front of a line's text, when its
// class is the code's.
static bool take_status(struct str *text, unsigned class, struct status *status)
{
    struct str rest = *text;
    uint16_t first, subject, detail;
    if (!take_number(&rest, &first) || !take_dot(&rest) || !take_number(&rest, &subject) ||
        !take_dot(&rest) || !take_number(&rest, &detail) || first != class ||
        (rest.len > 0 && rest.ptr[0] != ' '))
        return false;
    *text = str_trim_blanks(rest);
    *status = STATUS((uint8_t) class, subject, detail);
    return true;
}

static struct status status_of_code(unsigned code)
{
    static const struct {
        unsigned code;
        struct status status;
    } rows[] = {
#define REPLY_STATUS(code, class, subject, detail) {code, {class, subject, detail}},
#include "proto/reply_statuses.def"
#undef REPLY_STATUS
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].code == code)
            return rows[i].status;
    return STATUS((uint8_t)(code / 100), 0, 0);
}

// ---- lines

static void keep_text(struct reply_parser *p)
{
    struct status status;
    struct str text = p->line;
    if (take_status(&text, p->code / 100, &status) && !p->status_given) {
        p->status_given = true;
        p->status = status;
    }
    if (p->raw.len > 0 && p->raw.len < p->raw.limit && text.len > 0)
        buf_put_byte(&p->raw, ' ');
    buf_put(&p->raw, str_sub(text, 0, p->raw.limit - p->raw.len));
}

static bool read_code(struct str line, unsigned *code)
{
    unsigned value = 0;
    if (line.len < CODE_LENGTH)
        return false;
    for (size_t i = 0; i < CODE_LENGTH; i++) {
        if (line.ptr[i] < '0' || line.ptr[i] > '9')
            return false;
        value = value * 10 + (unsigned)(line.ptr[i] - '0');
    }
    *code = value;
    return value >= 200 && value < 600;
}

static enum reply_parser_result read_line(struct reply_parser *p, struct str line)
{
    unsigned code;
    if (!read_code(line, &code) || (p->lines > 0 && code != p->code) ||
        p->lines == LIMIT_peer_lines)
        return REPLY_PARSER_WRONG;
    char separator = line.len > CODE_LENGTH ? line.ptr[CODE_LENGTH] : ' ';
    if (separator != ' ' && separator != '-')
        return REPLY_PARSER_WRONG;
    if (p->lines++ == 0) {
        p->code = code;
        p->status = status_of_code(code);
    }
    p->line = str_skip(line, CODE_LENGTH + 1);
    keep_text(p);
    return separator == '-' ? REPLY_PARSER_LINE : REPLY_PARSER_DONE;
}

size_t reply_parser_feed(struct reply_parser *p, struct str input, enum reply_parser_result *result)
{
    reply_parser_drop(p);
    size_t lf = str_index(input, '\n');
    size_t used = lf < input.len ? lf + 1 : lf;
    *result = REPLY_PARSER_MORE;
    // Counted before the line's end is honoured, so that any cut of the input gives the same.
    p->octets += used;
    if (p->octets > LIMIT_peer_reply) {
        *result = REPLY_PARSER_WRONG;
        return used;
    }
    buf_put(&p->kept, str_sub(str_sub(input, 0, lf), 0, p->kept.limit - p->kept.len));
    if (lf == input.len)
        return used;
    struct str line = buf_str(&p->kept);
    if (str_ends(line, STR("\r")))
        line.len--;
    *result = read_line(p, line);
    buf_clear(&p->kept); // what it held is read until the next feed
    p->done = *result == REPLY_PARSER_DONE;
    return used;
}
