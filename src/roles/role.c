#include "roles/role.h"

#include <errno.h>

#include "base/limits.h"
#include "os/clock.h"
#include "os/fault.h"
#include "os/file.h"
#include "os/process.h"
#include "session/pump.h"

enum { CONTROL = 3, PATHS_MAX = 16 };

// The walls, from roles/jails.def. The supervisor stands outside: it has to start the others.
static const struct row {
    unsigned calls;
    uint64_t max_files, max_memory;
} rows[IPC_ROLES] = {
#define JAIL(role, calls, max_files, max_memory)                                                   \
    [IPC_##role] = {(calls), (max_files), (max_memory)},
#include "roles/jails.def"
#undef JAIL
};

// A channel to a peer; the newest of its kind stands first.
struct peer_link {
    struct link link;
    struct ipc_channel *channel;
};

struct skeleton {
    struct role role;
    struct ipc_channel *control;
    struct ipc_handlers control_handlers;
    struct ipc_handlers peer_handlers; // the role's, with our `closed` in front
    struct link peers[IPC_ROLES];      // of struct peer_link
    struct jail_path paths[PATHS_MAX];
    size_t path_count;
    struct jail_probe probe;
    struct arena process;
    bool began;
};

static struct skeleton *skeleton_of(struct role *role)
{
    return CONTAINER_OF(role, struct skeleton, role);
}

void role_fail(const struct err *err)
{
    log_line(LOG_ERROR, "%s; ending, to be started again", err->text);
    log_flush();
    exit(70); // EX_SOFTWARE
}

void role_allow(struct role *role, int fd, bool change)
{
    struct skeleton *s = skeleton_of(role);
    must(s->path_count < PATHS_MAX);
    s->paths[s->path_count++] = (struct jail_path){fd, change};
}

struct ipc_channel *role_peer(struct role *role, enum ipc_role peer)
{
    struct link *list = &skeleton_of(role)->peers[peer];
    return list_empty(list) ? NULL : CONTAINER_OF(list->next, struct peer_link, link)->channel;
}

void role_each_peer(struct role *role, enum ipc_role peer,
                    void (*each)(struct role *role, struct ipc_channel *channel))
{
    LIST_EACH(&skeleton_of(role)->peers[peer], at, after)
    {
        each(role, CONTAINER_OF(at, struct peer_link, link)->channel);
    }
}

bool role_open_directory(struct role *role, struct str path, bool change, int *fd, struct err *err)
{
    struct skeleton *s = skeleton_of(role);
    struct str name;
    if (!arena_copy(&s->process, path, &name)) // with a NUL behind it
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "no memory for a path");
    *fd = os_open_directory(OS_HERE, name.ptr);
    if (*fd < 0)
        return err_system(err, *fd, "%.*s", STR_ARG(path));
    role_allow(role, *fd, change);
    return true;
}

void role_drained(struct role *role)
{
    struct ipc_channel *control = skeleton_of(role)->control;
    if (control)
        ipc_send(control, &(struct msg){.type = MSG_drained});
}

void role_dial(struct role *role, struct str path)
{
    struct ipc_channel *control = skeleton_of(role)->control;
    struct msg m = {.type = MSG_dial};
    m.dial.path = path;
    if (control)
        ipc_send(control, &m);
}

// ---- the configuration

static bool take_configuration(struct skeleton *s, int fd, struct err *err)
{
    struct buf packed;
    struct stat st;
    struct conf *conf = ARENA_NEW(&s->process, struct conf);
    must(conf != NULL);
    buf_init(&packed, LIMIT_config_packed);
    int rc = os_fstat(fd, &st);
    char *to = rc == 0 && st.st_size >= 0 ? buf_reserve(&packed, (size_t)st.st_size) : NULL;
    if (!to)
        return err_system(err, rc ? rc : -EFBIG, "the configuration from the supervisor");
    ssize_t n = os_pread_all(fd, to, (size_t)st.st_size, 0);
    if (n < 0)
        return err_system(err, (int)n, "the configuration from the supervisor");
    buf_added(&packed, (size_t)n);
    bool ok = conf_unpack(buf_str(&packed), &s->process, conf, err);
    buf_finish(&packed);
    if (ok)
        s->role.conf = conf;
    return ok;
}

static unsigned session_files(const struct role *role)
{
    const struct conf *conf = role->conf;
    bool also = false;
    for (size_t i = 0; role->ops->also && i < conf->listen_count; i++)
        also = also || conf->listen[i].protocol == role->ops->also;
    return role->ops->session_files * (also ? 2 : 1);
}

// Where the system allows fewer descriptors than max_sessions needs, fewer sessions are let in: who
// comes then hears so, instead of waiting unheard.
static void limit_sessions(struct role *role, uint64_t others)
{
    uint64_t allowed = os_file_limit(), each = session_files(role);
    uint64_t wanted = others + each * role->conf->limits.max_sessions;
    role->max_sessions = role->conf->limits.max_sessions;
    if (each == 0 || allowed >= wanted)
        return;
    role->max_sessions = allowed > others ? (allowed - others) / each : 0;
    log_line(LOG_WARNING,
             "max_sessions needs %llu open files and the system allows %llu (ulimit -Hn, "
             "LimitNOFILE): %llu sessions at one time",
             (unsigned long long)wanted, (unsigned long long)allowed,
             (unsigned long long)role->max_sessions);
}

