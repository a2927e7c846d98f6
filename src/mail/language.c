#include "mail/language.h"

#include "base/buf.h"

enum { WORD_MAX = 75 }; // octets of an encoded word, RFC 2047 section 2

struct scripts {
    bool han, others; // others that use Han characters too
};

static void look_at_character(struct scripts *found, uint32_t c)
{
    found->han |= (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf);
    found->others |= (c >= 0x3040 && c <= 0x30ff) || (c >= 0xac00 && c <= 0xd7af);
}

// All characters that matter take three octets.
static void look_at_text(struct scripts *found, struct str text)
{
    const unsigned char *p = (const unsigned char *)text.ptr;
    for (size_t i = 0; i + 2 < text.len; i++)
        if ((p[i] & 0xf0) == 0xe0 && (p[i + 1] & 0xc0) == 0x80 && (p[i + 2] & 0xc0) == 0x80)
            look_at_character(found, (uint32_t)(p[i] & 0xf) << 12 |
                                         (uint32_t)(p[i + 1] & 0x3f) << 6 | (p[i + 2] & 0x3fU));
}

// ---- encoded words

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t at = str_index(str_of(digits), c);
    return at < sizeof digits - 1 ? (int)at : -1;
}

static void decode_base64(struct buf *out, struct str text)
{
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < text.len; i++) {
        int value = base64_value(text.ptr[i]);
        if (value < 0)
            continue;
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count >= 8) {
            count -= 8;
            buf_put_byte(out, (char)(bits >> count & 0xff));
        }
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void decode_quoted(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        bool escape = text.ptr[i] == '=' && i + 2 < text.len && hex_value(text.ptr[i + 1]) >= 0 &&
                      hex_value(text.ptr[i + 2]) >= 0;
        if (escape)
            buf_put_byte(out, (char)(hex_value(text.ptr[i + 1]) * 16 + hex_value(text.ptr[i + 2])));
        else
            buf_put_byte(out, text.ptr[i]);
        i += escape ? 2 : 0;
    }
}

static bool is_chinese_charset(struct str charset)
{
    return str_starts_nocase(charset, STR("gb")) || str_starts_nocase(charset, STR("big5")) ||
           str_starts_nocase(charset, STR("hz-gb"));
}

// `text` begins behind "=?".
static bool look_at_word(struct scripts *found, struct str text)
{
    struct str charset, encoding, content, word = str_sub(text, 0, WORD_MAX);
    struct buf plain;
    if (!str_cut(&word, '?', &charset) || !str_cut(&word, '?', &encoding) ||
        !str_cut(&word, '?', &content) || !str_starts(word, STR("=")))
        return false;
    if (is_chinese_charset(charset))
        return true;
    if (!str_eq_nocase(charset, STR("utf-8")))
        return false;
    buf_init(&plain, WORD_MAX);
    if (str_eq_nocase(encoding, STR("b")))
        decode_base64(&plain, content);
    else
        decode_quoted(&plain, content);
    look_at_text(found, buf_str(&plain));
    buf_finish(&plain);
    return false;
}

// ---- the header

static struct str next_field(struct str *rest)
{
    struct str field = *rest;
    do {
        *rest = str_skip(*rest, str_index(*rest, '\n') + 1);
    } while (rest->len && (rest->ptr[0] == ' ' || rest->ptr[0] == '\t'));
    field.len -= rest->len;
    return field;
}

static bool take_name(struct str *field, struct str name)
{
    if (!str_starts_nocase(*field, name))
        return false;
    *field = str_trim(str_skip(*field, name.len));
    return true;
}

static bool has_chinese_charset(struct str value)
{
    const struct str charset = STR("charset=");
    for (; value.len; value = str_skip(value, 1)) {
        if (!str_starts_nocase(value, charset))
            continue;
        struct str name = str_skip(value, charset.len);
        if (is_chinese_charset(str_skip(name, str_starts(name, STR("\"")))))
            return true;
    }
    return false;
}

static bool look_at_words(struct scripts *found, struct str value)
{
    look_at_text(found, value);
    for (; value.len; value = str_skip(value, 1))
        if (str_starts(value, STR("=?")) && look_at_word(found, str_skip(value, 2)))
            return true;
    return false;
}

bool language_is_chinese(struct str header)
{
    struct scripts found = {.han = false};
    while (header.len) {
        struct str field = next_field(&header);
        if (take_name(&field, STR("Content-Language:")) && str_starts_nocase(field, STR("zh")))
            return true;
        if (take_name(&field, STR("Content-Type:")) && has_chinese_charset(field))
            return true;
        if ((take_name(&field, STR("Subject:")) || take_name(&field, STR("From:"))) &&
            look_at_words(&found, field))
            return true;
    }
    return found.han && !found.others;
}
