// The roles' processes. A child is started with its control channel only; when it is ready it gets
// a channel to each ready peer that messages.def links it to, listeners, and for the queue the
// arenas of the receivers. When one dies its post is filled again, and its peers get new channels.
#include "roles/supervisor.h"

#include <errno.h>
#include <inttypes.h>

#include "base/limits.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/net.h"

enum {
    SIGNAL_KILL = 9,
    AGAIN_FIRST_MS = 20,
    AGAIN_MOST_MS = 1000,
    QUICK_MS = 1000, // a life shorter than this was a quick death
    START_TRIES = 3, // before the first "ready"
    ROLE_PATH_MAX = 4096,
    JOIN_AGAIN_MS = 100,
};

static const struct ipc_handlers handlers;

const char *child_state_name(enum child_state state)
{
    static const char *const names[] = {
        [CHILD_STARTING] = "starting",
        [CHILD_READY] = "ready",
        [CHILD_DRAINING] = "draining",
        [CHILD_DRAINED] = "drained",
    };
    return names[state];
}

// ---- starting one

static bool make_arena(struct supervisor *s, struct child *c, struct err *err)
{
    c->arena = os_memfd("arena");
    int rc = c->arena < 0 ? c->arena : os_truncate(c->arena, s->conf->limits.arena);
    if (rc == 0)
        rc = os_seal(c->arena, OS_SEAL_SHRINK | OS_SEAL_GROW);
    return rc == 0 || err_system(err, rc, "memory for a receiver");
}

static bool send_setup(struct supervisor *s, struct child *c, struct err *err)
{
    struct msg m = {.type = MSG_setup};
    struct buf packed;
    struct os_identity who = {0, 0};
    bool mail = c->role == IPC_POSTMAN || c->role == IPC_READER;
    struct str user = mail && s->conf->mail_user.len ? s->conf->mail_user : s->conf->run_as;
    if (os_is_root() && !os_find_user(user, &who, err))
        return false;
    int fd = os_memfd("configuration");
    if (fd < 0)
        return err_system(err, fd, "memory for the configuration");
    buf_init(&packed, LIMIT_config_packed);
    conf_pack(&packed, s->conf);
    int rc = buf_ok(&packed) ? os_write_all(fd, buf_str(&packed)) : -EFBIG;
    buf_finish(&packed);
    m.setup.config = fd;
    m.setup.uid = who.uid;
    m.setup.gid = who.gid;
    m.setup.become = os_is_root();
    m.setup.instance = c->instance;
    if (rc == 0)
        ipc_send(c->channel, &m);
    os_close(&fd);
    return rc == 0 || err_system(err, rc, "the configuration for a role");
}

static void send_events_file(struct supervisor *s, struct child *c)
{
    struct msg m = {.type = MSG_events_file};
    m.events_file.file = s->events;
    if (s->events >= 0 && c->role != IPC_RESOLVER) // it could write over it: os/jail_calls.def
        ipc_send(c->channel, &m);
}

static bool spawn(struct supervisor *s, struct child *c, int control, struct err *err)
{
    struct buf path;
    const char *argv[] = {NULL, NULL};
    buf_init(&path, ROLE_PATH_MAX);
    buf_putf(&path, "%.*s/%s", STR_ARG(buf_str(&s->libexec)), ipc_role_name(c->role));
    buf_put_byte(&path, '\0');
    must(buf_ok(&path));
    argv[0] = path.ptr;
    c->pid = os_spawn(path.ptr, argv, &control, 1);
    bool ok = c->pid >= 0 || err_system(err, c->pid, "starting %s", path.ptr);
    buf_finish(&path);
    return ok;
}

// A channel that ended although both its ends live: a call failed, or one of them broke the rules.
struct parting {
    struct link link;
    struct child *teller, *other; // who said it first
    struct timer join; // set when both have said it; a pause, lest two quarrel without end
};

static void free_parting(struct parting *p)
{
    loop_cancel_timer(p->teller->supervisor->loop, &p->join);
    list_remove(&p->link);
    free(p);
}

