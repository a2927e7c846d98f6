// One client: the events of the SMTP engine, answered with what directory and queue say.
#include "roles/receiver.h"

#include "base/limits.h"
#include "ipc/verdicts.h"
#include "mail/received.h"
#include "os/file.h"

enum { DRAIN_SILENCE_MS = 200 };

// ---- the log

// Of the details that replies tell, only the id of a queued letter is known here.
static void put_reply_text(struct buf *out, enum smtp_reply reply, struct str id)
{
    struct str text = str_of(smtp_reply_text(reply));
    size_t at = str_find(text, STR("%s"));
    buf_put(out, str_sub(text, 0, at));
    if (at < text.len)
        buf_put(out, reply == SMTP_REPLY_queued ? id : STR("..."));
    buf_put(out, str_skip(text, at + 2));
}

static void log_session(struct session *s, enum log_event_name name, const struct address *to,
                        enum smtp_reply reply, struct str rule)
{
    struct buf ip, from, recipient, text;
    char id[MAIL_ID_TEXT + 1] = "";
    buf_init(&ip, 64);
    buf_init(&text, LIMIT_reply_line);
    buf_init(&from, 4 * LIMIT_address);
    buf_init(&recipient, 4 * LIMIT_address);
    net_put_ip(&ip, &s->peer);
    if (s->smtp.has_id) {
        mail_id_text(&s->smtp.id, id);
        address_put(&from, &s->smtp.reverse_path);
    }
    if (to)
        address_put(&recipient, to);
    struct log_event event = {.name = name,
                              .id = str_of(id),
                              .session = str_of(s->id),
                              .peer = buf_str(&ip),
                              .helo = buf_str(&s->smtp.helo),
                              .from = buf_str(&from),
                              .to = buf_str(&recipient),
                              .rule = rule};
    if (reply != SMTP_REPLY_COUNT) {
        put_reply_text(&text, reply, str_of(id));
        event.code = smtp_reply_code(reply);
        event.text = buf_str(&text);
    }
    if (s->letter)
        event.size = letter_size(s->letter);
    log_event(&event);
    buf_finish(&text);
    buf_finish(&ip);
    buf_finish(&from);
    buf_finish(&recipient);
}

// ---- answers

static void wait_for_answer(struct session *s, enum smtp_reply late)
{
    s->late = late;
    loop_set_timer(s->receiver->role->loop, &s->patience, ANSWER_MS);
}

// The engine goes on with what the client sent meanwhile.
static void answer(struct session *s, enum smtp_reply reply, struct str detail)
{
    loop_cancel_timer(s->receiver->role->loop, &s->patience);
    if (s->pump.finishing) // 421 was said meanwhile: nothing waits for this any more
        return;
    smtp_server_answer(&s->smtp, reply, detail);
    pump_flush(&s->pump);
    pump_resume(&s->pump);
}

static void refuse_with(struct session *s, enum smtp_reply reply, struct str detail,
                        const char *rule)
{
    if (!s->smtp.utf8)
        reply = smtp_reply_in_ascii(reply, detail); // the log tells what the client hears
    log_session(s, EVENT_refused, s->asked_recipient, reply, str_of(rule));
    s->asked_recipient = NULL;
    answer(s, reply, detail);
}

static void refuse(struct session *s, enum smtp_reply reply, const char *rule)
{
    refuse_with(s, reply, STR(""), rule);
}

static void drop_letter(struct session *s)
{
    if (s->letter)
        letter_leave(s->receiver, s->letter);
    s->letter = NULL;
}

// Directory or queue said nothing for too long, or the arena stayed full.
static void out_of_patience(struct timer *timer)
{
    struct session *s = CONTAINER_OF(timer, struct session, patience);
    struct receiver *r = s->receiver;
    struct ipc_channel *directory = role_peer(r->role, IPC_DIRECTORY);
    list_remove(&s->waiting);
    if (s->asking && directory)
        ipc_forget(directory, MSG_lookup, s);
    s->asking = false;
    drop_letter(s); // its memory stays until the queue answers; the client will send it again
    refuse(s, s->late, s->late == SMTP_REPLY_no_space ? "arena" : "a role is silent");
}

// ---- HELO

static bool names_peer(const struct session *s, struct str literal)
{
    struct net_address named;
    struct str ip = str_sub(literal, 1, literal.len - 2);
    if (str_starts_nocase(ip, STR("IPv6:")))
        ip = str_skip(ip, sizeof "IPv6:" - 1);
    if (!net_ip_read(ip, &named))
        return false;
    return named.family == s->peer.family &&
           memcmp(named.bytes, s->peer.bytes, sizeof named.bytes) == 0;
}

