// One connection to a host, from connect to its end:
//
//   connecting ──► session (pump and engine) ──► idle, kept for the next letter ──► QUIT
//
// The pump's own time limit is not used: the engine says what it waits for and since when, so that
// a peer that drips gains no time.
#include "roles/sender.h"

#include <errno.h>

#include "base/limits.h"
#include "os/file.h"

enum {
    KEPT_INPUT = 65536,
    NO_LIMIT_MS = 24 * 3600 * 1000, // a session has shorter ones of its own
    IDLE_MAX = 200,                 // connections that are kept
};

struct connection {
    struct link link; // in sender.idle while it is kept, in sender.dialling until there is a socket
    bool idle;
    struct sender *sender;
    struct parcel *parcel; // NULL: none is on it
    bool lmtp;
    bool ready;  // the engine waits for a letter
    bool begun;  // the parcel's letter is under way
    bool closed; // it is freed at the end of the turn
    bool inside; // the engine is being fed
    unsigned letters;
    struct net_address address;
    struct str path; // of a unix socket, in the same block; then address.family is 0
    struct smtp_client_config config;
    struct smtp_client client;
    struct pump pump;
    bool pumps;
    struct watch connecting;
    struct timer deadline;
    uint64_t waits; // of the engine, that the deadline is set for
    struct turn_hook end;
};

static uint64_t in_ms(unsigned seconds)
{
    return (uint64_t)seconds * 1000;
}

// ---- its end

static void leave_list(struct connection *c)
{
    list_remove(&c->link);
    c->sender->idle_count -= c->idle;
    c->idle = false;
}

static void free_connection(struct turn_hook *hook)
{
    struct connection *c = CONTAINER_OF(hook, struct connection, end);
    struct loop *loop = c->sender->role->loop;
    must(!c->parcel);
    leave_list(c);
    loop_cancel_timer(loop, &c->deadline);
    if (c->pumps) {
        pump_close(&c->pump);
    } else if (c->connecting.fd >= 0) {
        loop_remove(loop, &c->connecting);
        os_close(&c->connecting.fd);
    }
    smtp_client_finish(&c->client);
    free(c);
}

static void close_soon(struct connection *c)
{
    if (c->closed)
        return;
    c->closed = true;
    loop_at_turn_end(c->sender->role->loop, &c->end);
}

void connection_abort(struct connection *c)
{
    c->parcel = NULL;
    close_soon(c);
}

enum smtp_stage connection_stage(const struct connection *c)
{
    return c->client.stage;
}

static void find_no_connection(struct connection *c, const struct smtp_client_result *result)
{
    struct parcel *p = c->parcel;
    c->parcel = NULL;
    close_soon(c);
    if (p)
        parcel_no_connection(p, result);
}

// The parcel goes another way.
static void lose_parcel(struct connection *c, const struct smtp_client_result *result)
{
    struct parcel *p = c->parcel;
    c->parcel = NULL;
    if (p)
        parcel_left(p, result);
}

// ---- the engine

static void give_text(struct connection *c)
{
    struct parcel *p = c->parcel;
    for (;;) {
        size_t taken = p->rest.len ? smtp_client_text(&c->client, p->rest) : 0;
        p->rest = str_skip(p->rest, taken);
        if (p->rest.len)
            return;
        if (p->whole) {
            smtp_client_text_end(&c->client);
            return;
        }
        if (!parcel_text(p)) {
            connection_abort(c);
            return;
        }
    }
}

static void begin_letter(struct connection *c)
{
    struct parcel *p = c->parcel;
    c->ready = false;
    if (p && parcel_next(p)) {
        c->begun = true;
        c->letters++;
        smtp_client_begin(&c->client, &p->letter);
        return;
    }
    c->ready = true;
    lose_parcel(c, NULL);
    if (c->letters >= LIMIT_connection_letters || c->sender->draining) {
        c->ready = false;
        smtp_client_quit(&c->client);
    }
}