static void free_child(struct child *c)
{
    LIST_EACH(&c->supervisor->partings, at, after)
    {
        struct parting *p = CONTAINER_OF(at, struct parting, link);
        if (p->teller == c || p->other == c)
            free_parting(p);
    }
    loop_cancel_timer(c->supervisor->loop, &c->patience);
    list_remove(&c->link);
    ipc_close(&c->channel);
    os_close(&c->arena);
    if (c->post && c->post->child == c)
        c->post->child = NULL;
    if (c->post && c->post->next == c)
        c->post->next = NULL;
    free(c);
}

static void patience_over(struct timer *timer)
{
    struct child *c = CONTAINER_OF(timer, struct child, patience);
    ipc_close(&c->channel); // it exits when its control channel closes
}

static struct child *start(struct post *post, struct err *err)
{
    struct supervisor *s = post->supervisor;
    struct child *c = calloc(1, sizeof *c);
    int pair[2];
    must(c != NULL);
    *c = (struct child){.supervisor = s,
                        .post = post,
                        .role = post->role,
                        .instance = s->next_instance++,
                        .pid = -1,
                        .arena = -1,
                        .since_ms = os_wall_ms(),
                        .patience = {.fire = patience_over}};
    list_append(&s->children, &c->link);
    post->started_ms = os_monotonic_ms();
    int rc = net_pair(pair);
    bool ok = rc == 0 || err_system(err, rc, "a channel for %s", ipc_role_name(c->role));
    if (ok) {
        ok = spawn(s, c, pair[1], err);
        os_close(&pair[1]);
        ok = ipc_open(&c->channel, s->loop, pair[0], IPC_SUPERVISOR, c->role, c->instance,
                      &handlers, c, ok ? err : &(struct err){.code = 0}) &&
             ok;
    }
    if (ok && c->role == IPC_RECEIVER)
        ok = make_arena(s, c, err);
    if (ok)
        send_events_file(s, c); // first: the queue has events to tell of its recovery
    if (ok)
        ok = send_setup(s, c, err);
    if (!ok && c->pid < 0) {
        free_child(c);
        return NULL;
    }
    if (!ok)
        ipc_close(&c->channel); // it exits, and is reaped
    return c;
}

static void fill(struct post *post);

static void fill_again(struct timer *timer)
{
    fill(CONTAINER_OF(timer, struct post, again));
}

static void wait_and_fill(struct post *post)
{
    uint64_t wait = AGAIN_FIRST_MS;
    for (unsigned i = 1; i < post->quick_deaths && wait < AGAIN_MOST_MS; i++)
        wait *= 2;
    post->again.fire = fill_again;
    loop_set_timer(post->supervisor->loop, &post->again,
                   wait < AGAIN_MOST_MS ? wait : AGAIN_MOST_MS);
}

static void fill(struct post *post)
{
    struct err err;
    if (post->child || post->supervisor->stopping)
        return;
    post->child = start(post, &err);
    if (!post->child) {
        log_line(LOG_ERROR, "%s", err.text);
        post->quick_deaths++;
        wait_and_fill(post);
    }
}

void children_want(struct supervisor *s, enum ipc_role role, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct post *post = calloc(1, sizeof *post);
        must(post != NULL);
        post->supervisor = s;
        post->role = role;
        list_append(&s->posts, &post->link);
        fill(post);
    }
}

// ---- ready: links, arenas, listeners

static void send_arena(struct child *to, const struct child *of)
{
    struct msg m = {.type = MSG_arena};
    m.arena.memory = of->arena;
    m.arena.instance = of->instance;
    ipc_send(to->channel, &m);
}

static void send_peer(struct child *to, const struct child *other, int fd)
{
    struct msg m = {.type = MSG_peer};
    m.peer.channel = fd;
    m.peer.role = other->role;
    m.peer.instance = other->instance;
    ipc_send(to->channel, &m);
}

