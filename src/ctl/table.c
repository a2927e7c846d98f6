#include "ctl/table.h"

#include "base/width.h"

enum { CELL_MAX = 65536, GUTTER = 2 };

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

static struct str cell_of(const struct table *t, const struct table_row *row, size_t i)
{
    return row ? row->cells[i] : str_of(t->columns[i].title);
}

// A row, or the titles (NULL). Blanks are written before what follows them: none end a line.
static void put_row(const struct table *t, struct buf *out, const struct table_row *row,
                    const size_t *widths)
{
    size_t blanks = 0;
    for (size_t i = 0; i < t->count; i++) {
        struct str text = cell_of(t, row, i);
        size_t gap = widths[i] - width_of(text);
        blanks += t->columns[i].right ? gap : 0;
        for (; text.len && blanks > 0; blanks--)
            buf_put_byte(out, ' ');
        buf_put(out, text);
        blanks += GUTTER + (t->columns[i].right ? 0 : gap);
    }
    buf_put_byte(out, '\n');
}

bool table_put(const struct table *t, struct buf *out, bool colour)
{
    size_t widths[TABLE_COLUMNS_MAX];
    if (t->full)
        return false;
    if (!t->first)
        return true;
    for (size_t i = 0; i < t->count; i++) {
        widths[i] = width_of(cell_of(t, NULL, i));
        for (const struct table_row *row = t->first; row; row = row->next)
            if (width_of(row->cells[i]) > widths[i])
                widths[i] = width_of(row->cells[i]);
    }
    if (colour)
        buf_put(out, STR("\033[1m"));
    put_row(t, out, NULL, widths);
    if (colour)
        buf_put(out, STR("\033[0m"));
    for (const struct table_row *row = t->first; row; row = row->next)
        put_row(t, out, row, widths);
    return true;
}
