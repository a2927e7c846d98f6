// Queue and postman in one process, on the real spool and the real Maildirs, with small segments:
// so many of them can live and be cut down in a second. A script on standard input leads it; on
// standard output only "report" answers.
//
//     house LEDGER
//
//     check DIRECTORY   prints "legal", or what spool_check finds damaged in DIRECTORY/spool
//     open DIRECTORY    opens DIRECTORY/spool, DIRECTORY/mail
//     indexed           until the whole log has been read
//     syncfs YES        1: the Maildirs are synced by syncfs, 0: file by file
//     letter N BOXES SIZE   submits letter N to the mailboxes of the bits BOXES; SIZE lines of text
//     turns N           so many turns of the loop
//     deliver N         delivers up to N recipients that were not deferred
//     defer N           writes an attempt that failed for up to N such recipients
//     collect           the owners move what is in new to cur
//     settle            until all that was begun is durable
//     drain             delivers all, deferred ones too, until nothing waits
//     rot               flips an octet of each waiting letter: in its envelope or its body, by
//     turns report            prints "waiting N held N": recipients close             at once,
//     whatever is under way
//
// LEDGER gets a line "accepted N" when letter N's 250 would go out, "refused N" for its 451. It is
// written through os/, so that a trace tells when that was.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/limits.h"
#include "os/fault.h"
#include "os/file.h"
#include "os/log.h"
#include "store/check.h"
#include "store/delivery.h"
#include "store/maildir.h"
#include "store/spool_private.h"

enum {
    SEGMENT = 64 * 1024,
    LARGE = 8 * 1024,
    BOXES = 4,
    PARCEL = 64, // deliveries of one batch
    WAIT_MS = 2,
};

struct house {
    int top, spool_dir, mail_dir, ledger;
    struct loop *loop;
    struct spool *spool;
    struct delivery delivery;
    struct arena arena;
    struct link posts, parcels;
    bool closing;
};

// A letter on its way in.
struct post {
    struct link link;
    struct spool_waiter waiter;
    struct large_slice slice;
    struct large *large;
    struct house *house;
    unsigned number;
    bool known;
    struct buf envelope, body;
    struct str pieces[2];
};

// A batch that was delivered, until "done" is durable.
struct parcel {
    struct link link;
    struct spool_waiter waiter;
    struct house *house;
    struct delivery_batch *batch;
};

static void check(int rc, const char *what)
{
    if (rc < 0) {
        log_line(LOG_ERROR, "house: %s: %s", what, strerror(-rc));
        exit(1);
    }
}

static void require(bool ok, const struct err *err)
{
    if (!ok) {
        log_line(LOG_ERROR, "house: %s", err->text);
        exit(1);
    }
}

static void turn(struct house *h)
{
    struct err err;
    require(loop_turn(h->loop, WAIT_MS, &err), &err);
}

// ---- letters in

static struct mail_id id_of(unsigned number)
{
    static const uint8_t base[10] = {7};
    return mail_id_make(1767225600000, base, number);
}

static void put_envelope(struct house *h, struct buf *out, unsigned number, unsigned boxes)
{
    struct address to[BOXES];
    struct err err;
    char text[32];
    struct envelope e = {.id = id_of(number),
                         .arrived_ms = 1767225600000,
                         .client = STR("127.0.0.1"),
                         .helo = STR("client.example.org"),
                         .session = STR("S"),
                         .recipients = to};
    require(address_read(STR("a@example.org"), &h->arena, &e.reverse_path, &err), &err);
    for (unsigned i = 0; i < BOXES; i++) {
        struct str copy;
        snprintf(text, sizeof text, "u%u@example.test", i);
        if (!(boxes & 1u << i))
            continue;
        must(arena_copy(&h->arena, str_of(text), &copy));
        require(address_read(copy, &h->arena, &to[e.recipient_count++], &err), &err);
    }
    envelope_put(out, &e);
    must(buf_ok(out));
}

// Each 512 octets of it say whose they are.
static void put_body(struct buf *out, unsigned number, unsigned size)
{
    for (unsigned line = 0; line < size; line++)
        buf_putf(out, "%08u %08u\r\n", number, line);
    must(buf_ok(out));
}

static void write_ledger(struct house *h, const char *word, unsigned number)
{
    char line[32];
    snprintf(line, sizeof line, "%s %u\n", word, number);
    check(os_write_all(h->ledger, str_of(line)), "the ledger");
}

static void free_post(struct post *p)
{
    list_remove(&p->link);
    large_close(&p->large);
    buf_finish(&p->envelope);
    buf_finish(&p->body);
    free(p);
}

