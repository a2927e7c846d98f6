#include "ctl/help.h"

#include "base/roff.h"
#include "ctl/find.h"

enum { TEXT_COLUMN = 26, TEXT_COLUMNS = 78 };

static void put_words(struct buf *out, const struct command_row *row)
{
    buf_putf(out, "%s%s%s", row->group, row->name[0] ? " " : "", row->name);
}

static void put_usage(struct buf *out, const struct command_row *row)
{
    put_words(out, row);
    buf_putf(out, "%s%s%s", row->usage[0] ? " " : "", row->usage,
             row->flags & COMMAND_JSON ? " [--json]" : "");
}

// Fills lines up to TEXT_COLUMNS; each begins after `indent` blanks, save the first.
static void put_filled(struct buf *out, struct str text, size_t indent)
{
    size_t column = indent;
    struct str word;
    while (str_cut(&text, ' ', &word)) {
        if (column > indent && column + 1 + word.len > TEXT_COLUMNS) {
            buf_put_byte(out, '\n');
            for (column = 0; column < indent; column++)
                buf_put_byte(out, ' ');
        } else if (column > indent) {
            buf_put_byte(out, ' ');
            column++;
        }
        buf_put(out, word);
        column += word.len;
    }
    buf_put_byte(out, '\n');
}

static struct str first_sentence(struct str text)
{
    size_t end = str_find(text, STR(". "));
    return end < text.len ? str_sub(text, 0, end + 1) : text;
}

static void put_line(struct buf *out, const struct command_row *row)
{
    size_t before = out->len;
    buf_put(out, STR("  "));
    put_words(out, row);
    do
        buf_put_byte(out, ' ');
    while (out->len - before < TEXT_COLUMN && buf_ok(out));
    put_filled(out, first_sentence(str_of(row->help)), TEXT_COLUMN);
}

void help_put_list(struct buf *out)
{
    size_t count;
    const struct command_row *rows = command_rows(&count);
    buf_put(out, STR("usage: posthouse [-c FILE] COMMAND [ARGUMENT...]\n"
                     "       posthouse COMMAND --help\n\n"));
    for (size_t i = 0; i < count; i++)
        put_line(out, &rows[i]);
    buf_put(out, STR("\n-c FILE is the configuration; without it POSTHOUSE_CONF, or\n"
                     "/etc/posthouse/posthouse.yaml.\n"));
}

void help_put_command(struct buf *out, const struct command_row *row)
{
    buf_put(out, STR("usage: posthouse "));
    put_usage(out, row);
    buf_put(out, STR("\n\n"));
    put_filled(out, str_of(row->help), 0);
}

bool help_put_group(struct buf *out, struct str group)
{
    size_t count, found = 0;
    const struct command_row *rows = command_rows(&count);
    for (size_t i = 0; i < count; i++)
        if (str_eq(str_of(rows[i].group), group)) {
            buf_put(out, found++ ? STR("       posthouse ") : STR("usage: posthouse "));
            put_usage(out, &rows[i]);
            buf_put_byte(out, '\n');
        }
    return found > 0;
}

// ---- the manual page

static void put_entry(struct buf *out, const struct command_row *row)
{
    buf_putf(out, ".It Ic %s%s%s", row->group, row->name[0] ? " " : "", row->name);
    if (row->usage[0] || (row->flags & COMMAND_JSON))
        buf_put(out, STR(" No "));
    roff_put(out, str_of(row->usage));
    if (row->flags & COMMAND_JSON)
        buf_putf(out, "%s[\\-\\-json]", row->usage[0] ? " " : "");
    buf_put_byte(out, '\n');
    roff_put(out, str_of(row->help));
    buf_put_byte(out, '\n');
}

