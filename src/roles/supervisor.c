// The supervisor: opens the sockets, starts and restarts the roles, wires their channels. It holds
// no mail and reads no byte from the network.
#include "roles/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#include "base/limits.h"
#include "os/clock.h"
#include "os/fault.h"
#include "os/file.h"
#include "os/net.h"

enum {
    STOP_EVERY_MS = 10,
    STOP_LAST_MS = 2000, // for processes to end after their channels closed
    LISTEN_BACKLOG = 1024,
    PATH_ROOM = 4096,
    EXIT_CONFIG = 1,
};

#define ROLE_BIT(role) (1U << (role))

// In this order; each phase waits until its roles are drained, or time is up. The directory hears
// of every delivery before it writes down what the mailboxes hold.
static const unsigned stop_phases[] = {
    ROLE_BIT(IPC_RECEIVER) | ROLE_BIT(IPC_PORTER) | ROLE_BIT(IPC_READER),
    ROLE_BIT(IPC_QUEUE),
    ROLE_BIT(IPC_DIRECTORY),
};

// ---- the configuration

static bool load(struct supervisor *s, struct buf *complaints)
{
    unsigned turn = s->conf_turn ^ 1;
    struct arena *arena = &s->conf_arenas[turn];
    struct conf_problems problems = {.count = 0};
    arena_reset(arena);
    arena_init(arena, LIMIT_config_memory);
    struct conf *conf = ARENA_NEW(arena, struct conf);
    must(conf != NULL);
    if (!conf_load(s->conf_path, arena, conf, &problems)) {
        conf_put_problems(complaints, &problems);
        return false;
    }
    s->conf = conf;
    s->conf_turn = turn;
    return true;
}

static const char *c_path(struct str path, char room[PATH_ROOM])
{
    must(path.len < PATH_ROOM);
    memcpy(room, path.ptr, path.len);
    room[path.len] = '\0';
    return room;
}

// ---- listeners

static struct listening *find_listening(struct supervisor *s, const struct conf_listen *want)
{
    LIST_EACH(&s->listeners, at, after)
    {
        struct listening *l = CONTAINER_OF(at, struct listening, link);
        if (l->protocol == want->protocol && l->address.port == want->address.port &&
            l->address.family == want->address.family &&
            memcmp(l->address.bytes, want->address.bytes, sizeof l->address.bytes) == 0)
            return l;
    }
    return NULL;
}

static void close_listening(struct listening *l)
{
    list_remove(&l->link);
    os_close(&l->fd);
    free(l);
}

// Opens what is wanted and not open yet; waits until `by` for an address in use. All that cannot be
// opened is told in one run.
static bool open_listeners(struct supervisor *s, uint64_t by, struct buf *complaints)
{
    const struct conf *conf = s->conf;
    bool ok = true;
    for (size_t i = 0; i < conf->listen_count; i++) {
        const struct conf_listen *want = &conf->listen[i];
        if (find_listening(s, want))
            continue;
        int fd;
        while ((fd = net_listen(&want->address, LISTEN_BACKLOG)) == -EADDRINUSE &&
               os_monotonic_ms() < by)
            os_sleep_ms(OS_REMAINS_LOOK_MS);
        if (fd < 0) {
            buf_putf(complaints, "%.*s:%u: cannot listen on ", STR_ARG(want->place.file),
                     want->place.line);
            net_put_address(complaints, &want->address);
            buf_putf(complaints, ": %s\n", strerror(-fd));
            ok = false;
            continue;
        }
        struct listening *l = calloc(1, sizeof *l);
        must(l != NULL);
        *l = (struct listening){.fd = fd, .protocol = want->protocol, .address = want->address};
        list_append(&s->listeners, &l->link);
    }
    return ok;
}

static void close_unwanted(struct supervisor *s)
{
    LIST_EACH(&s->listeners, at, after)
    {
        struct listening *l = CONTAINER_OF(at, struct listening, link);
        bool wanted = false;
        for (size_t i = 0; i < s->conf->listen_count; i++)
            wanted = wanted || find_listening(s, &s->conf->listen[i]) == l;
        if (!wanted)
            close_listening(l);
    }
}

