// The files of a configuration: their names and their bytes.
#ifndef CONF_SOURCE_H
#define CONF_SOURCE_H

#include "base/limits.h"
#include "conf/problem.h"

// Reads the regular file source->name. False: *reason says why not.
MUST_USE bool source_read(struct conf_source *source, struct arena *arena, const char **reason);

struct source_names {
    struct arena *arena;
    struct str pattern;
    struct str items[LIMIT_config_includes]; // sorted by bytes
    size_t count;
    bool too_many;
};

// The names in `directory` ("" is the present one) that match the pattern, which has * or ? in it.
// A directory that is not there has none. False: *reason says why not.
MUST_USE bool source_find(struct source_names *names, struct str directory, const char **reason);

// The parts of a path. The directory of "/x" is "/", that of "x" is "".
struct str source_directory(struct str path);
struct str source_name(struct str path);
// name when it is absolute, else directory/name. Empty when that is too long.
struct str source_join(struct arena *arena, struct str directory, struct str name);
bool source_is_pattern(struct str name);

#endif
