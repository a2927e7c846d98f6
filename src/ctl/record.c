#include "ctl/record.h"

#include <jansson.h>

#include "base/limits.h"
#include "mail/date.h"

enum { NUMBER_MAX = 64, TABLE_MEMORY = 64 * 1024 * 1024 };

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
    } else if (json_is_boolean(value)) {
        table_cell(table, json_is_true(value) ? STR("yes") : STR("no"));
    } else {
        table_cell(table, STR("-")); // missing or null
    }
    buf_finish(&text);
}

int record_put(struct command *c, const struct record_table *as, struct str body)
{
    struct arena page;
    struct table table;
    struct str line;
    int code = EXIT_DONE;
    arena_init(&page, TABLE_MEMORY);
    table_init(&table, &page, as->columns, as->count);
    while (code == EXIT_DONE && control_line(&body, &line)) {
        json_t *object =
            json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        bool ok = json_is_object(object);
        for (size_t i = 0; ok && i < as->count; i++)
            put_cell(&table, &as->fields[i], json_object_get(object, as->fields[i].name));
        json_decref(object);
        if (!ok)
            code = command_fail(c, "the running instance gave an answer that can not be read");
    }
    if (code == EXIT_DONE && !table_put(&table, &c->out, c->width, c->colour))
        code = command_fail(c, "too much for a table: use --json");
    arena_finish(&page);
    return code;
}

static int put_page(struct command *c, struct str body, void *owner)
{
    if (!c->json)
        return record_put(c, owner, body);
    buf_put(&c->out, body);
    return EXIT_DONE;
}

int record_command(struct command *c, const struct control_question *question,
                   struct record_table *table)
{
    return control_pages(c, question, put_page, table);
}
