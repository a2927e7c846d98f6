// What is wrong with a configuration, gathered so that one run tells all of it.
#ifndef CONF_PROBLEM_H
#define CONF_PROBLEM_H

#include "conf/conf.h"

// One file that was read. `name` is the path it was opened by.
struct conf_source {
    struct str name;
    struct str text;
    uint64_t device, inode;
};

// What is wrong with a value and what to write instead, before it is known where it stands.
struct complaint {
    struct str text;
    struct str hint;
};

// Formats into the arena, escaped for terminals; when the arena is full, a fixed text that says so.
struct str problem_text(struct arena *arena, const char *fmt, ...) PRINTF_LIKE(2, 3);
// Fill *complaint; always false.
bool complain(struct complaint *complaint, struct str text, struct str hint);

void problems_init(struct conf_problems *problems, struct arena *arena);
// Line 0: the file as a whole; `source` may be NULL then.
void problems_add(struct conf_problems *problems, const struct conf_source *source,
                  struct conf_place place, struct complaint complaint);
// Orders by file (as in `sources`), line and column.
void problems_sort(struct conf_problems *problems, const struct conf_source *sources,
                   size_t source_count);

#endif
