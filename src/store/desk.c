// Questions and orders (desk.h). A page is chosen in the loop by what the index knows, read in a
// worker, which compares addresses too, and acted upon in the loop again: what was chosen may have
// another state by then, and is looked at once more.
#include "store/desk.h"

#include "base/json.h"
#include "base/limits.h"
#include "mail/date.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/log.h"
#include "store/large.h"

enum {
    PAGE_ROWS = 1024,   // a page ends with the letter that reaches this
    PAGE_LOOKS = 16384, // recipients that one page looks at
    ARENA_MAX = 32 * 1024 * 1024,
};
_Static_assert(DESK_BODY % LARGE_PIECE == 0, "a body is read in whole pieces");

// ---- the table of what may be asked

enum order {
#define ORDER(name, ...) ORDER_##name,
#include "store/orders.def"
#undef ORDER
    NO_ORDER,
};

static const struct order_row {
    bool waiting, held;
    enum spool_state state;
    enum log_event_name event;
} orders[] = {
#define ORDER(name, waiting, held, state, event) {waiting, held, SPOOL_##state, EVENT_##event},
#include "store/orders.def"
#undef ORDER
};

// A recipient that was chosen, as it was then.
struct row {
    struct spool_letter *letter; // held by the spool for us
    uint32_t number;
    struct spool_recipient recipient;
    bool matches;        // the addresses too
    struct str from, to; // for the log; empty where the envelope cannot be read
};

struct filter {
    struct str id; // how it begins, or ""
    struct mail_id whole_id;
    bool has_whole_id, has_from, has_to;
    struct address from, to;
    struct str domain; // folded
    uint64_t before_ms;
    struct str reason, by;
    uint64_t offset;
};

struct desk {
    struct spool *spool;
    const struct kind *kind;
    struct filter filter;
    struct arena arena; // texts of the question and of the rows
    struct buf out;
    bool failed; // err says why
    struct err err;
    bool more; // another page follows, and begins here:
    struct spool_place next;
    struct row *rows;
    size_t count, cap;
    uint64_t letters, recipients, under_way; // what an order touched
};

static void put_count(struct desk *d);
static void put_list(struct desk *d);
static void put_show(struct desk *d);
static void put_body(struct desk *d);
static void put_order(struct desk *d);

static const struct kind {
    const char *name;
    enum order order;
    bool one;   // of one letter, which must be there
    bool every; // recipients at their end too
    void (*choose)(struct desk *d);
    void (*put)(struct desk *d); // in any thread
} kinds[] = {
    {"count", NO_ORDER, false, false, put_count, NULL},
    {"list", NO_ORDER, false, false, NULL, put_list},
    {"show", NO_ORDER, true, true, NULL, put_show},
    {"body", NO_ORDER, true, true, NULL, put_body},
#define ORDER(name, ...) {#name, ORDER_##name, false, false, NULL, put_order},
#include "store/orders.def"
#undef ORDER
};

static const struct kind *find_kind(struct str what)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eq(what, str_of(kinds[i].name)))
            return &kinds[i];
    return NULL;
}

bool desk_knows(struct str what)
{
    return find_kind(what) != NULL;
}

// ---- the argument

static bool no_question(struct err *err, const char *what, struct str text)
{
    return err_set(err, ERR_PEER_WRONG, STATUS(5, 5, 4), "the queue has no such %s: %.*s", what,
                   STR_ARG(text));
}

// An id, or how one begins, in the form that mail_id_text writes.
static bool read_id(struct desk *d, struct str value, struct err *err)
{
    struct filter *f = &d->filter;
    char text[MAIL_ID_TEXT + 1];
    if (value.len < DESK_ID_LEAST || value.len > MAIL_ID_TEXT)
        return no_question(err, "id", value);
    memset(text, '0', MAIL_ID_TEXT);
    memcpy(text, value.ptr, value.len);
    if (!mail_id_read(str_from(text, MAIL_ID_TEXT), &f->whole_id))
        return no_question(err, "id", value);
    f->has_whole_id = value.len == MAIL_ID_TEXT;
    mail_id_text(&f->whole_id, text);
    return arena_copy(&d->arena, str_from(text, value.len), &f->id) ||
           no_question(err, "id", value);
}

