// posthouse route ADDR: the way that mail for an address takes. What is ours the directory says;
// for all else the running instance is asked, whose resolver goes by what it asks for letters.
#include <jansson.h>

#include "base/json.h"
#include "base/limits.h"
#include "ctl/control.h"
#include "ctl/identity.h"
#include "store/directory_db.h"

// ---- local

// Mailboxes are put one by one while the database is read.
struct local {
    struct command *c;
    struct json json;
    size_t count;
};

static void begin_local(struct local *l, struct command *c, const char *verdict, const char *what)
{
    *l = (struct local){.c = c};
    if (!c->json) {
        buf_put_escaped(&c->out, c->args[0]);
        buf_putf(&c->out, ": %s, %s", verdict, what);
        return;
    }
    json_begin(&l->json, &c->out);
    json_open_object(&l->json);
    json_name(&l->json, "address");
    json_put_string(&l->json, c->args[0]);
    json_name(&l->json, "verdict");
    json_put_string(&l->json, str_of(verdict));
    json_name(&l->json, "text");
    json_put_string(&l->json, str_of(what));
    json_name(&l->json, "mailboxes");
    json_open_array(&l->json);
}

static bool put_mailbox(void *context, int64_t number, const struct directory_user *user)
{
    struct local *l = context;
    (void)number;
    if (l->c->json) {
        json_put_string(&l->json, user->address);
    } else {
        buf_put(&l->c->out, l->count++ ? STR(", ") : STR(": "));
        buf_put_escaped(&l->c->out, user->address);
    }
    return true;
}

static void end_local(struct local *l)
{
    if (l->c->json) {
        json_close_array(&l->json);
        json_close_object(&l->json);
    }
    buf_put_byte(&l->c->out, '\n');
}

static int refuse_local(struct command *c, const char *verdict, const char *what, struct str moved)
{
    struct local l;
    begin_local(&l, c, verdict, what);
    if (moved.len)
        (void)put_mailbox(&l, 0, &(struct directory_user){.address = moved});
    end_local(&l);
    return EXIT_FAILED;
}

static int expand_local(struct command *c, struct directory_db *db, const char *what,
                        const struct directory_found *found)
{
    struct local l;
    struct err err;
    begin_local(&l, c, "local", what);
    bool ok = directory_db_expand(db, found, 0, put_mailbox, &l, &err);
    end_local(&l);
    return ok ? EXIT_DONE : command_error(c, &err);
}

static int one_mailbox(struct command *c, const struct directory_user *user)
{
    struct local l;
    if (user->locked)
        return refuse_local(c, "later", "450 4.2.1 the mailbox is locked", STR(""));
    begin_local(&l, c, "local", "mailbox");
    (void)put_mailbox(&l, 0, user);
    end_local(&l);
    return EXIT_DONE;
}

// *elsewhere: the domain is not ours.
static int route_local(struct command *c, struct directory_db *db, const struct address *address,
                       bool *elsewhere)
{
    const struct directory_question question = {.address = address,
                                                .detail_separator = c->conf->detail_separator};
    struct directory_found found;
    struct err err;
    switch (directory_db_lookup(db, &question, c->arena, &found, &err)) {
    case DIRECTORY_LOCAL:
        return one_mailbox(c, &found.user);
    case DIRECTORY_ALIAS:
        return expand_local(c, db, "alias of", &found);
    case DIRECTORY_FORWARDED:
        return expand_local(c, db, "forwarded to", &found);
    case DIRECTORY_MOVED:
        return refuse_local(c, "refused", "551 5.1.6 moved to", found.user.moved);
    case DIRECTORY_NO_SUCH_USER:
        return refuse_local(c, "refused", "550 5.1.1 no such user here", STR(""));
    case DIRECTORY_NOT_HOSTED:
        *elsewhere = true;
        return EXIT_DONE;
    case DIRECTORY_LOOP:
    case DIRECTORY_TROUBLE:
        break;
    }
    int code = command_error(c, &err);
    (void)code; // said; nothing is known of the way
    return EXIT_LATER;
}

// ---- elsewhere: what the resolver answers, in words

static struct str text_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return str_from(json_string_value(value), json_string_length(value));
}

static void put_text(struct command *c, const json_t *object, const char *name)
{
    buf_put_escaped(&c->out, text_of(object, name));
}

// Texts of a list, joined.
static void put_list(struct command *c, const json_t *list)
{
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
    {
        buf_put(&c->out, i ? STR(", ") : STR(""));
        buf_put_escaped(&c->out, str_from(json_string_value(item), json_string_length(item)));
    }
}

static void put_hosts(struct command *c, const json_t *answer)
{
    size_t i;
    const json_t *host;
    json_array_foreach(json_object_get(answer, "hosts"), i, host)
    {
        buf_putf(&c->out, "  %zu. ", i + 1);
        put_text(c, host, "name");
        buf_put(&c->out, text_of(host, "name").len ? STR(" ") : STR(""));
        put_list(c, json_object_get(host, "addresses"));
        buf_put_byte(&c->out, '\n');
    }
}

