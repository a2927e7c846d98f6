// posthouse user add, list, remove, password, apop, moved, lock, unlock, quota, recount.
//
// Two databases hold what belongs to a user, and a command may be cut between them. So a hash is
// written before its user is there, and removed after the user is gone: what may be left is a hash,
// or a secret of APOP, without a user, which opens nothing and goes when the user is added again.
#include <errno.h>

#include "base/json.h"
#include "base/limits.h"
#include "conf/value.h"
#include "ctl/control.h"
#include "ctl/identity.h"
#include "ctl/secret.h"
#include "mail/date.h"
#include "store/directory_db.h"
#include "store/login_db.h"
#include "store/password.h"
#include "store/usage_db.h"

enum { HASH_MAX = 512, MAILBOX_MAX = 8192, OUT_PIECE = 32768 };

struct databases {
    struct directory_db *directory;
    struct login_db *passwords;
};

static bool open_databases(struct command *c, struct databases *db, struct err *err)
{
    return directory_db_open(&db->directory, c->conf->state_dir, DATABASE_WRITE, err) &&
           login_db_open(&db->passwords, c->conf->state_dir, DATABASE_WRITE, err);
}

// The command's address, and the databases opened by the right user.
static int begin(struct command *c, struct address *address, struct databases *db)
{
    struct err err;
    struct str text = c->args[0];
    *db = (struct databases){.directory = NULL};
    if (!address_read(text, c->arena, address, &err))
        return command_usage(c, "%.*s: %s", STR_ARG(text), err.text);
    int code = identity_take(c);
    if (code != EXIT_DONE)
        return code;
    return open_databases(c, db, &err) ? EXIT_DONE : command_error(c, &err);
}

static int finish(struct databases *db, int code)
{
    login_db_close(&db->passwords);
    directory_db_close(&db->directory);
    return code;
}

enum kind { PASSWORD, APOP_SECRET };

static bool set_password(struct databases *db, const struct address *address,
                         const struct secret *secret, struct err *err)
{
    struct buf hash;
    buf_init(&hash, HASH_MAX);
    bool ok = password_hash(buf_str(&secret->text), &hash, err) &&
              login_db_set(db->passwords, address, buf_str(&hash), err);
    buf_finish(&hash);
    return ok;
}

static void report(struct command *c, const char *what, const struct secret *secret)
{
    buf_put_escaped(&c->out, c->args[0]);
    buf_putf(&c->out, ": %s\n", what);
    if (secret->made)
        buf_putf(&c->out, "password: %.*s\n", STR_ARG(buf_str(&secret->text)));
}

// ---- user add

// Whether it can be added is found out before anybody is asked for a password.
static bool could_add(struct databases *db, const struct address *address, struct err *err)
{
    bool ok = directory_db_begin(db->directory, err) &&
              directory_db_add_user(db->directory, address, err);
    directory_db_rollback(db->directory);
    return ok;
}

static bool add(struct databases *db, const struct address *address, const struct secret *secret,
                struct err *err)
{
    bool ok = directory_db_begin(db->directory, err) &&
              directory_db_add_user(db->directory, address, err) &&
              login_db_remove(db->passwords, address, err) &&
              set_password(db, address, secret, err) && directory_db_commit(db->directory, err);
    if (!ok)
        directory_db_rollback(db->directory);
    return ok;
}

static int get_and_add(struct command *c, struct databases *db, const struct address *address)
{
    struct secret secret;
    struct err err;
    if (!could_add(db, address, &err))
        return command_error(c, &err);
    int code = secret_get(&secret, c);
    if (code == EXIT_DONE && !add(db, address, &secret, &err))
        code = command_error(c, &err);
    if (code == EXIT_DONE)
        report(c, "added", &secret);
    secret_finish(&secret);
    return code;
}

int user_add_command(struct command *c)
{
    struct address address;
    struct databases db;
    int code = begin(c, &address, &db);
    return finish(&db, code == EXIT_DONE ? get_and_add(c, &db, &address) : code);
}

// ---- user password, user remove

// EXIT_DONE when the user of this address is there.
static int find(struct command *c, struct databases *db, const struct address *address,
                struct directory_user *user)
{
    struct err err;
    bool found;
    if (!directory_db_find(db->directory, address, c->arena, &found, user, &err))
        return command_error(c, &err);
    return found ? EXIT_DONE : command_fail(c, "%.*s is not a user here", STR_ARG(c->args[0]));
}

static int change(struct command *c, struct databases *db, const struct address *address,
                  enum kind kind)
{
    struct directory_user user;
    struct secret secret;
    struct err err;
    int code = find(c, db, address, &user);
    if (code != EXIT_DONE)
        return code;
    code = secret_get(&secret, c);
    if (code == EXIT_DONE && !(kind == PASSWORD ? set_password(db, address, &secret, &err)
                                                : login_db_set_apop(db->passwords, address,
                                                                    buf_str(&secret.text), &err)))
        code = command_error(c, &err);
    if (code == EXIT_DONE)
        report(c, kind == PASSWORD ? "password changed" : "APOP secret set", &secret);
    secret_finish(&secret);
    return code;
}

