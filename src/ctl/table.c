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

// The longest end of s (whole characters) that takes at most `columns`.
static struct str tail_fit(struct str s, size_t columns)
{
    while (s.len && width_of(s) > columns) {
        size_t n = 1;
        while (n < s.len && ((unsigned char)s.ptr[n] & 0xc0) == 0x80)
            n++;
        s = str_skip(s, n);
    }
    return s;
}

// A cell that is too wide keeps its beginning and its end.
static void fit_cell(struct buf *cell, struct str text, size_t width)
{
    buf_clear(cell);
    if (width_of(text) <= width) {
        buf_put(cell, text);
        return;
    }
    struct str head = str_sub(text, 0, width_fit(text, width / 2));
    buf_put(cell, head);
    buf_put(cell, STR("…"));
    buf_put(cell, tail_fit(text, width - 1 - width_of(head)));
}

// A row, or the titles (NULL). Blanks are written before what follows them: none end a line. A
// column of no width is left out.
static void put_row(const struct table *t, struct buf *out, const struct table_row *row,
                    const size_t *widths)
{
    struct buf cell;
    size_t blanks = 0;
    buf_init(&cell, CELL_MAX);
    for (size_t i = 0; i < t->count; i++) {
        if (!widths[i])
            continue;
        fit_cell(&cell, cell_of(t, row, i), widths[i]);
        size_t gap = widths[i] - width_of(buf_str(&cell));
        blanks += t->columns[i].right ? gap : 0;
        for (; cell.len && blanks > 0; blanks--)
            buf_put_byte(out, ' ');
        buf_put(out, buf_str(&cell));
        blanks += GUTTER + (t->columns[i].right ? 0 : gap);
    }
    buf_put_byte(out, '\n');
    buf_finish(&cell);
}

// ---- what fits

static size_t total_width(const struct table *t, const size_t *widths, bool least)
{
    size_t total = 0;
    for (size_t i = 0; i < t->count; i++) {
        bool cut = least && t->columns[i].cut && widths[i] > TABLE_CUT_LEAST;
        total += cut ? TABLE_CUT_LEAST : widths[i];
        total += total && widths[i] && i + 1 < t->count ? GUTTER : 0;
    }
    return total;
}

// The column that goes first, or t->count.
static size_t most_spare(const struct table *t, const size_t *widths)
{
    size_t found = t->count;
    for (size_t i = 0; i < t->count; i++)
        if (widths[i] && t->columns[i].spare &&
            (found == t->count || t->columns[i].spare < t->columns[found].spare))
            found = i;
    return found;
}

static size_t widest_to_cut(const struct table *t, const size_t *widths)
{
    size_t found = t->count;
    for (size_t i = 0; i < t->count; i++)
        if (t->columns[i].cut && widths[i] > TABLE_CUT_LEAST &&
            (found == t->count || widths[i] > widths[found]))
            found = i;
    return found;
}

static void fit(const struct table *t, size_t *widths, size_t width)
{
    size_t i;
    while (total_width(t, widths, true) > width && (i = most_spare(t, widths)) < t->count)
        widths[i] = 0;
    while (total_width(t, widths, false) > width && (i = widest_to_cut(t, widths)) < t->count)
        widths[i]--;
}

bool table_put(const struct table *t, struct buf *out, size_t width, bool colour)
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
    if (width)
        fit(t, widths, width);
    if (colour)
        buf_put(out, STR("\033[1m"));
    put_row(t, out, NULL, widths);
    if (colour)
        buf_put(out, STR("\033[0m"));
    for (const struct table_row *row = t->first; row; row = row->next)
        put_row(t, out, row, widths);
    return true;
}
