// The role porter: POP3 up to the login. It sees clients and no file: what a stranger sends is
// parsed here, where a broken parser reaches neither a mailbox nor a password's hash.
//
//     client --PASS--> porter --check--> login --admit--> reader
//                      porter <-checked-- login <-admitted-+
//                      porter --adopt: the client's socket, with the ticket--> reader
//
// The reader lets in whom login announced to it, not whom the porter names: the ticket proves only
// that this client is the one of whom login spoke.
#include "roles/role.h"

#include <errno.h>

#include "base/base32.h"
#include "base/limits.h"
#include "ipc/verdicts.h"
#include "os/file.h"
#include "os/random.h"
#include "proto/pop3_server.h"
#include "session/admission.h"
#include "session/doors.h"
#include "session/pump.h"

enum {
    KEPT_INPUT = 65536,
    HANDED_INPUT = 32768, // what may wait behind PASS: it has to fit into one message
    TICKET_MAX = 64,
    STAMP_TEXT = 26, // 128 bits in base32
    STAMP_MAX = 320,
    PEER_MAX = 64,
};

struct porter {
    struct role *role;
    struct admission admission;
    struct doors doors;
    struct link sessions;
    struct timer deadline;
    bool draining, drained;
};

struct session {
    struct link link;
    struct porter *porter;
    struct pump pump;
    struct pop3_server engine;
    struct net_address peer;
    char id[SESSION_ID_TEXT + 1];
    struct ipc_channel *asked; // login, while it checks the password
    uint64_t asked_ms;
    struct timer no;            // when the client hears that its login failed
    char stamp[STAMP_TEXT + 1]; // of APOP: what cannot be guessed in the greeting's time stamp
    struct buf ticket;          // login said yes; goes to the reader when all output has left
};

// ---- a session's end

static void tell_drained(struct porter *p)
{
    if (!p->draining || p->drained || !list_empty(&p->sessions))
        return;
    p->drained = true;
    loop_cancel_timer(p->role->loop, &p->deadline);
    role_drained(p->role);
}

static void tell(const struct session *s, enum log_event_name name, const char *rule)
{
    struct buf peer;
    buf_init(&peer, PEER_MAX);
    net_put_ip(&peer, &s->peer);
    log_event(&(struct log_event){
        .name = name, .session = str_of(s->id), .peer = buf_str(&peer), .rule = str_of(rule)});
    buf_finish(&peer);
}

static void session_end(struct session *s)
{
    struct porter *p = s->porter;
    if (s->asked)
        ipc_forget(s->asked, MSG_check, s);
    loop_cancel_timer(p->role->loop, &s->no);
    pump_close(&s->pump);
    pop3_server_finish(&s->engine);
    buf_finish(&s->ticket);
    admission_leave(&p->admission, &s->peer);
    list_remove(&s->link);
    free(s);
    tell_drained(p);
}

// ---- a session's life

// The time stamp of RFC 1939 section 7: as a message-id is written, and no other octet. A clock in
// it could be guessed.
static void put_stamp(struct buf *out, const struct session *s)
{
    buf_putf(out, "<%s@%.*s>", s->stamp, STR_ARG(s->porter->role->conf->hostname));
    must(buf_ok(out));
}

static void draw_stamp(struct session *s)
{
    unsigned char bits[16];
    struct buf text;
    buf_init(&text, STAMP_TEXT);
    os_random(bits, sizeof bits);
    base32_put(&text, str_from(bits, sizeof bits));
    must(text.len == STAMP_TEXT);
    memcpy(s->stamp, text.ptr, STAMP_TEXT);
    buf_finish(&text);
}

// Asks login. True when its answer is to be waited for; otherwise the engine has its answer.
static bool ask_login(struct session *s, const struct pop3_event *event)
{
    struct ipc_channel *login = role_peer(s->porter->role, IPC_LOGIN);
    struct buf peer, stamp;
    struct msg m = {.type = MSG_check};
    buf_init(&peer, PEER_MAX);
    buf_init(&stamp, STAMP_MAX);
    net_put_ip(&peer, &s->peer);
    if (event->apop)
        put_stamp(&stamp, s);
    m.check.user = event->user;
    m.check.secret = event->secret;
    m.check.challenge = buf_str(&stamp);
    m.check.peer = buf_str(&peer);
    s->asked_ms = loop_now(s->porter->role->loop);
    if (login && ipc_request(login, &m, s))
        s->asked = login;
    else
        pop3_server_answer(&s->engine, POP3_REPLY_trouble);
    buf_finish(&peer);
    buf_finish(&stamp);
    return s->asked != NULL;
}

