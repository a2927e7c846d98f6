// Lines are found with memchr; what concerns single octets (NUL, 8-bit) is asked of whole pieces.
// A line ends at LF, also at a bare one: every writer turns that into CRLF, so a dot behind it
// must be stuffed and a field behind it counts.
#include "mail/scan.h"

enum { LINE_MAX_OCTETS = 998 }; // RFC 5322 section 2.1.1

void scan_begin(struct scan *s)
{
    *s = (struct scan){.in_fields = true};
}

// Is this the name Received? White space before the colon is RFC 5322 section 4.5 (obsolete).
static void match_field(struct scan *s, struct str text)
{
    struct str name = STR("received");
    size_t at = s->line_length;
    for (size_t i = 0; i < text.len && s->field_matching; i++, at++) {
        char c = text.ptr[i];
        if (at < name.len) {
            s->field_matching = ascii_lower(c) == name.ptr[at];
        } else if (c != ' ' && c != '\t') {
            s->received += c == ':';
            s->field_matching = false;
        }
    }
}

// A field is a line with a colon, and the lines behind it that begin with a blank.
static void find_colon(struct scan *s, struct str text)
{
    if (str_index(text, ':') < text.len) {
        s->naming = false;
        s->fields++;
        s->fields_size += s->line_length; // what came in earlier pieces
    }
}

// A line, or a part of it, without its LF.
static void line_text(struct scan *s, struct str text)
{
    if (text.len == 0)
        return;
    if (s->line_length == 0) {
        s->field_matching = !s->in_body;
        s->naming = s->in_fields && text.ptr[0] != ' ' && text.ptr[0] != '\t';
        if (text.ptr[0] == '.')
            s->flags |= SCAN_DOT;
    }
    if (s->last_cr || str_index(text, '\r') < text.len - 1)
        s->flags |= SCAN_BARE;
    if (s->field_matching)
        match_field(s, text);
    if (s->naming)
        find_colon(s, text);
    if (s->in_fields && !s->naming)
        s->fields_size += text.len;
    s->last_cr = text.ptr[text.len - 1] == '\r';
    // Saturates: beyond the limit the exact length says nothing more.
    s->line_length =
        text.len < UINT32_MAX - s->line_length ? s->line_length + (uint32_t)text.len : UINT32_MAX;
}

static void line_feed(struct scan *s)
{
    uint32_t length = s->line_length - s->last_cr;
    if (!s->last_cr)
        s->flags |= SCAN_BARE;
    if (length > LINE_MAX_OCTETS)
        s->flags |= SCAN_LONG_LINE;
    if (length == 0)
        s->in_body = true;
    s->in_fields &= !s->naming && !s->in_body;
    s->fields_size += s->in_fields;
    s->naming = false;
    s->last_crlf = s->last_cr;
    s->last_cr = false;
    s->line_length = 0;
    s->line_feeds++;
}

static bool has_8bit(struct str s)
{
    uint64_t all = 0, word;
    size_t i = 0;
    for (; i + sizeof word <= s.len; i += sizeof word) {
        memcpy(&word, s.ptr + i, sizeof word);
        all |= word;
    }
    for (; i < s.len; i++)
        all |= (unsigned char)s.ptr[i];
    return (all & 0x8080808080808080U) != 0;
}

void scan_feed(struct scan *s, struct str piece)
{
    size_t header = s->in_body ? 0 : piece.len; // octets of the piece that are header
    for (size_t at = 0; at < piece.len;) {
        struct str rest = str_skip(piece, at);
        struct str text = str_sub(rest, 0, str_index(rest, '\n'));
        line_text(s, text);
        at += text.len;
        if (at == piece.len)
            break;
        line_feed(s);
        at++;
        if (s->in_body && header > at)
            header = at;
    }
    if (has_8bit(str_sub(piece, 0, header)))
        s->flags |= SCAN_8BIT | SCAN_8BIT_HEADER;
    if (has_8bit(str_skip(piece, header)))
        s->flags |= SCAN_8BIT;
    if (str_index(piece, '\0') < piece.len)
        s->flags |= SCAN_NUL;
    s->header_size += header;
    s->size += piece.len;
}

void scan_end(struct scan *s)
{
    if (s->last_cr)
        s->flags |= SCAN_BARE;
    if (s->line_length > LINE_MAX_OCTETS)
        s->flags |= SCAN_LONG_LINE;
    if (s->size > 0 && (s->line_length > 0 || !s->last_crlf))
        s->flags |= SCAN_NO_END;
}