static void told(struct spool_waiter *waiter, bool durable)
{
    struct post *p = CONTAINER_OF(waiter, struct post, waiter);
    if (durable)
        write_ledger(p->house, "accepted", p->number);
    else if (!p->known) // of one that is on disk already a 451 says nothing
        write_ledger(p->house, "refused", p->number);
    free_post(p);
}

static enum spool_added try_to_add(struct post *p, struct err *err)
{
    struct house *h = p->house;
    struct spool_letter *letter;
    struct envelope envelope;
    enum spool_added how;
    struct mail_id id = id_of(p->number);
    if (p->large)
        how = spool_add_large(h->spool, p->large, &id, buf_str(&p->envelope), &h->arena, &envelope,
                              &letter, err);
    else
        how = spool_add(h->spool,
                        &(struct spool_submission){.id = id,
                                                   .pieces = p->pieces,
                                                   .piece_count = 2,
                                                   .envelope_size = (uint32_t)p->envelope.len},
                        &h->arena, &envelope, &letter, err);
    arena_reset(&h->arena);
    return how;
}

static void add(struct post *p);

static void large_written(struct large_slice *slice)
{
    struct post *p = CONTAINER_OF(slice, struct post, slice);
    if (p->house->closing)
        return;
    if (slice->ok) {
        add(p);
    } else {
        write_ledger(p->house, "refused", p->number);
        free_post(p);
    }
}

static void add(struct post *p)
{
    struct house *h = p->house;
    struct err err;
    switch (try_to_add(p, &err)) {
    case SPOOL_KNOWN:
        p->known = true;
        spool_wait(h->spool, &p->waiter);
        return;
    case SPOOL_ADDED:
        spool_wait(h->spool, &p->waiter);
        return;
    case SPOOL_TOO_LARGE: {
        struct mail_id id = id_of(p->number);
        large_open(&p->large, h->spool, &id);
        p->slice = (struct large_slice){
            .pieces = p->pieces + 1, .piece_count = 1, .last = true, .done = large_written};
        large_append(p->large, &p->slice);
        return;
    }
    case SPOOL_FULL:     // nobody is to wait here
    case SPOOL_NO_SPACE: // 452
        write_ledger(h, "refused", p->number);
        free_post(p);
        return;
    case SPOOL_BAD:
        require(false, &err);
    }
}

static void letter(struct house *h, unsigned number, unsigned boxes, unsigned size)
{
    struct post *p = calloc(1, sizeof *p);
    must(p != NULL);
    p->house = h;
    p->number = number;
    p->waiter.done = told;
    buf_init(&p->envelope, LIMIT_envelope);
    buf_init(&p->body, 1 << 20);
    put_envelope(h, &p->envelope, number, boxes);
    put_body(&p->body, number, size);
    p->pieces[0] = buf_str(&p->envelope);
    p->pieces[1] = buf_str(&p->body);
    list_append(&h->posts, &p->link);
    add(p);
}

// ---- letters out

// What one delivery takes: some recipients of letters that wait.
struct taken {
    struct spool_letter *letter[PARCEL];
    uint32_t recipient[PARCEL];
    size_t count;
};

static bool waits(const struct spool_letter *l, uint32_t i, bool deferred_too)
{
    const struct spool_recipient *r = &l->recipients[i];
    return l->durable && r->state == SPOOL_WAITING && (deferred_too || r->attempts == 0);
}

// A large letter goes alone, as the queue does it.
static void take(struct house *h, size_t most, bool deferred_too, struct taken *t)
{
    size_t at = 0;
    t->count = 0;
    for (struct spool_letter *l = spool_next(h->spool, &at); l; l = spool_next(h->spool, &at)) {
        if (l->large && t->count)
            continue;
        for (uint32_t i = 0; i < l->recipient_count; i++) {
            if (t->count == most || !waits(l, i, deferred_too))
                continue;
            t->letter[t->count] = l;
            t->recipient[t->count++] = i;
        }
        if (t->count == most || (l->large && t->count))
            return;
    }
}

