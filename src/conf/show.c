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

void conf_show(struct buf *out, const struct conf *conf)
{
    show_group(out, conf, CONF_GROUP_top);
    buf_putf(out, "%s:\n", option_group_name(CONF_GROUP_limits));
    show_group(out, conf, CONF_GROUP_limits);
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
}
