// The role reader: POP3 after the login. It sees Maildirs and believes login: whom login did not
// announce (`admit`), the porter cannot bring in (`adopt`).
//
// A letter is read in pieces that fit into the session's output and go on when that was sent; what
// a session holds is one such buffer, and none while it is idle. What may take long, the removal of
// letters at QUIT and the counting of those whose names tell no size, is done in shares, one in
// each turn of the loop, so that one large maildrop does not make others wait.
#include "roles/role.h"

#include <errno.h>

#include "base/limits.h"
#include "mail/received.h"
#include "os/file.h"
#include "proto/pop3_server.h"
#include "roles/reader_maildrop.h"
#include "session/pump.h"

enum {
    KEPT_INPUT = 65536,
    PIECE = LIMIT_pop3_output,
    PIECES_A_TURN = 16,
    REMOVALS_A_TURN = 256,
    SIZES_A_TURN = 64,
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

enum work { NO_WORK, REMOVING, COUNTING };

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

    enum work work;   // goes on at the next turn, at `next`, up to `end`
    size_t next, end; // letters
    bool failed;      // one could not be removed

    uint64_t octets;  // read from letters
    uint64_t removed; // letters

    uint64_t freed_octets; // of letters removed in this share
    uint32_t freed;        // those letters
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

static void work_on(struct session *s);

static void session_end(struct session *s)
{
    struct reader *r = s->reader;
    while (s->work == REMOVING) // QUIT was said: what it asked for is done, whoever waits for it
        work_on(s);
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

// ---- RETR, TOP

static void log_trouble(const struct session *s, const char *text)
{
    log_line(LOG_ERROR, "session %.*s of %.*s: %s", STR_ARG(s->id), STR_ARG(s->drop->user), text);
}

// Reads on until the output is full or the letter ends.
static void send_pieces(struct session *s)
{
    struct reader *r = s->reader;
    for (;;) {
        bool enough = pop3_server_body_enough(&s->engine);
        ssize_t n = enough ? 0 : os_pread(s->file, r->piece, sizeof r->piece, s->offset);
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
            if (taken < (size_t)n && !pop3_server_body_enough(&s->engine))
                return;
            continue;
        }
        os_close(&s->file);
        return;
    }
}

// RFC 6856 section 2.1: a header in UTF-8 is not for who did not ask for it. What a stranger wrote
// there without SMTPUTF8 passes as it came, as it always did. Only the first piece is looked at:
// headers are smaller.
static bool needs_utf8(const struct session *s)
{
    char *piece = s->reader->piece;
    ssize_t n = s->engine.terms.utf8 ? 0 : os_pread(s->file, piece, PIECE, 0);
    struct str head = str_from(piece, n > 0 ? (size_t)n : 0);
    return received_needs_utf8(str_sub(head, 0, str_find(head, STR("\n\n"))));
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
    if (needs_utf8(s)) {
        os_close(&s->file);
        pop3_server_answer(&s->engine, POP3_REPLY_needs_utf8);
        return;
    }
    s->offset = 0;
    pop3_server_body_begin(&s->engine);
    send_pieces(s);
}

// ---- QUIT, and sizes

// A removal is not synced: a letter that comes back after a crash has its old unique-id, by which
// the client knows it.
static void remove_one(struct session *s, size_t letter)
{
    const struct maildir_letter *file = &s->drop->files[letter];
    uint64_t size;
    struct err err;
    if (!maildir_stored_size(&s->drop->dir, file, &size, &err))
        log_trouble(s, err.text);
    if (maildir_remove_letter(&s->drop->dir, file, &err)) {
        s->removed++;
        s->freed++;
        s->freed_octets += size;
        return;
    }
    if (!s->failed)
        log_trouble(s, err.text);
    s->failed = true;
}

// In the turn of the removal: `settle` relies on it.
static void tell_freed(struct session *s)
{
    struct ipc_channel *directory = role_peer(s->reader->role, IPC_DIRECTORY);
    struct msg m = {.type = MSG_freed};
    m.freed.mailbox = s->drop->mailbox;
    m.freed.octets = s->freed_octets;
    m.freed.letters = s->freed;
    if (s->freed && directory)
        ipc_send(directory, &m);
    s->freed_octets = s->freed = 0;
}

static void count_one(struct session *s, size_t letter)
{
    struct err err;
    if (!maildrop_learn_size(s->drop, letter, &err) && err.code != ENOENT)
        log_trouble(s, err.text);
}

// A share. The engine has its answer when the work is done.
static void work_on(struct session *s)
{
    const struct pop3_letter *letters = s->drop->letters;
    size_t done = 0;
    for (; s->work == REMOVING && s->next < s->end && done < REMOVALS_A_TURN; s->next++)
        if (letters[s->next].deleted) {
            remove_one(s, s->next);
            done++;
        }
    tell_freed(s);
    for (; s->work == COUNTING && s->next < s->end && done < SIZES_A_TURN; s->next++)
        if (letters[s->next].size == POP3_SIZE_UNKNOWN) {
            count_one(s, s->next);
            done++;
        }
    if (s->next < s->end) {
        loop_set_timer(s->reader->role->loop, &s->again, 0);
        return;
    }
    if (s->work == COUNTING)
        pop3_server_sized(&s->engine);
    else
        pop3_server_answer(&s->engine, s->failed ? POP3_REPLY_not_removed : POP3_REPLY_bye);
    s->work = NO_WORK;
}

static void begin_work(struct session *s, enum work work, size_t from, size_t end)
{
    s->work = work;
    s->next = from;
    s->end = end;
    work_on(s);
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
        case POP3_ASK_SIZES:
            begin_work(s, COUNTING, event.letter, event.end);
            break;
        case POP3_ASK_UPDATE:
            begin_work(s, REMOVING, 0, s->drop->count);
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
    else if (s->work != NO_WORK)
        work_on(s);
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
    if (s->work != NO_WORK)
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

// What the porter says is not believed further than this.
static struct pop3_terms terms_of(const struct msg *m)
{
    uint8_t language = m->adopt.language;
    return (struct pop3_terms){.passwords = m->adopt.passwords,
                               .utf8 = m->adopt.utf8,
                               .language = language < POP3_LANGUAGES ? language : POP3_ENGLISH};
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
    pop3_server_init(&s->engine, terms_of(m));
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

// ---- the directory

static void on_settle(struct ipc_channel *channel, struct msg *m, void *owner)
{
    (void)owner;
    ipc_send(channel, &(struct msg){.type = MSG_settled, .slot = m->slot});
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
    maildrops_init(&r->drops, role->loop, mail_dir, role->max_sessions);
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
    .on = {[MSG_admit] = on_admit, [MSG_adopt] = on_adopt, [MSG_settle] = on_settle}};

static const struct role_ops ops = {
    .role = IPC_READER,
    .handlers = &handlers,
    .session_files = 6, // the client, a letter, and the Maildir with its three directories
    .prepare = prepare,
    .drain = drain,
};

int main(int argc, char **argv)
{
    return role_main(&ops, argc, argv);
}
