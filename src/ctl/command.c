#include "ctl/command.h"

#include "os/file.h"

enum { MESSAGE_MAX = 65536 };

static const struct command_row rows[] = {
#define COMMAND(group, name, usage, flags, function, help)                                         \
    {group, name, usage, flags, function, help},
#include "ctl/commands.def"
#undef COMMAND
};

const struct command_row *command_rows(size_t *count)
{
    *count = ARRAY_LEN(rows);
    return rows;
}

bool command_value(const struct command *c, const char *name, size_t nth, struct str *value)
{
    for (size_t i = 0; i < c->option_count; i++)
        if (str_eq(c->options[i].name, str_of(name)) && nth-- == 0) {
            *value = c->options[i].value;
            return true;
        }
    return false;
}

bool command_has(const struct command *c, const char *name)
{
    struct str value;
    return command_value(c, name, 0, &value);
}

// Standard error is where failures are told: when it is gone too, the exit code is left.
static void say(struct str text)
{
    struct buf line;
    buf_init(&line, 4 * MESSAGE_MAX + 64);
    buf_putf(&line, "posthouse: %.*s\n", STR_ARG(text));
    int result = os_write_all(2, buf_str(&line));
    (void)result;
    buf_finish(&line);
}

PRINTF_LIKE(1, 0)
static void say_escaped(const char *fmt, va_list args)
{
    struct buf raw, safe;
    buf_init(&raw, MESSAGE_MAX);
    buf_init(&safe, 4 * MESSAGE_MAX);
    buf_vputf(&raw, fmt, args);
    buf_put_escaped(&safe, buf_ok(&raw) ? buf_str(&raw) : STR("(a message too long to be shown)"));
    say(buf_str(&safe));
    buf_finish(&raw);
    buf_finish(&safe);
}

int command_fail(const struct command *c, const char *fmt, ...)
{
    va_list args;
    (void)c;
    va_start(args, fmt);
    say_escaped(fmt, args);
    va_end(args);
    return EXIT_FAILED;
}

int command_later(const struct command *c, const char *fmt, ...)
{
    va_list args;
    (void)c;
    va_start(args, fmt);
    say_escaped(fmt, args);
    va_end(args);
    return EXIT_LATER;
}

int command_usage(const struct command *c, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say_escaped(fmt, args);
    va_end(args);
    if (c->row) {
        const struct command_row *row = c->row;
        command_note(c, "usage: posthouse %s%s%s%s%s%s", row->group, row->name[0] ? " " : "",
                     row->name, row->usage[0] ? " " : "", row->usage,
                     row->flags & COMMAND_JSON ? " [--json]" : "");
    }
    return EXIT_USAGE;
}

int command_error(const struct command *c, const struct err *err)
{
    (void)c;
    say(err_text(err)); // safe to show already
    return err->class == ERR_TRY_LATER ? EXIT_LATER : EXIT_FAILED;
}

void command_note(const struct command *c, const char *fmt, ...)
{
    va_list args;
    (void)c;
    va_start(args, fmt);
    say_escaped(fmt, args);
    va_end(args);
}

bool command_flush(struct command *c)
{
    int result = buf_ok(&c->out) ? os_write_all(1, buf_str(&c->out)) : -1;
    if (!buf_ok(&c->out))
        command_note(c, "the output is too large");
    buf_clear(&c->out);
    return result >= 0;
}