static bool read_field(struct desk *d, struct str name, struct str value, struct err *err)
{
    struct filter *f = &d->filter;
    if (!arena_copy(&d->arena, value, &value))
        return no_question(err, "memory", STR(""));
    if (str_eq(name, STR("id")))
        return read_id(d, value, err);
    if (str_eq(name, STR("from"))) {
        f->has_from = true;
        return address_read_stored(value, PATH_REVERSE, &d->arena, &f->from, err);
    }
    if (str_eq(name, STR("to"))) {
        f->has_to = true;
        return address_read_stored(value, PATH_FORWARD, &d->arena, &f->to, err);
    }
    if (str_eq(name, STR("domain")))
        return domain_read(value, &d->arena, &f->domain, err);
    if (str_eq(name, STR("before")))
        return str_to_u64(value, &f->before_ms) || no_question(err, "time", value);
    if (str_eq(name, STR("offset")))
        return (str_to_u64(value, &f->offset) && f->offset % DESK_BODY == 0) ||
               no_question(err, "offset", value);
    if (!str_eq(name, STR("reason")) && !str_eq(name, STR("by")))
        return no_question(err, "field", name);
    *(str_eq(name, STR("by")) ? &f->by : &f->reason) = value;
    return true;
}

// Nothing, or "USE OFFSET".
static bool read_place(struct str text, struct spool_place *place, struct err *err)
{
    struct str rest = text, word = STR("");
    uint64_t use = 0, offset = 0;
    bool ok = text.len == 0 || (str_cut(&rest, ' ', &word) && str_to_u64(word, &use) &&
                                str_to_u64(rest, &offset) && offset <= UINT32_MAX);
    *place = (struct spool_place){.use = use, .offset = (uint32_t)offset};
    return ok || no_question(err, "place", text);
}

static bool read_argument(struct desk *d, struct str text, struct spool_place *place,
                          struct err *err)
{
    struct str word = STR(""), name;
    (void)str_cut(&text, '\t', &word);
    if (!read_place(word, place, err))
        return false;
    while (str_cut(&text, '\t', &word)) {
        if (!str_cut(&word, '=', &name))
            return no_question(err, "field", word);
        if (!read_field(d, name, word, err))
            return false;
    }
    return !d->kind->one || d->filter.has_whole_id || no_question(err, "id", d->filter.id);
}

// ---- choosing, in the loop

static bool letter_matches(const struct filter *f, const struct spool_letter *letter)
{
    char id[MAIL_ID_TEXT + 1];
    if (f->before_ms && mail_id_ms(&letter->id) >= f->before_ms)
        return false;
    mail_id_text(&letter->id, id);
    return str_starts(str_of(id), f->id);
}

static bool order_means(enum order order, const struct spool_recipient *r)
{
    if (order == NO_ORDER)
        return r->state < SPOOL_DELIVERED;
    if (orders[order].state == SPOOL_DROPPED && r->busy == DESK_DROPPING)
        return false; // it was ordered before
    return r->state == SPOOL_WAITING ? orders[order].waiting
                                     : r->state == SPOOL_HELD && orders[order].held;
}

static bool reason_matches(const struct desk *d, const struct spool_recipient *r)
{
    struct str all = spool_reason(d->spool, r), part = d->filter.reason;
    for (size_t at = 0; part.len && at + part.len <= all.len; at++)
        if (str_eq_nocase(str_sub(all, at, part.len), part))
            return true;
    return part.len == 0;
}

static void add_row(struct desk *d, struct spool_letter *letter, uint32_t number)
{
    if (d->count == d->cap) {
        d->cap = d->cap ? d->cap * 2 : 64;
        d->rows = realloc(d->rows, d->cap * sizeof d->rows[0]);
        must(d->rows != NULL);
    }
    d->rows[d->count++] =
        (struct row){.letter = letter, .number = number, .recipient = letter->recipients[number]};
}