int user_password_command(struct command *c)
{
    struct address address;
    struct databases db;
    int code = begin(c, &address, &db);
    return finish(&db, code == EXIT_DONE ? change(c, &db, &address, PASSWORD) : code);
}

int user_apop_command(struct command *c)
{
    struct address address;
    struct databases db;
    if (!c->conf->apop)
        return command_fail(c, "APOP is off: it keeps its secrets readable. Write `apop: yes` into "
                               "the configuration first");
    int code = begin(c, &address, &db);
    return finish(&db, code == EXIT_DONE ? change(c, &db, &address, APOP_SECRET) : code);
}

static void put_mailbox(struct buf *out, const struct conf *conf, const struct directory_user *user)
{
    buf_put(out, conf->mail_dir);
    buf_put_byte(out, '/');
    conf_put_mailbox(out, conf, user->domain_name, user->user_name);
}

static int remove_user(struct command *c, struct databases *db, const struct address *address)
{
    struct directory_user user;
    struct buf mailbox;
    struct err err;
    int code = find(c, db, address, &user);
    if (code != EXIT_DONE)
        return code;
    if (!directory_db_remove_user(db->directory, address, &err) ||
        !login_db_remove(db->passwords, address, &err))
        return command_error(c, &err);
    buf_init(&mailbox, MAILBOX_MAX);
    put_mailbox(&mailbox, c->conf, &user);
    buf_put_escaped(&c->out, user.address);
    buf_put(&c->out, STR(": removed; its mail stays in "));
    buf_put_escaped(&c->out, buf_str(&mailbox));
    buf_put_byte(&c->out, '\n');
    buf_finish(&mailbox);
    return EXIT_DONE;
}

int user_remove_command(struct command *c)
{
    struct address address;
    struct databases db;
    int code = begin(c, &address, &db);
    return finish(&db, code == EXIT_DONE ? remove_user(c, &db, &address) : code);
}

// ---- user moved, lock, unlock

// With NEW, or --none.
static int move(struct command *c, struct databases *db, const struct address *address)
{
    struct address to;
    struct err err;
    bool back = command_has(c, "none"), forward = command_has(c, "forward");
    if (back == (c->arg_count == 2) || (back && forward))
        return command_usage(c, "say where the user has gone, or --none");
    if (!back && !address_read(c->args[1], c->arena, &to, &err))
        return command_usage(c, "%.*s: %s", STR_ARG(c->args[1]), err.text);
    if (!directory_db_move_user(db->directory, address, back ? NULL : &to, forward, &err))
        return command_error(c, &err);
    buf_put_escaped(&c->out, c->args[0]);
    if (back) {
        buf_put(&c->out, STR(": back\n"));
        return EXIT_DONE;
    }
    buf_put(&c->out, forward ? STR(": mail goes to ") : STR(": moved to "));
    buf_put_escaped(&c->out, c->args[1]);
    buf_put_byte(&c->out, '\n');
    return EXIT_DONE;
}

int user_moved_command(struct command *c)
{
    struct address address;
    struct databases db;
    int code = begin(c, &address, &db);
    return finish(&db, code == EXIT_DONE ? move(c, &db, &address) : code);
}

static int set_locked(struct command *c, bool locked)
{
    struct address address;
    struct databases db;
    struct err err;
    int code = begin(c, &address, &db);
    if (code == EXIT_DONE && !directory_db_lock_user(db.directory, &address, locked, &err))
        code = command_error(c, &err);
    if (code == EXIT_DONE) {
        buf_put_escaped(&c->out, c->args[0]);
        buf_put(&c->out, locked ? STR(": locked\n") : STR(": unlocked\n"));
    }
    return finish(&db, code);
}

int user_lock_command(struct command *c)
{
    return set_locked(c, true);
}

int user_unlock_command(struct command *c)
{
    return set_locked(c, false);
}

// ---- user quota, recount

// "25M", 0 for no limit, or "none": none of its own.
static int read_quota(struct command *c, int64_t *quota)
{
    const struct conf_option *option = option_at(CONF_OPTION_limits_quota);
    struct str text = c->args[1];
    struct conf_value value;
    struct complaint complaint;
    *quota = DIRECTORY_NO_QUOTA;
    if (str_eq(text, STR("none")))
        return EXIT_DONE;
    if (!value_read(option, text, STR("/"), c->arena, &value, &complaint))
        return command_usage(c, "%.*s: %.*s, or none", STR_ARG(complaint.text),
                             STR_ARG(complaint.hint));
    *quota = (int64_t)value.number;
    return EXIT_DONE;
}

static void put_size(struct buf *out, uint64_t octets)
{
    value_put(out, option_at(CONF_OPTION_limits_quota), &(struct conf_value){.number = octets});
}

