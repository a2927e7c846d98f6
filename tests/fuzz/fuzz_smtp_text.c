// A letter's text on its way out: what a receiver makes of it is the text with whole line ends, no
// end is found before the end, and no bare CR or LF leaves. The first octet chooses the pieces.
#include "proto/smtp_text.h"
#include "whole_lines.h"

enum { INPUT_MAX = 16 * 1024, OUTPUT_MAX = 256 * 1024 };

// What goes out has an end of its last line too.
static void put_sent_lines(struct buf *out, struct str text)
{
    put_whole_lines(out, text);
    if (out->len > 0 && out->ptr[out->len - 1] != '\n')
        buf_put(out, STR("\r\n"));
}

static void write_text(struct buf *out, struct str text, size_t step, bool dots)
{
    struct smtp_text writer;
    smtp_text_begin(&writer, dots);
    for (; text.len > 0; text = str_skip(text, step))
        smtp_text_put(&writer, out, str_sub(text, 0, step));
    smtp_text_end(&writer, out);
    must(buf_ok(out));
}

// What stands between DATA and the lone dot, section 4.5.2.
static void put_received(struct buf *out, struct str wire)
{
    while (!str_eq(wire, STR(".\r\n"))) {
        size_t end = str_find(wire, STR("\r\n"));
        struct str line = str_sub(wire, 0, end);
        must(end < wire.len && !str_eq(line, STR(".")));
        must(str_index(line, '\r') == line.len && str_index(line, '\n') == line.len);
        buf_put(out, str_skip(line, line.len > 0 && line.ptr[0] == '.'));
        buf_put(out, STR("\r\n"));
        wire = str_skip(wire, end + 2);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf want, wire, chunk, got;
    if (size < 1 || size > INPUT_MAX)
        return 0;
    size_t step = 1 + data[0];
    struct str text = str_from(data + 1, size - 1);
    buf_init(&want, OUTPUT_MAX);
    buf_init(&wire, OUTPUT_MAX);
    buf_init(&chunk, OUTPUT_MAX);
    buf_init(&got, OUTPUT_MAX);
    put_sent_lines(&want, text);
    write_text(&wire, text, step, true);
    write_text(&chunk, text, step, false);
    put_received(&got, buf_str(&wire));
    must(str_eq(buf_str(&got), buf_str(&want)));
    must(str_eq(buf_str(&chunk), buf_str(&want)));
    buf_finish(&got);
    buf_finish(&chunk);
    buf_finish(&wire);
    buf_finish(&want);
    return 0;
}