static void take_letter(struct desk *d, struct spool_letter *letter)
{
    size_t before = d->count;
    if (!letter_matches(&d->filter, letter))
        return;
    for (uint32_t i = 0; i < letter->recipient_count; i++) {
        const struct spool_recipient *r = &letter->recipients[i];
        if (d->kind->every || (order_means(d->kind->order, r) && reason_matches(d, r)))
            add_row(d, letter, i);
    }
    if (d->count > before)
        spool_hold(letter);
}

static bool take_one(struct desk *d, struct err *err)
{
    struct spool_letter *letter = spool_find(d->spool, &d->filter.whole_id);
    if (!letter || !letter->durable || letter->pending == 0)
        return err_set(err, ERR_GIVE_UP, STATUS(5, 0, 0), "no letter %.*s waits in the queue",
                       STR_ARG(d->filter.id));
    take_letter(d, letter);
    return true;
}

static void take_page(struct desk *d, struct spool_place place)
{
    uint64_t looks = 0;
    struct spool_letter *letter = spool_from(d->spool, place);
    for (; letter && d->count < PAGE_ROWS && looks < PAGE_LOOKS;
         letter = spool_after(d->spool, letter)) {
        looks += letter->recipient_count;
        take_letter(d, letter);
    }
    d->more = letter != NULL;
    if (letter)
        d->next = spool_place_of(letter);
}

static void put_count(struct desk *d)
{
    struct spool_counts c;
    spool_count(d->spool, &c);
    buf_putf(&d->out, "%llu\n", (unsigned long long)c.letters);
}

struct desk *desk_open(struct spool *spool, struct str what, struct str argument, struct err *err)
{
    struct spool_place place;
    struct desk *d = calloc(1, sizeof *d);
    must(d != NULL);
    d->spool = spool;
    d->kind = find_kind(what);
    arena_init(&d->arena, ARENA_MAX);
    buf_init(&d->out, LIMIT_control_reply);
    bool ok =
        d->kind ? read_argument(d, argument, &place, err) : no_question(err, "question", what);
    if (ok && d->kind->choose)
        d->kind->choose(d);
    else if (ok && d->filter.has_whole_id)
        ok = take_one(d, err);
    else if (ok)
        take_page(d, place);
    if (!ok)
        desk_close(&d);
    return d;
}

void desk_close(struct desk **desk)
{
    struct desk *d = *desk;
    *desk = NULL;
    if (!d)
        return;
    for (size_t i = 0; i < d->count; i++)
        if (i == 0 || d->rows[i].letter != d->rows[i - 1].letter)
            spool_let_go(d->spool, d->rows[i].letter);
    buf_finish(&d->out);
    arena_finish(&d->arena);
    free(d->rows);
    free(d);
}

// ---- reading: in any thread

struct reading {
    const struct spool_letter *letter;
    struct arena arena;
    struct envelope envelope; // without recipients when it cannot be read
    bool ok;
    struct err err;
};

static void read_envelope(struct desk *d, const struct spool_letter *letter, struct reading *r)
{
    struct buf bytes;
    *r = (struct reading){.letter = letter};
    arena_init(&r->arena, 4 * (size_t)LIMIT_envelope);
    buf_init(&bytes, LIMIT_envelope);
    r->ok = spool_read_envelope(d->spool, letter, &bytes, &r->err) &&
            envelope_read(buf_str(&bytes), &r->arena, &r->envelope, &r->err);
    if (!r->ok)
        r->envelope = (struct envelope){.recipient_count = 0};
    buf_finish(&bytes);
}

static const struct address *address_of(const struct reading *reading, const struct row *row)
{
    const struct envelope *e = &reading->envelope;
    return row->number < e->recipient_count ? &e->recipients[row->number] : NULL;
}

