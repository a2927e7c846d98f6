// posthouse queue list, count, show, retry, hold, release, drop.
#include <jansson.h>

#include "base/limits.h"
#include "conf/value.h"
#include "ctl/offline.h"
#include "ctl/record.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/process.h"
#include "os/terminal.h"
#include "store/desk.h"

enum { STANDARD_INPUT = 0, STANDARD_ERROR = 2, LINE_ROOM = 256 };

static int unreadable(const struct command *c)
{
    return command_fail(c, "the queue gave an answer that can not be read");
}

// ---- what is asked: the ID and the filters

static int put_field(const struct command *c, struct buf *rest, const char *name, struct str value)
{
    if (str_index(value, '\t') < value.len || str_index(value, '\n') < value.len)
        return command_usage(c, "--%s takes one line without tabs", name);
    buf_putf(rest, "\t%s=%.*s", name, STR_ARG(value));
    return buf_ok(rest) ? EXIT_DONE : command_usage(c, "--%s is too long", name);
}

static int put_address(struct command *c, struct buf *rest, const char *name, enum path_role role,
                       struct str value)
{
    struct address address;
    struct err err;
    if (str_eq(value, STR("<>")))
        value = STR("");
    if (!address_read_stored(value, role, c->arena, &address, &err))
        return command_usage(c, "--%s %.*s: %s", name, STR_ARG(value), err.text);
    return put_field(c, rest, name, value);
}

static int put_domain(struct command *c, struct buf *rest, struct str value)
{
    struct str folded;
    struct err err;
    if (!domain_read(value, c->arena, &folded, &err))
        return command_usage(c, "--domain %.*s: %s", STR_ARG(value), err.text);
    return put_field(c, rest, "domain", folded);
}

static int put_older(struct command *c, struct buf *rest, struct str value)
{
    const struct conf_option option = {.type = CONF_TIME, .name = "--older", .max = UINT64_MAX};
    struct conf_value age;
    struct complaint complaint;
    uint64_t now = os_wall_ms();
    if (!value_read(&option, value, STR(""), c->arena, &age, &complaint))
        return command_usage(c, "--older: %.*s; %.*s", STR_ARG(complaint.text),
                             STR_ARG(complaint.hint));
    buf_putf(rest, "\tbefore=%llu", (unsigned long long)(age.number < now ? now - age.number : 1));
    return EXIT_DONE;
}

static int put_filters(struct command *c, struct buf *rest)
{
    struct str value;
    int code = EXIT_DONE;
    if (command_value(c, "from", 0, &value))
        code = put_address(c, rest, "from", PATH_REVERSE, value);
    if (code == EXIT_DONE && command_value(c, "to", 0, &value))
        code = put_address(c, rest, "to", PATH_FORWARD, value);
    if (code == EXIT_DONE && command_value(c, "domain", 0, &value))
        code = put_domain(c, rest, value);
    if (code == EXIT_DONE && command_value(c, "older", 0, &value))
        code = put_older(c, rest, value);
    if (code == EXIT_DONE && command_value(c, "reason", 0, &value))
        code = put_field(c, rest, "reason", value);
    return code;
}

// Letters of a list, one row or more each, which follow each other.
struct letters {
    uint64_t count;
    char last[MAIL_ID_TEXT + 1];
};

static int count_letters(struct command *c, struct str body, void *owner)
{
    struct letters *letters = owner;
    struct str line;
    int code = EXIT_DONE;
    while (code == EXIT_DONE && control_line(&body, &line)) {
        json_t *row = json_loadb(line.ptr, line.len, JSON_ALLOW_NUL, NULL);
        struct str id = str_of(json_string_value(json_object_get(row, "id")));
        if (id.len != MAIL_ID_TEXT) {
            code = unreadable(c);
        } else if (!str_eq(id, str_of(letters->last))) {
            letters->count++;
            memcpy(letters->last, id.ptr, MAIL_ID_TEXT);
        }
        json_decref(row);
    }
    return code;
}