static void say_ready(struct skeleton *s, const struct jail_report *report)
{
    struct msg ready = {.type = MSG_ready};
    ready.ready.landlock = (uint32_t)report->landlock_abi;
    ready.ready.seccomp = report->seccomp;
    ipc_send(s->control, &ready);
}

// setup: configuration, open what is needed, give up root, shut the jail, begin.
static bool set_up(struct skeleton *s, const struct msg_setup *setup, struct err *err)
{
    const struct row *row = &rows[s->role.ops->role];
    const struct os_identity who = {setup->uid, setup->gid};
    struct jail_report report;
    s->role.instance = setup->instance;
    if (!take_configuration(s, setup->config, err))
        return false;
    limit_sessions(&s->role, row->max_files);
    if (s->role.ops->prepare && !s->role.ops->prepare(&s->role, err))
        return false;
    jail_probe_open(&s->probe);
    if (setup->become && !os_become(&who, err))
        return false;
    struct jail jail = {.role = ipc_role_name(s->role.ops->role),
                        .calls = row->calls,
                        .paths = s->paths,
                        .path_count = s->path_count,
                        .needs_link = (row->calls & (JAIL_CHANGE | JAIL_MOVE)) != 0,
                        .max_files =
                            row->max_files + session_files(&s->role) * s->role.max_sessions,
                        .max_memory = row->max_memory};
    if (!jail_enter(&jail, &report, err))
        return false;
    if (s->role.ops->begin && !s->role.ops->begin(&s->role, err))
        return false;
    s->began = true;
    say_ready(s, &report);
    return true;
}

static void on_setup(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct skeleton *s = ipc_context(channel);
    struct err err;
    (void)owner;
    if (!s->began) {
        if (!set_up(s, &m->setup, &err))
            role_fail(&err);
    } else if (s->role.ops->reloaded) {
        if (take_configuration(s, m->setup.config, &err))
            s->role.ops->reloaded(&s->role);
        else
            log_line(LOG_ERROR, "keeping the old configuration: %s", err.text);
    }
}

// ---- what else the supervisor says

static void on_events_file(struct ipc_channel *channel, struct msg *m, void *owner)
{
    (void)channel;
    (void)owner;
    log_set_events(m->events_file.file);
    m->events_file.file = -1;
}

static void on_peer(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct skeleton *s = ipc_context(channel);
    const struct role_ops *ops = s->role.ops;
    struct ipc_channel *peer;
    struct err err;
    (void)owner;
    must(m->peer.role > IPC_ANY && m->peer.role < IPC_ROLES);
    enum ipc_role role = (enum ipc_role)m->peer.role;
    int fd = m->peer.channel;
    m->peer.channel = -1;
    if (!ipc_open(&peer, s->role.loop, fd, ops->role, role, m->peer.instance, &s->peer_handlers,
                  &s->role, &err))
        role_fail(&err);
    struct peer_link *link = calloc(1, sizeof *link);
    must(link != NULL);
    link->channel = peer;
    list_prepend(&s->peers[role], &link->link);
    if (ops->peer)
        ops->peer(&s->role, peer);
}

static void peer_closed(struct ipc_channel *channel, const char *why)
{
    struct skeleton *s = skeleton_of(ipc_context(channel));
    enum ipc_role peer = ipc_peer(channel);
    LIST_EACH(&s->peers[peer], at, after)
    {
        struct peer_link *link = CONTAINER_OF(at, struct peer_link, link);
        if (link->channel == channel) {
            list_remove(at);
            free(link);
        }
    }
    log_line(LOG_DEBUG, "channel to %s %u: %s", ipc_role_name(peer), ipc_instance(channel), why);
    if (s->role.ops->handlers && s->role.ops->handlers->closed)
        s->role.ops->handlers->closed(channel, why);
    struct msg parted = {.type = MSG_parted};
    parted.parted.role = peer;
    parted.parted.instance = ipc_instance(channel);
    if (s->control) // else the supervisor is gone, and so are we soon
        ipc_send(s->control, &parted);
}

static void on_listener(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct skeleton *s = ipc_context(channel);
    (void)owner;
    must(s->role.ops->listener != NULL && m->listener.protocol < CONF_PROTOCOLS);
    s->role.ops->listener(&s->role, m->listener.socket, (enum conf_protocol)m->listener.protocol);
    m->listener.socket = -1;
}

static void on_arena(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct skeleton *s = ipc_context(channel);
    (void)owner;
    must(s->role.ops->arena != NULL);
    s->role.ops->arena(&s->role, m->arena.memory, m->arena.instance);
    m->arena.memory = -1;
}

