// The configuration as a JSON Schema (draft 7): editors complete keys and mark mistakes by it.
#include "base/json.h"
#include "conf/option.h"

static void put_pair(struct json *j, const char *name, struct str value)
{
    json_name(j, name);
    json_put_string(j, value);
}

static void put_words(struct json *j, const struct conf_option *option)
{
    const char *word;
    json_name(j, "enum");
    json_open_array(j);
    for (uint64_t n = 0; (word = option_choice(option, n, NULL)) != NULL; n++)
        json_put_string(j, str_of(word));
    json_close_array(j);
}

// Each a string.
static void put_items(struct json *j)
{
    json_name(j, "items");
    json_open_object(j);
    put_pair(j, "type", STR("string"));
    json_close_object(j);
}

static void put_value(struct json *j, const struct conf_option *option)
{
    json_open_object(j);
    put_pair(j, "description", str_of(option->help));
    switch (option->type) {
    case CONF_NAME:
        put_pair(j, "type", STR("string"));
        put_pair(j, "pattern", STR("^[^. ]+(\\.[^. ]+)+$"));
        break;
    case CONF_PATH:
    case CONF_TEXT:
    case CONF_SERVER:
    case CONF_ADDRESS:
    case CONF_PATTERN:
    case CONF_TARGET:
        put_pair(j, "type", STR("string"));
        break;
    case CONF_SIZE:
        json_name(j, "type");
        json_open_array(j);
        json_put_string(j, STR("string"));
        json_put_string(j, STR("integer"));
        json_close_array(j);
        put_pair(j, "pattern", STR("^[0-9]+[KMG]?$"));
        break;
    case CONF_TIME:
        json_name(j, "type");
        json_open_array(j);
        json_put_string(j, STR("string"));
        json_put_string(j, STR("integer"));
        json_close_array(j);
        put_pair(j, "pattern", STR("^(0|[0-9]+(ms|s|m|h|d))$"));
        break;
    case CONF_CLOCK:
        put_pair(j, "type", STR("string"));
        put_pair(j, "pattern", STR("^([01][0-9]|2[0-3]):[0-5][0-9]$"));
        break;
    case CONF_COUNT:
        put_pair(j, "type", STR("integer"));
        json_name(j, "minimum");
        json_put_int(j, (int64_t)option->min);
        json_name(j, "maximum");
        json_put_int(j, (int64_t)option->max);
        break;
    case CONF_FLAG:
        put_pair(j, "type", STR("boolean"));
        break;
    case CONF_CHOICE:
        put_words(j, option);
        break;
    case CONF_NETWORKS:
        put_pair(j, "type", STR("array"));
        put_items(j);
        break;
    }
    if (option->preset[0])
        put_pair(j, "default", str_of(option->preset));
    json_close_object(j);
}

static void put_group(struct json *j, enum conf_group group)
{
    for (enum conf_option_number n = 0; n < CONF_OPTIONS; n++) {
        const struct conf_option *option = option_at(n);
        if (option->group != group)
            continue;
        json_name(j, option->name);
        put_value(j, option);
    }
}

static void open_keys(struct json *j)
{
    put_pair(j, "type", STR("object"));
    json_name(j, "additionalProperties");
    json_put_bool(j, false);
    json_name(j, "properties");
    json_open_object(j);
}

static void put_record(struct json *j, const struct conf_record *record)
{
    json_name(j, record->name);
    json_open_object(j);
    put_pair(j, "description", str_of(record->help));
    put_pair(j, "type", STR("array"));
    json_name(j, "items");
    json_open_object(j);
    open_keys(j);
    for (size_t i = 0; i < record->field_count; i++) {
        json_name(j, record->fields[i].name);
        put_value(j, &record->fields[i]);
    }
    json_close_object(j);
    json_name(j, "required");
    json_open_array(j);
    for (size_t i = 0; i < record->field_count; i++)
        if (record->fields[i].needed)
            json_put_string(j, str_of(record->fields[i].name));
    json_close_array(j);
    json_close_object(j);
    json_close_object(j);
}

static void put_include(struct json *j)
{
    json_name(j, "include");
    json_open_object(j);
    put_pair(j, "description", STR(CONF_INCLUDE_HELP));
    put_pair(j, "type", STR("array"));
    put_items(j);
    json_close_object(j);
}

void conf_schema(struct buf *out)
{
    struct json j;
    json_begin(&j, out);
    json_open_object(&j);
    put_pair(&j, "$schema", STR("http://json-schema.org/draft-07/schema#"));
    put_pair(&j, "title", STR("posthouse.yaml"));
    open_keys(&j);
    put_group(&j, CONF_GROUP_top);
    for (enum conf_group group = CONF_GROUP_top + 1; group < CONF_GROUPS; group++) {
        json_name(&j, option_group_name(group));
        json_open_object(&j);
        open_keys(&j);
        put_group(&j, group);
        json_close_object(&j);
        json_close_object(&j);
    }
    for (enum conf_record_number n = 0; n < CONF_RECORDS; n++)
        put_record(&j, option_record(n));
    put_include(&j);
    json_close_object(&j);
    json_close_object(&j);
    buf_put_byte(out, '\n');
}
