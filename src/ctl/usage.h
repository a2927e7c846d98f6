// The grammar of a command's arguments, read from its usage text (command.h), and the arguments
// matched against it.
#ifndef CTL_USAGE_H
#define CTL_USAGE_H

#include "ctl/command.h"

struct usage_item {
    struct str name;  // of an option without dashes, or of an argument
    struct str value; // what an option takes, or empty
    bool option;
    bool optional;
    bool repeats;
};

enum { USAGE_ITEMS_MAX = 16 };

struct usage {
    struct usage_item items[USAGE_ITEMS_MAX];
    size_t count;
};

// The text is our own: what does not fit the grammar ends the process.
void usage_read(const char *text, struct usage *usage);

// Sorts the words after the command into c->args, c->options and c->json. "--" ends the options;
// --name=value is taken too. False: *problem says what is wrong, or *help is set. Memory comes from
// c->arena.
MUST_USE bool usage_match(const struct usage *usage, struct command *c, const struct str *words,
                          size_t count, bool *help, struct str *problem);

#endif