static void take_event(struct connection *c, const struct smtp_client_event *event)
{
    switch (event->type) {
    case SMTP_CLIENT_READY:
        begin_letter(c);
        break;
    case SMTP_CLIENT_REFUSED:
        lose_parcel(c, &event->result);
        break;
    case SMTP_CLIENT_TEXT:
        give_text(c);
        break;
    case SMTP_CLIENT_RESULT:
        parcel_result(c->parcel, event->recipient, &event->result);
        break;
    case SMTP_CLIENT_CLOSED:
        c->ready = false;
        close_soon(c);
        lose_parcel(c, c->begun ? NULL : &event->result);
        break;
    case SMTP_CLIENT_MORE:
        break;
    }
}

static void set_deadline(struct connection *c)
{
    struct loop *loop = c->sender->role->loop;
    unsigned seconds = smtp_client_seconds(&c->client);
    bool nobody_waits = !c->parcel && seconds > LIMIT_idle_seconds;
    if (c->waits == c->client.waits && timer_is_set(&c->deadline))
        return;
    c->waits = c->client.waits;
    if (seconds == 0 || nobody_waits)
        seconds = LIMIT_idle_seconds;
    loop_set_timer(loop, &c->deadline, in_ms(seconds));
}

static void keep(struct connection *c)
{
    struct sender *s = c->sender;
    if (c->idle)
        return;
    c->idle = true;
    list_prepend(&s->idle, &c->link);
    if (++s->idle_count > IDLE_MAX) {
        struct connection *oldest = CONTAINER_OF(s->idle.prev, struct connection, link);
        close_soon(oldest);
    }
    loop_set_timer(s->role->loop, &c->deadline, in_ms(LIMIT_idle_seconds));
}

// Feeds the engine until it waits for somebody.
static void step(struct connection *c, struct str input)
{
    struct smtp_client_event event;
    if (c->closed || c->inside)
        return;
    c->inside = true;
    do {
        input = str_skip(input, smtp_client_feed(&c->client, input, &event));
        take_event(c, &event);
    } while (!c->closed && event.type != SMTP_CLIENT_MORE);
    c->inside = false;
    if (c->closed)
        return;
    if (c->client.stage == SMTP_STAGE_quit) // the engine is done with the letter
        lose_parcel(c, NULL);
    if (c->client.out.len)
        pump_flush(&c->pump);
    if (c->ready)
        keep(c);
    else
        set_deadline(c);
}

static void deadline(struct timer *timer)
{
    struct connection *c = CONTAINER_OF(timer, struct connection, deadline);
    static const struct smtp_client_result silent = {
        .outcome = SMTP_CLIENT_LATER, .status = {4, 4, 1}, .text = {"no connection in time", 21}};
    if (c->closed)
        return;
    if (!c->pumps) {
        find_no_connection(c, &silent);
    } else if (c->ready) {
        leave_list(c);
        c->ready = false;
        smtp_client_quit(&c->client);
        step(c, STR(""));
    } else {
        smtp_client_timed_out(&c->client);
        step(c, STR(""));
    }
}

// ---- the socket

static size_t on_input(struct pump *pump, struct str bytes)
{
    step(CONTAINER_OF(pump, struct connection, pump), bytes);
    return bytes.len;
}

static void on_drained(struct pump *pump)
{
    step(CONTAINER_OF(pump, struct connection, pump), STR(""));
}

static void on_ended(struct pump *pump, enum pump_end why)
{
    struct connection *c = CONTAINER_OF(pump, struct connection, pump);
    (void)why;
    if (c->closed)
        return;
    smtp_client_lost(&c->client);
    step(c, STR(""));
}

static const struct pump_ops pump_callbacks = {
    .input = on_input, .drained = on_drained, .ended = on_ended};

static void no_connection(struct connection *c, int error)
{
    struct err err;
    err_system(&err, error, "no connection");
    const struct smtp_client_result result = {
        .outcome = SMTP_CLIENT_LATER, .status = STATUS(4, 4, 1), .text = err_text(&err)};
    find_no_connection(c, &result);
}