static const char head[] =
    ".\\\" Made from src/ctl/commands.def by tools/man; do not edit.\n"
    ".Dd November 22, 2026\n"
    ".Dt POSTHOUSE 8\n"
    ".Os Posthouse " POSTHOUSE_VERSION "\n"
    ".Sh NAME\n"
    ".Nm posthouse\n"
    ".Nd administer the Posthouse mail system\n"
    ".Sh SYNOPSIS\n"
    ".Nm\n"
    ".Op Fl c Ar file\n"
    ".Ar command\n"
    ".Op Ar argument ...\n"
    ".Nm\n"
    ".Fl \\-version\n"
    ".Sh DESCRIPTION\n"
    "Posthouse is a mail system: it takes letters by SMTP, keeps them in a queue, delivers them\n"
    "into Maildirs and hands them out by POP3.\n"
    "This command makes an instance, runs it and looks after it.\n"
    ".Bl -tag -width Ds\n"
    ".It Fl c Ar file\n"
    "The configuration, see\n"
    ".Xr posthouse.yaml 5 .\n"
    "It stands before the command.\n"
    ".It Fl \\-help\n"
    "Explains the command it stands with.\n"
    ".It Fl \\-json\n"
    "Where a command takes it: output for programs, one JSON object a line.\n"
    ".El\n"
    ".Sh COMMANDS\n"
    ".Bl -tag -width Ds\n";

static const char tail[] =
    ".El\n"
    ".Sh ENVIRONMENT\n"
    ".Bl -tag -width POSTHOUSE_CONF\n"
    ".It Ev POSTHOUSE_CONF\n"
    "The configuration when\n"
    ".Fl c\n"
    "is not given.\n"
    ".It Ev COLUMNS\n"
    "How wide a table of the queue may be; else it is as wide as the terminal, and without one as\n"
    "wide as its cells.\n"
    ".It Ev NO_COLOR\n"
    "When set and not empty, nothing is coloured.\n"
    ".El\n"
    ".Sh FILES\n"
    ".Bl -tag -width Ds\n"
    ".It Pa /etc/posthouse/posthouse.yaml\n"
    "The configuration when neither\n"
    ".Fl c\n"
    "nor\n"
    ".Ev POSTHOUSE_CONF\n"
    "is given.\n"
    ".It Pa STATE_DIR/control\n"
    "The socket over which this command speaks to the running instance.\n"
    ".El\n"
    ".Sh EXIT STATUS\n"
    ".Bl -tag -width Ds -compact\n"
    ".It 0\n"
    "Done.\n"
    ".It 1\n"
    "The answer is no, or it failed; standard error says why.\n"
    ".It 64\n"
    "The command was used wrongly.\n"
    ".It 75\n"
    "It failed for now: try again.\n"
    ".El\n"
    ".Sh EXAMPLES\n"
    "An instance in a directory, with one user:\n"
    ".Bd -literal -offset indent\n"
    "posthouse init mail \\-\\-hostname mail.example.com \\-\\-domain example.com\n"
    "export POSTHOUSE_CONF=mail/posthouse.yaml\n"
    "posthouse user add alice@example.com\n"
    "posthouse serve\n"
    ".Ed\n"
    ".Sh SEE ALSO\n"
    ".Xr mailq 1 ,\n"
    ".Xr posthouse.yaml 5\n";

void help_put_manual(struct buf *out)
{
    size_t count;
    const struct command_row *rows = command_rows(&count);
    buf_put(out, str_of(head));
    for (size_t i = 0; i < count; i++)
        put_entry(out, &rows[i]);
    buf_put(out, str_of(tail));
}

int help_command(struct command *c)
{
    struct str page, group = c->arg_count ? c->args[0] : STR("");
    struct str name = c->arg_count > 1 ? c->args[1] : STR("");
    if (command_value(c, "man", 0, &page)) {
        if (str_eq(page, STR("posthouse.8")))
            help_put_manual(&c->out);
        else if (str_eq(page, STR("posthouse.yaml.5")))
            conf_put_manual(&c->out);
        else
            return command_usage(c, "there is no page \"%.*s\"", STR_ARG(page));
        return EXIT_DONE;
    }
    if (c->arg_count == 0) {
        help_put_list(&c->out);
        return EXIT_DONE;
    }
    const struct command_row *row = find_row(group, name);
    if (c->arg_count <= 2 && row)
        help_put_command(&c->out, row);
    else if (c->arg_count > 1 || !help_put_group(&c->out, group))
        return find_fail(c, group, name);
    return EXIT_DONE;
}
