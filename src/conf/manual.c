// posthouse.yaml(5), in mdoc(7), made of the tables.
#include "base/roff.h"
#include "conf/value.h"

// A line of running text.
static void put_prose(struct buf *out, struct str text)
{
    roff_put(out, text);
    buf_put_byte(out, '\n');
}

static const char *type_name(enum conf_type type)
{
    // clang-format off
    static const char *const names[] = {
        [CONF_NAME] = "domain name",  [CONF_PATH] = "path", [CONF_TEXT] = "text",
        [CONF_SIZE] = "size",         [CONF_TIME] = "time", [CONF_COUNT] = "number",
        [CONF_FLAG] = "yes or no",    [CONF_CHOICE] = "word",
        [CONF_CLOCK] = "hour",        [CONF_SERVER] = "server",
        [CONF_NETWORKS] = "list",     [CONF_ADDRESS] = "address",
        [CONF_PATTERN] = "domain",    [CONF_TARGET] = "target",
    };
    // clang-format on
    return names[type];
}

static void put_range(struct buf *out, const struct conf_option *option)
{
    struct buf line;
    if (option->max == 0)
        return;
    buf_init(&line, 200);
    buf_put(&line, STR("From "));
    value_put(&line, option, &(struct conf_value){.number = option->min});
    buf_put(&line, STR(" to "));
    value_put(&line, option, &(struct conf_value){.number = option->max});
    buf_put_byte(&line, '.');
    put_prose(out, buf_str(&line));
    buf_finish(&line);
}

static void put_words(struct buf *out, const struct conf_option *option)
{
    const char *word, *help;
    if (option->type != CONF_CHOICE)
        return;
    buf_put(out, STR(".Bl -tag -width Ds -compact\n"));
    for (uint64_t n = 0; (word = option_choice(option, n, &help)) != NULL; n++) {
        buf_putf(out, ".It Cm %s\n", word);
        put_prose(out, str_of(help));
    }
    buf_put(out, STR(".El\n"));
}

static void put_option(struct buf *out, const struct conf_option *option, bool in_record)
{
    buf_putf(out, ".It Ic %s : Ar %s\n", option->name, type_name(option->type));
    put_prose(out, str_of(option->help));
    put_range(out, option);
    put_words(out, option);
    if (in_record) {
        if (!option->needed)
            buf_put(out, STR("It may be left out.\n"));
        return;
    }
    if (option->preset[0])
        buf_putf(out, "The default is\n.Ql %s .\n", option->preset);
    else if (option->type == CONF_NAME)
        buf_put(out, STR("It must be given.\n"));
    else
        buf_put(out, STR("Empty by default.\n"));
    if (!option->live)
        buf_put(out, STR("A change needs a restart.\n"));
}

static void put_group(struct buf *out, enum conf_group group)
{
    buf_put(out, STR(".Bl -tag -width Ds\n"));
    for (enum conf_option_number n = 0; n < CONF_OPTIONS; n++)
        if (option_at(n)->group == group)
            put_option(out, option_at(n), false);
    buf_put(out, STR(".El\n"));
}

static void put_record(struct buf *out, const struct conf_record *record)
{
    buf_putf(out, ".It Ic %s : Ar list\n", record->name);
    put_prose(out, str_of(record->help));
    buf_put(out, STR("Each entry has:\n.Bl -tag -width Ds\n"));
    for (size_t i = 0; i < record->field_count; i++)
        put_option(out, &record->fields[i], true);
    buf_put(out, STR(".El\n"));
}

static const char head[] =
    ".\\\" Made from src/conf/options.def by tools/man; do not edit.\n"
    ".Dd November 22, 2026\n"
    ".Dt POSTHOUSE.YAML 5\n"
    ".Os Posthouse " POSTHOUSE_VERSION "\n"
    ".Sh NAME\n"
    ".Nm posthouse.yaml\n"
    ".Nd configuration of the Posthouse mail system\n"
    ".Sh DESCRIPTION\n"
    "The file is YAML in UTF\\-8: one document, without anchors, aliases and tags.\n"
    "It is the administrator\\(aqs: the server reads it and never writes it.\n"
    "Hosted domains and users are not here but in the directory, see\n"
    ".Xr posthouse 8 .\n"
    ".Pp\n"
    "Paths are relative to the file they stand in.\n"
    "A size is a number of octets, or of\n"
    ".Cm K , M\n"
    "or\n"
    ".Cm G\n"
    "(KiB, MiB, GiB):\n"
    ".Ql 25M .\n"
    "A time has the unit\n"
    ".Cm ms , s , m , h\n"
    "or\n"
    ".Cm d :\n"
    ".Ql 30s ,\n"
    ".Ql 5m .\n"
    "A value that begins with a character such as * or % or holds a colon and a space goes in "
    "double quotes.\n"
    ".Pp\n"
    "After a change,\n"
    ".Ql posthouse config check\n"
    "tells all mistakes at once, and\n"
    ".Ql posthouse reload\n"
    "makes the running server take it in.\n"
    ".Sh KEYS\n";

static const char tail[] = ".Sh EXAMPLES\n"
                           ".Bd -literal\n"
                           "hostname: mail.example.com\n"
                           "listen:\n"
                           "  \\- {protocol: smtp, address: \"*:25\"}\n"
                           "  \\- {protocol: pop3, address: \"127.0.0.1:110\"}\n"
                           "limits: {max_message: 50M}\n"
                           "routes:\n"
                           "  \\- {domain: .example.net, to: \"smtp://192.0.2.7:25\"}\n"
                           ".Ed\n"
                           ".Sh SEE ALSO\n"
                           ".Xr posthouse 8\n";

void conf_put_manual(struct buf *out)
{
    buf_put(out, str_of(head));
    put_group(out, CONF_GROUP_top);
    buf_put(out, STR(".Bl -tag -width Ds\n"));
    for (enum conf_record_number n = 0; n < CONF_RECORDS; n++)
        put_record(out, option_record(n));
    buf_put(out, STR(".It Ic include : Ar list\n"));
    put_prose(out, STR(CONF_INCLUDE_HELP));
    buf_put(out, STR(".El\n"
                     ".Sh LIMITS\n"
                     "These stand below the key\n"
                     ".Ic limits .\n"));
    put_group(out, CONF_GROUP_limits);
    buf_put(out, STR(".Sh DNS\n"
                     "These stand below the key\n"
                     ".Ic dns .\n"));
    put_group(out, CONF_GROUP_dns);
    buf_put(out, str_of(tail));
}
