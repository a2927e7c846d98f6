// The tables of the configuration (options.def, records.def, choices.def) as data.
#ifndef CONF_OPTION_H
#define CONF_OPTION_H

#include "conf/conf.h"

enum conf_type {
    CONF_NAME,
    CONF_PATH,
    CONF_TEXT,
    CONF_SIZE,
    CONF_TIME,
    CONF_COUNT,
    CONF_CLOCK,
    CONF_FLAG,
    CONF_CHOICE,
    CONF_SERVER,
    CONF_NETWORKS,
    CONF_ADDRESS, // this one and those below: fields of records only
    CONF_PATTERN,
    CONF_TARGET,
};

enum conf_option_number {
#define OPTION(group, name, ...) CONF_OPTION_##group##_##name,
#include "conf/options.def"
#undef OPTION
    CONF_OPTIONS,
};

enum conf_group { CONF_GROUP_top, CONF_GROUP_limits, CONF_GROUP_dns, CONF_GROUPS };

enum conf_record_number {
#define RECORD(name, help, example, fields) CONF_RECORD_##name,
#include "conf/records.def"
#undef RECORD
    CONF_RECORDS,
};

// An option, or a field of a record (then offset, group, live and preset mean nothing; in an option
// `needed` does).
struct conf_option {
    enum conf_group group;
    enum conf_type type;
    const char *name;
    const char *preset; // the default, as one would write it
    uint64_t min, max;  // SIZE, TIME (ms), COUNT, CLOCK (minutes)
    bool live;
    bool needed; // a field without which there is no record
    const char *help;
    size_t offset; // of its member in struct conf
};

struct conf_record {
    const char *name;
    const char *help;
    const char *example; // an entry, as one would write it
    const struct conf_option *fields;
    size_t field_count;
};

enum { CONF_FIELDS_MAX = 8 }; // of one record

#define CONF_INCLUDE_HELP                                                                          \
    "More files, relative to this one; * and ? match in the name of the file. Lists are joined, "  \
    "in the order of the files' names; a value that stands in two files is a mistake."

const struct conf_option *option_at(enum conf_option_number number);
const char *option_group_name(enum conf_group group); // "" for the top
// CONF_OPTIONS when there is none such.
enum conf_option_number option_find(enum conf_group group, struct str name);
const struct conf_record *option_record(enum conf_record_number number);

// The nth word of a choice; NULL past the last. `help` may be NULL.
const char *option_choice(const struct conf_option *option, uint64_t nth, const char **help);

#endif