// The socket is the pump's, also when this fails.
static void begin_session(struct connection *c, int fd)
{
    struct err err;
    c->pumps = true;
    if (pump_start(&c->pump, c->sender->role->loop, fd, &pump_callbacks, &c->client.out, KEPT_INPUT,
                   NO_LIMIT_MS, &err))
        step(c, STR(""));
    else
        no_connection(c, -ENOMEM);
}

static void connected(struct watch *watch, unsigned events)
{
    struct connection *c = CONTAINER_OF(watch, struct connection, connecting);
    (void)events;
    if (c->closed)
        return;
    int rc = net_connect_result(watch->fd), fd = watch->fd;
    if (rc < 0) {
        no_connection(c, rc);
        return;
    }
    loop_remove(c->sender->role->loop, watch);
    watch->fd = -1;
    begin_session(c, fd);
}

void connection_dialled(struct sender *s, struct str path, int fd)
{
    LIST_EACH(&s->dialling, at, after)
    {
        struct connection *c = CONTAINER_OF(at, struct connection, link);
        if (!str_eq(c->path, path))
            continue;
        list_remove(at);
        if (c->closed)
            break; // nobody waits any more
        if (fd < 0)
            no_connection(c, fd);
        else
            begin_session(c, fd);
        return;
    }
    os_close(&fd);
}

// ---- for parcels

static struct connection *find_idle(const struct sender *s, const struct parcel *p,
                                    const struct routed_way *way)
{
    LIST_EACH((struct link *)(uintptr_t)&s->idle, at, after)
    {
        struct connection *c = CONTAINER_OF(at, struct connection, link);
        if (!c->closed && c->lmtp == p->lmtp && net_address_equal(&c->address, &way->address) &&
            (way->address.family || str_eq(c->path, way->host)))
            return c;
    }
    return NULL;
}

static struct connection *new_connection(struct sender *s, struct parcel *p,
                                         const struct routed_way *way)
{
    size_t path_len = way->address.family ? 0 : way->host.len;
    struct connection *c = calloc(1, sizeof *c + path_len);
    must(c != NULL);
    if (path_len)
        memcpy(c + 1, way->host.ptr, path_len);
    c->path = str_from(c + 1, path_len);
    c->sender = s;
    c->parcel = p;
    c->lmtp = p->lmtp;
    c->address = way->address;
    c->config = (struct smtp_client_config){.hostname = s->role->conf->hostname, .lmtp = p->lmtp};
    c->deadline.fire = deadline;
    c->end.run = free_connection;
    c->connecting = (struct watch){.fd = -1, .ready = connected};
    smtp_client_init(&c->client, &c->config);
    p->connection = c;
    return c;
}

void connection_take(struct sender *s, struct parcel *p, bool anew)
{
    const struct routed_way *way = &p->ways[p->way];
    struct connection *c = anew ? NULL : find_idle(s, p, way);
    struct err err;
    if (c) {
        leave_list(c);
        c->parcel = p;
        p->connection = c;
        begin_letter(c);
        step(c, STR(""));
        return;
    }
    c = new_connection(s, p, way);
    loop_set_timer(s->role->loop, &c->deadline, in_ms(LIMIT_connect_seconds));
    if (!way->address.family) {
        list_append(&s->dialling, &c->link);
        role_dial(s->role, c->path);
        return;
    }
    int fd = net_connect(&way->address);
    if (fd < 0) {
        no_connection(c, fd);
        return;
    }
    c->connecting.fd = fd;
    if (!loop_add(s->role->loop, &c->connecting, LOOP_WRITE, &err)) {
        os_close(&c->connecting.fd);
        no_connection(c, -ENOMEM);
    }
}

void connection_close_idle(struct sender *s)
{
    LIST_EACH(&s->idle, at, after)
    {
        close_soon(CONTAINER_OF(at, struct connection, link));
    }
}
