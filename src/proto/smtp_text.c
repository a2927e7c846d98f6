#include "proto/smtp_text.h"

void smtp_text_begin(struct smtp_text *t, bool dots)
{
    *t = (struct smtp_text){.dots = dots, .line_begin = true};
    smtp_data_begin_counted(&t->lines);
}

static void put_piece(struct smtp_text *t, struct buf *out, struct str piece)
{
    if (piece.len == 0)
        return;
    if (t->dots && t->line_begin && piece.ptr[0] == '.')
        buf_put_byte(out, '.');
    buf_put(out, piece);
    t->line_begin = piece.ptr[piece.len - 1] == '\n';
}

void smtp_text_put(struct smtp_text *t, struct buf *out, struct str text)
{
    struct str piece;
    bool end;
    while (text.len > 0) {
        text = str_skip(text, smtp_data_feed(&t->lines, text, &piece, &end));
        put_piece(t, out, piece);
    }
}

void smtp_text_end(struct smtp_text *t, struct buf *out)
{
    put_piece(t, out, smtp_data_rest(&t->lines));
    if (!t->line_begin)
        buf_put(out, STR("\r\n"));
    if (t->dots)
        buf_put(out, STR(".\r\n"));
}
