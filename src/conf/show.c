// The effective values as YAML that can be read again.
#include "base/width.h"
#include "conf/value.h"

enum { COMMENT_COLUMN = 44, LINE_MAX = 65536 };

static void put_place(struct buf *out, const struct conf_place *place)
{
    if (!place || !place->line)
        buf_put(out, STR("default"));
    else {
        buf_put_escaped(out, place->file);
        buf_putf(out, ":%u", place->line);
    }
}

// "text   # where"
static void put_line(struct buf *out, struct str text, const struct conf_place *place)
{
    buf_put(out, text);
    size_t width = width_of(text);
    do
        buf_put_byte(out, ' ');
    while (++width < COMMENT_COLUMN);
    buf_put(out, STR("# "));
    put_place(out, place);
    buf_put_byte(out, '\n');
}

static void show_group(struct buf *out, const struct conf *conf, enum conf_group group)
{
    for (enum conf_option_number n = 0; n < CONF_OPTIONS; n++) {
        const struct conf_option *option = option_at(n);
        struct conf_value value = value_of(conf, option);
        struct buf line;
        if (option->group != group)
            continue;
        buf_init(&line, LINE_MAX);
        buf_putf(&line, "%s%s: ", group == CONF_GROUP_top ? "" : "  ", option->name);
        value_put(&line, option, &value);
        put_line(out, buf_str(&line), conf->places ? &conf->places[n] : NULL);
        buf_finish(&line);
    }
}

static void show_routes(struct buf *out, const struct conf *conf)
{
    const struct conf_option *fields = option_record(CONF_RECORD_routes)->fields;
    buf_putf(out, "routes:%s\n", conf->route_count ? "" : " []");
    for (size_t i = 0; i < conf->route_count; i++) {
        const struct route_rule *rule = &conf->routes[i];
        const struct str texts[] = {rule->domain, rule->sender, rule->to};
        struct buf line;
        buf_init(&line, LINE_MAX);
        for (size_t k = 0; k < ARRAY_LEN(texts); k++) {
            if (texts[k].len == 0)
                continue;
            buf_putf(&line, "%s%s: ", k ? ", " : "  - {", fields[k].name);
            value_put(&line, &fields[k], &(struct conf_value){.text = texts[k]});
        }
        buf_put_byte(&line, '}');
        put_line(out, buf_str(&line), conf->route_places ? &conf->route_places[i] : NULL);
        buf_finish(&line);
    }
}

void conf_show(struct buf *out, const struct conf *conf)
{
    show_group(out, conf, CONF_GROUP_top);
    for (enum conf_group group = CONF_GROUP_top + 1; group < CONF_GROUPS; group++) {
        buf_putf(out, "%s:\n", option_group_name(group));
        show_group(out, conf, group);
    }
    buf_putf(out, "listen:%s\n", conf->listen_count ? "" : " []");
    for (size_t i = 0; i < conf->listen_count; i++) {
        struct buf line;
        buf_init(&line, LINE_MAX);
        buf_putf(&line, "  - {protocol: %s, address: \"",
                 conf_protocol_name(conf->listen[i].protocol));
        net_put_address(&line, &conf->listen[i].address);
        buf_put(&line, STR("\"}"));
        put_line(out, buf_str(&line), &conf->listen[i].place);
        buf_finish(&line);
    }
    show_routes(out, conf);
}