// ---- directories and the event file

// As root, what `init` made for us becomes the roles' own.
static bool own(const char *path, struct str user, struct err *err)
{
    struct os_identity who;
    struct stat st;
    if (!os_is_root())
        return true;
    if (!os_find_user(user, &who, err))
        return false;
    int rc = os_stat(OS_HERE, path, &st);
    if (rc == 0 && st.st_uid != who.uid)
        rc = os_chown(OS_HERE, path, who.uid, who.gid);
    return rc == 0 || err_system(err, rc, "%s", path);
}

static bool make_directory(struct str path, struct str user, struct err *err)
{
    char room[PATH_ROOM];
    int rc = os_mkdir(OS_HERE, c_path(path, room), 0700);
    if (rc < 0 && rc != -EEXIST)
        return err_system(err, rc, "%s", room);
    return own(room, user, err);
}

// A line that was cut short when another life ended (killed, out of space) goes, before anyone adds
// to it.
static int mend_events(const char *path)
{
    char room[LIMIT_event_line];
    struct stat st;
    int fd = os_open(OS_HERE, path, O_RDWR, 0);
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    int rc = os_fstat(fd, &st);
    if (rc == 0) {
        uint64_t size = (uint64_t)st.st_size;
        uint64_t from = size > sizeof room ? size - sizeof room : 0;
        ssize_t n = os_pread_all(fd, room, sizeof room, from);
        struct str tail = str_from(room, n > 0 ? (size_t)n : 0);
        size_t end = str_rindex(tail, '\n');
        if (n < 0)
            rc = (int)n;
        else if (end + 1 < tail.len || end == tail.len)
            rc = os_truncate(fd, from + (end < tail.len ? end + 1 : 0));
    }
    os_close(&fd);
    return rc;
}

static bool open_events(struct supervisor *s, struct err *err)
{
    struct buf path;
    buf_init(&path, PATH_ROOM);
    buf_putf(&path, "%.*s/events.jsonl", STR_ARG(s->conf->log_dir));
    buf_put_byte(&path, '\0');
    must(buf_ok(&path));
    int rc = s->events < 0 ? mend_events(path.ptr) : 0;
    if (rc < 0)
        log_line(LOG_WARNING, "%s: %s", path.ptr, strerror(-rc));
    int fd = os_open(OS_HERE, path.ptr, O_WRONLY | O_CREAT | O_APPEND, 0640);
    bool ok = fd >= 0 || err_system(err, fd, "%s", path.ptr);
    buf_finish(&path);
    if (ok) {
        s->events = os_duplicate(fd); // log_set_events owns the other one
        log_set_events(fd);
    }
    return ok;
}

static bool open_directories(struct supervisor *s, struct err *err)
{
    const struct conf *c = s->conf;
    struct str mail_user = c->mail_user.len ? c->mail_user : c->run_as;
    // The state first: the others may stand below it.
    return make_directory(c->state_dir, c->run_as, err) &&
           make_directory(c->spool_dir, c->run_as, err) &&
           make_directory(c->log_dir, c->run_as, err) &&
           make_directory(c->mail_dir, mail_user, err) && open_events(s, err);
}

// One instance a state directory.
static bool take_lock(struct supervisor *s, struct err *err)
{
    char room[PATH_ROOM];
    int dir = os_open_directory(OS_HERE, c_path(s->conf->state_dir, room));
    if (dir < 0)
        return err_system(err, dir, "%s", room);
    s->state_lock = os_open(dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    int rc = s->state_lock < 0 ? s->state_lock : os_lock(s->state_lock);
    os_close(&dir);
    if (rc == -EWOULDBLOCK || rc == -EAGAIN)
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0),
                       "posthouse runs already: %s/lock is held", room);
    return rc == 0 || err_system(err, rc, "%s/lock", room);
}