static void on_dialled(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct skeleton *s = ipc_context(channel);
    (void)owner;
    must(s->role.ops->dialled != NULL);
    s->role.ops->dialled(&s->role, m->dialled.path, m->dialled.socket);
    m->dialled.socket = -1;
}

static void on_no_answer(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct skeleton *s = ipc_context(channel);
    (void)owner;
    must(s->role.ops->dialled != NULL);
    s->role.ops->dialled(&s->role, m->no_answer.path, -(int)m->no_answer.error);
}

static void on_drain(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct skeleton *s = ipc_context(channel);
    (void)owner;
    if (s->role.ops->drain)
        s->role.ops->drain(&s->role, m->drain.milliseconds);
    else
        role_drained(&s->role);
}

static void control_closed(struct ipc_channel *channel, const char *why)
{
    struct skeleton *s = ipc_context(channel);
    (void)why;
    s->control = NULL; // freed when this returns
    loop_stop(s->role.loop);
}

// ---- answers to the administrator

struct question {
    struct pump pump;
    struct loop *loop;
    int client;
    struct buf out;
};

static size_t answer_input(struct pump *pump, struct str bytes)
{
    (void)pump;
    return bytes.len;
}

static void answer_ended(struct pump *pump, enum pump_end end)
{
    struct question *question = CONTAINER_OF(pump, struct question, pump);
    (void)end;
    pump_close(pump);
    buf_finish(&question->out);
    free(question);
}

static const struct pump_ops answer_ops = {.input = answer_input, .ended = answer_ended};

void role_answer(struct question *question, bool ok, const struct buf *body)
{
    struct err err;
    bool fits = buf_ok(body);
    buf_init(&question->out, LIMIT_control_reply + 16);
    buf_put(&question->out, ok && fits ? STR("ok\n") : STR("no "));
    buf_put(&question->out, fits ? buf_str(body) : STR("the answer is too long"));
    if (!pump_start(&question->pump, question->loop, question->client, &answer_ops, &question->out,
                    LIMIT_control_request, 10000, &err)) {
        buf_finish(&question->out);
        free(question);
        return;
    }
    pump_finish_output(&question->pump);
}

// Questions that every role answers, in builds with the fault seam: its walls are tried from
// inside.
static bool ask_common(const struct skeleton *s, struct str what, struct str argument,
                       struct buf *out)
{
    if (str_eq(what, STR("try")))
        buf_putf(out, "%d\n", jail_try(argument));
    else if (str_eq(what, STR("report")))
        jail_probe_put(&s->probe, out);
    else
        return false;
    return true;
}

static void on_ask(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct skeleton *s = ipc_context(channel);
    struct question *question = calloc(1, sizeof *question);
    struct buf body;
    (void)owner;
    must(question != NULL);
    question->loop = s->role.loop;
    question->client = m->ask.client;
    m->ask.client = -1;
    buf_init(&body, LIMIT_control_reply);
    if (ask_common(s, m->ask.what, m->ask.argument, &body)) {
        role_answer(question, true, &body);
    } else if (s->role.ops->ask) {
        s->role.ops->ask(&s->role, m->ask.what, m->ask.argument, question);
    } else {
        buf_put(&body, STR("this role answers no questions"));
        role_answer(question, false, &body);
    }
    buf_finish(&body);
}

int role_main(const struct role_ops *ops, int argc, char **argv)
{
    struct skeleton *s = calloc(1, sizeof *s);
    struct err err;
    (void)argc;
    (void)argv;
    must(s != NULL);
    fault_start(ipc_role_name(ops->role));
    os_signals_ignore();
    os_clock_start();
    os_memory_start();
    s->role.ops = ops;
    for (int i = 0; i < IPC_ROLES; i++)
        list_init(&s->peers[i]);
    arena_init(&s->process, 64 * 1024 * 1024);
    if (!loop_open(&s->role.loop, &err))
        role_fail(&err);
    log_start(ipc_role_name(ops->role), s->role.loop, -1);
    s->control_handlers = (struct ipc_handlers){.on = {[MSG_setup] = on_setup,
                                                       [MSG_events_file] = on_events_file,
                                                       [MSG_peer] = on_peer,
                                                       [MSG_listener] = on_listener,
                                                       [MSG_arena] = on_arena,
                                                       [MSG_drain] = on_drain,
                                                       [MSG_dialled] = on_dialled,
                                                       [MSG_no_answer] = on_no_answer,
                                                       [MSG_ask] = on_ask},
                                                .closed = control_closed};
    if (ops->handlers)
        s->peer_handlers = *ops->handlers;
    s->peer_handlers.closed = peer_closed;
    if (!ipc_open(&s->control, s->role.loop, CONTROL, ops->role, IPC_SUPERVISOR, 0,
                  &s->control_handlers, s, &err))
        role_fail(&err);
    if (!loop_run(s->role.loop, &err))
        role_fail(&err);
    // The system takes back what a process held; tearing it down by hand would only take time.
    log_flush();
    return 0;
}
