// Answers to `posthouse queue ...`: JSON lines, rendered by the command. A list comes in pages, in
// the order of the log: where more follows, the last line is "more PLACE", and "list PLACE" asks
// for that. Between two pages the queue remembers nothing.
#include "roles/queue.h"

#include "base/json.h"
#include "base/limits.h"
#include "mail/date.h"

static const char *state_name(const struct spool_recipient *r)
{
    if (r->state == SPOOL_HELD)
        return "held";
    return r->attempts ? "deferred" : "queued";
}

static void put_text(struct json *j, const char *name, struct str value)
{
    json_name(j, name);
    json_put_string(j, value);
}

static void put_time(struct json *j, const char *name, uint64_t ms)
{
    struct buf text;
    buf_init(&text, 64);
    date_put_iso(&text, ms);
    put_text(j, name, buf_str(&text));
    buf_finish(&text);
}

// ---- the list, page by page

enum { PAGE_ROWS = 1024 };

// A recipient as it is when the page is begun.
struct row {
    struct spool_letter *letter; // held
    uint32_t number;
    struct spool_recipient recipient;
};

// Chosen in the loop, written in a worker, which reads the envelopes.
struct page {
    struct os_job job;
    struct queue *queue;
    struct question *question;
    struct buf out;
    bool more; // another page follows, and begins here:
    struct spool_place next;
    uint32_t next_number;
    size_t count;
    struct row rows[PAGE_ROWS];
};

static void put_row(const struct page *page, const struct row *row, struct buf *out,
                    const struct envelope *envelope)
{
    const struct spool_recipient *r = &row->recipient;
    bool known = row->number < envelope->recipient_count;
    struct json j;
    struct buf text;
    char id[MAIL_ID_TEXT + 1];
    buf_init(&text, 4 * LIMIT_address);
    mail_id_text(&row->letter->id, id);
    json_begin(&j, out);
    json_open_object(&j);
    put_text(&j, "id", str_of(id));
    put_time(&j, "arrived", mail_id_ms(&row->letter->id));
    json_name(&j, "size");
    json_put_int(&j, (int64_t)row->letter->body_size);
    if (known)
        address_put(&text, &envelope->reverse_path);
    put_text(&j, "from", buf_str(&text));
    buf_clear(&text);
    if (known)
        address_put(&text, &envelope->recipients[row->number]);
    put_text(&j, "to", buf_str(&text));
    put_text(&j, "domain", known ? envelope->recipients[row->number].domain : STR(""));
    put_text(&j, "state", str_of(state_name(r)));
    json_name(&j, "attempts");
    json_put_int(&j, r->attempts);
    if (r->state == SPOOL_WAITING)
        put_time(&j, "next", (uint64_t)r->next_s * 1000);
    put_text(&j, "reason", spool_reason(page->queue->spool, r));
    json_close_object(&j);
    buf_put_byte(out, '\n');
    buf_finish(&text);
}

// A letter whose envelope cannot be read is listed without its addresses.
static void put_letter(struct page *page, const struct row *rows, size_t count)
{
    const struct spool_letter *letter = rows[0].letter;
    struct arena arena;
    struct buf bytes;
    struct envelope envelope;
    struct err err;
    arena_init(&arena, 4 * (size_t)LIMIT_envelope);
    buf_init(&bytes, LIMIT_envelope);
    if (!spool_read_envelope(page->queue->spool, letter, &bytes, &err) ||
        !envelope_read(buf_str(&bytes), &arena, &envelope, &err))
        envelope = (struct envelope){.recipient_count = 0};
    for (size_t i = 0; i < count; i++)
        put_row(page, &rows[i], &page->out, &envelope);
    buf_finish(&bytes);
    arena_finish(&arena);
}

// How many rows from this one on are of its letter.
static size_t rows_of_letter(const struct page *page, size_t first)
{
    size_t count = 1;
    while (first + count < page->count &&
           page->rows[first + count].letter == page->rows[first].letter)
        count++;
    return count;
}

static void page_work(struct os_job *job)
{
    struct page *page = CONTAINER_OF(job, struct page, job);
    for (size_t i = 0, count; i < page->count; i += count) {
        count = rows_of_letter(page, i);
        put_letter(page, &page->rows[i], count);
    }
    if (page->more)
        buf_putf(&page->out, "more %llu %lu %lu\n", (unsigned long long)page->next.use,
                 (unsigned long)page->next.offset, (unsigned long)page->next_number);
}

static void page_done(struct os_job *job)
{
    struct page *page = CONTAINER_OF(job, struct page, job);
    for (size_t i = 0; i < page->count; i += rows_of_letter(page, i))
        spool_let_go(page->queue->spool, page->rows[i].letter);
    role_answer(page->question, true, &page->out);
    buf_finish(&page->out);
    free(page);
}

// False: the page is full, and the next one begins with the recipient at *number.
static bool take_letter(struct page *page, struct spool_letter *letter, uint32_t *number)
{
    for (bool held = false; *number < letter->recipient_count; ++*number) {
        const struct spool_recipient *r = &letter->recipients[*number];
        if (r->state >= SPOOL_DELIVERED)
            continue;
        if (page->count == PAGE_ROWS)
            return false;
        if (!held)
            spool_hold(letter);
        held = true;
        page->rows[page->count++] =
            (struct row){.letter = letter, .number = *number, .recipient = *r};
    }
    return true;
}