// ---- reload

enum control_answer supervisor_reload(struct supervisor *s, struct buf *complaints)
{
    const struct conf *old = s->conf;
    if (s->stopping || !s->was_ready) {
        buf_put(complaints, STR("not now: starting or stopping\n"));
        return CONTROL_LATER;
    }
    if (!load(s, complaints))
        return CONTROL_NO;
    conf_put_fixed(complaints, old, s->conf);
    if (complaints->len || !open_listeners(s, 0, complaints)) {
        s->conf = old;
        s->conf_turn ^= 1;
        close_unwanted(s);
        return CONTROL_NO;
    }
    close_unwanted(s);
    children_renew(s);
    return CONTROL_OK;
}

void supervisor_renewed(struct supervisor *s)
{
    struct str stale = buf_str(&s->stale);
    if (stale.len)
        log_line(LOG_ERROR, "a part of the old generation goes on:\n%.*s", STR_ARG(stale));
    else
        log_line(LOG_INFO, "the new configuration is taken in");
    control_renewed(s, stale.len ? CONTROL_NO : CONTROL_OK, stale);
}

static void reload_by_signal(struct supervisor *s)
{
    struct buf complaints;
    buf_init(&complaints, LIMIT_control_reply);
    if (supervisor_reload(s, &complaints) != CONTROL_OK)
        log_line(LOG_ERROR, "keeping the old configuration:\n%.*s", STR_ARG(buf_str(&complaints)));
    buf_finish(&complaints);
}

// ---- stop

static void stop_step(struct timer *timer)
{
    struct supervisor *s = CONTAINER_OF(timer, struct supervisor, stop_timer);
    uint64_t now = loop_now(s->loop);
    while (s->stop_phase < ARRAY_LEN(stop_phases) &&
           (children_drained(s, stop_phases[s->stop_phase]) || now >= s->stop_by)) {
        s->stop_phase++;
        s->stop_by = now + s->conf->limits.drain;
        if (s->stop_phase < ARRAY_LEN(stop_phases))
            children_drain(s, stop_phases[s->stop_phase]);
    }
    if (s->stop_phase == ARRAY_LEN(stop_phases)) {
        children_let_go(s);
        s->stop_by = now + STOP_LAST_MS;
        s->stop_phase++;
    }
    bool gone = list_empty(&s->children);
    if (gone || (s->stop_phase > ARRAY_LEN(stop_phases) && now >= s->stop_by))
        loop_stop(s->loop); // children die with us
    else
        loop_set_timer(s->loop, timer, STOP_EVERY_MS);
}

void supervisor_stop(struct supervisor *s, bool failed)
{
    s->failed = s->failed || failed;
    if (s->stopping)
        return;
    s->stopping = true;
    control_renewed(s, CONTROL_LATER, STR("it stops"));
    while (!list_empty(&s->listeners)) // nobody new comes in
        close_listening(CONTAINER_OF(s->listeners.next, struct listening, link));
    s->stop_by = loop_now(s->loop) + s->conf->limits.drain;
    children_drain(s, stop_phases[0]);
    s->stop_timer.fire = stop_step;
    loop_set_timer(s->loop, &s->stop_timer, 1);
}

void supervisor_ready(struct supervisor *s)
{
    (void)s;
    // The line that scripts wait for.
    int rc = os_write_all(2, STR("posthouse: ready\n"));
    (void)rc;
}

static void got_signal(struct os_signals *signals, int signal)
{
    struct supervisor *s = CONTAINER_OF(signals, struct supervisor, signals);
    struct err err;
    if (signal == SIGCHLD) {
        children_reap(s);
    } else if (signal == SIGTERM || signal == SIGINT) {
        supervisor_stop(s, false);
    } else if (signal == SIGHUP) {
        reload_by_signal(s);
    } else if (signal == SIGUSR1) { // the event file was moved away: open a new one
        os_close(&s->events);
        if (open_events(s, &err))
            children_events_file(s);
        else
            log_line(LOG_ERROR, "%s", err.text);
    }
}

