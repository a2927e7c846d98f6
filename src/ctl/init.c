// posthouse init: an instance in a directory. What it makes is made in an order in which a failure
// leaves nothing that a second try would stumble over: the configuration, which says "this is an
// instance", comes last.
#include <errno.h>
#include <fcntl.h>

#include "base/limits.h"
#include "ctl/command.h"
#include "mail/domain.h"
#include "os/file.h"
#include "os/net.h"
#include "os/process.h"
#include "store/directory_db.h"
#include "store/login_db.h"

enum { FILE_LIMIT = 65536, PRIVATE_DIRECTORY = 0700, CONF_MODE = 0644 };

static const char conf_name[] = "posthouse.yaml";
static const char new_name[] = "posthouse.yaml.new";
static const char *const directories[] = {"spool", "state", "log", "mail"};

struct plan {
    struct str directory;
    struct str hostname;
    struct str listen[CONF_PROTOCOLS];
    struct str dns; // may be empty
    struct route_rule *routes;
    size_t route_count;
    const char *run_as; // NULL: whoever starts it
    struct str trusted; // as the option is written
    bool trust_wide;
    bool apop;
};

// DOMAIN=HOST:PORT
static int read_route(struct command *c, struct plan *plan, struct str text)
{
    struct route_rule *route = &plan->routes[plan->route_count];
    struct route_target target;
    struct str domain = STR(""), place = text;
    struct buf to;
    struct err err;
    buf_init(&to, FILE_LIMIT);
    (void)str_cut(&place, '=', &domain);
    buf_putf(&to, "smtp://%.*s", STR_ARG(place));
    bool ok = route_pattern_read(domain, c->arena, &route->domain, &err) &&
              route_target_read(buf_str(&to), c->arena, &target, &err) &&
              (arena_copy(c->arena, buf_str(&to), &route->to) ||
               err_set(&err, ERR_TRY_LATER, STATUS(4, 3, 0), "no memory for it"));
    buf_finish(&to);
    plan->route_count++;
    return ok ? EXIT_DONE
              : command_usage(c, "--route %.*s: %s: write it like example.com=192.0.2.1:25",
                              STR_ARG(text), err.text);
}

static int read_routes(struct command *c, struct plan *plan)
{
    struct str text;
    int code = EXIT_DONE;
    size_t count = 0;
    while (command_value(c, "route", count, &text))
        count++;
    plan->routes = arena_alloc_array(c->arena, count, sizeof *plan->routes);
    if (count && !plan->routes)
        return command_fail(c, "too many routes");
    for (size_t i = 0; code == EXIT_DONE && command_value(c, "route", i, &text); i++)
        code = read_route(c, plan, text);
    return code;
}

static int read_listeners(struct command *c, struct plan *plan)
{
    static const char *const options[CONF_PROTOCOLS] = {
        [CONF_SMTP] = "smtp", [CONF_LMTP] = "lmtp", [CONF_POP3] = "pop3"};
    bool any = false;
    for (unsigned p = 0; p < CONF_PROTOCOLS; p++) {
        struct net_address address;
        struct str text;
        if (!command_value(c, options[p], 0, &text))
            continue;
        if (!net_address_read(text, &address))
            return command_usage(c,
                                 "--%s %.*s: write an IP address and a port, like 127.0.0.1:2525",
                                 options[p], STR_ARG(text));
        plan->listen[p] = text;
        any = true;
    }
    if (!any) {
        plan->listen[CONF_SMTP] = STR("127.0.0.1:2525");
        plan->listen[CONF_POP3] = STR("127.0.0.1:2110");
    }
    return EXIT_DONE;
}

// --trusted, each, as a list in YAML.
static int read_trusted(struct command *c, struct plan *plan)
{
    struct str text;
    struct buf list;
    buf_init(&list, FILE_LIMIT / 2);
    for (size_t i = 0; command_value(c, "trusted", i, &text); i++) {
        struct net_range range;
        if (!net_range_read(text, &range)) {
            buf_finish(&list);
            return command_usage(c, "--trusted %.*s: write a network, like 192.0.2.0/24",
                                 STR_ARG(text));
        }
        buf_put(&list, i ? STR(", \"") : STR("[\""));
        net_put_range(&list, &range);
        buf_put_byte(&list, '"');
    }
    if (list.len)
        buf_put_byte(&list, ']');
    bool ok = buf_ok(&list) && arena_copy(c->arena, buf_str(&list), &plan->trusted);
    buf_finish(&list);
    return ok ? EXIT_DONE : command_usage(c, "too many networks");
}

