// posthouse serve, stop, reload, status.
#include <errno.h>

#include "base/limits.h"
#include "ctl/control.h"
#include "ctl/record.h"
#include "os/process.h"

enum { PATH_LIMIT = 8192, STOP_MARGIN_MS = 60000 };

// The supervisor stands beside the command: DIR/libexec/posthouse in a build directory,
// DIR/../libexec/posthouse where it is installed.
static int start(struct command *c, struct str directory, const char *below, struct buf *path)
{
    struct buf conf;
    buf_clear(path);
    buf_putf(path, "%.*s%s/libexec/posthouse/supervisor", STR_ARG(directory), below);
    buf_put_byte(path, '\0');
    buf_init(&conf, PATH_LIMIT);
    buf_put(&conf, c->conf_path);
    buf_put_byte(&conf, '\0');
    const char *const argv[] = {"supervisor", "-c", conf.ptr, NULL};
    int result = buf_ok(path) && buf_ok(&conf) ? os_exec(path->ptr, argv) : -ENAMETOOLONG;
    buf_finish(&conf);
    return result;
}

int serve_command(struct command *c)
{
    struct buf own, path;
    struct err err;
    buf_init(&own, PATH_LIMIT);
    buf_init(&path, PATH_LIMIT);
    int code = EXIT_FAILED;
    if (!os_own_path(&own, &err)) {
        code = command_error(c, &err);
    } else {
        struct str directory = str_sub(buf_str(&own), 0, str_rindex(buf_str(&own), '/'));
        int result = start(c, directory, "", &path);
        if (result == -ENOENT)
            result = start(c, directory, "/..", &path);
        code = command_fail(c, "can not start the supervisor (%s): %s", path.ptr ? path.ptr : "",
                            strerror(-result));
    }
    buf_finish(&own);
    buf_finish(&path);
    return code;
}

// A question whose answer is only yes or no.
static int ask(struct command *c, struct str request)
{
    struct buf body;
    buf_init(&body, LIMIT_control_reply);
    int code = control_ask(c, request, &body);
    buf_finish(&body);
    return code;
}

int stop_command(struct command *c)
{
    int code = ask(c, STR("stop"));
    if (code == EXIT_DONE && !control_wait_gone(c, c->conf->limits.drain + STOP_MARGIN_MS))
        code = command_later(c, "it was told to stop and is still there");
    return code;
}

int reload_command(struct command *c)
{
    return ask(c, STR("reload"));
}

// What the queue has to do. While it is being started again nothing is said of it.
static void put_queue(struct command *c)
{
    static const struct table_column columns[] = {{.title = "LETTERS", .right = true},
                                                  {.title = "RECIPIENTS", .right = true},
                                                  {.title = "BACKLOG", .right = true},
                                                  {.title = "PACED"}};
    static const struct record_field fields[] = {
        {"letters", RECORD_TEXT},
        {"recipients", RECORD_TEXT},
        {"backlog", RECORD_TEXT},
        {"paced", RECORD_TEXT},
    };
    const struct control_question question = {.ask = control_ask, .request = "queue status"};
    struct record_table table = {columns, fields, ARRAY_LEN(fields)};
    buf_put_byte(&c->out, '\n');
    int code = record_command(c, &question, &table);
    (void)code; // it was said why
}

int status_command(struct command *c)
{
    static const struct table_column columns[] = {
        {.title = "ROLE"},
        {.title = "NUMBER", .right = true},
        {.title = "PID", .right = true},
        {.title = "STATE"},
        {.title = "SINCE"},
        {.title = "RESTARTS", .right = true},
    };
    static const struct record_field fields[] = {
        {"role", RECORD_TEXT},  {"instance", RECORD_TEXT}, {"pid", RECORD_TEXT},
        {"state", RECORD_TEXT}, {"since", RECORD_TIME},    {"restarts", RECORD_TEXT},
    };
    const struct control_question question = {.ask = control_ask, .request = "status"};
    struct record_table table = {columns, fields, ARRAY_LEN(fields)};
    int code = record_command(c, &question, &table);
    if (code == EXIT_DONE && !c->json && command_flush(c))
        put_queue(c);
    return code;
}
