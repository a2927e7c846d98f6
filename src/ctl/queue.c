// posthouse queue list, count.
#include "base/limits.h"
#include "ctl/control.h"
#include "ctl/record.h"

int queue_list_command(struct command *c)
{
    static const struct table_column columns[] = {
        {"ID", false},    {"ARRIVED", false}, {"SIZE", true},  {"FROM", false},   {"TO", false},
        {"STATE", false}, {"TRIES", true},    {"NEXT", false}, {"REASON", false},
    };
    static const struct record_field fields[] = {
        {"id", RECORD_TEXT},       {"arrived", RECORD_TIME}, {"size", RECORD_TEXT},
        {"from", RECORD_PATH},     {"to", RECORD_PATH},      {"state", RECORD_TEXT},
        {"attempts", RECORD_TEXT}, {"next", RECORD_TIME},    {"reason", RECORD_TEXT},
    };
    return record_command(c, "queue list", columns, fields, ARRAY_LEN(fields));
}

int queue_count_command(struct command *c)
{
    struct buf body;
    uint64_t number;
    buf_init(&body, LIMIT_control_reply);
    int code = control_ask(c, STR("queue count"), &body);
    if (code == EXIT_DONE && !str_to_u64(str_trim(buf_str(&body)), &number))
        code = command_fail(c, "the running instance gave an answer that can not be read");
    else if (code == EXIT_DONE)
        buf_putf(&c->out, "%llu\n", (unsigned long long)number);
    buf_finish(&body);
    return code;
}