static bool row_matches(const struct filter *f, const struct reading *reading,
                        const struct row *row)
{
    const struct address *to = address_of(reading, row);
    if (!to)
        return !f->has_from && !f->has_to && f->domain.len == 0;
    return (!f->has_from || address_equal(&reading->envelope.reverse_path, &f->from)) &&
           (!f->has_to || address_equal(to, &f->to)) &&
           (f->domain.len == 0 || str_eq(to->folded_domain, f->domain));
}

// How many rows from this one on are of its letter.
static size_t rows_of_letter(const struct desk *d, size_t first)
{
    size_t count = 1;
    while (first + count < d->count && d->rows[first + count].letter == d->rows[first].letter)
        count++;
    return count;
}

static void put_text(struct json *j, const char *name, struct str value)
{
    json_name(j, name);
    json_put_string(j, value);
}

static void put_number(struct json *j, const char *name, uint64_t value)
{
    json_name(j, name);
    json_put_int(j, (int64_t)value);
}

static void put_flag(struct json *j, const char *name, bool value)
{
    json_name(j, name);
    json_put_bool(j, value);
}

static void put_time(struct json *j, const char *name, uint64_t ms)
{
    struct buf text;
    buf_init(&text, 64);
    date_put_iso(&text, ms);
    put_text(j, name, buf_str(&text));
    buf_finish(&text);
}

static void put_address(struct json *j, const char *name, const struct address *address)
{
    struct buf text;
    buf_init(&text, 4 * LIMIT_address);
    if (address)
        address_put(&text, address);
    put_text(j, name, buf_str(&text));
    buf_finish(&text);
}

static const char *state_name(const struct spool_recipient *r)
{
    static const char *const names[] = {
        [SPOOL_HELD] = "held",
        [SPOOL_DELIVERED] = "delivered",
        [SPOOL_DROPPED] = "dropped",
        [SPOOL_FAILED] = "failed",
    };
    if (r->state == SPOOL_WAITING)
        return r->attempts ? "deferred" : "queued";
    return names[r->state];
}

static void put_letter_fields(struct json *j, const struct reading *reading)
{
    const struct spool_letter *letter = reading->letter;
    char id[MAIL_ID_TEXT + 1];
    mail_id_text(&letter->id, id);
    put_text(j, "id", str_of(id));
    put_time(j, "arrived", mail_id_ms(&letter->id));
    put_number(j, "size", letter->body_size);
    put_address(j, "from", reading->ok ? &reading->envelope.reverse_path : NULL);
}

static void put_recipient_fields(struct json *j, const struct desk *d,
                                 const struct reading *reading, const struct row *row)
{
    const struct spool_recipient *r = &row->recipient;
    const struct address *to = address_of(reading, row);
    put_address(j, "to", to);
    put_text(j, "domain", to ? to->domain : STR(""));
    put_text(j, "state", str_of(state_name(r)));
    put_number(j, "attempts", r->attempts);
    if (r->state == SPOOL_WAITING) {
        put_time(j, "next", (uint64_t)r->next_s * 1000);
    } else {
        json_name(j, "next");
        json_put_null(j);
    }
    put_text(j, "reason", spool_reason(d->spool, r));
}

static void put_list(struct desk *d)
{
    struct reading reading;
    for (size_t i = 0, count; i < d->count; i += count) {
        count = rows_of_letter(d, i);
        read_envelope(d, d->rows[i].letter, &reading);
        for (const struct row *row = &d->rows[i]; row < &d->rows[i + count]; row++) {
            struct json j;
            if (!row_matches(&d->filter, &reading, row))
                continue;
            json_begin(&j, &d->out);
            json_open_object(&j);
            put_letter_fields(&j, &reading);
            put_recipient_fields(&j, d, &reading, row);
            json_close_object(&j);
            buf_put_byte(&d->out, '\n');
        }
        arena_finish(&reading.arena);
    }
}

