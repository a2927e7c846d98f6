// The role reader: POP3 after the login. It sees Maildirs and believes login: whom login did not
// announce (`admit`), the porter cannot bring in (`adopt`).
//
// A letter is read in pieces that fit into the session's output and go on when that was sent; what
// a session holds is one such buffer, and none while it is idle. Letters marked as deleted are
// removed at QUIT, a share in each turn of the loop, so that one large maildrop does not make
// others wait.
#include "roles/role.h"

#include <errno.h>

#include "base/limits.h"
#include "os/file.h"
#include "proto/pop3_server.h"
#include "roles/reader_maildrop.h"
#include "session/pump.h"

enum {
    KEPT_INPUT = 65536,
    PIECE = LIMIT_pop3_output,
    PIECES_A_TURN = 16,
    REMOVALS_A_TURN = 256,
    SESSION_TEXT = 64, // of what the porter says about the client
};

struct reader {
    struct role *role;
    struct maildrops drops;
    struct link sessions;
    struct timer deadline;
    bool draining, drained;
    char piece[PIECE]; // what is on its way from a file into an output; used by one call at a time
};

struct session {
    struct link link;
    struct reader *reader;
    struct pump pump;
    struct pop3_server engine;
    struct maildrop *drop;
    struct str peer, id;
    struct timer again; // the next turn's share

    int file; // the letter under way, or -1
    uint64_t offset;
    unsigned pieces; // outputs that were filled

    bool updating; // letters are being removed
    bool failed;   // one could not be
    size_t next;   // to look at

    uint64_t octets;  // read from letters
    uint64_t removed; // letters
};

// ---- a session's end

static void tell_drained(struct reader *r)
{
    if (!r->draining || r->drained || !list_empty(&r->sessions))
        return;
    r->drained = true;
    loop_cancel_timer(r->role->loop, &r->deadline);
    role_drained(r->role);
}

static void remove_some(struct session *s);

static void session_end(struct session *s)
{
    struct reader *r = s->reader;
    while (s->updating) // QUIT was said: what it asked for is done, whether its sender waits or not
        remove_some(s);
    log_event(&(struct log_event){.name = EVENT_collected,
                                  .session = s->id,
                                  .peer = s->peer,
                                  .user = s->drop->user,
                                  .size = s->octets,
                                  .attempts = s->removed});
    loop_cancel_timer(r->role->loop, &s->again);
    pump_close(&s->pump);
    os_close(&s->file);
    pop3_server_finish(&s->engine);
    maildrop_close(&s->drop);
    list_remove(&s->link);
    free(s);
    tell_drained(r);
}

// ---- RETR

static void log_trouble(const struct session *s, const char *text)
{
    log_line(LOG_ERROR, "session %.*s of %.*s: %s", STR_ARG(s->id), STR_ARG(s->drop->user), text);
}

// Reads on until the output is full or the letter ends.
static void send_pieces(struct session *s)
{
    struct reader *r = s->reader;
    for (;;) {
        ssize_t n = os_pread(s->file, r->piece, sizeof r->piece, s->offset);
        if (n < 0) {
            struct err err;
            err_system(&err, (int)n, "reading a letter");
            log_trouble(s, err.text);
            pop3_server_abort(&s->engine, POP3_REPLY_trouble);
        } else if (n == 0) {
            pop3_server_body_end(&s->engine);
        } else {
            size_t taken = pop3_server_body(&s->engine, str_from(r->piece, (size_t)n));
            s->offset += taken;
            s->octets += taken;
            if (taken < (size_t)n)
                return;
            continue;
        }
        os_close(&s->file);
        return;
    }
}

static void begin_letter(struct session *s, size_t letter)
{
    struct err err;
    if (!maildir_open_letter(&s->drop->dir, &s->drop->files[letter], &s->file, &err)) {
        s->file = -1;
        log_trouble(s, err.text);
        pop3_server_answer(&s->engine, POP3_REPLY_letter_gone);
        return;
    }
    s->offset = 0;
    pop3_server_body_begin(&s->engine);
    send_pieces(s);
}

// ---- QUIT

// A removal is not synced: a letter that comes back after a crash has its old unique-id, by which
// the client knows it.
static void remove_some(struct session *s)
{
    struct maildrop *drop = s->drop;
    size_t done = 0;
    for (; s->next < drop->count && done < REMOVALS_A_TURN; s->next++) {
        struct err err;
        if (!drop->letters[s->next].deleted)
            continue;
        done++;
        if (maildir_remove_letter(&drop->dir, &drop->files[s->next], &err)) {
            s->removed++;
            continue;
        }
        if (!s->failed)
            log_trouble(s, err.text);
        s->failed = true;
    }
    if (s->next < drop->count)
        return;
    s->updating = false;
    pop3_server_answer(&s->engine, s->failed ? POP3_REPLY_not_removed : POP3_REPLY_bye);
}

static void begin_update(struct session *s)
{
    s->updating = true;
    s->next = 0;
    remove_some(s);
    if (s->updating)
        loop_set_timer(s->reader->role->loop, &s->again, 0);
}

// ---- a session's life

