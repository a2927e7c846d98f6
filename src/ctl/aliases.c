// posthouse alias add, list, remove.
#include "base/json.h"
#include "ctl/identity.h"
#include "mail/date.h"
#include "store/directory_db.h"

enum { OUT_PIECE = 32768, DATE_MAX = 64 };

struct change {
    struct directory_db *db;
    struct address alias;
    struct address *targets; // arguments behind the first
    size_t count;
};

// "@DOMAIN" is the domain's catch-all.
static bool read_alias(struct command *c, struct address *address, struct err *err)
{
    struct str text = c->args[0];
    if (!str_starts(text, STR("@")))
        return address_read(text, c->arena, address, err);
    *address = (struct address){.kind = ADDRESS_DOMAIN, .domain = str_skip(text, 1)};
    return domain_read(address->domain, c->arena, &address->folded_domain, err);
}

// The command's addresses, and the database opened by the right user.
static int begin(struct command *c, struct change *change)
{
    struct err err;
    *change = (struct change){.count = c->arg_count - 1};
    if (!read_alias(c, &change->alias, &err))
        return command_usage(c, "%.*s: %s", STR_ARG(c->args[0]), err.text);
    change->targets = arena_alloc_array(c->arena, c->arg_count, sizeof *change->targets);
    if (!change->targets)
        return command_fail(c, "too many targets in one command");
    for (size_t i = 0; i < change->count; i++)
        if (!address_read(c->args[i + 1], c->arena, &change->targets[i], &err))
            return command_usage(c, "%.*s: %s", STR_ARG(c->args[i + 1]), err.text);
    int code = identity_take(c);
    if (code == EXIT_DONE &&
        !directory_db_open(&change->db, c->conf->state_dir, DATABASE_WRITE, &err))
        code = command_error(c, &err);
    return code;
}

static void report(struct command *c, const char *what)
{
    buf_put_escaped(&c->out, c->args[0]);
    buf_putf(&c->out, ": %s\n", what);
}

int alias_add_command(struct command *c)
{
    struct change change;
    struct err err;
    int code = begin(c, &change);
    if (code == EXIT_DONE &&
        !directory_db_add_alias(change.db, &change.alias, change.targets, change.count, &err))
        code = command_error(c, &err);
    if (code == EXIT_DONE)
        report(c, "added");
    directory_db_close(&change.db);
    return code;
}

int alias_remove_command(struct command *c)
{
    struct change change;
    struct err err;
    bool gone = false;
    int code = begin(c, &change);
    if (code == EXIT_DONE && !directory_db_remove_alias(change.db, &change.alias, change.targets,
                                                        change.count, &gone, &err))
        code = command_error(c, &err);
    if (code == EXIT_DONE)
        report(c, gone ? "removed" : "targets removed");
    directory_db_close(&change.db);
    return code;
}

// ---- alias list

struct listing {
    struct command *c;
    struct json json;
    int64_t alias; // whose line is open; 0: none
    uint64_t created_ms;
};

static void end_line(struct listing *l)
{
    struct buf date;
    if (l->alias && l->c->json) {
        json_close_array(&l->json);
        buf_init(&date, DATE_MAX);
        date_put_iso(&date, l->created_ms);
        json_name(&l->json, "created");
        json_put_string(&l->json, buf_str(&date));
        json_close_object(&l->json);
        buf_finish(&date);
    }
    if (l->alias)
        buf_put_byte(&l->c->out, '\n');
    l->alias = 0;
}

static void begin_line(struct listing *l, const struct directory_target *target)
{
    l->alias = target->alias_number;
    l->created_ms = target->created_ms;
    if (!l->c->json) {
        buf_put_escaped(&l->c->out, target->alias);
        buf_put(&l->c->out, STR(": "));
        return;
    }
    json_begin(&l->json, &l->c->out);
    json_open_object(&l->json);
    json_name(&l->json, "alias");
    json_put_string(&l->json, target->alias);
    json_name(&l->json, "targets");
    json_open_array(&l->json);
}

static bool list_target(void *context, const struct directory_target *target)
{
    struct listing *l = context;
    bool another = l->alias != target->alias_number;
    if (another) {
        end_line(l);
        begin_line(l, target);
    }
    if (l->c->json) {
        json_put_string(&l->json, target->target);
    } else {
        if (!another)
            buf_put(&l->c->out, STR(", "));
        buf_put_escaped(&l->c->out, target->target);
    }
    return l->c->out.len < OUT_PIECE || command_flush(l->c);
}

int alias_list_command(struct command *c)
{
    struct listing listing = {.c = c};
    struct directory_db *db = NULL;
    struct err err;
    int code = identity_take(c);
    if (code == EXIT_DONE && (!directory_db_open(&db, c->conf->state_dir, DATABASE_WRITE, &err) ||
                              !directory_db_each_target(db, list_target, &listing, &err)))
        code = command_error(c, &err);
    end_line(&listing);
    directory_db_close(&db);
    return code;
}