// Runs the engine on what came. True: it takes more.
static bool run(struct session *s, struct str bytes, size_t *taken)
{
    struct pop3_event event;
    *taken = 0;
    for (;;) {
        *taken += pop3_server_feed(&s->engine, str_skip(bytes, *taken), &event);
        switch (event.type) {
        case POP3_MORE:
            return true;
        case POP3_WAIT:
        case POP3_FULL:
            return false;
        case POP3_ASK_LOGIN:
            if (bytes.len - *taken > HANDED_INPUT)
                pop3_server_abort(&s->engine, POP3_REPLY_command_flood);
            else if (ask_login(s, &event))
                return false;
            break;
        case POP3_CLOSE:
            *taken = bytes.len;
            pump_finish_output(&s->pump);
            return true;
        case POP3_ASK_SIZES:
        case POP3_ASK_LETTER:
        case POP3_ASK_UPDATE:
            must(false); // not before the login
        }
    }
}

static size_t on_input(struct pump *pump, struct str bytes)
{
    struct session *s = CONTAINER_OF(pump, struct session, pump);
    size_t taken;
    if (!run(s, bytes, &taken))
        pump_pause(pump);
    return taken;
}

// The engine was answered, or has room again.
static void go_on(struct session *s)
{
    size_t none;
    bool more = run(s, STR(""), &none);
    pump_flush(&s->pump);
    if (more)
        pump_resume(&s->pump);
}

static void refuse(struct session *s, enum pop3_reply reply)
{
    pop3_server_answer(&s->engine, reply);
    if (s->porter->draining)
        pop3_server_abort(&s->engine, POP3_REPLY_shutting_down);
    go_on(s);
}

// True while a client waits to hear whether its login succeeded.
static bool is_waiting(const struct session *s)
{
    return s->asked || s->ticket.len > 0 || timer_is_set(&s->no);
}

static void on_no(struct timer *timer)
{
    refuse(CONTAINER_OF(timer, struct session, no), POP3_REPLY_wrong_login);
}

// At a fixed time after the question, whatever it took to find the answer.
static void refuse_later(struct session *s, uint64_t delay_ms)
{
    struct loop *loop = s->porter->role->loop;
    uint64_t spent = loop_now(loop) - s->asked_ms;
    loop_set_timer(loop, &s->no, spent < delay_ms ? delay_ms - spent : 0);
}

// The +OK of PASS is the reader's to write: it knows the letters.
static void hand_over(struct session *s)
{
    struct ipc_channel *reader = role_peer(s->porter->role, IPC_READER);
    if (!reader) {
        buf_release(&s->ticket);
        refuse(s, POP3_REPLY_trouble);
        return;
    }
    struct buf peer;
    struct msg m = {.type = MSG_adopt};
    buf_init(&peer, PEER_MAX);
    net_put_ip(&peer, &s->peer);
    int client = pump_hand_over(&s->pump, &m.adopt.input);
    m.adopt.client = client;
    m.adopt.ticket = buf_str(&s->ticket);
    m.adopt.peer = buf_str(&peer);
    m.adopt.session = str_of(s->id);
    m.adopt.passwords = s->engine.terms.passwords;
    m.adopt.utf8 = s->engine.terms.utf8;
    m.adopt.language = s->engine.terms.language;
    ipc_send(reader, &m);
    os_close(&client);
    buf_finish(&peer);
    session_end(s);
}

static void on_drained(struct pump *pump)
{
    struct session *s = CONTAINER_OF(pump, struct session, pump);
    if (s->ticket.len > 0)
        hand_over(s);
    else if (!is_waiting(s))
        go_on(s);
}

static void on_ended(struct pump *pump, enum pump_end end)
{
    struct session *s = CONTAINER_OF(pump, struct session, pump);
    (void)end; // RFC 1939 section 3: after a time-out too, nothing is said
    tell(s, EVENT_disconnected, NULL);
    session_end(s);
}

static const struct pump_ops pump_ops = {
    .input = on_input, .drained = on_drained, .ended = on_ended};

static void on_checked(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct session *s = owner;
    (void)channel;
    if (!s) // the client went away; its ticket expires
        return;
    s->asked = NULL;
    switch (m->checked.verdict) {
    case LOGIN_OK:
        buf_put(&s->ticket, m->checked.ticket);
        if (s->ticket.len == 0)
            refuse(s, POP3_REPLY_trouble);
        else if (s->engine.out.len == 0)
            hand_over(s);
        break;
    case LOGIN_WRONG:
        refuse_later(s, m->checked.delay_ms);
        break;
    case LOGIN_IN_USE:
        refuse(s, POP3_REPLY_in_use);
        break;
    case LOGIN_TROUBLE:
    default: // not of ours: a number that login sent
        refuse(s, POP3_REPLY_trouble);
        break;
    }
}