static void link_two(struct child *a, struct child *b)
{
    int pair[2];
    int rc = net_pair(pair);
    if (rc < 0) {
        log_line(LOG_ERROR, "a channel between %s and %s: %s", ipc_role_name(a->role),
                 ipc_role_name(b->role), strerror(-rc));
        return;
    }
    if (a->role == IPC_QUEUE && b->role == IPC_RECEIVER)
        send_arena(a, b);
    if (b->role == IPC_QUEUE && a->role == IPC_RECEIVER)
        send_arena(b, a);
    send_peer(a, b, pair[0]);
    send_peer(b, a, pair[1]);
    os_close(&pair[0]);
    os_close(&pair[1]);
}

static void join_again(struct timer *timer)
{
    struct parting *p = CONTAINER_OF(timer, struct parting, join);
    log_line(LOG_WARNING, "the channel between %s and %s broke: they get another",
             ipc_role_name(p->teller->role), ipc_role_name(p->other->role));
    if (p->teller->channel && p->other->channel)
        link_two(p->teller, p->other);
    free_parting(p);
}

static void on_parted(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct child *c = ipc_context(channel), *other = NULL;
    struct supervisor *s = c->supervisor;
    (void)owner;
    LIST_EACH(&s->children, at, after)
    {
        struct child *child = CONTAINER_OF(at, struct child, link);
        if (child != c && child->role == m->parted.role && child->instance == m->parted.instance)
            other = child;
    }
    if (!other || !ipc_linked(c->role, other->role)) // it ended: its successor is linked to all
        return;
    LIST_EACH(&s->partings, at, after)
    {
        struct parting *p = CONTAINER_OF(at, struct parting, link);
        if (p->teller == other && p->other == c)
            loop_set_timer(s->loop, &p->join, JOIN_AGAIN_MS);
        if ((p->teller == other && p->other == c) || (p->teller == c && p->other == other))
            return;
    }
    struct parting *p = calloc(1, sizeof *p);
    must(p != NULL);
    *p = (struct parting){.teller = c, .other = other, .join = {.fire = join_again}};
    list_append(&s->partings, &p->link);
}

static enum ipc_role role_of_protocol(enum conf_protocol protocol)
{
    return protocol == CONF_POP3 ? IPC_PORTER : IPC_RECEIVER;
}

static void send_listeners(struct supervisor *s, struct child *c)
{
    LIST_EACH(&s->listeners, at, after)
    {
        struct listening *l = CONTAINER_OF(at, struct listening, link);
        struct msg m = {.type = MSG_listener};
        if (role_of_protocol(l->protocol) != c->role)
            continue;
        m.listener.socket = l->fd;
        m.listener.protocol = l->protocol;
        ipc_send(c->channel, &m);
    }
}

static void send_drain(struct child *c)
{
    struct msg m = {.type = MSG_drain};
    if (c->state != CHILD_READY || !c->channel)
        return;
    c->state = CHILD_DRAINING;
    m.drain.milliseconds = (uint32_t)c->supervisor->conf->limits.drain;
    ipc_send(c->channel, &m);
}

// The new generation takes over; the old one finishes what it has.
static void take_over(struct post *post)
{
    struct child *old = post->child;
    post->child = post->next;
    post->next = NULL;
    if (!old)
        return;
    old->post = NULL;
    send_drain(old);
    loop_set_timer(post->supervisor->loop, &old->patience, post->supervisor->conf->limits.drain);
}

bool children_all_ready(const struct supervisor *s)
{
    LIST_EACH((struct link *)(uintptr_t)&s->posts, at, after)
    {
        const struct post *post = CONTAINER_OF(at, struct post, link);
        if (!post->child || post->child->state != CHILD_READY)
            return false;
    }
    return true;
}

// Each new child has taken over, or it failed: then it was told in `stale`.
static void check_renewed(struct supervisor *s)
{
    LIST_EACH(&s->posts, at, after)
    {
        if (CONTAINER_OF(at, struct post, link)->next)
            return;
    }
    if (!s->renewing)
        return;
    s->renewing = false;
    supervisor_renewed(s);
}

