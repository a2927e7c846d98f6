// What a sender wants to be told, RFC 3461 section 4: RET and ENVID of MAIL, NOTIFY and ORCPT of
// RCPT. Kept decoded: printable, so that it may stand in an envelope and in a report's fields.
#include "proto/smtp_private.h"

enum { ENVID_MAX = 100, ORCPT_MAX = 500 }; // octets as they come, RFC 3461 sections 4.4, 4.2

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_plain(char c)
{
    return c > ' ' && c <= '~' && c != '+' && c != '=';
}

// RFC 3461 section 4: printable ASCII only.
static bool decode_xtext(struct str text, struct buf *out)
{
    while (text.len) {
        int c = text.ptr[0];
        if (c == '+') {
            if (text.len < 3 || hex_value(text.ptr[1]) < 0 || hex_value(text.ptr[2]) < 0)
                return false;
            c = hex_value(text.ptr[1]) * 16 + hex_value(text.ptr[2]);
            if (c < ' ' || c > '~')
                return false;
            text = str_skip(text, 2);
        } else if (!is_plain(text.ptr[0])) {
            return false;
        }
        buf_put_byte(out, (char)c);
        text = str_skip(text, 1);
    }
    return true;
}

static void put_character(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_put_byte(out, (char)c);
        return;
    }
    unsigned more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    buf_put_byte(out, (char)(lead[more] | c >> (6 * more)));
    while (more-- > 0)
        buf_put_byte(out, (char)(0x80 | (c >> (6 * more) & 0x3f)));
}

// "\x{HEX}", RFC 6533 section 3: two to six digits.
static bool decode_point(struct str *text, struct buf *out)
{
    struct str digits, rest = str_skip(*text, 3);
    uint32_t c = 0;
    if (!str_starts(*text, STR("\\x{")) || str_index(rest, '}') == rest.len ||
        !str_cut(&rest, '}', &digits) || digits.len < 2 || digits.len > 6)
        return false;
    for (size_t i = 0; i < digits.len; i++) {
        if (hex_value(digits.ptr[i]) < 0)
            return false;
        c = c << 4 | (uint32_t)hex_value(digits.ptr[i]);
    }
    if (c < ' ' || c == 0x7f || c > 0x10ffff)
        return false;
    put_character(out, c);
    *text = rest;
    return true;
}

// An address of the type utf-8. Octets above 127 as they are only where MAIL said SMTPUTF8.
static bool decode_unitext(struct str text, bool utf8, struct buf *out)
{
    while (text.len) {
        if (text.ptr[0] == '\\') {
            if (!decode_point(&text, out))
                return false;
            continue;
        }
        if (!is_plain(text.ptr[0]) && !(utf8 && (unsigned char)text.ptr[0] > 0x7f))
            return false;
        buf_put_byte(out, text.ptr[0]);
        text = str_skip(text, 1);
    }
    return str_is_utf8(buf_str(out)); // no halves, and no surrogates either
}

static bool keep(struct smtp_server *s, const struct buf *decoded, struct str *kept)
{
    return buf_ok(decoded) && decoded->len > 0 &&
           arena_copy(&s->transaction, buf_str(decoded), kept);
}

bool smtp_parameter_ret(struct smtp_server *s, struct str value)
{
    s->returns = str_eq_nocase(value, STR("FULL"))   ? RETURN_FULL
                 : str_eq_nocase(value, STR("HDRS")) ? RETURN_HEADERS
                                                     : RETURN_UNSAID;
    return s->returns != RETURN_UNSAID;
}

bool smtp_parameter_envid(struct smtp_server *s, struct str value)
{
    struct buf decoded;
    buf_init(&decoded, ENVID_MAX);
    bool ok =
        value.len <= ENVID_MAX && decode_xtext(value, &decoded) && keep(s, &decoded, &s->envid);
    buf_finish(&decoded);
    return ok;
}

bool smtp_parameter_notify(struct smtp_server *s, struct str value)
{
    static const struct {
        struct str word;
        unsigned notify;
    } words[] = {{WORD("NEVER"), NOTIFY_NEVER},
                 {WORD("SUCCESS"), NOTIFY_SUCCESS},
                 {WORD("FAILURE"), NOTIFY_FAILURE},
                 {WORD("DELAY"), NOTIFY_DELAY}};
    unsigned *notify = &s->candidate->wish.notify;
    struct str word;
    if (str_ends(value, STR(",")))
        return false;
    while (str_cut(&value, ',', &word)) {
        size_t i = 0;
        while (i < ARRAY_LEN(words) && !str_eq_nocase(word, words[i].word))
            i++;
        if (i == ARRAY_LEN(words))
            return false;
        *notify |= words[i].notify;
    }
    return *notify && (!(*notify & NOTIFY_NEVER) || *notify == NOTIFY_NEVER);
}

// The type of an address is an atom of RFC 5322; those that are registered are of these.
static bool is_type(struct str type)
{
    for (size_t i = 0; i < type.len; i++) {
        char c = ascii_lower(type.ptr[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return type.len > 0;
}

bool smtp_parameter_orcpt(struct smtp_server *s, struct str value)
{
    struct str type, address = value;
    struct buf decoded, all;
    if (value.len > ORCPT_MAX || !str_cut(&address, ';', &type) || !is_type(type))
        return false;
    buf_init(&decoded, ORCPT_MAX);
    buf_init(&all, ORCPT_MAX);
    bool ok = str_eq_nocase(type, STR("utf-8")) ? decode_unitext(address, s->utf8, &decoded)
                                                : decode_xtext(address, &decoded);
    buf_put(&all, type);
    buf_put_byte(&all, ';');
    buf_put(&all, buf_str(&decoded));
    ok = ok && decoded.len > 0 && keep(s, &all, &s->candidate->wish.original);
    buf_finish(&decoded);
    buf_finish(&all);
    return ok;
}