// The argument: nothing, or where a page ended, "USE OFFSET RECIPIENT".
static bool read_place(struct str text, struct spool_place *place, uint32_t *number)
{
    uint64_t numbers[3] = {0, 0, 0};
    struct str word;
    if (text.len)
        for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
            if (!str_cut(&text, ' ', &word) || !str_to_u64(word, &numbers[i]))
                return false;
    *place = (struct spool_place){.use = numbers[0], .offset = (uint32_t)numbers[1]};
    *number = (uint32_t)numbers[2];
    return text.len == 0 && numbers[1] <= UINT32_MAX && numbers[2] <= UINT32_MAX;
}

static bool at_place(const struct spool_letter *letter, const struct spool_place *place)
{
    struct spool_place at = spool_place_of(letter);
    return at.use == place->use && at.offset == place->offset;
}

// Bounded work for the loop: it copies a page's states and goes on; files are read elsewhere.
static bool list_letters(struct queue *q, struct str argument, struct question *question)
{
    struct spool_place place;
    uint32_t number;
    if (!read_place(argument, &place, &number))
        return false;
    struct page *page = calloc(1, sizeof *page);
    must(page != NULL);
    page->job = (struct os_job){.work = page_work, .done = page_done};
    page->queue = q;
    page->question = question;
    buf_init(&page->out, LIMIT_control_reply);
    struct spool_letter *letter = spool_from(q->spool, place);
    if (letter && !at_place(letter, &place))
        number = 0;
    for (; letter && take_letter(page, letter, &number); number = 0)
        letter = spool_after(q->spool, letter);
    if (letter) {
        page->more = true;
        page->next = spool_place_of(letter);
        page->next_number = number;
    }
    os_workers_submit(q->readers, &page->job);
    return true;
}

// ---- other questions

static void put_status(struct queue *q, struct buf *out)
{
    struct spool_counts c;
    struct json j;
    uint64_t parked = 0;
    LIST_EACH(&q->parked, at, after)
    {
        parked++;
    }
    spool_count(q->spool, &c);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"letters", c.letters},
        {"recipients", c.recipients},
        {"attempts", q->attempts},
        {"backlog", queue_backlog(q)},
        {"delivered", q->delivered},
        {"deferred", q->deferred},
        {"kept_back", q->kept_back},
        {"segments", c.segments},
        {"free_segments", c.free_segments},
        {"commits", c.commits},
        {"committed_bytes", c.committed_bytes},
        {"parked", parked},
        {"segments_read", c.read},
        {"segments_to_read", c.to_read},
    };
    json_begin(&j, out);
    json_open_object(&j);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_name(&j, rows[i].name);
        json_put_int(&j, (int64_t)rows[i].value);
    }
    json_name(&j, "space");
    json_put_bool(&j, q->has_space);
    json_name(&j, "paced");
    json_put_bool(&j, !list_empty(&q->late));
    json_close_object(&j);
    buf_put_byte(out, '\n');
}

// Before the whole log is known a list or a count would be of no use: letters are missing, others
// are at their end already. Such a question waits; `status` says how far the reading is.
struct waiting_question {
    struct link link;
    struct question *question;
    size_t what; // octets of `text`; the argument stands behind
    size_t length;
    char text[];
};

static void keep_question(struct queue *q, struct str what, struct str argument,
                          struct question *question)
{
    struct waiting_question *w = malloc(sizeof *w + what.len + argument.len);
    must(w != NULL);
    *w = (struct waiting_question){
        .question = question, .what = what.len, .length = what.len + argument.len};
    memcpy(w->text, what.ptr, what.len);
    memcpy(w->text + what.len, argument.ptr, argument.len);
    list_append(&q->questions, &w->link);
}

void queue_ask_again(struct queue *q)
{
    for (struct link *at; (at = list_pop(&q->questions));) {
        struct waiting_question *w = CONTAINER_OF(at, struct waiting_question, link);
        struct str text = str_from(w->text, w->length);
        queue_ask(q->role, str_sub(text, 0, w->what), str_skip(text, w->what), w->question);
        free(w);
    }
}

void queue_ask(struct role *role, struct str what, struct str argument, struct question *question)
{
    struct queue *q = role->state;
    struct buf out;
    bool list = str_eq(what, STR("list")), count = str_eq(what, STR("count")), ok = true;
    if ((list || count) && !spool_indexed(q->spool)) {
        keep_question(q, what, argument, question);
        return;
    }
    if (list && list_letters(q, argument, question))
        return;
    buf_init(&out, LIMIT_control_request);
    if (count) {
        struct spool_counts c;
        spool_count(q->spool, &c);
        buf_putf(&out, "%llu\n", (unsigned long long)c.letters);
    } else if (str_eq(what, STR("status"))) {
        put_status(q, &out);
    } else {
        ok = false;
        buf_put(&out, list ? STR("the queue has no such place")
                           : STR("the queue does not know this question"));
    }
    role_answer(question, ok, &out);
    buf_finish(&out);
}