static void on_ready(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct child *c = ipc_context(channel);
    struct supervisor *s = c->supervisor;
    (void)owner;
    c->state = CHILD_READY;
    if (m->ready.landlock < 2 && c->instance == 1)
        log_line(LOG_WARNING,
                 "this kernel's Landlock (ABI %u) is too old: files are guarded by %s only",
                 m->ready.landlock, m->ready.seccomp ? "seccomp" : "their owners");
    if (c->role == IPC_RECEIVER)
        send_arena(c, c);
    LIST_EACH(&s->children, at, after)
    {
        struct child *other = CONTAINER_OF(at, struct child, link);
        // One that drains still has sessions, which need whoever comes new.
        bool works = other->state == CHILD_READY || other->state == CHILD_DRAINING;
        if (other != c && works && other->channel && ipc_linked(c->role, other->role))
            link_two(c, other);
    }
    if (c->post && c->post->next == c) {
        take_over(c->post);
        check_renewed(s);
    }
    log_event(&(struct log_event){.name = EVENT_started, .text = str_of(ipc_role_name(c->role))});
    if (s->was_ready) {
        send_listeners(s, c);
    } else if (children_all_ready(s)) {
        LIST_EACH(&s->children, to, next)
        {
            send_listeners(s, CONTAINER_OF(to, struct child, link));
        }
        s->was_ready = true;
        supervisor_ready(s);
    }
}

static void on_drained(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct child *c = ipc_context(channel);
    (void)m;
    (void)owner;
    c->state = CHILD_DRAINED;
    if (!c->post) // replaced: nothing keeps it
        ipc_close(&c->channel);
}

// To a path of the route table only: the sender may be an intruder.
static int dial(const struct conf *conf, struct str path)
{
    for (size_t i = 0; i < conf->route_count; i++) {
        struct str to = conf->routes[i].to;
        if (!str_starts(to, STR("lmtp:")) || !str_eq(str_skip(to, STR("lmtp:").len), path))
            continue;
        char *name = strndup(path.ptr, path.len);
        must(name != NULL);
        int fd = net_connect_path(name);
        free(name);
        return fd;
    }
    return -EACCES;
}

static void on_dial(struct ipc_channel *channel, struct msg *m, void *owner)
{
    const struct child *c = ipc_context(channel);
    struct msg answer = {.type = MSG_dialled};
    (void)owner;
    int fd = dial(c->supervisor->conf, m->dial.path);
    if (fd >= 0) {
        answer.dialled.path = m->dial.path;
        answer.dialled.socket = fd;
    } else {
        answer.type = MSG_no_answer;
        answer.no_answer.path = m->dial.path;
        answer.no_answer.error = (uint32_t)-fd;
    }
    ipc_send(channel, &answer);
    os_close(&fd);
}

static void closed(struct ipc_channel *channel, const char *why)
{
    struct child *c = ipc_context(channel);
    (void)why; // the reaping says more
    c->channel = NULL;
    if (c->state == CHILD_READY) // it broke the rules, or is about to be reaped
        os_kill(c->pid, SIGNAL_KILL);
}

static const struct ipc_handlers handlers = {
    .on = {[MSG_ready] = on_ready,
           [MSG_drained] = on_drained,
           [MSG_parted] = on_parted,
           [MSG_dial] = on_dial},
    .closed = closed,
};

// ---- the end of one

static void put_death(struct buf *out, const struct child *c, const struct os_exit *ended)
{
    buf_putf(out, "%s (pid %d) ", ipc_role_name(c->role), c->pid);
    if (ended->signal)
        buf_putf(out, "was ended by signal %d", ended->signal);
    else
        buf_putf(out, "ended with status %d", ended->code);
}

static void log_death(const struct child *c, const struct os_exit *ended)
{
    struct buf text;
    buf_init(&text, 256);
    put_death(&text, c, ended);
    log_line(LOG_ERROR, "%.*s", STR_ARG(buf_str(&text)));
    log_event(&(struct log_event){.name = EVENT_died, .text = buf_str(&text)});
    buf_finish(&text);
}