// Runs the engine on what came. True: it takes more.
static bool run(struct session *s, struct str bytes, size_t *taken)
{
    struct pop3_event event;
    *taken = 0;
    for (;;) {
        *taken += pop3_server_feed(&s->engine, str_skip(bytes, *taken), &event);
        switch (event.type) {
        case POP3_MORE:
            if (!s->reader->draining || !pop3_server_idle(&s->engine))
                return true;
            pop3_server_abort(&s->engine, POP3_REPLY_shutting_down);
            break;
        case POP3_WAIT:
        case POP3_FULL:
            return false;
        case POP3_ASK_LETTER:
            begin_letter(s, event.letter);
            break;
        case POP3_ASK_UPDATE:
            begin_update(s);
            break;
        case POP3_CLOSE:
            *taken = bytes.len;
            pump_finish_output(&s->pump);
            return true;
        case POP3_ASK_LOGIN:
            must(false); // not after the login
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

// The output has room again, or the next share's turn came.
static void go_on(struct session *s)
{
    size_t none;
    if (s->file >= 0)
        send_pieces(s);
    else if (s->updating)
        remove_some(s);
    if (s->updating)
        loop_set_timer(s->reader->role->loop, &s->again, 0);
    bool more = run(s, STR(""), &none);
    pump_flush(&s->pump);
    if (more)
        pump_resume(&s->pump);
}

static void on_again(struct timer *timer)
{
    go_on(CONTAINER_OF(timer, struct session, again));
}

// A client on a fast line would be served again and again within one turn: after a while it rests.
static void on_drained(struct pump *pump)
{
    struct session *s = CONTAINER_OF(pump, struct session, pump);
    if (s->updating)
        return;
    if (++s->pieces % PIECES_A_TURN == 0)
        loop_set_timer(s->reader->role->loop, &s->again, 0);
    else
        go_on(s);
}

static void on_ended(struct pump *pump, enum pump_end end)
{
    (void)end; // RFC 1939 section 3: after a time-out too, nothing is said and nothing removed
    session_end(CONTAINER_OF(pump, struct session, pump));
}

static const struct pump_ops pump_ops = {
    .input = on_input, .drained = on_drained, .ended = on_ended};

// ---- login and porter speak

static void on_admit(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct reader *r = role->state;
    struct msg reply = {.type = MSG_admitted, .slot = m->slot};
    enum login_verdict verdict = LOGIN_TROUBLE;
    (void)owner;
    if (!r->draining)
        verdict = maildrops_admit(&r->drops, m->admit.ticket, m->admit.mailbox, m->admit.user);
    reply.admitted.verdict = (uint8_t)verdict;
    ipc_send(channel, &reply);
}

static struct str copy_text(struct arena *session, struct str text)
{
    struct str copy = STR("");
    bool ok = arena_copy(session, str_sub(text, 0, SESSION_TEXT), &copy);
    return ok ? copy : STR("");
}

static void on_adopt(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct reader *r = role->state;
    struct err err;
    (void)owner;
    struct maildrop *drop = maildrops_adopt(&r->drops, m->adopt.ticket);
    if (!drop) {
        log_line(LOG_WARNING, "the porter brought a client whom login does not know, or too late");
        return;
    }
    struct session *s = calloc(1, sizeof *s);
    must(s != NULL);
    s->reader = r;
    s->drop = drop;
    s->file = -1;
    s->again.fire = on_again;
    s->peer = copy_text(&drop->arena, m->adopt.peer);
    s->id = copy_text(&drop->arena, m->adopt.session);
    list_append(&r->sessions, &s->link);
    pop3_server_init(&s->engine, role->conf->hostname);
    pop3_server_begin(&s->engine, drop->letters, drop->count);
    int client = m->adopt.client;
    m->adopt.client = -1;
    if (!pump_start(&s->pump, role->loop, client, &pump_ops, &s->engine.out, KEPT_INPUT,
                    role->conf->limits.pop3_idle, &err)) {
        log_trouble(s, err.text);
        session_end(s);
        return;
    }
    pump_give(&s->pump, m->adopt.input);
}

// ---- the role

static bool prepare(struct role *role, struct err *err)
{
    struct reader *r = calloc(1, sizeof *r);
    must(r != NULL);
    struct str path = role->conf->mail_dir;
    int mail_dir = os_open_directory(OS_HERE, path.ptr);
    if (mail_dir < 0)
        return err_system(err, mail_dir, "mail_dir %.*s", STR_ARG(path));
    r->role = role;
    list_init(&r->sessions);
    maildrops_init(&r->drops, role->loop, mail_dir, role->conf->limits.max_sessions);
    role_allow(role, mail_dir, true);
    role->state = r;
    return true;
}

static void on_deadline(struct timer *timer)
{
    struct reader *r = CONTAINER_OF(timer, struct reader, deadline);
    LIST_EACH(&r->sessions, at, next)
    session_end(CONTAINER_OF(at, struct session, link));
}

// What a client is in the middle of is finished; then it may come again.
static void drain(struct role *role, uint64_t milliseconds)
{
    struct reader *r = role->state;
    r->draining = true;
    maildrops_forget_waiting(&r->drops);
    r->deadline.fire = on_deadline;
    loop_set_timer(role->loop, &r->deadline, milliseconds);
    LIST_EACH(&r->sessions, at, next)
    {
        struct session *s = CONTAINER_OF(at, struct session, link);
        if (pop3_server_idle(&s->engine))
            go_on(s);
    }
    tell_drained(r);
}

static const struct ipc_handlers handlers = {
    .on = {[MSG_admit] = on_admit, [MSG_adopt] = on_adopt}};

static const struct role_ops ops = {
    .role = IPC_READER,
    .handlers = &handlers,
    .prepare = prepare,
    .drain = drain,
};

int main(int argc, char **argv)
{
    return role_main(&ops, argc, argv);
}
