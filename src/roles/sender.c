// The role sender: one letter for one next hop comes from the queue, goes over one connection after
// another until each recipient has a result, and these go back. Where a way fails before the letter
// was taken or refused, the next one is tried (RFC 5321 section 5.1); the last one's word counts.
#include "roles/sender.h"

#include "base/limits.h"
#include "mail/scan.h"
#include "os/file.h"

enum {
    PARCEL_MEMORY = 8 * LIMIT_relay_envelope,
    RESULT_TEXT = 400,
    BAD_MS = 60 * 1000,
};

// ---- results

static struct str cut(struct str text)
{
    size_t len = text.len < RESULT_TEXT ? text.len : RESULT_TEXT;
    while (len < text.len && len > 0 && ((unsigned char)text.ptr[len] & 0xc0) == 0x80)
        len--; // not within a character
    return str_sub(text, 0, len);
}

static enum sent_outcome outcome_of(const struct smtp_client_result *result)
{
    switch (result->outcome) {
    case SMTP_CLIENT_TAKEN:
        return SENT_TAKEN;
    case SMTP_CLIENT_FAILED:
        return SENT_FAILED;
    case SMTP_CLIENT_LATER:
    case SMTP_CLIENT_AGAIN:
        break;
    }
    return SENT_LATER;
}

// A refusal for good does not stand where another way said "later".
static void keep_result(struct parcel *p, uint32_t number, const struct smtp_client_result *result)
{
    struct sent_result *to = &p->results[number];
    struct str text = STR("");
    enum sent_outcome outcome = outcome_of(result);
    if (outcome == SENT_FAILED && !p->answered && to->outcome == SENT_LATER && to->text.len)
        return;
    bool kept = arena_copy(&p->arena, cut(result->text), &text);
    (void)kept; // without its words: after very many ways
    *to = (struct sent_result){
        .outcome = outcome, .code = result->code, .status = result->status, .text = text};
}

static void give_all(struct parcel *p, enum sent_outcome outcome, struct str text)
{
    for (uint32_t i = 0; i < p->envelope.recipient_count; i++)
        if (!p->ended[i])
            p->results[i] = (struct sent_result){
                .outcome = outcome, .status = STATUS(4, 3, 0), .text = cut(text)};
    p->open = 0;
}

static enum hop_fate fate_of(const struct parcel *p)
{
    if (p->untried)
        return HOP_UNTRIED;
    if (!p->reached)
        return HOP_UNREACHABLE;
    return p->trouble ? HOP_TROUBLE : HOP_GOOD;
}

static void reply(const struct parcel *p)
{
    struct msg m = {.type = MSG_sent, .slot = p->slot};
    struct buf results, address;
    const struct routed_way *way = &p->ways[p->way < p->way_count ? p->way : p->way_count - 1];
    buf_init(&results, LIMIT_message / 2);
    buf_init(&address, 64);
    for (uint32_t i = 0; i < p->envelope.recipient_count; i++)
        results_put(&results, &p->results[i]);
    if (way->address.family && !p->untried)
        net_put_address(&address, &way->address);
    must(buf_ok(&results) && buf_ok(&address));
    m.sent.fate = (uint8_t)fate_of(p);
    m.sent.host = p->untried ? STR("") : way->host;
    m.sent.address = buf_str(&address);
    m.sent.results = buf_str(&results);
    ipc_send(p->channel, &m);
    buf_finish(&results);
    buf_finish(&address);
}

static void end(struct parcel *p)
{
    struct sender *s = p->sender;
    must(!p->connection);
    if (p->channel)
        reply(p);
    if (p->is_large)
        large_reader_finish(&p->large);
    window_unmap(&p->view);
    os_close(&p->window);
    list_remove(&p->link);
    arena_finish(&p->arena);
    free(p);
    if (s->draining && list_empty(&s->parcels))
        role_drained(s->role);
}

// ---- the text

bool parcel_text(struct parcel *p)
{
    struct err err;
    if (!p->is_large) {
        p->whole = true;
        return true;
    }
    if (large_reader_next(&p->large, &p->rest, &err)) {
        p->whole = p->rest.len == 0;
        return true;
    }
    log_line(LOG_ERROR, "%s", err.text);
    p->untried = true; // nothing was taken: without its end a letter is none
    give_all(p, err.class == ERR_OUR_BUG ? SENT_DAMAGED : SENT_LATER,
             STR("the spool cannot be read"));
    p->connection = NULL;
    end(p);
    return false;
}