static void child_ended(struct child *c, const struct os_exit *ended)
{
    struct supervisor *s = c->supervisor;
    struct post *post = c->post;
    bool expected = s->stopping || !post || c->state >= CHILD_DRAINING;
    bool current = post && post->child == c;
    bool never_ready = c->state == CHILD_STARTING;
    if (!expected)
        log_death(c, ended);
    if (post && post->next == c) {
        put_death(&s->stale, c, ended);
        buf_put(&s->stale, STR(": the old one goes on\n"));
    }
    free_child(c);
    check_renewed(s);
    if (!post || s->stopping || !current)
        return;
    uint64_t lived = os_monotonic_ms() - post->started_ms;
    post->quick_deaths = never_ready || lived < QUICK_MS ? post->quick_deaths + 1 : 1;
    post->restarts++;
    if (!s->was_ready && post->quick_deaths >= START_TRIES) {
        log_line(LOG_ERROR, "%s cannot start: giving up", ipc_role_name(post->role));
        supervisor_stop(s, true);
        return;
    }
    wait_and_fill(post);
}

void children_reap(struct supervisor *s)
{
    struct os_exit ended;
    while (os_reap(&ended)) {
        LIST_EACH(&s->children, at, after)
        {
            struct child *c = CONTAINER_OF(at, struct child, link);
            if (c->pid == ended.pid) {
                child_ended(c, &ended);
                break;
            }
        }
    }
}

// ---- reload and stop

void children_renew(struct supervisor *s)
{
    struct err err;
    s->renewing = true;
    buf_clear(&s->stale);
    LIST_EACH(&s->posts, at, after)
    {
        struct post *post = CONTAINER_OF(at, struct post, link);
        if (post->role == IPC_QUEUE) { // one log has one owner: it takes the options by message
            if (post->child && post->child->channel && !send_setup(s, post->child, &err))
                buf_putf(&s->stale, "%s\n", err.text);
            continue;
        }
        if (post->next) { // a reload during a reload: the newest counts
            struct child *stale = post->next;
            stale->post = NULL;
            ipc_close(&stale->channel);
        }
        post->next = start(post, &err);
        if (!post->next)
            buf_putf(&s->stale, "%s: the old one goes on\n", err.text);
    }
    check_renewed(s);
}

void children_events_file(struct supervisor *s)
{
    LIST_EACH(&s->children, at, after)
    {
        struct child *c = CONTAINER_OF(at, struct child, link);
        if (c->channel)
            send_events_file(s, c);
    }
}

void children_drain(struct supervisor *s, unsigned roles)
{
    LIST_EACH(&s->children, at, after)
    {
        struct child *c = CONTAINER_OF(at, struct child, link);
        if (roles & (1U << c->role))
            send_drain(c);
    }
}

bool children_drained(const struct supervisor *s, unsigned roles)
{
    LIST_EACH((struct link *)(uintptr_t)&s->children, at, after)
    {
        const struct child *c = CONTAINER_OF(at, struct child, link);
        if ((roles & (1U << c->role)) && c->state == CHILD_DRAINING && c->channel)
            return false;
    }
    return true;
}

void children_let_go(struct supervisor *s)
{
    LIST_EACH(&s->children, at, after)
    {
        ipc_close(&CONTAINER_OF(at, struct child, link)->channel);
    }
}

// Frees what is known of them; those that have not ended yet end with us.
void children_finish(struct supervisor *s)
{
    LIST_EACH(&s->children, at, after)
    {
        free_child(CONTAINER_OF(at, struct child, link));
    }
    LIST_EACH(&s->posts, at, after)
    {
        struct post *post = CONTAINER_OF(at, struct post, link);
        loop_cancel_timer(s->loop, &post->again);
        list_remove(at);
        free(post);
    }
}

struct child *children_find(struct supervisor *s, enum ipc_role role)
{
    LIST_EACH(&s->posts, at, after)
    {
        struct post *post = CONTAINER_OF(at, struct post, link);
        if (post->role == role && post->child && post->child->state == CHILD_READY)
            return post->child;
    }
    return NULL;
}