// A whole id, or the beginning of one that waits: appends it.
static int put_id(struct command *c, struct buf *rest, struct str id)
{
    struct mail_id whole;
    struct letters letters = {.count = 0};
    struct buf part;
    if (id.len == MAIL_ID_TEXT && mail_id_read(id, &whole))
        return put_field(c, rest, "id", id);
    if (id.len < DESK_ID_LEAST || id.len >= MAIL_ID_TEXT)
        return command_usage(c, "\"%.*s\" is no id: %d characters, or the first %d and more",
                             STR_ARG(id), (int)MAIL_ID_TEXT, (int)DESK_ID_LEAST);
    buf_init(&part, LIMIT_control_request);
    int code = put_field(c, &part, "id", id);
    const struct control_question question = {
        .ask = offline_ask, .request = "queue list", .rest = buf_str(&part)};
    if (code == EXIT_DONE)
        code = control_pages(c, &question, count_letters, &letters);
    buf_finish(&part);
    if (code != EXIT_DONE)
        return code;
    if (letters.count == 0)
        return command_fail(c, "no letter %.*s waits in the queue", STR_ARG(id));
    if (letters.count > 1)
        return command_fail(c, "%llu letters begin with %.*s: write more of the id",
                            (unsigned long long)letters.count, STR_ARG(id));
    return put_field(c, rest, "id", str_of(letters.last));
}

// ---- list, count

int queue_list_command(struct command *c)
{
    static const struct table_column columns[] = {
        {.title = "ID"},
        {.title = "ARRIVED", .spare = 2},
        {.title = "SIZE", .right = true, .spare = 3},
        {.title = "FROM", .cut = true},
        {.title = "TO", .cut = true},
        {.title = "STATE"},
        {.title = "TRIES", .right = true, .spare = 4},
        {.title = "NEXT", .spare = 1},
        {.title = "REASON", .cut = true},
    };
    static const struct record_field fields[] = {
        {"id", RECORD_TEXT},       {"arrived", RECORD_TIME}, {"size", RECORD_TEXT},
        {"from", RECORD_PATH},     {"to", RECORD_PATH},      {"state", RECORD_TEXT},
        {"attempts", RECORD_TEXT}, {"next", RECORD_TIME},    {"reason", RECORD_TEXT},
    };
    struct record_table table = {columns, fields, ARRAY_LEN(fields)};
    struct buf rest;
    buf_init(&rest, LIMIT_control_request);
    int code = put_filters(c, &rest);
    const struct control_question question = {
        .ask = offline_ask, .request = "queue list", .rest = buf_str(&rest)};
    if (code == EXIT_DONE)
        code = record_command(c, &question, &table);
    buf_finish(&rest);
    return code;
}

// All of them: the queue has the number. Else they are looked for.
static int count_some(struct command *c, struct str rest, uint64_t *number)
{
    struct letters letters = {.count = 0};
    const struct control_question question = {
        .ask = offline_ask, .request = "queue list", .rest = rest};
    int code = control_pages(c, &question, count_letters, &letters);
    *number = letters.count;
    return code;
}

static int count_all(struct command *c, uint64_t *number)
{
    struct buf body;
    buf_init(&body, LIMIT_control_reply);
    int code = offline_ask(c, STR("queue count"), &body);
    if (code == EXIT_DONE && !str_to_u64(str_trim(buf_str(&body)), number))
        code = unreadable(c);
    buf_finish(&body);
    return code;
}

int queue_count_command(struct command *c)
{
    struct buf rest;
    uint64_t number = 0;
    buf_init(&rest, LIMIT_control_request);
    int code = put_filters(c, &rest);
    if (code == EXIT_DONE)
        code = rest.len ? count_some(c, buf_str(&rest), &number) : count_all(c, &number);
    if (code == EXIT_DONE)
        buf_putf(&c->out, "%llu\n", (unsigned long long)number);
    buf_finish(&rest);
    return code;
}

// ---- show

// Escaped, but for the ends of lines.
static void put_lines(struct buf *out, struct str text)
{
    struct str line;
    while (str_cut(&text, '\n', &line)) {
        buf_put_escaped(out, str_ends(line, STR("\r")) ? str_sub(line, 0, line.len - 1) : line);
        buf_put_byte(out, '\n');
    }
}

static struct str text_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return str_from(json_string_value(value), json_string_length(value));
}