static void put_answers(struct command *c, const json_t *answer)
{
    size_t i;
    const json_t *step;
    json_array_foreach(json_object_get(answer, "answers"), i, step)
    {
        const json_t *aliases = json_object_get(step, "aliases");
        const json_t *records = json_object_get(step, "records");
        buf_put(&c->out, i ? STR("  ") : STR("DNS:\n  "));
        put_text(c, step, "name");
        buf_put_byte(&c->out, ' ');
        put_text(c, step, "type");
        buf_put(&c->out, STR(": "));
        if (json_array_size(aliases)) {
            buf_put(&c->out, STR("alias of "));
            put_list(c, aliases);
            buf_put(&c->out, STR("; "));
        }
        put_list(c, records);
        if (!json_array_size(records))
            put_text(c, step, "outcome");
        if (text_of(step, "trouble").len) {
            buf_put(&c->out, STR(": "));
            put_text(c, step, "trouble");
        }
        buf_putf(&c->out, " (TTL %lld, ",
                 (long long)json_integer_value(json_object_get(step, "ttl")));
        put_text(c, step, "security");
        buf_put(&c->out, STR(")\n"));
    }
}

static void put_way(struct command *c, const json_t *answer)
{
    struct str verdict = text_of(answer, "verdict");
    buf_put_escaped(&c->out, c->args[0]);
    if (str_eq(verdict, STR("way"))) {
        buf_put(&c->out, STR(": by "));
        put_text(c, answer, "protocol");
    } else {
        buf_put(&c->out, STR(": "));
        buf_put_escaped(&c->out, verdict);
        buf_putf(&c->out, ", %lld ",
                 (long long)json_integer_value(json_object_get(answer, "code")));
        put_text(c, answer, "status");
        buf_put_byte(&c->out, ' ');
        put_text(c, answer, "text");
    }
    buf_put(&c->out, STR(" (rule: "));
    put_text(c, answer, "rule");
    buf_put(&c->out, STR(")\n"));
    put_hosts(c, answer);
    put_answers(c, answer);
}

static void put_json(struct command *c, json_t *answer)
{
    json_t *whole = json_object();
    must(whole != NULL);
    bool ok =
        json_object_set_new(whole, "address", json_stringn(c->args[0].ptr, c->args[0].len)) == 0 &&
        json_object_update(whole, answer) == 0;
    char *text = ok ? json_dumps(whole, JSON_COMPACT) : NULL;
    must(text != NULL);
    buf_putf(&c->out, "%s\n", text);
    free(text);
    json_decref(whole);
}

static int put_answer(struct command *c, struct str body)
{
    json_t *answer = json_loadb(body.ptr, body.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    int code = EXIT_LATER;
    if (json_is_object(answer)) {
        code = str_eq(text_of(answer, "verdict"), STR("way")) ? EXIT_DONE : EXIT_FAILED;
        if (c->json)
            put_json(c, answer);
        else
            put_way(c, answer);
    } else {
        command_note(c, "the running instance gave an answer that can not be read");
    }
    json_decref(answer);
    return code;
}

static int route_elsewhere(struct command *c, const struct address *address, struct str sender)
{
    struct buf request, body;
    buf_init(&request, LIMIT_control_request);
    buf_init(&body, LIMIT_control_reply);
    buf_putf(&request, "route %.*s %.*s", STR_ARG(address->folded_domain), STR_ARG(sender));
    int code = control_ask(c, buf_str(&request), &body);
    // What keeps the answer away is no word about the way.
    code = code == EXIT_DONE ? put_answer(c, buf_str(&body)) : EXIT_LATER;
    buf_finish(&request);
    buf_finish(&body);
    return code;
}

int route_command(struct command *c)
{
    struct address address, from = {.folded_domain = STR("")};
    struct directory_db *db = NULL;
    struct str text;
    struct err err;
    bool elsewhere = false;
    if (!address_read(c->args[0], c->arena, &address, &err))
        return command_usage(c, "%.*s: %s", STR_ARG(c->args[0]), err.text);
    if (command_value(c, "from", 0, &text) && !address_read(text, c->arena, &from, &err))
        return command_usage(c, "--from %.*s: %s", STR_ARG(text), err.text);
    int code = identity_take(c);
    if (code != EXIT_DONE)
        return code;
    if (!directory_db_open(&db, c->conf->state_dir, DATABASE_WRITE, &err))
        code = command_error(c, &err);
    else
        code = route_local(c, db, &address, &elsewhere);
    directory_db_close(&db);
    return elsewhere ? route_elsewhere(c, &address, from.folded_domain) : code;
}
