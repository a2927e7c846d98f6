// The frame of the `posthouse` command. One row of commands.def is one command: its words, its
// usage, its help and its function. The usage text is what the arguments are parsed by, so help,
// manual page and behaviour cannot differ:
//
//     "ADDR [--password-stdin]"             one argument, an optional flag
//     "DIR --hostname NAME --domain NAME... [--smtp ADDR:PORT]"
//                                           a needed option, one that repeats, an optional one
//
//     item = ["["] ( "--option" [" VALUE"] | ARGUMENT ) ["]"] ["..."]
//
// --help and, with COMMAND_JSON, --json are taken everywhere and not written in the usage. What
// does not fit the usage ends in a message and exit 64 before the function runs.
//
// To add a command: a row in commands.def, `int function(struct command *c)` in a file of ctl/.
#ifndef CTL_COMMAND_H
#define CTL_COMMAND_H

#include "conf/conf.h"

// Exit codes of all commands.
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1, // the answer is no, or it failed
    EXIT_USAGE = 64, // sysexits.h EX_USAGE
    EXIT_LATER = 75, // sysexits.h EX_TEMPFAIL
};

enum command_flags {
    COMMAND_PLAIN = 0,
    COMMAND_CONF = 1, // c->conf is loaded and checked before the function runs
    COMMAND_JSON = 2, // takes --json
};

struct command;
struct offline; // offline.h

struct command_row {
    const char *group; // first word
    const char *name;  // second word, or "" for a command of one word
    const char *usage; // see above
    unsigned flags;    // enum command_flags
    int (*run)(struct command *c);
    const char *help; // one sentence; the first line of its manual entry
};

struct command_option {
    struct str name; // without the dashes
    struct str value;
};

struct command {
    const struct command_row *row;
    struct str conf_path;    // -c, POSTHOUSE_CONF, or the default
    const struct conf *conf; // with COMMAND_CONF; else NULL
    const struct str *args;  // arguments in order, options taken out
    size_t arg_count;
    const struct command_option *options;
    size_t option_count;
    bool json;
    bool colour;             // standard output is a terminal and NO_COLOR is not set
    size_t width;            // COLUMNS, or that of the terminal; 0: there is no bound
    struct offline *offline; // the spool, once it was opened because no instance runs
    struct arena *arena;     // lives as long as the process
    struct buf out;          // standard output: written when the function returned
};

// The functions of the table.
#define COMMAND(group, name, usage, flags, function, help) int function(struct command *c);
#include "ctl/commands.def"
#undef COMMAND

// The table: commands.def in its order.
const struct command_row *command_rows(size_t *count);

// Was --name given?
bool command_has(const struct command *c, const char *name);
// The value of the nth --name VALUE (from 0); false when there are not so many.
bool command_value(const struct command *c, const char *name, size_t nth, struct str *value);

// Say "posthouse: text" on standard error and return the exit code, so that a function can write:
// return command_fail(c, ...). Text from outside is passed by %.*s and comes out escaped.
int command_fail(const struct command *c, const char *fmt, ...) PRINTF_LIKE(2, 3);  // 1
int command_usage(const struct command *c, const char *fmt, ...) PRINTF_LIKE(2, 3); // 64
int command_later(const struct command *c, const char *fmt, ...) PRINTF_LIKE(2, 3); // 75
// By the class: ERR_TRY_LATER is 75, all else 1.
int command_error(const struct command *c, const struct err *err);
// A line on standard error that is no failure.
void command_note(const struct command *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
// Writes what is in c->out now: before a prompt, or in a long run. False when standard output is
// gone; the function returns EXIT_FAILED then.
MUST_USE bool command_flush(struct command *c);

#endif
