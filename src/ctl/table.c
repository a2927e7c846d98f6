#include "ctl/table.h"

#include "base/width.h"

enum { CELL_MAX = 65536 };

void table_init(struct table *t, struct arena *arena, const struct table_column *columns,
                size_t count)
{
    must(count > 0 && count <= TABLE_COLUMNS_MAX);
    *t = (struct table){.arena = arena, .columns = columns, .count = count, .filled = count};
    t->end = &t->first;
}

void table_cell(struct table *t, struct str text)
{
    struct buf safe;
    if (t->full)
        return;
    if (t->filled == t->count) {
        struct table_row *row = ARENA_NEW(t->arena, struct table_row);
        t->full = !row;
        if (t->full)
            return;
        *t->end = row;
        t->filled = 0;
    }
    struct table_row *row = *t->end;
    buf_init(&safe, CELL_MAX);
    buf_put_escaped(&safe, text);
    t->full = !buf_ok(&safe) || !arena_copy(t->arena, buf_str(&safe), &row->cells[t->filled]);
    buf_finish(&safe);
    if (++t->filled == t->count)
        t->end = &row->next;
}

static void put_padded(struct buf *out, struct str text, size_t width, bool right, bool last)
{
    size_t gap = width - width_of(text);
    if (!right)
        buf_put(out, text);
    // No blanks at the end of a line.
    for (; gap > 0 && (right || !last); gap--)
        buf_put_byte(out, ' ');
    if (right)
        buf_put(out, text);
    buf_put(out, last ? STR("\n") : STR("  "));
}

bool table_put(const struct table *t, struct buf *out, bool colour)
{
    size_t widths[TABLE_COLUMNS_MAX];
    if (t->full)
        return false;
    if (!t->first)
        return true;
    for (size_t i = 0; i < t->count; i++) {
        widths[i] = width_of(str_of(t->columns[i].title));
        for (const struct table_row *row = t->first; row; row = row->next)
            if (width_of(row->cells[i]) > widths[i])
                widths[i] = width_of(row->cells[i]);
    }
    if (colour)
        buf_put(out, STR("\033[1m"));
    for (size_t i = 0; i < t->count; i++)
        put_padded(out, str_of(t->columns[i].title), widths[i], t->columns[i].right,
                   i + 1 == t->count);
    if (colour)
        buf_put(out, STR("\033[0m"));
    for (const struct table_row *row = t->first; row; row = row->next)
        for (size_t i = 0; i < t->count; i++)
            put_padded(out, row->cells[i], widths[i], t->columns[i].right, i + 1 == t->count);
    return true;
}