// A client that names itself as us, as everybody, or by an address that is not its own is marked in
// Received, and not refused (RFC 5321 section 4.1.4). Whether the name is of a domain of ours the
// directory knows: asked at MAIL.
static void judge_helo(struct session *s)
{
    struct str helo = buf_str(&s->smtp.helo);
    char room[DOMAIN_ROOM], own_room[DOMAIN_ROOM];
    struct str folded, own;
    struct err err;
    s->helo_mark = STR("");
    s->helo_judged = true;
    if (!domain_fold(helo, room, &folded, &err))
        s->helo_mark = names_peer(s, helo) ? STR("") : STR("literal");
    else if (domain_fold(s->smtp.config->hostname, own_room, &own, &err) && str_eq(folded, own))
        s->helo_mark = STR("own-name");
    else if (str_eq(folded, STR("localhost")) || str_eq(folded, STR("localhost.localdomain")))
        s->helo_mark = STR("localhost");
    else // no address could be at a longer name
        s->helo_judged = folded.len + sizeof "<postmaster@>" - 1 > LIMIT_path;
}

// ---- MAIL

void session_give_id(struct session *s)
{
    list_remove(&s->waiting);
    if (!s->smtp.has_id && !receiver_take_id(s->receiver, &s->smtp.id)) {
        list_append(&s->receiver->want_id, &s->waiting);
        receiver_want_lease(s->receiver);
        wait_for_answer(s, SMTP_REPLY_local_trouble);
        return;
    }
    answer(s, SMTP_REPLY_sender_ok, STR(""));
}

static void on_mail(struct session *s)
{
    s->relays = false;
    if (!s->receiver->has_space || !s->receiver->has_arena)
        refuse(s, SMTP_REPLY_no_space, "disk_reserve");
    else if (!s->helo_judged)
        session_look_up(s);
    else
        session_give_id(s);
}

// ---- the directory

// The recipient; at MAIL the name of HELO, which is one of ours when its postmaster is.
static void put_question(const struct session *s, struct buf *text)
{
    char room[DOMAIN_ROOM];
    struct str domain;
    struct err err;
    if (s->asked_recipient) {
        address_put(text, s->asked_recipient);
        return;
    }
    must(domain_fold(buf_str(&s->smtp.helo), room, &domain, &err)); // judge_helo did
    buf_put(text, STR("postmaster@"));
    buf_put(text, domain);
}

void session_look_up(struct session *s)
{
    struct ipc_channel *directory = role_peer(s->receiver->role, IPC_DIRECTORY);
    struct msg m = {.type = MSG_lookup};
    struct buf text;
    list_remove(&s->waiting);
    buf_init(&text, 4 * LIMIT_address);
    put_question(s, &text);
    m.lookup.recipient = buf_str(&text);
    m.lookup.size = s->asked_recipient ? s->smtp.declared_size : 0;
    s->asking = directory && ipc_request(directory, &m, s);
    if (!s->asking)
        list_append(&s->receiver->want_lookup, &s->waiting);
    buf_finish(&text);
    wait_for_answer(s, SMTP_REPLY_local_trouble);
}

static void take_elsewhere(struct session *s)
{
    s->relays = true;
    s->asked_recipient = NULL;
    answer(s, SMTP_REPLY_recipient_ok, STR(""));
}

static void on_recipient_found(struct session *s, const struct msg_found *found)
{
    switch (found->verdict) {
    case LOOKUP_LOCAL:
        s->asked_recipient = NULL;
        answer(s, SMTP_REPLY_recipient_ok, STR(""));
        break;
    case LOOKUP_FORWARDED:
        s->asked_recipient = NULL;
        answer(s, SMTP_REPLY_forwarded, found->address);
        break;
    case LOOKUP_MOVED:
        refuse_with(s, SMTP_REPLY_moved, found->address, "directory");
        break;
    case LOOKUP_LOCKED:
        refuse(s, SMTP_REPLY_mailbox_busy, "directory");
        break;
    case LOOKUP_FULL:
        refuse(s, SMTP_REPLY_mailbox_full, "quota");
        break;
    case LOOKUP_LOOP:
        refuse(s, SMTP_REPLY_alias_loop, "directory");
        break;
    case LOOKUP_NO_SUCH_USER:
        refuse(s, SMTP_REPLY_no_such_user, "directory");
        break;
    case LOOKUP_NOT_HOSTED:
        if (s->trusted)
            take_elsewhere(s);
        else
            refuse(s, SMTP_REPLY_relay_denied, "relay");
        break;
    default:
        refuse(s, SMTP_REPLY_local_trouble, "directory");
    }
}

