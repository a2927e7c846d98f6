// Answers that are JSON objects, one a line: passed on as they are, or shown as a table.
#ifndef CTL_RECORD_H
#define CTL_RECORD_H

#include "ctl/command.h"
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

// Asks the running instance, page by page, and puts the answer into c->out as --json wants it; what
// is complete is written on the way.
MUST_USE int record_command(struct command *c, const char *request,
                            const struct table_column *columns, const struct record_field *fields,
                            size_t count);

#endif