static bool put_item(struct house *h, struct window *w, const struct spool_letter *l,
                     uint32_t recipient, struct err *err)
{
    struct buf bytes;
    struct envelope envelope;
    struct window_item item = {.id = l->id,
                               .recipient = recipient,
                               .scan_flags = l->scan_flags,
                               .crc = l->body_crc,
                               .offset = w->bodies.len,
                               .size = l->body_size,
                               .header = STR("Return-Path: <a@example.org>\r\n")};
    buf_init(&bytes, LIMIT_envelope);
    bool ok = spool_read_envelope(h->spool, l, &bytes, err) &&
              envelope_read(buf_str(&bytes), &h->arena, &envelope, err);
    buf_finish(&bytes);
    if (l->large)
        item.offset = 0;
    else
        ok = ok && spool_read_body(h->spool, l, &w->bodies, err);
    if (!ok)
        return false;
    item.mailbox = envelope.recipients[recipient].local;
    window_put_item(w, &item);
    return true;
}

static bool open_window(struct house *h, struct window *w, const struct spool_letter *first,
                        struct err *err)
{
    int fd;
    if (!first->large)
        return window_open(w, err);
    if (!spool_open_body(h->spool, first, &fd, err))
        return false;
    window_open_file(w, fd, first->body_size);
    return true;
}

static void done_durable(struct spool_waiter *waiter, bool durable)
{
    struct parcel *p = CONTAINER_OF(waiter, struct parcel, waiter);
    must(durable);
    delivery_forget(&p->house->delivery, p->batch);
    delivery_free(&p->batch);
    list_remove(&p->link);
    free(p);
}

static void set_states(struct house *h, const struct taken *t, const struct delivery_batch *batch)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct delivery_letter *l = &batch->letters[i];
        enum spool_state state = SPOOL_DELIVERED;
        if (l->failed) {
            log_line(LOG_ERROR, "house: %s", l->err.text);
            state = l->err.class == ERR_OUR_BUG ? SPOOL_HELD : SPOOL_WAITING;
            t->letter[i]->recipients[t->recipient[i]].attempts++;
        }
        spool_set_state(h->spool, t->letter[i], t->recipient[i], state, 0, STR(""));
    }
}

// Those that cannot be read are held.
static bool make_window(struct house *h, struct taken *t, struct window *w, uint64_t *manifest)
{
    struct err err;
    size_t kept = 0;
    bool open = open_window(h, w, t->letter[0], &err);
    for (size_t i = 0; i < t->count; i++) {
        if (open && put_item(h, w, t->letter[i], t->recipient[i], &err)) {
            t->letter[kept] = t->letter[i];
            t->recipient[kept++] = t->recipient[i];
            continue;
        }
        log_line(LOG_ERROR, "house: %s", err.text);
        spool_set_state(h->spool, t->letter[i], t->recipient[i], SPOOL_HELD, 0, STR("damaged"));
    }
    arena_reset(&h->arena);
    t->count = kept;
    if (kept && !t->letter[0]->large)
        require(window_seal(w, manifest, &err), &err);
    if (open && !kept)
        window_close(w);
    return kept > 0;
}

// False when nothing was there to deliver.
static bool deliver(struct house *h, size_t most, bool deferred_too)
{
    struct taken t;
    struct window w;
    struct err err;
    uint64_t manifest = 0;
    take(h, most < PARCEL ? most : PARCEL, deferred_too, &t);
    if (t.count == 0)
        return false;
    if (!make_window(h, &t, &w, &manifest))
        return true;
    struct parcel *p = calloc(1, sizeof *p);
    must(p != NULL);
    struct str items = t.letter[0]->large ? buf_str(&w.manifest) : STR("");
    require(delivery_read(&p->batch, w.fd, w.size, manifest, items, &err), &err);
    delivery_run(&h->delivery, p->batch);
    set_states(h, &t, p->batch);
    window_close(&w);
    p->house = h;
    p->waiter = (struct spool_waiter){.for_states = true, .done = done_durable};
    list_append(&h->parcels, &p->link);
    spool_wait(h->spool, &p->waiter);
    return true;
}

static void defer(struct house *h, size_t most)
{
    struct taken t;
    take(h, most < PARCEL ? most : PARCEL, false, &t);
    for (size_t i = 0; i < t.count; i++) {
        t.letter[i]->recipients[t.recipient[i]].attempts++;
        spool_set_state(h->spool, t.letter[i], t.recipient[i], SPOOL_WAITING, 0, STR("later"));
    }
}

struct collector {
    int from, to;
};

static bool move_one(void *context, const char *name)
{
    const struct collector *c = context;
    char seen[300];
    snprintf(seen, sizeof seen, "%s:2,S", name);
    int rc = os_rename(c->from, name, c->to, seen);
    check(rc == -ENOENT ? 0 : rc, "collecting");
    return true;
}

