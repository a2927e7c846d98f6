// Lists for people: columns as wide as their widest cell, by what terminals show (CJK takes two).
// Where all together are wider than they may be, columns that can do without go first, then cells
// are cut in the middle.
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include "base/arena.h"
#include "base/buf.h"

struct table_column {
    const char *title;
    bool right;     // numbers
    bool cut;       // may be cut in the middle, to TABLE_CUT_LEAST columns of the terminal
    unsigned spare; // goes when there is no room: 1 first, then 2 ...; 0: never
};

enum { TABLE_COLUMNS_MAX = 12, TABLE_CUT_LEAST = 8 };

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
// With a line of titles, bold where `colour`, at most `width` wide, as far as that goes (0: as wide
// as it is). Nothing at all when there is no row. False when the arena was too small for all.
MUST_USE bool table_put(const struct table *t, struct buf *out, size_t width, bool colour);

#endif
