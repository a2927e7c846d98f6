// A configuration for a person to start from: every option with its explanation, made of the
// tables.
#include "conf/value.h"

enum { COMMENT_COLUMNS = 78, HELP_MAX = 1000 };

// "# text", filled.
static void put_comment(struct buf *out, const char *indent, struct str text)
{
    struct str word;
    size_t column = 0;
    while (str_cut(&text, ' ', &word)) {
        if (column > 0 && column + 1 + word.len > COMMENT_COLUMNS) {
            buf_put_byte(out, '\n');
            column = 0;
        }
        if (column == 0) {
            size_t before = out->len;
            buf_putf(out, "%s#", indent);
            column = out->len - before;
        }
        buf_put_byte(out, ' ');
        buf_put(out, word);
        column += 1 + word.len;
    }
    buf_put_byte(out, '\n');
}

static const struct conf_setting *find_setting(const struct conf_sample *sample,
                                               const struct conf_option *option)
{
    const struct conf_setting *found = NULL;
    const char *group = option_group_name(option->group);
    struct buf name;
    buf_init(&name, HELP_MAX);
    buf_putf(&name, "%s%s%s", group, group[0] ? "." : "", option->name);
    for (size_t i = 0; i < sample->count; i++)
        if (str_eq(sample->settings[i].name, buf_str(&name)) && sample->settings[i].value.len)
            found = &sample->settings[i];
    buf_finish(&name);
    return found;
}

static void put_option(struct buf *out, const char *indent, const struct conf_option *option,
                       const struct conf_setting *setting)
{
    struct str text = setting ? setting->value : str_of(option->preset);
    buf_put_byte(out, '\n');
    put_comment(out, indent, str_of(option->help));
    buf_putf(out, "%s%s%s: ", indent, setting ? "" : "#", option->name);
    if (value_has_text(option))
        value_put(out, option, &(struct conf_value){.text = text});
    else if (text.len)
        buf_put(out, text);
    else // an empty list
        value_put(out, option, &(struct conf_value){.text = text});
    buf_put_byte(out, '\n');
}

static void put_record_help(struct buf *out, const struct conf_record *record)
{
    buf_put_byte(out, '\n');
    put_comment(out, "", str_of(record->help));
    for (size_t i = 0; i < record->field_count; i++) {
        struct buf line;
        buf_init(&line, HELP_MAX);
        buf_putf(&line, "%s: %s", record->fields[i].name, record->fields[i].help);
        put_comment(out, "", buf_str(&line));
        buf_finish(&line);
    }
}

static void put_routes(struct buf *out, const struct conf_sample *sample)
{
    const struct conf_record *record = option_record(CONF_RECORD_routes);
    put_record_help(out, record);
    buf_put(out, STR("routes:\n"));
    for (size_t i = 0; i < sample->route_count; i++)
        buf_putf(out, "  - {domain: \"%.*s\", to: \"%.*s\"}\n", STR_ARG(sample->routes[i].domain),
                 STR_ARG(sample->routes[i].to));
    if (!sample->route_count)
        buf_putf(out, "  #- %s\n", record->example);
}

static void put_group(struct buf *out, const struct conf_sample *sample, enum conf_group group)
{
    buf_putf(out, "\n%s:\n", option_group_name(group));
    for (enum conf_option_number n = 0; n < CONF_OPTIONS; n++)
        if (option_at(n)->group == group)
            put_option(out, "  ", option_at(n), find_setting(sample, option_at(n)));
}

static void put_listeners(struct buf *out, const struct conf_sample *sample)
{
    bool any = false;
    put_record_help(out, option_record(CONF_RECORD_listen));
    buf_put(out, STR("listen:\n"));
    for (unsigned p = 0; p < CONF_PROTOCOLS; p++) {
        struct str address = sample->listen[p];
        any |= address.len > 0;
        if (address.len)
            buf_putf(out, "  - {protocol: %s, address: \"%.*s\"}\n",
                     conf_protocol_name((enum conf_protocol)p), STR_ARG(address));
    }
    if (!any)
        buf_put(out, STR("  #- {protocol: smtp, address: \"*:25\"}\n"));
}

void conf_put_sample(struct buf *out, const struct conf_sample *sample)
{
    buf_put(out, STR("# Configuration of Posthouse; posthouse.yaml(5) explains it all.\n"
                     "# After a change: posthouse config check, then posthouse reload.\n"
                     "# What stands as a comment is the default. Domains and users are not here:\n"
                     "# posthouse domain add, posthouse user add.\n"));
    for (enum conf_option_number n = 0; n < CONF_OPTIONS; n++)
        if (option_at(n)->group == CONF_GROUP_top)
            put_option(out, "", option_at(n), find_setting(sample, option_at(n)));
    put_listeners(out, sample);
    put_routes(out, sample);
    put_group(out, sample, CONF_GROUP_dns);
    put_group(out, sample, CONF_GROUP_limits);
    buf_put_byte(out, '\n');
    put_comment(out, "", STR(CONF_INCLUDE_HELP));
    buf_put(out, STR("#include: [conf.d/*.yaml]\n"));
}
