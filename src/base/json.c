#include "base/json.h"

void json_begin(struct json *j, struct buf *out)
{
    *j = (struct json){.out = out};
}

static void before_value(struct json *j)
{
    if (j->comma)
        buf_put_byte(j->out, ',');
    j->comma = true;
}

static void open_with(struct json *j, char bracket)
{
    before_value(j);
    buf_put_byte(j->out, bracket);
    j->comma = false;
}

static void close_with(struct json *j, char bracket)
{
    buf_put_byte(j->out, bracket);
    j->comma = true;
}

void json_open_object(struct json *j)
{
    open_with(j, '{');
}

void json_close_object(struct json *j)
{
    close_with(j, '}');
}

void json_open_array(struct json *j)
{
    open_with(j, '[');
}

void json_close_array(struct json *j)
{
    close_with(j, ']');
}

// Length of the well-formed UTF-8 character at s[0], 0 when there is none.
static size_t utf8_length(struct str s)
{
    unsigned char c = (unsigned char)s.ptr[0];
    size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    return n <= s.len && str_is_utf8(str_sub(s, 0, n)) ? n : 0;
}

static bool plain(char c)
{
    return (unsigned char)c >= 0x20 && (unsigned char)c < 0x7f && c != '"' && c != '\\';
}

static void put_quoted(struct buf *out, struct str s)
{
    buf_put_byte(out, '"');
    for (size_t i = 0; i < s.len;) {
        size_t run = i;
        while (run < s.len && plain(s.ptr[run]))
            run++;
        buf_put(out, str_sub(s, i, run - i));
        i = run;
        if (i == s.len)
            break;
        unsigned char c = (unsigned char)s.ptr[i];
        size_t n = utf8_length(str_skip(s, i));
        if (n > 1)
            buf_put(out, str_sub(s, i, n));
        else if (c == '"' || c == '\\')
            buf_putf(out, "\\%c", c);
        else if (n == 1)
            buf_putf(out, "\\u%04x", c);
        else
            buf_put(out, STR("\\ufffd"));
        i += n ? n : 1;
    }
    buf_put_byte(out, '"');
}

void json_name(struct json *j, const char *name)
{
    before_value(j);
    put_quoted(j->out, str_of(name));
    buf_put_byte(j->out, ':');
    j->comma = false;
}

void json_put_string(struct json *j, struct str s)
{
    before_value(j);
    put_quoted(j->out, s);
}

void json_put_int(struct json *j, int64_t v)
{
    before_value(j);
    buf_putf(j->out, "%lld", (long long)v);
}

void json_put_bool(struct json *j, bool v)
{
    before_value(j);
    buf_put(j->out, v ? STR("true") : STR("false"));
}

void json_put_null(struct json *j)
{
    before_value(j);
    buf_put(j->out, STR("null"));
}