static void collect(struct house *h)
{
    for (unsigned i = 0; i < BOXES; i++) {
        char box[16];
        struct maildir md;
        struct err err;
        snprintf(box, sizeof box, "u%u", i);
        if (!maildir_open(h->mail_dir, str_of(box), false, &md, &err))
            continue;
        struct collector c = {md.new, md.cur};
        check(os_list(md.new, move_one, &c), "collecting");
        maildir_close(&md);
    }
}

// ---- rot

static void flip(int fd, uint64_t at)
{
    char octet;
    must(pread(fd, &octet, 1, (off_t)at) == 1);
    octet ^= 4;
    must(pwrite(fd, &octet, 1, (off_t)at) == 1);
}

static void rot_body_file(struct house *h, const struct spool_letter *l)
{
    char name[LARGE_NAME];
    large_name(name, &l->id, false);
    int fd = openat(h->spool->body_dir, name, O_RDWR | O_CLOEXEC);
    must(fd >= 0);
    flip(fd, l->body_size / 2);
    os_close(&fd);
}

static void rot(struct house *h)
{
    size_t at = 0, turn = 0;
    for (struct spool_letter *l = spool_next(h->spool, &at); l; l = spool_next(h->spool, &at)) {
        uint64_t envelope = (uint64_t)l->offset + LETTER_FIXED;
        if (!l->pending)
            continue;
        if (turn++ % 2)
            flip(l->segment->fd, envelope + l->envelope_size / 2);
        else if (l->large)
            rot_body_file(h, l);
        else
            flip(l->segment->fd, envelope + l->envelope_size + l->body_size / 2);
    }
}

// ---- the house

static int open_below(int dir, const char *name)
{
    int rc = os_mkdir(dir, name, 0700);
    check(rc == -EEXIST ? 0 : rc, name);
    int fd = os_open_directory(dir, name);
    check(fd, name);
    check(os_fsync(dir), name);
    return fd;
}

static const struct spool_options options = {.segment_size = SEGMENT, .large_body = LARGE};

struct complaint {
    struct check_report report;
    char text[200]; // the first one
};

static void complain(struct check_report *report, const struct check_finding *finding)
{
    struct complaint *c = CONTAINER_OF(report, struct complaint, report);
    if (check_fact(finding->state)->kind == CHECK_DAMAGE && !c->text[0])
        snprintf(c->text, sizeof c->text, "state %d at %s %llu: %s", (int)finding->state,
                 finding->file, (unsigned long long)finding->offset, finding->detail);
}

static void check_spool(const char *path)
{
    struct complaint c = {.report.found = complain};
    struct err err;
    int top = os_open_directory(OS_HERE, path);
    int dir = os_open_directory(top, "spool");
    if (dir < 0) // the power went before there was one
        snprintf(c.text, sizeof c.text, "legal");
    else if (!spool_check(dir, &options, &c.report, &err))
        snprintf(c.text, sizeof c.text, "%.150s", err.text);
    else if (!check_damage(&c.report))
        snprintf(c.text, sizeof c.text, "legal");
    printf("%s\n", c.text);
    fflush(stdout);
    os_close(&dir);
    os_close(&top);
}

static void indexed(struct house *h)
{
    while (!spool_indexed(h->spool))
        turn(h);
}

static void open_house(struct house *h, const char *path)
{
    struct err err;
    h->closing = false;
    h->top = os_open_directory(OS_HERE, path);
    check(h->top, path);
    h->spool_dir = open_below(h->top, "spool");
    h->mail_dir = open_below(h->top, "mail");
    delivery_init(&h->delivery, h->mail_dir);
    require(spool_open(&h->spool, h->spool_dir, &options, &err), &err);
    require(loop_open(&h->loop, &err), &err);
    require(spool_begin(h->spool, h->loop, &err), &err);
}

static void close_house(struct house *h)
{
    while (os_workers_waiting(h->spool->helpers)) // what is dropped there is nobody's memory
        turn(h);
    h->closing = true;
    LIST_EACH(&h->posts, at, after)
    {
        large_close(&CONTAINER_OF(at, struct post, link)->large);
    }
    spool_close(&h->spool);
    for (struct link *l; (l = list_pop(&h->posts));)
        free_post(CONTAINER_OF(l, struct post, link));
    for (struct link *l; (l = list_pop(&h->parcels));) {
        struct parcel *p = CONTAINER_OF(l, struct parcel, link);
        delivery_free(&p->batch);
        free(p);
    }
    loop_close(&h->loop);
    delivery_finish(&h->delivery);
    os_close(&h->mail_dir);
    os_close(&h->spool_dir);
    os_close(&h->top);
}