int user_quota_command(struct command *c)
{
    struct address address;
    struct databases db = {.directory = NULL};
    struct err err;
    int64_t quota;
    int code = read_quota(c, &quota);
    if (code == EXIT_DONE)
        code = begin(c, &address, &db);
    if (code == EXIT_DONE && !directory_db_set_quota(db.directory, &address, quota, &err))
        code = command_error(c, &err);
    if (code == EXIT_DONE) {
        buf_put_escaped(&c->out, c->args[0]);
        buf_put(&c->out, quota == DIRECTORY_NO_QUOTA ? STR(": no quota of its own")
                         : quota == 0                ? STR(": no limit")
                                                     : STR(": quota "));
        if (quota > 0)
            put_size(&c->out, (uint64_t)quota);
        buf_put_byte(&c->out, '\n');
    }
    return finish(&db, code);
}

int user_recount_command(struct command *c)
{
    struct buf body;
    buf_init(&body, LIMIT_control_reply);
    int code = control_ask(c, STR("role directory recount"), &body);
    buf_finish(&body);
    return code;
}

// ---- user list

struct listing {
    struct command *c;
    struct usage_db *usage; // NULL: nothing is known
};

// What the server knows of the mailbox; without it the list goes on.
static bool find_usage(struct listing *l, const struct directory_user *user, struct usage *usage)
{
    struct buf mailbox;
    struct err err;
    bool known = false;
    buf_init(&mailbox, MAILBOX_MAX);
    conf_put_mailbox(&mailbox, l->c->conf, user->domain_name, user->user_name);
    if (l->usage && !usage_db_find(l->usage, buf_str(&mailbox), &known, usage, &err)) {
        command_note(l->c, "%s", err.text);
        usage_db_close(&l->usage);
    }
    buf_finish(&mailbox);
    return known;
}

// "ADDR: 1234K of 25M", rounded up.
static void put_line(struct command *c, const struct directory_user *user, uint64_t quota,
                     const struct usage *usage)
{
    buf_put_escaped(&c->out, user->address);
    if (quota == 0)
        return;
    if (usage)
        buf_putf(&c->out, ": %lldK of ", ((long long)usage->octets + 1023) / 1024);
    else
        buf_put(&c->out, STR(": not counted yet, of "));
    put_size(&c->out, quota);
}

static void put_json(struct command *c, const struct directory_user *user, uint64_t quota,
                     const struct usage *usage)
{
    struct json json;
    struct buf text;
    buf_init(&text, MAILBOX_MAX);
    json_begin(&json, &c->out);
    json_open_object(&json);
    json_name(&json, "address");
    json_put_string(&json, user->address);
    json_name(&json, "mailbox");
    put_mailbox(&text, c->conf, user);
    json_put_string(&json, buf_str(&text));
    json_name(&json, "locked");
    json_put_bool(&json, user->locked);
    if (user->moved.len) {
        json_name(&json, "moved");
        json_put_string(&json, user->moved);
        json_name(&json, "forwarded");
        json_put_bool(&json, user->forwarded);
    }
    if (quota) {
        json_name(&json, "quota");
        json_put_int(&json, (int64_t)quota);
    }
    if (quota && usage) {
        json_name(&json, "used");
        json_put_int(&json, usage->octets);
        json_name(&json, "letters");
        json_put_int(&json, usage->letters);
    }
    json_name(&json, "created");
    buf_clear(&text);
    date_put_iso(&text, user->created_ms);
    json_put_string(&json, buf_str(&text));
    json_close_object(&json);
    buf_finish(&text);
}

static bool list_user(void *context, const struct directory_user *user)
{
    struct listing *l = context;
    struct command *c = l->c;
    uint64_t quota = directory_quota(user, c->conf->limits.quota);
    struct usage usage;
    bool known = quota > 0 && find_usage(l, user, &usage);
    (c->json ? put_json : put_line)(c, user, quota, known ? &usage : NULL);
    buf_put_byte(&c->out, '\n');
    return c->out.len < OUT_PIECE || command_flush(c);
}

// The server makes usage.db at its first start.
static void open_usage(struct listing *l)
{
    struct err err = {.class = ERR_NONE};
    if (!usage_db_open(&l->usage, l->c->conf->state_dir, DATABASE_READ, &err) && err.code != ENOENT)
        command_note(l->c, "%s", err.text);
}

static int list_users(struct command *c, struct databases *db)
{
    struct listing listing = {.c = c};
    struct err err;
    open_usage(&listing);
    bool ok = directory_db_each_user(db->directory, 0, list_user, &listing, &err);
    usage_db_close(&listing.usage);
    return ok ? EXIT_DONE : command_error(c, &err);
}

// A database that is missing, or of an older release, is brought up to date by this command.
int user_list_command(struct command *c)
{
    struct databases db = {.directory = NULL};
    struct err err;
    int code = identity_take(c);
    if (code == EXIT_DONE)
        code = open_databases(c, &db, &err) ? list_users(c, &db) : command_error(c, &err);
    return finish(&db, code);
}