static void on_lost(struct ipc_channel *channel, enum ipc_type request, void *owner)
{
    struct session *s = owner;
    (void)channel;
    must(request == MSG_check);
    s->asked = NULL;
    refuse(s, POP3_REPLY_trouble);
}

// ---- clients come

// Says no in one write: a client that is too many gets no session and no memory.
static void turn_away(const struct session *s, int fd, const char *rule)
{
    struct pop3_server engine;
    pop3_server_init(&engine, (struct pop3_terms){.language = POP3_ENGLISH});
    pop3_server_greet(&engine, POP3_REPLY_too_many_sessions, STR(""));
    if (net_send(fd, buf_str(&engine.out)) >= 0)
        tell(s, EVENT_refused, rule);
    pop3_server_finish(&engine);
    os_close(&fd);
}

// A password that travels in the open is for anybody to read: it is taken on loopback only. APOP
// shows none.
static void greet(struct session *s)
{
    const struct conf *conf = s->porter->role->conf;
    struct buf stamp;
    pop3_server_init(&s->engine, (struct pop3_terms){.passwords = net_is_loopback(&s->peer),
                                                     .apop = conf->apop});
    buf_init(&stamp, STAMP_MAX);
    if (conf->apop) {
        draw_stamp(s);
        put_stamp(&stamp, s);
        pop3_server_greet(&s->engine, POP3_REPLY_greeting_apop, buf_str(&stamp));
    } else {
        pop3_server_greet(&s->engine, POP3_REPLY_greeting, conf->hostname);
    }
    buf_finish(&stamp);
}

static void welcome(struct doors *doors, int fd, const struct net_address *peer)
{
    struct porter *p = CONTAINER_OF(doors, struct porter, doors);
    const struct conf *conf = p->role->conf;
    struct err err;
    struct session *s = calloc(1, sizeof *s);
    must(s != NULL);
    s->porter = p;
    s->peer = *peer;
    session_id(s->id);
    const char *rule = admission_enter(&p->admission, peer, loop_now(p->role->loop));
    if (rule) {
        turn_away(s, fd, rule);
        free(s);
        return;
    }
    list_append(&p->sessions, &s->link);
    buf_init(&s->ticket, TICKET_MAX);
    s->no.fire = on_no;
    greet(s);
    if (!pump_start(&s->pump, p->role->loop, fd, &pump_ops, &s->engine.out, KEPT_INPUT,
                    conf->limits.pop3_idle, &err)) {
        log_line(LOG_WARNING, "%s", err.text);
        session_end(s);
        return;
    }
    tell(s, EVENT_connected, NULL);
}

// ---- the role

static bool begin(struct role *role, struct err *err)
{
    struct porter *p = calloc(1, sizeof *p);
    (void)err;
    must(p != NULL);
    p->role = role;
    doors_init(&p->doors, role->loop, welcome);
    list_init(&p->sessions);
    admission_init(&p->admission, &(struct admission_limits){
                                      .sessions = role->max_sessions,
                                      .per_address = role->conf->limits.sessions_per_address,
                                      .per_minute = role->conf->limits.sessions_per_minute,
                                      .loopback_exempt = role->conf->limits.loopback_exempt});
    role->state = p;
    return true;
}

static void listener(struct role *role, int fd, enum conf_protocol protocol)
{
    struct porter *p = role->state;
    struct err err;
    must(protocol == CONF_POP3);
    if (!doors_open(&p->doors, fd, &err))
        role_fail(&err);
}

static void on_deadline(struct timer *timer)
{
    struct porter *p = CONTAINER_OF(timer, struct porter, deadline);
    LIST_EACH(&p->sessions, at, next)
    session_end(CONTAINER_OF(at, struct session, link));
}

// A client whose password is being checked gets its answer; all others may come again.
static void drain(struct role *role, uint64_t milliseconds)
{
    struct porter *p = role->state;
    p->draining = true;
    doors_close(&p->doors);
    p->deadline.fire = on_deadline;
    loop_set_timer(role->loop, &p->deadline, milliseconds);
    LIST_EACH(&p->sessions, at, next)
    {
        struct session *s = CONTAINER_OF(at, struct session, link);
        if (is_waiting(s))
            continue;
        pop3_server_abort(&s->engine, POP3_REPLY_shutting_down);
        go_on(s);
    }
    tell_drained(p);
}

static const struct ipc_handlers handlers = {.on = {[MSG_checked] = on_checked}, .lost = on_lost};

static const struct role_ops ops = {
    .role = IPC_PORTER,
    .handlers = &handlers,
    .session_files = 1,
    .begin = begin,
    .listener = listener,
    .drain = drain,
};

int main(int argc, char **argv)
{
    return role_main(&ops, argc, argv);
}