static void put_line(struct buf *out, const char *name, struct str text)
{
    if (!text.len)
        return;
    buf_putf(out, "%-10s", name);
    buf_put_escaped(out, text);
    buf_put_byte(out, '\n');
}

static int put_recipients(struct command *c, const json_t *recipients)
{
    static const struct table_column columns[] = {
        {.title = "TO", .cut = true},       {.title = "STATE"},
        {.title = "UNDER WAY", .spare = 1}, {.title = "TRIES", .right = true, .spare = 2},
        {.title = "NEXT", .spare = 3},      {.title = "REASON", .cut = true},
    };
    static const struct record_field fields[] = {
        {"to", RECORD_PATH},       {"state", RECORD_TEXT}, {"under_way", RECORD_TEXT},
        {"attempts", RECORD_TEXT}, {"next", RECORD_TIME},  {"reason", RECORD_TEXT},
    };
    const struct record_table table = {columns, fields, ARRAY_LEN(fields)};
    struct buf lines;
    buf_init(&lines, LIMIT_control_reply);
    for (size_t i = 0; i < json_array_size(recipients); i++) {
        char *line = json_dumps(json_array_get(recipients, i), JSON_COMPACT);
        must(line != NULL);
        buf_put(&lines, str_of(line));
        buf_put_byte(&lines, '\n');
        free(line);
    }
    int code = record_put(c, &table, buf_str(&lines));
    buf_finish(&lines);
    return code;
}

static int put_letter(struct command *c, const json_t *letter)
{
    struct buf *out = &c->out, text;
    struct str from = text_of(letter, "from");
    if (!json_is_array(json_object_get(letter, "recipients")))
        return unreadable(c);
    buf_init(&text, LIMIT_control_reply);
    put_line(out, "letter", text_of(letter, "id"));
    put_line(out, "arrived", text_of(letter, "arrived"));
    buf_putf(&text, "%lld octets", (long long)json_integer_value(json_object_get(letter, "size")));
    put_line(out, "size", buf_str(&text));
    put_line(out, "from", from.len ? from : STR("<>"));
    put_line(out, "client", text_of(letter, "client"));
    put_line(out, "helo", text_of(letter, "helo"));
    put_line(out, "session", text_of(letter, "session"));
    put_line(out, "login", text_of(letter, "login"));
    buf_clear(&text);
    buf_putf(&text, "log/%012lld, offset %lld%s",
             (long long)json_integer_value(json_object_get(letter, "segment")),
             (long long)json_integer_value(json_object_get(letter, "offset")),
             json_is_true(json_object_get(letter, "file")) ? ", the body is a file" : "");
    put_line(out, "spool", buf_str(&text));
    put_line(out, "damage", text_of(letter, "damage"));
    buf_put_byte(out, '\n');
    buf_finish(&text);
    int code = put_recipients(c, json_object_get(letter, "recipients"));
    buf_put_byte(out, '\n');
    put_lines(out, text_of(letter, "header"));
    return code;
}

static int show(struct command *c, struct str rest)
{
    struct buf body, request;
    buf_init(&body, LIMIT_control_reply);
    buf_init(&request, LIMIT_control_request);
    buf_putf(&request, "queue show %.*s", STR_ARG(rest));
    int code = offline_ask(c, buf_str(&request), &body);
    if (code == EXIT_DONE && c->json) {
        buf_put(&c->out, buf_str(&body));
    } else if (code == EXIT_DONE) {
        json_t *letter = json_loadb(body.ptr, body.len, JSON_ALLOW_NUL, NULL);
        code = put_letter(c, letter);
        json_decref(letter);
    }
    buf_finish(&request);
    buf_finish(&body);
    return code;
}

// The letter as it came, octet by octet.
static int show_message(struct command *c, struct str rest)
{
    struct buf body, request;
    uint64_t offset = 0;
    int code = EXIT_DONE;
    buf_init(&body, LIMIT_control_reply);
    buf_init(&request, LIMIT_control_request);
    do {
        buf_clear(&body);
        buf_clear(&request);
        buf_putf(&request, "queue body %.*s\toffset=%llu", STR_ARG(rest),
                 (unsigned long long)offset);
        code = offline_ask(c, buf_str(&request), &body);
        if (code == EXIT_DONE)
            buf_put(&c->out, buf_str(&body));
        if (!command_flush(c))
            code = EXIT_FAILED;
        offset += body.len;
    } while (code == EXIT_DONE && body.len == DESK_BODY);
    buf_finish(&request);
    buf_finish(&body);
    return code;
}