// ---- start

static bool find_libexec(struct supervisor *s, struct err *err)
{
    if (!os_own_path(&s->libexec, err))
        return false;
    s->libexec.len = str_rindex(buf_str(&s->libexec), '/');
    return true;
}

static unsigned receivers(const struct conf *conf)
{
    unsigned processors = os_cpu_count();
    if (conf->limits.receivers)
        return (unsigned)conf->limits.receivers;
    return processors > 2 ? processors / 2 : 1;
}

static void start_roles(struct supervisor *s)
{
    children_want(s, IPC_DIRECTORY, 1);
    children_want(s, IPC_LOGIN, 1);
    children_want(s, IPC_QUEUE, 1);
    children_want(s, IPC_POSTMAN, 1);
    children_want(s, IPC_READER, 1);
    children_want(s, IPC_RECEIVER, receivers(s->conf));
    children_want(s, IPC_PORTER, 1);
}

static bool begin(struct supervisor *s, struct err *err)
{
    struct buf complaints;
    buf_init(&complaints, LIMIT_control_reply);
    bool ok =
        load(s, &complaints) && open_listeners(s, os_monotonic_ms() + OS_REMAINS_MS, &complaints);
    if (!ok) {
        int rc = os_write_all(2, buf_str(&complaints));
        (void)rc;
        buf_finish(&complaints);
        return err_set(err, ERR_GIVE_UP, STATUS(5, 3, 5), "nothing was started");
    }
    buf_finish(&complaints);
    return open_directories(s, err) && take_lock(s, err) && find_libexec(s, err) &&
           os_signals_open(s->loop, &s->signals, err) && control_open(s, err);
}

static bool arguments(int argc, char **argv, struct str *conf)
{
    if (argc != 3 || !str_eq(str_of(argv[1]), STR("-c")))
        return false;
    *conf = str_of(argv[2]);
    return true;
}

// The signals stay blocked: a second SIGTERM must not make a clean end look like another.
static void finish(struct supervisor *s)
{
    control_close(s);
    children_finish(s);
    while (!list_empty(&s->listeners))
        close_listening(CONTAINER_OF(s->listeners.next, struct listening, link));
    os_close(&s->events);
    os_close(&s->state_lock);
    buf_finish(&s->libexec);
    buf_finish(&s->stale);
    arena_finish(&s->conf_arenas[0]);
    arena_finish(&s->conf_arenas[1]);
    log_flush();
    log_start("supervisor", NULL, -1); // without the loop
    loop_close(&s->loop);
    free(s);
}

int main(int argc, char **argv)
{
    struct supervisor *s = calloc(1, sizeof *s);
    struct err err;
    int status = 0;
    must(s != NULL);
    fault_start("supervisor");
    os_clock_start();
    if (!arguments(argc, argv, &s->conf_path)) {
        int rc = os_write_all(2, STR("usage: supervisor -c FILE (started by `posthouse serve`)\n"));
        (void)rc;
        return 64; // EX_USAGE
    }
    if (!loop_open(&s->loop, &err))
        return 71; // EX_OSERR
    log_start("supervisor", s->loop, -1);
    list_init(&s->posts);
    list_init(&s->children);
    list_init(&s->listeners);
    list_init(&s->partings);
    list_init(&s->clients);
    buf_init(&s->libexec, PATH_ROOM);
    buf_init(&s->stale, LIMIT_control_reply);
    s->events = s->state_lock = s->control.fd = -1;
    s->next_instance = 1;
    s->signals.got = got_signal;
    if (!begin(s, &err)) {
        log_line(LOG_ERROR, "%s", err.text);
        status = EXIT_CONFIG;
    } else {
        start_roles(s);
        if (!loop_run(s->loop, &err))
            log_line(LOG_ERROR, "%s", err.text);
        status = s->failed ? 1 : 0;
    }
    finish(s);
    return status;
}