static int read_plan(struct command *c, struct plan *plan)
{
    struct str text = STR(""), folded;
    struct err err;
    *plan = (struct plan){.directory = c->args[0],
                          .trust_wide = command_has(c, "trust-wide"),
                          .apop = command_has(c, "apop")};
    if (plan->directory.len == 0)
        return command_usage(c, "DIR is empty");
    if (command_value(c, "hostname", 0, &plan->hostname) &&
        !domain_read(plan->hostname, c->arena, &folded, &err))
        return command_usage(c, "--hostname %.*s: %s", STR_ARG(plan->hostname), err.text);
    if (str_index(plan->hostname, '.') == plan->hostname.len)
        return command_usage(c, "--hostname %.*s: write a full name, like mail.example.com",
                             STR_ARG(plan->hostname));
    for (size_t i = 0; command_value(c, "domain", i, &text); i++)
        if (!domain_read(text, c->arena, &folded, &err))
            return command_usage(c, "--domain %.*s: %s", STR_ARG(text), err.text);
    if (command_value(c, "dns", 0, &plan->dns) && !conf_is_server(plan->dns))
        return command_usage(c, "--dns %.*s: write an IP address, and a port like 127.0.0.1@5353",
                             STR_ARG(plan->dns));
    int code = read_routes(c, plan);
    if (code == EXIT_DONE)
        code = read_listeners(c, plan);
    return code == EXIT_DONE ? read_trusted(c, plan) : code;
}

// A directory that may be there already; a new one belongs to the roles' user.
static int make_directory(int dir, const char *name, const struct os_identity *owner)
{
    int result = os_mkdir(dir, name, PRIVATE_DIRECTORY);
    if (result == -EEXIST)
        return 0;
    if (result >= 0 && owner)
        result = os_chown(dir, name, owner->uid, owner->gid);
    return result;
}

static int write_file(int dir, struct str text)
{
    int fd = os_open(dir, new_name, O_WRONLY | O_CREAT | O_TRUNC, CONF_MODE);
    if (fd < 0)
        return fd;
    int result = os_write_all(fd, text);
    if (result >= 0)
        result = os_fsync(fd);
    os_close(&fd);
    return result;
}

static int write_conf(int dir, const struct plan *plan)
{
    const struct conf_setting settings[] = {
        {STR("hostname"), plan->hostname},
        {STR("spool_dir"), STR("spool")},
        {STR("state_dir"), STR("state")},
        {STR("log_dir"), STR("log")},
        {STR("mail_dir"), STR("mail")},
        {STR("apop"), plan->apop ? STR("yes") : STR("no")},
        {STR("dns.server"), plan->dns},
        {STR("run_as"), str_of(plan->run_as)},
        {STR("trusted"), plan->trusted},
        {STR("trust_wide"), plan->trust_wide ? STR("yes") : STR("")},
    };
    struct conf_sample sample = {
        .settings = settings,
        .count = ARRAY_LEN(settings),
        .routes = plan->routes,
        .route_count = plan->route_count,
    };
    struct buf text;
    memcpy(sample.listen, plan->listen, sizeof(sample.listen));
    buf_init(&text, FILE_LIMIT);
    conf_put_sample(&text, &sample);
    int result = buf_ok(&text) ? write_file(dir, buf_str(&text)) : -EFBIG;
    buf_finish(&text);
    return result;
}

// The new file is read back as the server will read it.
static int load_conf(struct command *c, const struct plan *plan, struct conf *conf)
{
    struct conf_problems problems;
    struct buf path, text;
    struct str copy;
    buf_init(&path, FILE_LIMIT);
    buf_putf(&path, "%.*s/%s", STR_ARG(plan->directory), new_name);
    bool ok = buf_ok(&path) && arena_copy(c->arena, buf_str(&path), &copy);
    buf_finish(&path);
    if (!ok)
        return command_fail(c, "the name of the directory is too long");
    if (conf_load(copy, c->arena, conf, &problems)) {
        c->conf = conf;
        return EXIT_DONE;
    }
    buf_init(&text, LIMIT_control_reply);
    conf_put_problems(&text, &problems);
    int result = os_write_all(2, buf_str(&text));
    (void)result; // the exit code tells as well
    buf_finish(&text);
    return EXIT_FAILED;
}

static int make_databases(struct command *c)
{
    struct directory_db *directory = NULL;
    struct login_db *login = NULL;
    struct str name, folded;
    struct err err;
    bool ok = directory_db_open(&directory, c->conf->state_dir, DATABASE_WRITE, &err) &&
              login_db_open(&login, c->conf->state_dir, DATABASE_WRITE, &err);
    ok = ok && directory_db_begin(directory, &err);
    for (size_t i = 0; ok && command_value(c, "domain", i, &name); i++)
        ok = domain_read(name, c->arena, &folded, &err) &&
             directory_db_add_domain(directory, name, folded, &err);
    ok = ok && directory_db_commit(directory, &err);
    login_db_close(&login);
    directory_db_close(&directory);
    return ok ? EXIT_DONE : command_error(c, &err);
}