int queue_show_command(struct command *c)
{
    struct buf rest;
    buf_init(&rest, LIMIT_control_request);
    int code = put_id(c, &rest, c->args[0]);
    if (code == EXIT_DONE)
        code =
            command_has(c, "message") ? show_message(c, buf_str(&rest)) : show(c, buf_str(&rest));
    buf_finish(&rest);
    return code;
}

// ---- orders

struct touched {
    json_int_t letters, recipients, under_way;
};

static int add_counts(struct command *c, struct str body, void *owner)
{
    struct touched *all = owner;
    json_t *page = json_loadb(body.ptr, body.len, 0, NULL);
    if (!json_is_object(page))
        return unreadable(c);
    all->letters += json_integer_value(json_object_get(page, "letters"));
    all->recipients += json_integer_value(json_object_get(page, "recipients"));
    all->under_way += json_integer_value(json_object_get(page, "under_way"));
    json_decref(page);
    return EXIT_DONE;
}

static void put_counts(struct command *c, const char *done, const char *under_way,
                       const struct touched *all)
{
    if (c->json) {
        buf_putf(&c->out, "{\"letters\":%lld,\"recipients\":%lld,\"under_way\":%lld}\n",
                 (long long)all->letters, (long long)all->recipients, (long long)all->under_way);
        return;
    }
    buf_putf(&c->out, "%s: %lld %s, %lld %s\n", done, (long long)all->letters,
             all->letters == 1 ? "letter" : "letters", (long long)all->recipients,
             all->recipients == 1 ? "recipient" : "recipients");
    if (all->under_way)
        buf_putf(&c->out, "of these %lld under way: %s\n", (long long)all->under_way, under_way);
}

// An order for an ID, for all, or for what the filters say.
static int order(struct command *c, const char *request, const char *done, const char *under_way)
{
    struct touched all = {.letters = 0};
    struct buf rest;
    if (c->arg_count && command_has(c, "all"))
        return command_usage(c, "an ID, or --all");
    buf_init(&rest, LIMIT_control_request);
    int code = put_filters(c, &rest);
    if (code == EXIT_DONE && c->arg_count)
        code = put_id(c, &rest, c->args[0]);
    if (code == EXIT_DONE && rest.len == 0 && !command_has(c, "all"))
        code = command_usage(c, "which letters? An ID, --all, or a filter");
    buf_putf(&rest, "\tby=uid %u", os_own_identity().uid);
    const struct control_question question = {
        .ask = offline_ask, .request = request, .rest = buf_str(&rest)};
    if (code == EXIT_DONE)
        code = control_pages(c, &question, add_counts, &all);
    if (code == EXIT_DONE)
        put_counts(c, done, under_way, &all);
    buf_finish(&rest);
    return code;
}

int queue_retry_command(struct command *c)
{
    return order(c, "queue retry", "due now", "they are being tried");
}

int queue_hold_command(struct command *c)
{
    return order(c, "queue hold", "held", "held when this attempt does not deliver");
}

int queue_release_command(struct command *c)
{
    return order(c, "queue release", "released", "they are being tried");
}

// On a terminal only: a script knows what it does.
static bool confirmed(const struct command *c)
{
    const struct str question = STR("Remove these letters from the queue for good? [y/N] ");
    char line[LINE_ROOM];
    if (c->arg_count || command_has(c, "yes") || !os_is_terminal(STANDARD_INPUT))
        return true;
    if (os_write_all(STANDARD_ERROR, question) < 0)
        return false;
    ssize_t n = os_read(STANDARD_INPUT, line, sizeof(line));
    struct str said = str_trim(str_from(line, n > 0 ? (size_t)n : 0));
    return str_eq_nocase(said, STR("y")) || str_eq_nocase(said, STR("yes"));
}

int queue_drop_command(struct command *c)
{
    if (!confirmed(c))
        return command_fail(c, "nothing was dropped");
    return order(c, "queue drop", "dropped", "dropped when this attempt does not deliver");
}