static bool busy(const struct house *h)
{
    const struct spool *s = h->spool;
    return !spool_idle(s) || !list_empty(&h->posts) || s->making_spare || s->retiring || s->moving;
}

static void settle(struct house *h)
{
    indexed(h);
    do
        turn(h);
    while (busy(h));
}

static void report(const struct house *h)
{
    size_t at = 0, waiting = 0, held = 0;
    for (struct spool_letter *l = spool_next(h->spool, &at); l; l = spool_next(h->spool, &at)) {
        for (uint32_t i = 0; i < l->recipient_count; i++) {
            waiting += l->recipients[i].state == SPOOL_WAITING;
            held += l->recipients[i].state == SPOOL_HELD;
        }
    }
    printf("waiting %zu held %zu\n", waiting, held);
    fflush(stdout);
}

static void drain(struct house *h)
{
    indexed(h);
    for (int rounds = 0; deliver(h, PARCEL, true); rounds++) {
        must(rounds < 1000); // what fails again and again is no trouble that passes
        settle(h);
    }
    settle(h);
}

// ---- the script

// One line: its first word, and what follows, as text and as numbers.
struct order {
    struct str word, rest;
    uint64_t n[3];
};

static void on_check(struct house *h, const struct order *o)
{
    struct str path;
    must(arena_copy(&h->arena, o->rest, &path));
    check_spool(path.ptr);
    arena_reset(&h->arena);
}

static void on_open(struct house *h, const struct order *o)
{
    struct str path;
    must(arena_copy(&h->arena, o->rest, &path));
    open_house(h, path.ptr);
    arena_reset(&h->arena);
}

static void on_syncfs(struct house *h, const struct order *o)
{
    h->delivery.syncfs = o->n[0] != 0;
}

static void on_letter(struct house *h, const struct order *o)
{
    letter(h, (unsigned)o->n[0], (unsigned)o->n[1], (unsigned)o->n[2]);
}

static void on_turns(struct house *h, const struct order *o)
{
    for (uint64_t i = 0; i < o->n[0]; i++)
        turn(h);
}

static void on_deliver(struct house *h, const struct order *o)
{
    (void)deliver(h, o->n[0], false);
}

static void on_defer(struct house *h, const struct order *o)
{
    defer(h, o->n[0]);
}

#define WITHOUT_NUMBERS(name)                                                                      \
    static void on_##name(struct house *h, const struct order *o)                                  \
    {                                                                                              \
        (void)o;                                                                                   \
        name(h);                                                                                   \
    }
WITHOUT_NUMBERS(indexed)
WITHOUT_NUMBERS(collect)
WITHOUT_NUMBERS(settle)
WITHOUT_NUMBERS(drain)
WITHOUT_NUMBERS(rot)
WITHOUT_NUMBERS(report)
WITHOUT_NUMBERS(close_house)

static const struct {
    const char *word;
    void (*act)(struct house *h, const struct order *o);
} orders[] = {{"check", on_check},     {"indexed", on_indexed},  {"open", on_open},
              {"syncfs", on_syncfs},   {"letter", on_letter},    {"turns", on_turns},
              {"deliver", on_deliver}, {"defer", on_defer},      {"collect", on_collect},
              {"settle", on_settle},   {"drain", on_drain},      {"rot", on_rot},
              {"report", on_report},   {"close", on_close_house}};

static void obey(struct house *h, struct str line)
{
    struct order o = {.rest = line};
    struct str number;
    size_t i = 0;
    must(str_cut(&o.rest, ' ', &o.word));
    struct str numbers = o.rest;
    for (size_t n = 0; n < ARRAY_LEN(o.n) && str_cut(&numbers, ' ', &number); n++)
        if (!str_to_u64(number, &o.n[n]))
            break; // the path of "open"
    while (i < ARRAY_LEN(orders) && !str_eq(o.word, str_of(orders[i].word)))
        i++;
    must(i < ARRAY_LEN(orders));
    orders[i].act(h, &o);
}

int main(int argc, char **argv)
{
    struct house h = {.ledger = -1};
    char line[300];
    must(argc == 2);
    log_start("house", NULL, -1);
    fault_start("house");
    arena_init(&h.arena, 8 << 20);
    list_init(&h.posts);
    list_init(&h.parcels);
    h.ledger = os_open(OS_HERE, argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600);
    check(h.ledger, argv[1]);
    while (fgets(line, sizeof line, stdin)) {
        struct str text = str_of(line);
        obey(&h, str_sub(text, 0, str_index(text, '\n')));
    }
    arena_finish(&h.arena);
    os_close(&h.ledger);
    return 0;
}
