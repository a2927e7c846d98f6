// The control socket, state/control: `posthouse stop`, `status`, `reload`, `queue ...`, `route`. A
// request is one line, WHAT and an ARGUMENT behind the first space. The answer: "ok", or "no" or
// "later" (it may go well another time) and why, on the first line; then the body until the end of
// the stream. Questions for a role are handed to it together with the connection.
#include "roles/supervisor.h"

#include <errno.h>

#include "base/json.h"
#include "base/limits.h"
#include "mail/date.h"
#include "os/file.h"
#include "os/net.h"
#include "session/pump.h"

enum { CLIENT_MS = 10000, RENEWAL_MS = 20000, PATH_ROOM = 4096 };

struct client {
    struct link link;
    struct supervisor *supervisor;
    struct pump pump;
    struct buf out;
    bool renewal; // it waits for the end of a reload
};

static void say(struct client *c, enum control_answer answer, struct str text)
{
    static const char *const words[] = {
        [CONTROL_OK] = "ok\n", [CONTROL_NO] = "no ", [CONTROL_LATER] = "later "};
    buf_put(&c->out, str_of(words[answer]));
    buf_put(&c->out, text);
    if (answer != CONTROL_OK && !str_ends(text, STR("\n")))
        buf_put_byte(&c->out, '\n'); // without it the answer would seem to be broken off
    pump_finish_output(&c->pump);
}

// ---- answers

static void put_child(struct buf *out, const struct child *c, const struct post *post)
{
    struct json j;
    struct buf since;
    buf_init(&since, 64);
    date_put_iso(&since, c->since_ms);
    json_begin(&j, out);
    json_open_object(&j);
    json_name(&j, "role");
    json_put_string(&j, str_of(ipc_role_name(c->role)));
    json_name(&j, "instance");
    json_put_int(&j, c->instance);
    json_name(&j, "pid");
    json_put_int(&j, c->pid);
    json_name(&j, "state");
    json_put_string(&j, str_of(child_state_name(c->state)));
    json_name(&j, "since");
    json_put_string(&j, buf_str(&since));
    json_name(&j, "restarts");
    json_put_int(&j, post ? (int64_t)post->restarts : 0);
    json_close_object(&j);
    buf_put_byte(out, '\n');
    buf_finish(&since);
}

static void answer_status(struct client *c, struct str argument)
{
    struct buf body;
    (void)argument;
    buf_init(&body, LIMIT_control_reply);
    LIST_EACH(&c->supervisor->children, at, after)
    {
        const struct child *child = CONTAINER_OF(at, struct child, link);
        put_child(&body, child, child->post);
    }
    say(c, CONTROL_OK, buf_str(&body));
    buf_finish(&body);
}

static void answer_stop(struct client *c, struct str argument)
{
    (void)argument;
    say(c, CONTROL_OK, STR(""));
    supervisor_stop(c->supervisor, false);
}

static void answer_reload(struct client *c, struct str argument)
{
    struct buf complaints;
    (void)argument;
    buf_init(&complaints, LIMIT_control_reply);
    c->renewal = true;
    pump_set_timeout(&c->pump, RENEWAL_MS);
    enum control_answer answer = supervisor_reload(c->supervisor, &complaints);
    if (answer != CONTROL_OK) {
        c->renewal = false;
        say(c, answer, buf_str(&complaints));
    }
    buf_finish(&complaints);
}

void control_renewed(struct supervisor *s, enum control_answer answer, struct str text)
{
    LIST_EACH(&s->clients, at, after)
    {
        struct client *c = CONTAINER_OF(at, struct client, link);
        if (!c->renewal)
            continue;
        c->renewal = false;
        say(c, answer, text);
    }
}

// The role answers on the client's own connection.
static void hand_to(struct client *c, enum ipc_role role, struct str what, struct str argument)
{
    struct child *child = children_find(c->supervisor, role);
    struct msg m = {.type = MSG_ask};
    if (!child || !child->channel) {
        struct buf text;
        buf_init(&text, 128);
        buf_putf(&text, "the %s is not running now", ipc_role_name(role));
        say(c, CONTROL_LATER, buf_str(&text));
        buf_finish(&text);
        return;
    }
    m.ask.client = c->pump.watch.fd;
    m.ask.what = what;
    m.ask.argument = argument;
    ipc_send(child->channel, &m); // duplicates the descriptor; ours is closed now
    pump_finish_output(&c->pump);
}

static void answer_queue(struct client *c, struct str argument)
{
    struct str what = STR("");
    (void)str_cut(&argument, ' ', &what);
    hand_to(c, IPC_QUEUE, what, argument);
}