static void copy_address(struct desk *d, const struct address *address, struct str *copy)
{
    struct buf text;
    buf_init(&text, 4 * LIMIT_address);
    address_put(&text, address);
    *copy = STR("");
    bool kept = arena_copy(&d->arena, buf_str(&text), copy);
    (void)kept; // without it the log says less, and the order is done
    buf_finish(&text);
}

// Which of the rows are meant; the rest is done in the loop.
static void put_order(struct desk *d)
{
    struct reading reading;
    struct str from = STR("");
    for (size_t i = 0, count; i < d->count; i += count) {
        count = rows_of_letter(d, i);
        read_envelope(d, d->rows[i].letter, &reading);
        if (reading.ok)
            copy_address(d, &reading.envelope.reverse_path, &from);
        for (struct row *row = &d->rows[i]; row < &d->rows[i + count]; row++) {
            const struct address *to = address_of(&reading, row);
            row->matches = row_matches(&d->filter, &reading, row);
            row->from = reading.ok ? from : STR("");
            if (row->matches && to)
                copy_address(d, to, &row->to);
        }
        arena_finish(&reading.arena);
    }
}

// ---- one letter

// Appends up to DESK_BODY octets of the body.
static bool read_body(struct desk *d, const struct spool_letter *letter, uint64_t offset,
                      struct buf *out, struct err *err)
{
    struct large_reader reader;
    struct str piece;
    int fd;
    if (!letter->large) // at most LIMIT_large_body: one answer has it all
        return offset > 0 || spool_read_body(d->spool, letter, out, err);
    if (!spool_open_body(d->spool, letter, &fd, err))
        return false;
    bool ok = large_reader_init(&reader, fd, letter->body_size, letter->body_crc, err);
    if (ok) {
        large_reader_from(&reader, offset);
        for (size_t end = out->len + DESK_BODY; ok && out->len < end; buf_put(out, piece)) {
            ok = large_reader_next(&reader, &piece, err);
            if (!piece.len)
                break;
        }
        large_reader_finish(&reader);
    }
    os_close(&fd);
    return ok;
}

static void put_body(struct desk *d)
{
    d->failed = !read_body(d, d->rows[0].letter, d->filter.offset, &d->out, &d->err);
}

// Up to the empty line, and not more than a header may have.
static void put_header(struct desk *d, struct json *j, const struct spool_letter *letter)
{
    struct buf bytes;
    struct err err;
    buf_init(&bytes, 2 * DESK_BODY);
    if (read_body(d, letter, 0, &bytes, &err)) {
        struct str header = str_sub(buf_str(&bytes), 0, LIMIT_header);
        size_t end = str_find(header, STR("\r\n\r\n"));
        put_text(j, "header", str_sub(header, 0, end < header.len ? end + 2 : end));
    } else {
        put_text(j, "damage", err_text(&err));
    }
    buf_finish(&bytes);
}

static void put_show(struct desk *d)
{
    const struct spool_letter *letter = d->rows[0].letter;
    struct reading r;
    struct json j;
    read_envelope(d, letter, &r);
    json_begin(&j, &d->out);
    json_open_object(&j);
    put_letter_fields(&j, &r);
    put_text(&j, "client", r.envelope.client);
    put_text(&j, "helo", r.envelope.helo);
    put_text(&j, "session", r.envelope.session);
    put_text(&j, "login", r.envelope.login);
    put_flag(&j, "smtputf8", r.envelope.flags & ENVELOPE_UTF8);
    put_flag(&j, "body_8bitmime", r.envelope.flags & ENVELOPE_8BITMIME);
    put_number(&j, "segment", letter->segment->number);
    put_number(&j, "offset", letter->offset);
    put_flag(&j, "file", letter->large);
    json_name(&j, "recipients");
    json_open_array(&j);
    for (size_t i = 0; i < d->count; i++) {
        json_open_object(&j);
        put_recipient_fields(&j, d, &r, &d->rows[i]);
        put_flag(&j, "under_way", d->rows[i].recipient.busy != DESK_IDLE);
        json_close_object(&j);
    }
    json_close_array(&j);
    if (!r.ok)
        put_text(&j, "damage", err_text(&r.err));
    else
        put_header(d, &j, letter);
    json_close_object(&j);
    buf_put_byte(&d->out, '\n');
    arena_finish(&r.arena);
}