static void text_again(struct parcel *p)
{
    p->whole = false;
    p->rest = STR("");
    if (p->is_large)
        large_reader_again(&p->large);
    else
        p->rest = window_body(&p->view, &p->view.items[0]);
}

// ---- the way of a parcel

bool parcel_next(struct parcel *p)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->envelope.recipient_count; i++) {
        if (p->ended[i])
            continue;
        p->numbers[count] = i;
        p->recipients[count++] =
            (struct smtp_client_recipient){.address = &p->envelope.recipients[i]};
    }
    p->broke = false;
    p->reached = true;
    p->letter.recipients = p->recipients;
    p->letter.recipient_count = count;
    text_again(p);
    return count > 0;
}

// A word of the peer, or one of ours that no other way would change, is final. So is a lost reply:
// the letter may be there.
void parcel_result(struct parcel *p, uint32_t recipient, const struct smtp_client_result *result)
{
    enum { CLOSING = 421 };
    uint32_t number = p->numbers[recipient];
    bool broke =
        result->outcome == SMTP_CLIENT_LATER && (result->code == 0 || result->code == CLOSING);
    if (result->outcome == SMTP_CLIENT_AGAIN)
        return;
    p->broke |= broke;
    p->answered |= !broke;
    keep_result(p, number, result);
    if (broke && !result->maybe_taken)
        return;
    p->ended[number] = true;
    p->open--;
}

static bool is_bad(const struct sender *s, const struct routed_way *way)
{
    uint64_t now = loop_now(s->role->loop);
    for (size_t i = 0; i < BAD_ADDRESSES; i++)
        if (now < s->bad[i].until_ms && net_address_equal(&s->bad[i].address, &way->address))
            return true;
    return false;
}

// Past ways that are bad, where a better one follows.
static void skip_bad(struct parcel *p)
{
    size_t way = p->way;
    while (way < p->way_count && is_bad(p->sender, &p->ways[way]))
        way++;
    if (way < p->way_count)
        p->way = way;
}

static void go_on(struct parcel *p, bool anew)
{
    skip_bad(p);
    if (p->open > 0 && p->way < p->way_count)
        connection_take(p->sender, p, anew);
    else
        end(p);
}

void parcel_left(struct parcel *p, const struct smtp_client_result *result)
{
    p->connection = NULL;
    for (uint32_t i = 0; result && i < p->envelope.recipient_count; i++)
        if (!p->ended[i])
            keep_result(p, i, result);
    p->reached |= result && result->code;
    p->trouble = p->broke || (result && result->code);
    bool next = p->broke || result;
    p->reached = p->reached && (next || p->open == 0);
    if (next && p->open > 0)
        p->way++;
    p->broke = false;
    go_on(p, !next); // one that was kept and has died: the same way, anew
}

void parcel_no_connection(struct parcel *p, const struct smtp_client_result *result)
{
    struct sender *s = p->sender;
    const struct net_address *address = &p->ways[p->way].address;
    if (address->family)
        s->bad[s->bad_next++ % BAD_ADDRESSES] =
            (struct bad_address){*address, loop_now(s->role->loop) + BAD_MS};
    parcel_left(p, result);
}

// ---- what the queue hands over

static bool take_ways(struct parcel *p, struct str ways)
{
    struct routed_way way;
    size_t count = 0;
    for (struct str rest = ways; ways_take(&rest, &way);)
        count++;
    p->ways = arena_alloc_array(&p->arena, count, sizeof *p->ways);
    while (p->ways && ways_take(&ways, &way)) {
        if (!arena_copy(&p->arena, way.host, &way.host))
            return false;
        p->ways[p->way_count++] = way;
    }
    return p->way_count > 0 && ways.len == 0;
}

static bool take_body(struct parcel *p, const struct msg_send *m, struct err *err)
{
    p->is_large = m->items.len > 0;
    bool ok = p->is_large ? window_read_items(m->items, m->size, &p->arena, &p->view, err)
                          : window_map(p->window, m->size, m->manifest, &p->arena, &p->view, err);
    if (!ok) {
        p->is_large = false;
        return false;
    }
    if (p->view.count != 1)
        return err_set(err, ERR_PEER_WRONG, STATUS(4, 3, 0), "a window of more than one letter");
    const struct window_item *item = &p->view.items[0];
    bool damaged = !p->is_large && !p->view.intact[0];
    if (p->is_large && !large_reader_init(&p->large, p->window, item->size, item->crc, err)) {
        p->is_large = false;
        damaged = err->class == ERR_OUR_BUG;
        if (!damaged)
            return false;
    }
    p->letter = (struct smtp_client_letter){.reverse_path = &p->envelope.reverse_path,
                                            .size = item->size,
                                            .has_8bit = item->scan_flags & SCAN_8BIT,
                                            .declared_8bit = p->envelope.flags & ENVELOPE_8BITMIME,
                                            .needs_utf8 = p->envelope.flags & ENVELOPE_UTF8 &&
                                                          item->scan_flags & SCAN_8BIT_HEADER};
    if (damaged)
        give_all(p, SENT_DAMAGED, STR(""));
    return true;
}