// route DOMAIN [SENDER'S DOMAIN]
static void answer_route(struct client *c, struct str argument)
{
    hand_to(c, IPC_RESOLVER, STR("route"), argument);
}

// role NAME WHAT ARGUMENT: any role may be asked anything (tests try the jails by it).
static void answer_role(struct client *c, struct str argument)
{
    struct str name = STR(""), what = STR("");
    (void)str_cut(&argument, ' ', &name);
    (void)str_cut(&argument, ' ', &what);
    enum ipc_role role = ipc_role_of(name);
    if (role == IPC_ANY || role == IPC_SUPERVISOR)
        say(c, CONTROL_NO, STR("there is no such role"));
    else
        hand_to(c, role, what, argument);
}

static const struct question {
    const char *name;
    void (*answer)(struct client *c, struct str argument);
} questions[] = {
    {"status", answer_status}, {"stop", answer_stop},   {"reload", answer_reload},
    {"queue", answer_queue},   {"route", answer_route}, {"role", answer_role},
};

static void answer(struct client *c, struct str line)
{
    struct str what = STR("");
    (void)str_cut(&line, ' ', &what);
    for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
        if (str_eq(what, str_of(questions[i].name))) {
            questions[i].answer(c, line);
            return;
        }
    }
    say(c, CONTROL_NO, STR("there is no such question"));
}

// ---- connections

static size_t input(struct pump *pump, struct str bytes)
{
    struct client *c = CONTAINER_OF(pump, struct client, pump);
    size_t end = str_index(bytes, '\n');
    if (end == bytes.len) {
        if (bytes.len < LIMIT_control_request)
            return 0;
        say(c, CONTROL_NO, STR("the question is too long"));
        return bytes.len;
    }
    answer(c, str_sub(bytes, 0, end));
    return bytes.len;
}

static void ended(struct pump *pump, enum pump_end end)
{
    struct client *c = CONTAINER_OF(pump, struct client, pump);
    if (end == PUMP_TIMED_OUT && c->renewal) {
        c->renewal = false;
        say(c, CONTROL_LATER, STR("the new roles are not ready yet"));
        return;
    }
    list_remove(&c->link);
    pump_close(pump);
    buf_finish(&c->out);
    free(c);
}

static const struct pump_ops pump_callbacks = {.input = input, .ended = ended};

static void accept_some(struct watch *watch, unsigned events)
{
    struct supervisor *s = CONTAINER_OF(watch, struct supervisor, control);
    struct err err;
    unsigned uid = 0;
    (void)events;
    int fd = net_accept(watch->fd, NULL);
    if (fd < 0)
        return;
    // The socket's mode keeps others out already; this holds where a file system ignores modes.
    if (net_peer_uid(fd, &uid) < 0 || (uid != 0 && uid != os_own_identity().uid)) {
        os_close(&fd);
        return;
    }
    struct client *c = calloc(1, sizeof *c);
    must(c != NULL);
    c->supervisor = s;
    buf_init(&c->out, LIMIT_control_reply + 16);
    if (!pump_start(&c->pump, s->loop, fd, &pump_callbacks, &c->out, LIMIT_control_request * 2,
                    CLIENT_MS, &err)) {
        buf_finish(&c->out);
        free(c);
        return;
    }
    list_append(&s->clients, &c->link);
}

static int open_state(const struct supervisor *s)
{
    char room[PATH_ROOM];
    struct str path = s->conf->state_dir;
    must(path.len < PATH_ROOM);
    memcpy(room, path.ptr, path.len);
    room[path.len] = '\0';
    return os_open_directory(OS_HERE, room);
}

bool control_open(struct supervisor *s, struct err *err)
{
    int dir = open_state(s);
    int rc = dir;
    if (dir >= 0) {
        rc = os_unlink(dir, "control"); // of an instance that was killed: the lock is ours
        if (rc == 0 || rc == -ENOENT)
            rc = net_listen_path(dir, "control", 0600);
    }
    os_close(&dir);
    if (rc < 0)
        return err_system(err, rc, "%.*s/control", STR_ARG(s->conf->state_dir));
    s->control = (struct watch){.fd = rc, .ready = accept_some};
    return loop_add(s->loop, &s->control, LOOP_READ, err);
}

void control_close(struct supervisor *s)
{
    LIST_EACH(&s->clients, at, after)
    {
        ended(&CONTAINER_OF(at, struct client, link)->pump, PUMP_DONE);
    }
    if (s->control.fd < 0) // not ours: another instance may run
        return;
    loop_remove(s->loop, &s->control);
    os_close(&s->control.fd);
    int dir = open_state(s);
    if (dir >= 0) {
        int rc = os_unlink(dir, "control");
        (void)rc;
    }
    os_close(&dir);
}