void desk_read(struct desk *d)
{
    if (d->kind->put)
        d->kind->put(d);
}

// ---- acting, in the loop

// The reason stays what it was: that of the last failure.
static void change(struct spool *spool, struct spool_letter *letter, uint32_t number,
                   enum spool_state state, struct log_event event)
{
    char id[MAIL_ID_TEXT + 1];
    struct spool_recipient *r = &letter->recipients[number];
    mail_id_text(&letter->id, id);
    event.id = str_of(id);
    event.text = spool_reason(spool, r);
    event.attempts = r->attempts;
    r->tried = 0; // who was held does not expire before one more attempt
    spool_set_state(spool, letter, number, state, (uint32_t)(os_wall_ms() / 1000), event.text);
    log_event(&event);
}

void desk_drop(struct spool *spool, struct spool_letter *letter, uint32_t recipient, struct str to)
{
    change(spool, letter, recipient, SPOOL_DROPPED,
           (struct log_event){.name = EVENT_dropped, .to = to});
}

// A recipient for whom an attempt is under way.
static void act_later(struct desk *d, const struct row *row, struct log_event event)
{
    const struct order_row *order = &orders[d->kind->order];
    struct spool_recipient *r = &row->letter->recipients[row->number];
    bool drops = order->state == SPOOL_DROPPED;
    enum spool_state state = drops ? SPOOL_HELD : order->state;
    d->under_way++;
    r->busy = drops ? DESK_DROPPING : DESK_BUSY;
    if (r->state == state) // held before; or to be tried, and it is
        return;
    event.name = drops ? EVENT_held : order->event;
    change(d->spool, row->letter, row->number, state, event);
}

static void act_on(struct desk *d, const struct row *row)
{
    const struct order_row *order = &orders[d->kind->order];
    const struct spool_recipient *r = &row->letter->recipients[row->number];
    const struct log_event event = {
        .name = order->event, .from = row->from, .to = row->to, .user = d->filter.by};
    if (!row->matches || !order_means(d->kind->order, r))
        return;
    d->recipients++;
    if (r->busy == DESK_IDLE)
        change(d->spool, row->letter, row->number, order->state, event);
    else
        act_later(d, row, event);
}

bool desk_act(struct desk *d, void (*touched)(void *owner, struct spool_letter *letter),
              void *owner)
{
    if (d->kind->order == NO_ORDER)
        return false;
    for (size_t i = 0, count; i < d->count; i += count) {
        uint64_t before = d->recipients;
        count = rows_of_letter(d, i);
        for (size_t k = i; k < i + count; k++)
            act_on(d, &d->rows[k]);
        if (d->recipients == before)
            continue;
        d->letters++;
        touched(owner, d->rows[i].letter);
    }
    return d->recipients > 0;
}

void desk_ended(struct desk *d, uint64_t recipients)
{
    must(recipients <= d->under_way);
    d->under_way -= recipients;
}

static void put_counts(struct desk *d)
{
    struct json j;
    json_begin(&j, &d->out);
    json_open_object(&j);
    put_number(&j, "letters", d->letters);
    put_number(&j, "recipients", d->recipients);
    put_number(&j, "under_way", d->under_way);
    json_close_object(&j);
    buf_put_byte(&d->out, '\n');
}

bool desk_answer(struct desk *d, struct buf *out)
{
    if (d->failed) {
        buf_put(out, err_text(&d->err));
        return false;
    }
    if (d->kind->order != NO_ORDER)
        put_counts(d);
    if (d->more)
        buf_putf(&d->out, "more %llu %lu\n", (unsigned long long)d->next.use,
                 (unsigned long)d->next.offset);
    buf_put(out, buf_str(&d->out));
    if (!buf_ok(&d->out))
        out->overflow = true;
    return true;
}
