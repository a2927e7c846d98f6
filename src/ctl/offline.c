#include "ctl/offline.h"

#include <errno.h>
#include <fcntl.h>

#include "base/limits.h"
#include "ctl/control.h"
#include "ctl/identity.h"
#include "os/file.h"
#include "os/log.h"
#include "os/loop.h"
#include "store/desk.h"

enum { PATH_LIMIT = 8192, TURN_MS = 1000 };

struct offline {
    int dir;
    struct loop *loop;
    struct spool *spool;
    struct spool_waiter waiter;
    bool durable;
};

// ---- opening and closing

static bool open_events(const struct command *c, struct err *err)
{
    struct buf path;
    buf_init(&path, PATH_LIMIT);
    buf_putf(&path, "%.*s/events.jsonl", STR_ARG(c->conf->log_dir));
    buf_put_byte(&path, '\0');
    int fd = buf_ok(&path) ? os_open(OS_HERE, path.ptr, O_WRONLY | O_CREAT | O_APPEND, 0640)
                           : -ENAMETOOLONG;
    bool ok = fd >= 0 || err_system(err, fd, "%.*s/events.jsonl", STR_ARG(c->conf->log_dir));
    buf_finish(&path);
    if (ok)
        log_start(NULL, NULL, fd);
    return ok;
}

static bool turn(struct offline *o, struct err *err)
{
    return loop_turn(o->loop, TURN_MS, err);
}

static bool open_spool(struct offline *o, struct err *err)
{
    const struct spool_options options = {.segment_size = LIMIT_segment,
                                          .large_body = LIMIT_large_body};
    bool ok = spool_open(&o->spool, o->dir, &options, err) && loop_open(&o->loop, err) &&
              spool_begin(o->spool, o->loop, err);
    while (ok && !spool_indexed(o->spool))
        ok = turn(o, err);
    return ok;
}

void offline_close(struct offline **offline)
{
    struct offline *o = *offline;
    *offline = NULL;
    if (!o)
        return;
    spool_close(&o->spool);
    loop_close(&o->loop);
    log_start(NULL, NULL, -1);
    os_close(&o->dir);
    free(o);
}

static int open_offline(struct command *c)
{
    struct str path;
    struct err err;
    struct offline *o = c->offline = calloc(1, sizeof *o);
    must(o != NULL);
    if (!arena_copy(c->arena, c->conf->spool_dir, &path))
        return command_fail(c, "the spool directory's name is too long");
    // As the queue does: the way there may be root's, what stands in it is the user's.
    o->dir = os_open_directory(OS_HERE, path.ptr);
    if (o->dir < 0)
        return command_later(c, "%s: %s", path.ptr, strerror(-o->dir));
    int code = identity_take(c);
    if (code == EXIT_DONE && !(open_events(c, &err) && open_spool(o, &err)))
        code = command_error(c, &err);
    return code;
}

// ---- one question

static void ordered(struct spool_waiter *waiter, bool durable)
{
    CONTAINER_OF(waiter, struct offline, waiter)->durable = durable;
}

static bool make_durable(struct offline *o, struct err *err)
{
    bool ok = true;
    o->durable = false;
    o->waiter = (struct spool_waiter){.for_states = true, .done = ordered};
    spool_wait(o->spool, &o->waiter);
    while (ok && !o->durable)
        ok = turn(o, err);
    return ok;
}

// Nobody has to be told: the next start schedules what waits.
static void touched(void *owner, struct spool_letter *letter)
{
    (void)owner, (void)letter;
}

static int ask_spool(struct command *c, struct str what, struct str argument, struct buf *body)
{
    struct offline *o = c->offline;
    struct err err;
    struct desk *desk = desk_open(o->spool, what, argument, &err);
    if (!desk)
        return command_error(c, &err);
    desk_read(desk);
    bool ok = !desk_act(desk, touched, NULL) || make_durable(o, &err);
    int code = ok ? EXIT_DONE : command_error(c, &err);
    if (ok && !desk_answer(desk, body))
        code = command_fail(c, "%.*s", STR_ARG(buf_str(body)));
    desk_close(&desk);
    return code;
}

int offline_ask(struct command *c, struct str request, struct buf *body)
{
    struct str what = request, word;
    if (!c->offline) {
        bool running;
        int code = control_try(c, request, body, &running);
        if (!running)
            code = open_offline(c);
        if (running || code != EXIT_DONE)
            return code;
    }
    (void)str_cut(&what, ' ', &word); // "queue"
    (void)str_cut(&what, ' ', &word);
    return ask_spool(c, word, what, body);
}
