// Lists for people: columns as wide as their widest cell, by what terminals show (CJK takes two).
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include "base/arena.h"
#include "base/buf.h"

struct table_column {
    const char *title;
    bool right; // numbers
};

enum { TABLE_COLUMNS_MAX = 12 };

struct table_row {
    struct table_row *next;
    struct str cells[TABLE_COLUMNS_MAX];
};

struct table {
    struct arena *arena; // holds the cells
    const struct table_column *columns;
    size_t count; // of columns
    struct table_row *first;
    struct table_row **end;
    size_t filled; // cells of the newest row
    bool full;     // the arena is: the table is not complete
};

void table_init(struct table *t, struct arena *arena, const struct table_column *columns,
                size_t count);
// The next cell, row by row. Escaped for terminals.
void table_cell(struct table *t, struct str text);
// With a line of titles, bold where `colour`. Nothing at all when there is no row. False when the
// arena was too small for all.
MUST_USE bool table_put(const struct table *t, struct buf *out, bool colour);

#endif