static bool take(struct parcel *p, const struct msg_send *m, struct err *err)
{
    if (!envelope_read(m->envelope, &p->arena, &p->envelope, err))
        return false;
    uint32_t count = p->envelope.recipient_count;
    p->open = count;
    p->results = arena_alloc_array(&p->arena, count, sizeof *p->results);
    p->ended = arena_alloc_array(&p->arena, count, sizeof *p->ended);
    p->recipients = arena_alloc_array(&p->arena, count, sizeof *p->recipients);
    p->numbers = arena_alloc_array(&p->arena, count, sizeof *p->numbers);
    if (!p->results || !p->ended || !p->recipients || !p->numbers || !take_ways(p, m->ways))
        return err_set(err, ERR_PEER_WRONG, STATUS(4, 3, 0), "ways that cannot be read");
    give_all(p, SENT_LATER, STR(""));
    p->open = count;
    p->lmtp = m->lmtp;
    return true;
}

static void on_send(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct sender *s = role->state;
    struct parcel *p = calloc(1, sizeof *p);
    struct err err;
    (void)owner;
    must(p != NULL);
    p->sender = s;
    p->channel = channel;
    p->slot = m->slot;
    p->window = m->send.window;
    m->send.window = -1;
    list_append(&s->parcels, &p->link);
    arena_init(&p->arena, PARCEL_MEMORY);
    bool read = take(p, &m->send, &err), ok = read && take_body(p, &m->send, &err);
    p->untried = !ok || s->draining || p->open == 0;
    if (!read || (!ok && err.class != ERR_TRY_LATER)) {
        log_line(LOG_ERROR, "%s", err.text);
        p->channel = NULL;
        ipc_break(channel, "it handed over a letter that cannot be read");
    } else if (!ok) {
        give_all(p, SENT_LATER, err_text(&err));
    } else if (s->draining && p->open > 0) {
        give_all(p, SENT_UNTRIED, STR(""));
    }
    if (p->untried)
        end(p);
    else
        go_on(p, false);
}

// ---- the role

// What no host has in its hands yet is for another sender, or another queue.
static void stop_untaken(struct sender *s)
{
    LIST_EACH(&s->parcels, at, after)
    {
        struct parcel *p = CONTAINER_OF(at, struct parcel, link);
        if (connection_stage(p->connection) == SMTP_STAGE_end)
            continue;
        connection_abort(p->connection);
        p->connection = NULL;
        p->untried = true;
        give_all(p, SENT_UNTRIED, STR(""));
        end(p);
    }
}

static void closed(struct ipc_channel *channel, const char *why)
{
    struct role *role = ipc_context(channel);
    struct sender *s = role->state;
    (void)why;
    LIST_EACH(&s->parcels, at, after)
    {
        struct parcel *p = CONTAINER_OF(at, struct parcel, link);
        if (p->channel == channel)
            p->channel = NULL;
    }
    stop_untaken(s); // there is one queue at a time
}

static bool prepare(struct role *role, struct err *err)
{
    struct sender *s = calloc(1, sizeof *s);
    (void)err;
    must(s != NULL);
    role->state = s;
    s->role = role;
    list_init(&s->parcels);
    list_init(&s->idle);
    list_init(&s->dialling);
    return true;
}

static void dialled(struct role *role, struct str path, int fd)
{
    connection_dialled(role->state, path, fd);
}

static void drain(struct role *role, uint64_t milliseconds)
{
    struct sender *s = role->state;
    (void)milliseconds; // the supervisor keeps the time
    connection_close_idle(s);
    stop_untaken(s);
    s->draining = true;
    if (list_empty(&s->parcels))
        role_drained(role);
}

static const struct ipc_handlers handlers = {.on = {[MSG_send] = on_send}, .closed = closed};

static const struct role_ops ops = {
    .role = IPC_SENDER,
    .handlers = &handlers,
    .prepare = prepare,
    .dialled = dialled,
    .drain = drain,
};

int main(int argc, char **argv)
{
    return role_main(&ops, argc, argv);
}
