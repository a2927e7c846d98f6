// posthouse domain add, list, remove.
#include "base/json.h"
#include "ctl/identity.h"
#include "mail/date.h"
#include "mail/domain.h"
#include "store/directory_db.h"

enum { OUT_PIECE = 32768, DATE_MAX = 64 };

static int open_directory(struct command *c, struct directory_db **db)
{
    struct err err;
    int code = identity_take(c);
    if (code == EXIT_DONE && !directory_db_open(db, c->conf->state_dir, DATABASE_WRITE, &err))
        code = command_error(c, &err);
    return code;
}

// The command's domain: as written, without a trailing dot, and folded.
static int read_name(struct command *c, struct str *name, struct str *folded)
{
    struct err err;
    *name = c->args[0];
    if (!domain_read(*name, c->arena, folded, &err))
        return command_usage(c, "%.*s: %s", STR_ARG(*name), err.text);
    if (str_ends(*name, STR(".")))
        *name = str_sub(*name, 0, name->len - 1);
    return EXIT_DONE;
}

static int change_domain(struct command *c,
                         bool (*change)(struct directory_db *db, struct str name, struct str folded,
                                        struct err *err),
                         const char *done)
{
    struct directory_db *db = NULL;
    struct str name, folded;
    struct err err;
    int code = read_name(c, &name, &folded);
    if (code == EXIT_DONE)
        code = open_directory(c, &db);
    if (code == EXIT_DONE && !change(db, name, folded, &err))
        code = command_error(c, &err);
    if (code == EXIT_DONE) {
        buf_put_escaped(&c->out, name);
        buf_putf(&c->out, ": %s\n", done);
    }
    directory_db_close(&db);
    return code;
}

int domain_add_command(struct command *c)
{
    return change_domain(c, directory_db_add_domain, "added");
}

int domain_remove_command(struct command *c)
{
    return change_domain(c, directory_db_remove_domain, "removed");
}

static void put_json(struct command *c, const struct directory_domain *domain)
{
    struct json json;
    struct buf date;
    buf_init(&date, DATE_MAX);
    date_put_iso(&date, domain->created_ms);
    json_begin(&json, &c->out);
    json_open_object(&json);
    json_name(&json, "domain");
    json_put_string(&json, domain->name);
    json_name(&json, "ascii");
    json_put_string(&json, domain->folded);
    json_name(&json, "users");
    json_put_int(&json, (int64_t)domain->users);
    json_name(&json, "created");
    json_put_string(&json, buf_str(&date));
    json_close_object(&json);
    buf_finish(&date);
}

static bool list_domain(void *context, const struct directory_domain *domain)
{
    struct command *c = context;
    if (c->json)
        put_json(c, domain);
    else
        buf_put_escaped(&c->out, domain->name);
    buf_put_byte(&c->out, '\n');
    return c->out.len < OUT_PIECE || command_flush(c);
}

int domain_list_command(struct command *c)
{
    struct directory_db *db = NULL;
    struct err err;
    int code = open_directory(c, &db);
    if (code == EXIT_DONE && !directory_db_each_domain(db, list_domain, c, &err))
        code = command_error(c, &err);
    directory_db_close(&db);
    return code;
}
