#include "ctl/record.h"

#include <jansson.h>

#include "base/limits.h"
#include "ctl/control.h"
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

static int put_table(struct command *c, struct str body, const struct table_column *columns,
                     const struct record_field *fields, size_t count)
{
    struct arena page;
    struct table table;
    struct str line;
    int code = EXIT_DONE;
    arena_init(&page, TABLE_MEMORY);
    table_init(&table, &page, columns, count);
    while (code == EXIT_DONE && control_line(&body, &line)) {
        json_t *object =
            json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        bool ok = json_is_object(object);
        for (size_t i = 0; ok && i < count; i++)
            put_cell(&table, &fields[i], json_object_get(object, fields[i].name));
        json_decref(object);
        if (!ok)
            code = command_fail(c, "the running instance gave an answer that can not be read");
    }
    if (code == EXIT_DONE && !table_put(&table, &c->out, c->colour))
        code = command_fail(c, "too much for a table: use --json");
    arena_finish(&page);
    return code;
}

// Takes the last line off when it is "more PLACE".
static bool take_more(struct buf *body, struct str *place)
{
    struct str text = buf_str(body);
    if (!str_ends(text, STR("\n")))
        return false;
    text.len--;
    size_t before = str_rindex(text, '\n');
    size_t begin = before == text.len ? 0 : before + 1;
    struct str last = str_skip(text, begin);
    if (!str_starts(last, STR("more ")))
        return false;
    *place = str_skip(last, STR("more ").len);
    body->len = begin;
    return true;
}

int record_command(struct command *c, const char *request, const struct table_column *columns,
                   const struct record_field *fields, size_t count)
{
    struct buf body, question;
    struct str place = STR("");
    bool more = true;
    int code = EXIT_DONE;
    buf_init(&body, LIMIT_control_reply);
    buf_init(&question, LIMIT_control_request);
    buf_putf(&question, "%s", request);
    while (code == EXIT_DONE && more) {
        buf_clear(&body);
        code = control_ask(c, buf_str(&question), &body);
        more = code == EXIT_DONE && take_more(&body, &place);
        if (code == EXIT_DONE && c->json)
            buf_put(&c->out, buf_str(&body));
        else if (code == EXIT_DONE)
            code = put_table(c, buf_str(&body), columns, fields, count);
        buf_clear(&question);
        buf_putf(&question, "%s %.*s", request, STR_ARG(place));
        if (more && !command_flush(c))
            code = EXIT_FAILED;
    }
    buf_finish(&question);
    buf_finish(&body);
    return code;
}