static void on_helo_found(struct session *s, uint8_t verdict)
{
    if (verdict != LOOKUP_NOT_HOSTED && verdict != LOOKUP_TROUBLE)
        s->helo_mark = STR("hosted");
    s->helo_judged = verdict != LOOKUP_TROUBLE;
    session_give_id(s);
}

void session_on_found(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct receiver *r = role->state;
    struct session *s = owner;
    if (s) {
        s->asking = false;
        if (s->asked_recipient)
            on_recipient_found(s, &m->found);
        else
            on_helo_found(s, m->found.verdict);
    }
    if (!list_empty(&r->want_lookup))
        session_look_up(CONTAINER_OF(r->want_lookup.next, struct session, waiting));
}

// ---- DATA and its end

void session_begin_data(struct session *s)
{
    list_remove(&s->waiting);
    letter_begin(s);
    answer(s, SMTP_REPLY_go_ahead, STR(""));
}

static void on_data(struct session *s)
{
    if (letters_are_tight(s->receiver)) { // until letters that are under way have left it
        list_append(&s->receiver->want_data, &s->waiting);
        wait_for_answer(s, SMTP_REPLY_no_space);
        receiver_go_on(s->receiver);
    } else {
        session_begin_data(s);
    }
}

// The rule that the log names for a letter that is refused at its end.
static const char *rule_of(enum smtp_reply trouble)
{
    return trouble == SMTP_REPLY_no_space           ? "space"
           : trouble == SMTP_REPLY_too_many_hops    ? "hops"
           : trouble == SMTP_REPLY_header_too_large ? "header"
                                                    : "queue";
}

static void on_end(struct session *s)
{
    struct letter *letter = s->letter;
    if (letter->trouble == SMTP_REPLY_COUNT && letter_submit(s)) {
        session_submitted(s);
        return;
    }
    refuse(s, letter->trouble, rule_of(letter->trouble));
    drop_letter(s);
}

void session_submitted(struct session *s)
{
    wait_for_answer(s, SMTP_REPLY_local_trouble);
}

// The rule that the log names for a letter that was taken: "trusted 192.0.2.0/24 (FILE:LINE)".
static void put_trust(const struct session *s, struct buf *rule)
{
    if (!s->relays)
        return;
    buf_put(rule, STR("trusted "));
    net_put_range(rule, &s->trusted->range);
    buf_putf(rule, " (%.*s:%u)", STR_ARG(s->trusted->place.file), s->trusted->place.line);
}

// The letter is its caller's to free: memory that the queue may read is not the session's any more.
void session_committed(struct session *s, enum smtp_reply reply)
{
    bool queued = reply == SMTP_REPLY_queued;
    char id[MAIL_ID_TEXT + 1];
    const struct address *only = NULL;
    struct buf rule;
    mail_id_text(&s->smtp.id, id);
    buf_init(&rule, LIMIT_event_line);
    put_trust(s, &rule);
    if (s->smtp.recipient_count == 1)
        only = &CONTAINER_OF(s->smtp.recipients.next, struct smtp_recipient, link)->address;
    log_session(s, queued ? EVENT_accepted : EVENT_refused, only, reply,
                queued ? buf_str(&rule) : STR("queue"));
    buf_finish(&rule);
    s->letter = NULL;
    answer(s, reply, queued ? str_of(id) : STR(""));
}

// ---- the engine's events

static void handle(struct session *s, const struct smtp_event *event)
{
    switch (event->type) {
    case SMTP_ASK_MAIL:
        on_mail(s);
        break;
    case SMTP_ASK_RCPT:
        s->asked_recipient = event->address;
        session_look_up(s);
        break;
    case SMTP_ASK_DATA:
        on_data(s);
        break;
    case SMTP_BODY:
        letter_append(s, event->bytes);
        break;
    case SMTP_ASK_END:
        on_end(s);
        break;
    case SMTP_RESET:
        drop_letter(s);
        break;
    case SMTP_REFUSED:
        log_session(s, EVENT_refused, NULL, event->reply, STR("protocol"));
        break;
    case SMTP_CLOSE:
        pump_finish_output(&s->pump);
        break;
    case SMTP_HELO:
        judge_helo(s);
        break;
    case SMTP_MORE:
    case SMTP_WAIT:
    case SMTP_FULL:
        break;
    }
}