static int fail_at(struct command *c, const struct plan *plan, const char *name, int result)
{
    struct err err;
    err_system(&err, result, "%.*s/%s", STR_ARG(plan->directory), name);
    return command_error(c, &err);
}

// Root's instance runs as `posthouse`, or as `nobody` where there is no such user.
static int find_owner(struct command *c, struct plan *plan, struct os_identity *owner)
{
    struct err err;
    if (!os_is_root())
        return EXIT_DONE;
    plan->run_as = "posthouse";
    if (os_find_user(STR("posthouse"), owner, &err))
        return EXIT_DONE;
    plan->run_as = "nobody";
    if (!os_find_user(STR("nobody"), owner, &err))
        return command_error(c, &err);
    command_note(c, "there is no user posthouse: run_as is nobody; better make a user of its own");
    return EXIT_DONE;
}

// Root made the databases: they are the roles'.
static int give_databases(struct command *c, const struct plan *plan, int dir,
                          const struct os_identity *owner)
{
    static const char *const names[] = {"state/directory.db", "state/login.db"};
    for (size_t i = 0; plan->run_as && i < ARRAY_LEN(names); i++) {
        int result = os_chown(dir, names[i], owner->uid, owner->gid);
        if (result < 0)
            return fail_at(c, plan, names[i], result);
    }
    return EXIT_DONE;
}

static int make_directories(struct command *c, const struct plan *plan, int dir,
                            const struct os_identity *owner)
{
    for (size_t i = 0; i < ARRAY_LEN(directories); i++) {
        int result = make_directory(dir, directories[i], plan->run_as ? owner : NULL);
        if (result < 0)
            return fail_at(c, plan, directories[i], result);
    }
    return EXIT_DONE;
}

// From here on DIR is an instance.
static int name_conf(struct command *c, const struct plan *plan, int dir)
{
    // link refuses a name that someone made meanwhile; rename would replace it.
    int result = os_link(dir, new_name, dir, conf_name);
    if (result >= 0)
        result = os_fsync(dir);
    return result < 0 ? fail_at(c, plan, conf_name, result) : EXIT_DONE;
}

static int fill(struct command *c, struct plan *plan, int dir)
{
    struct os_identity owner;
    struct stat st;
    struct conf conf;
    int code = find_owner(c, plan, &owner);
    if (code != EXIT_DONE)
        return code;
    int result = os_stat(dir, conf_name, &st);
    if (result >= 0)
        return command_fail(c, "%.*s/%s is there already", STR_ARG(plan->directory), conf_name);
    if (result != -ENOENT)
        return fail_at(c, plan, conf_name, result);
    result = write_conf(dir, plan);
    code = result < 0 ? fail_at(c, plan, new_name, result) : load_conf(c, plan, &conf);
    if (code == EXIT_DONE)
        code = make_directories(c, plan, dir, &owner);
    if (code == EXIT_DONE)
        code = make_databases(c);
    if (code == EXIT_DONE)
        code = give_databases(c, plan, dir, &owner);
    if (code == EXIT_DONE)
        code = name_conf(c, plan, dir);
    result = os_unlink(dir, new_name);
    (void)result; // a left-over is replaced next time
    return code;
}

// What was made, and what a new administrator types next.
static void report(struct command *c, const struct plan *plan)
{
    struct str domain = STR("");
    bool given = command_value(c, "domain", 0, &domain);
    must(given); // the usage asks for it
    buf_put_escaped(&c->out, plan->directory);
    buf_putf(&c->out, "/%s: made\n", conf_name);
    buf_put(&c->out, STR("next: posthouse -c "));
    buf_put_escaped(&c->out, plan->directory);
    buf_putf(&c->out, "/%s user add NAME@%.*s\n", conf_name, STR_ARG(domain));
    buf_put(&c->out, STR("      posthouse -c "));
    buf_put_escaped(&c->out, plan->directory);
    buf_putf(&c->out, "/%s serve\n", conf_name);
}

int init_command(struct command *c)
{
    struct plan plan;
    struct str path;
    int code = read_plan(c, &plan);
    if (code != EXIT_DONE)
        return code;
    if (str_index(plan.directory, '\0') < plan.directory.len ||
        !arena_copy(c->arena, plan.directory, &path))
        return command_usage(c, "DIR can not be a name");
    int result = os_mkdir(OS_HERE, path.ptr, 0755);
    int dir = result < 0 && result != -EEXIST ? result : os_open_directory(OS_HERE, path.ptr);
    if (dir < 0)
        return fail_at(c, &plan, ".", dir);
    code = fill(c, &plan, dir);
    os_close(&dir);
    if (code == EXIT_DONE)
        report(c, &plan);
    return code;
}
