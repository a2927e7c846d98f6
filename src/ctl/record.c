#include "ctl/record.h"

#include <jansson.h>

#include "base/limits.h"
#include "ctl/control.h"
#include "mail/date.h"

enum { NUMBER_MAX = 64 };

static void put_cell(struct table *table, const struct record_field *field, const json_t *value)
{
    struct buf text;
    buf_init(&text, NUMBER_MAX);
    if (json_is_string(value)) {
        struct str s = str_from(json_string_value(value), json_string_length(value));
        table_cell(table, field->kind == RECORD_PATH && s.len == 0 ? STR("<>") : s);
    } else if (json_is_integer(value)) {
        json_int_t n = json_integer_value(value);
        if (field->kind == RECORD_TIME && n >= 0)
            date_put_iso(&text, (uint64_t)n);
        else
            buf_putf(&text, "%lld", (long long)n);
        table_cell(table, buf_str(&text));
    } else {
        table_cell(table, STR("-")); // missing or null
    }
    buf_finish(&text);
}

static int put_table(struct command *c, struct str body, const struct table_column *columns,
                     const struct record_field *fields, size_t count)
{
    struct table table;
    struct str line;
    table_init(&table, c->arena, columns, count);
    while (control_line(&body, &line)) {
        json_t *object =
            json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        bool ok = json_is_object(object);
        for (size_t i = 0; ok && i < count; i++)
            put_cell(&table, &fields[i], json_object_get(object, fields[i].name));
        json_decref(object);
        if (!ok)
            return command_fail(c, "the running instance gave an answer that can not be read");
    }
    if (!table_put(&table, &c->out, c->colour))
        return command_fail(c, "too much for a table: use --json");
    return EXIT_DONE;
}

int record_command(struct command *c, const char *request, const struct table_column *columns,
                   const struct record_field *fields, size_t count)
{
    struct buf body;
    buf_init(&body, LIMIT_control_reply);
    int code = control_ask(c, request, &body);
    if (code == EXIT_DONE && c->json)
        buf_put(&c->out, buf_str(&body));
    else if (code == EXIT_DONE)
        code = put_table(c, buf_str(&body), columns, fields, count);
    buf_finish(&body);
    return code;
}
