// Answers that are JSON objects, one a line: passed on as they are, or shown as a table.
#ifndef CTL_RECORD_H
#define CTL_RECORD_H

#include "ctl/control.h"
#include "ctl/table.h"

enum record_kind {
    RECORD_TEXT, // a string, a number as it is, yes or no
    RECORD_TIME, // a string, or milliseconds since 1970
    RECORD_PATH, // a mail path: in angle brackets when it is empty
};

struct record_field {
    const char *name;
    enum record_kind kind;
};

struct record_table {
    const struct table_column *columns;
    const struct record_field *fields; // as many
    size_t count;
};

// Asks page by page, and puts the answer into c->out as --json wants it; what is complete is
// written on the way.
MUST_USE int record_command(struct command *c, const struct control_question *question,
                            struct record_table *table);
// The table alone: `lines` holds an object a line.
MUST_USE int record_put(struct command *c, const struct record_table *table, struct str lines);

#endif