static size_t input(struct pump *pump, struct str bytes)
{
    struct session *s = CONTAINER_OF(pump, struct session, pump);
    struct smtp_event event;
    size_t taken = 0;
    s->heard_ms = loop_now(s->receiver->role->loop);
    for (;;) {
        if (!s->smtp.has_id && !s->smtp.id_drawn)
            s->smtp.id_drawn = receiver_take_id(s->receiver, &s->smtp.id);
        struct str rest = str_skip(bytes, taken);
        if (s->letter && !letter_may_grow(s->receiver, s->letter)) {
            pump_pause(pump);
            list_append(&s->receiver->stalled, &s->waiting);
            return taken;
        }
        if (s->letter) // so much fits for certain
            rest = str_sub(rest, 0, BLOCK_LARGE);
        taken += smtp_server_feed(&s->smtp, rest, &event);
        if (event.type == SMTP_WAIT || event.type == SMTP_FULL) {
            pump_pause(pump); // until the answer, or until the client has read its replies
            s->full = event.type == SMTP_FULL;
            return taken;
        }
        handle(s, &event);
        if (event.type == SMTP_MORE && taken == bytes.len)
            return taken;
        if (event.type == SMTP_CLOSE)
            return bytes.len;
    }
}

static void drained(struct pump *pump)
{
    struct session *s = CONTAINER_OF(pump, struct session, pump);
    if (!s->full)
        return;
    s->full = false; // first: what was kept may fill the replies again
    pump_resume(pump);
}

static void ended(struct pump *pump, enum pump_end end)
{
    struct session *s = CONTAINER_OF(pump, struct session, pump);
    struct receiver *r = s->receiver;
    struct ipc_channel *directory = role_peer(r->role, IPC_DIRECTORY);
    if (end == PUMP_TIMED_OUT) {
        smtp_server_abort(&s->smtp, SMTP_REPLY_timed_out);
        pump_finish_output(pump);
        return;
    }
    if (s->asking && directory)
        ipc_forget(directory, MSG_lookup, s);
    drop_letter(s);
    log_session(s, EVENT_disconnected, NULL, SMTP_REPLY_COUNT, STR(""));
    loop_cancel_timer(r->role->loop, &s->patience);
    list_remove(&s->waiting);
    pump_close(pump);
    smtp_server_finish(&s->smtp);
    receiver_session_over(s);
    free(s);
}

static const struct pump_ops pump_callbacks = {.input = input, .drained = drained, .ended = ended};

void session_start(struct service *service, int fd, const struct net_address *peer,
                   const char *forbidden)
{
    struct receiver *r = service->receiver;
    enum smtp_reply greeting = forbidden ? SMTP_REPLY_too_many_sessions : SMTP_REPLY_banner;
    struct session *s = calloc(1, sizeof *s);
    struct err err;
    must(s != NULL);
    s->admitted = !forbidden;
    if (!forbidden && net_has_input(fd)) { // the server speaks first (RFC 5321 section 3.1)
        forbidden = "early";
        greeting = SMTP_REPLY_early_talker;
    }
    s->receiver = r;
    s->service = service;
    s->peer = *peer;
    s->trusted = conf_find_trusted(r->role->conf, r->gateways, r->gateway_count, peer);
    s->heard_ms = loop_now(r->role->loop);
    s->patience.fire = out_of_patience;
    session_id(s->id);
    smtp_server_init(&s->smtp, &service->config);
    smtp_server_greet(&s->smtp, greeting);
    list_append(&r->sessions, &s->link);
    if (!pump_start(&s->pump, r->role->loop, fd, &pump_callbacks, &s->smtp.out,
                    LIMIT_session_memory, r->role->conf->limits.smtp_idle, &err)) {
        log_line(LOG_ERROR, "a session cannot be started: %s", err.text);
        smtp_server_finish(&s->smtp);
        receiver_session_over(s);
        free(s);
        return;
    }
    if (forbidden) {
        log_session(s, EVENT_refused, NULL, greeting, str_of(forbidden));
        pump_finish_output(&s->pump);
    } else {
        log_session(s, EVENT_connected, NULL, SMTP_REPLY_COUNT, STR(""));
    }
}

// At a drain: sessions between two letters end when they are silent, so that nobody who has just
// come is turned away by a reload; in the second half of the time they end as soon as they can; at
// the last call all do that wait for no commit.
void session_shut_down(struct session *s, bool last_call)
{
    struct receiver *r = s->receiver;
    uint64_t now = loop_now(r->role->loop);
    bool with_queue = s->letter && timer_is_set(&s->patience);
    bool quiet = smtp_server_idle(&s->smtp) && !s->letter;
    bool silent = now >= r->drain_hurry_ms || now - s->heard_ms >= DRAIN_SILENCE_MS;
    if (s->pump.finishing || with_queue || !((quiet && silent) || last_call))
        return;
    smtp_server_abort(&s->smtp, SMTP_REPLY_shutting_down);
    pump_finish_output(&s->pump);
}
