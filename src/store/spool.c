// The index, and what goes into a batch. See spool_private.h for who does what.
#include <errno.h>
#include <fcntl.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/fault.h"
#include "os/file.h"
#include "os/log.h"
#include "os/process.h"
#include "os/random.h"
#include "store/spool_private.h"

static bool letter_matches(const void *item, const void *key)
{
    const struct spool_letter *letter = item;
    return mail_id_equal(&letter->id, key);
}

uint64_t spool_hash(const struct spool *s, const struct mail_id *id)
{
    return str_hash(str_from(id->bytes, sizeof id->bytes), s->hash_key);
}

struct spool_letter *spool_new_letter(const struct mail_id *id, uint32_t recipients)
{
    struct spool_letter *letter =
        calloc(1, sizeof *letter + (size_t)recipients * sizeof letter->recipients[0]);
    must(letter != NULL);
    letter->id = *id;
    letter->recipient_count = letter->pending = recipients;
    return letter;
}

void spool_forget_letter(struct spool *s, struct spool_letter *letter)
{
    map_remove(&s->letters, spool_hash(s, &letter->id), &letter->id);
    list_remove(&letter->link);
    // What the owner forgot must not fire on freed memory.
    loop_cancel_timer(s->loop, &letter->timer);
    list_remove(&letter->due);
    free(letter);
}

void spool_leave_segment(struct spool *s, struct spool_letter *letter)
{
    must(letter->pending == 0);
    if (!letter->from_start || !timer_is_set(&s->remember)) {
        spool_forget_letter(s, letter);
        return;
    }
    loop_cancel_timer(s->loop, &letter->timer);
    list_remove(&letter->due);
    list_remove(&letter->link);
    letter->segment = NULL;
    list_append(&s->remembered, &letter->link);
}

static void hour_is_over(struct timer *timer)
{
    struct spool *s = CONTAINER_OF(timer, struct spool, remember);
    LIST_EACH(&s->remembered, at, after)
    {
        spool_forget_letter(s, CONTAINER_OF(at, struct spool_letter, link));
    }
}

void spool_begin_remembering(struct spool *s)
{
    s->remember.fire = hour_is_over;
    loop_set_timer(s->loop, &s->remember, LIMIT_ids_known * 1000);
}

struct spool_letter *spool_find(struct spool *s, const struct mail_id *id)
{
    return map_find(&s->letters, spool_hash(s, id), id);
}

struct spool_letter *spool_next(struct spool *s, size_t *at)
{
    return map_next(&s->letters, at);
}

// ---- in the order of the log

void spool_place_letter(struct spool_letter *letter, struct segment *segment, uint32_t offset)
{
    struct link *at = segment->letters.prev;
    letter->segment = segment;
    letter->offset = offset;
    while (at != &segment->letters && CONTAINER_OF(at, struct spool_letter, link)->offset > offset)
        at = at->prev;
    list_prepend(at, &letter->link);
}

struct spool_place spool_place_of(const struct spool_letter *letter)
{
    return (struct spool_place){.use = letter->segment->use, .offset = letter->offset};
}

static struct spool_letter *first_pending(struct spool *s, struct segment *seg, struct link *at)
{
    for (;;) {
        for (; at != &seg->letters; at = at->next)
            if (CONTAINER_OF(at, struct spool_letter, link)->pending)
                return CONTAINER_OF(at, struct spool_letter, link);
        do {
            if (seg->link.next == &s->segments)
                return NULL;
            seg = CONTAINER_OF(seg->link.next, struct segment, link);
        } while (!seg->live);
        at = seg->letters.next;
    }
}

struct spool_letter *spool_from(struct spool *s, struct spool_place place)
{
    LIST_EACH(&s->segments, at, after)
    {
        struct segment *seg = CONTAINER_OF(at, struct segment, link);
        if (seg->use < place.use)
            continue;
        struct link *first = seg->letters.next;
        while (seg->use == place.use && first != &seg->letters &&
               CONTAINER_OF(first, struct spool_letter, link)->offset < place.offset)
            first = first->next;
        return first_pending(s, seg, first);
    }
    return NULL;
}

struct spool_letter *spool_after(struct spool *s, const struct spool_letter *letter)
{
    return first_pending(s, letter->segment, letter->link.next);
}

// ---- adding a letter

void spool_put_letter_head(struct buf *out, const struct spool_letter *letter)
{
    buf_put(out, str_from(letter->id.bytes, sizeof letter->id.bytes));
    buf_put_u32(out, letter->envelope_size);
    buf_put_u32(out, letter->envelope_crc);
    buf_put_u64(out, letter->body_size);
    buf_put_u32(out, letter->body_crc);
    buf_put_u32(out, letter->scan_flags);
    buf_put_u32(out, letter->recipient_count);
}

static uint64_t total_size(const struct spool_submission *sub)
{
    uint64_t total = 0;
    for (size_t i = 0; i < sub->piece_count; i++)
        total += sub->pieces[i].len;
    return total;
}

static bool check_envelope(struct str copy, const struct mail_id *id, struct arena *arena,
                           struct envelope *envelope, struct err *err)
{
    if (!envelope_read(copy, arena, envelope, err))
        return false;
    if (!mail_id_equal(&envelope->id, id))
        return err_set(err, ERR_PEER_WRONG, STATUS(5, 3, 0), "the envelope has another id");
    return true;
}

static struct spool_letter *enter(struct spool *s, const struct mail_id *id, uint32_t recipients)
{
    struct spool_letter *letter = spool_new_letter(id, recipients);
    uint32_t now_s = (uint32_t)(os_wall_ms() / 1000);
    for (uint32_t i = 0; i < letter->recipient_count; i++)
        letter->recipients[i].next_s = now_s;
    map_put(&s->letters, spool_hash(s, id), letter);
    s->live_letters++;
    s->live_recipients += letter->pending;
    batch_added(s);
    return letter;
}

// The record stands in the frame now, its head still empty: fill in what is known.
static struct spool_letter *enter_frame(struct spool *s, size_t at, const struct mail_id *id,
                                        const struct envelope *envelope)
{
    struct batch *b = s->gathering;
    struct spool_letter *letter = enter(s, id, envelope->recipient_count);
    letter->offset = (uint32_t)(at + SEGMENT_RECORD_HEADER);
    list_append(&b->letters, &letter->link);
    b->letter_records++;
    return letter;
}

static void set_record(struct batch *b, size_t at, uint8_t flags, const struct spool_letter *letter,
                       uint64_t data_size)
{
    struct buf head;
    buf_init(&head, SEGMENT_RECORD_HEADER + LETTER_FIXED);
    buf_put_byte(&head, RECORD_LETTER);
    buf_put_byte(&head, (char)flags);
    buf_put_u16(&head, 0);
    buf_put_u32(&head, (uint32_t)data_size);
    spool_put_letter_head(&head, letter);
    must(head.len == SEGMENT_RECORD_HEADER + LETTER_FIXED);
    memcpy(b->frame.ptr + at, head.ptr, head.len);
    buf_finish(&head);
}

static bool may_add(struct spool *s, uint64_t data_size, enum spool_added *refusal)
{
    bool takes = batch_takes(s, data_size);
    *refusal = s->full ? SPOOL_NO_SPACE : SPOOL_FULL;
    s->turned_away = s->turned_away || (!s->full && !takes);
    return takes && !s->full;
}

enum spool_added spool_add(struct spool *s, const struct spool_submission *sub,
                           struct arena *transaction, struct envelope *envelope,
                           struct spool_letter **letter, struct err *err)
{
    struct batch *b = s->gathering;
    uint64_t total = total_size(sub);
    if ((*letter = spool_find(s, &sub->id)) != NULL)
        return SPOOL_KNOWN;
    if (sub->envelope_size > total || sub->envelope_size > LIMIT_envelope) {
        err_set(err, ERR_PEER_WRONG, STATUS(5, 3, 0), "the envelope is larger than the letter");
        return SPOOL_BAD;
    }
    if (total - sub->envelope_size > s->options.large_body)
        return SPOOL_TOO_LARGE;
    uint64_t data_size = LETTER_FIXED + total;
    size_t start = b->frame.len;
    enum spool_added refusal;
    if (!may_add(s, data_size, &refusal))
        return refusal;
    char *to = buf_reserve(&b->frame, (size_t)(SEGMENT_RECORD_HEADER + data_size));
    must(to != NULL);
    memset(to, 0, SEGMENT_RECORD_HEADER + LETTER_FIXED);
    char *data = to + SEGMENT_RECORD_HEADER + LETTER_FIXED, *end = data;
    for (size_t i = 0; i < sub->piece_count; i++) { // the one copy (promise 2)
        memcpy(end, sub->pieces[i].ptr, sub->pieces[i].len);
        end += sub->pieces[i].len;
    }
    struct str head = str_from(data, sub->envelope_size);
    struct str body = str_from(data + sub->envelope_size, (size_t)(total - sub->envelope_size));
    if (!check_envelope(head, &sub->id, transaction, envelope, err))
        return SPOOL_BAD; // nothing was added to the frame: its length did not change
    struct scan scan;
    scan_begin(&scan);
    scan_feed(&scan, body);
    scan_end(&scan);
    buf_added(&b->frame, (size_t)(SEGMENT_RECORD_HEADER + data_size));
    struct spool_letter *l = enter_frame(s, start, &sub->id, envelope);
    l->envelope_size = sub->envelope_size;
    l->envelope_crc = crc32c(0, head);
    l->body_size = body.len;
    l->body_crc = crc32c(0, body);
    l->scan_flags = (uint8_t)scan.flags;
    set_record(b, start, 0, l, data_size);
    *letter = l;
    return SPOOL_ADDED;
}

// ---- a letter whose body is a file

enum spool_added spool_add_large(struct spool *s, struct large *large, const struct mail_id *id,
                                 struct str envelope_bytes, struct arena *transaction,
                                 struct envelope *envelope, struct spool_letter **letter,
                                 struct err *err)
{
    struct batch *b = s->gathering;
    const struct large_body *body = large_body(large);
    must(body != NULL);
    if ((*letter = spool_find(s, id)) != NULL)
        return SPOOL_KNOWN;
    if (!check_envelope(envelope_bytes, id, transaction, envelope, err))
        return SPOOL_BAD;
    size_t start = b->frame.len;
    uint64_t data_size = LETTER_FIXED + envelope_bytes.len;
    enum spool_added refusal;
    if (!may_add(s, data_size, &refusal))
        return refusal;
    char *to = buf_reserve(&b->frame, (size_t)(SEGMENT_RECORD_HEADER + data_size));
    must(to != NULL);
    memcpy(to + SEGMENT_RECORD_HEADER + LETTER_FIXED, envelope_bytes.ptr, envelope_bytes.len);
    buf_added(&b->frame, (size_t)(SEGMENT_RECORD_HEADER + data_size));
    struct spool_letter *l = enter_frame(s, start, id, envelope);
    l->large = true;
    l->envelope_size = (uint32_t)envelope_bytes.len;
    l->envelope_crc = crc32c(0, envelope_bytes);
    l->body_size = body->scan.size;
    l->body_crc = body->crc;
    l->scan_flags = (uint8_t)body->scan.flags;
    set_record(b, start, RECORD_LARGE, l, data_size);
    large_keep(large);
    *letter = l;
    return SPOOL_ADDED;
}

// ---- states

// Reason 0 is "none". A linear search: there are few, and the same ones come again and again.
uint16_t spool_keep_reason(struct spool *s, struct str reason)
{
    reason = str_sub(reason, 0, REASON_MAX);
    if (reason.len == 0)
        return 0;
    for (size_t i = s->reason_count; i > 0; i--)
        if (str_eq(s->reasons[i - 1], reason))
            return (uint16_t)i;
    if (s->reason_count == REASONS_MAX)
        return 0;
    char *copy = malloc(reason.len);
    must(copy != NULL);
    memcpy(copy, reason.ptr, reason.len);
    s->reasons[s->reason_count++] = str_from(copy, reason.len);
    return (uint16_t)s->reason_count;
}

struct str spool_reason(const struct spool *s, const struct spool_recipient *recipient)
{
    return recipient->reason ? s->reasons[recipient->reason - 1] : STR("");
}

static void push_ended(struct batch *b, struct spool_letter *letter)
{
    if (b->ended_count == b->ended_cap) {
        b->ended_cap = b->ended_cap ? b->ended_cap * 2 : 64;
        b->ended = realloc(b->ended, b->ended_cap * sizeof b->ended[0]);
        must(b->ended != NULL);
    }
    b->ended[b->ended_count++] = letter;
}

void spool_count_live(struct spool *s, struct spool_letter *letter, bool live)
{
    uint64_t size = SEGMENT_RECORD_HEADER + LETTER_FIXED + letter->envelope_size;
    if (!letter->large)
        size += letter->body_size;
    if (live) {
        letter->segment->live++;
        s->live_bytes += size;
    } else {
        letter->segment->live--;
        s->live_bytes -= size;
    }
}

void spool_put_state(struct buf *out, const struct spool_letter *letter, uint32_t recipient,
                     struct str reason)
{
    const struct spool_recipient *r = &letter->recipients[recipient];
    struct buf data;
    buf_init(&data, STATE_FIXED + REASON_MAX);
    buf_put(&data, str_from(letter->id.bytes, sizeof letter->id.bytes));
    buf_put_u32(&data, recipient);
    buf_put_byte(&data, (char)r->state);
    buf_put_u16(&data, r->attempts);
    buf_put_u32(&data, r->next_s);
    buf_put(&data, str_sub(reason, 0, REASON_MAX));
    segment_put_record(out, RECORD_STATE, r->told ? RECORD_TOLD : 0, buf_str(&data));
    buf_finish(&data);
}

void spool_set_state(struct spool *s, struct spool_letter *letter, uint32_t recipient,
                     enum spool_state state, uint32_t next_s, struct str reason)
{
    struct batch *b = s->gathering;
    struct spool_recipient *r = &letter->recipients[recipient];
    must((letter->durable || state == SPOOL_HELD) && recipient < letter->recipient_count &&
         r->state < SPOOL_DELIVERED);
    r->state = (uint8_t)state;
    r->next_s = next_s;
    r->reason = spool_keep_reason(s, reason);
    if (state < SPOOL_DELIVERED || !fault_bites(BITE_forgotten_done))
        spool_put_state(&b->states, letter, recipient, reason);
    must(buf_ok(&b->states));
    b->state_records++;
    if (state >= SPOOL_DELIVERED) {
        letter->pending--;
        s->live_recipients--;
        if (letter->pending == 0)
            push_ended(b, letter);
    }
    batch_added(s);
}

// ---- a report, with the states that it tells of

static struct spool_letter *put_report(struct spool *s, const struct spool_own_letter *report)
{
    struct spool_letter *l = enter(s, &report->id, report->recipient_count);
    struct scan scan;
    struct buf data;
    scan_begin(&scan);
    scan_feed(&scan, report->body);
    scan_end(&scan);
    l->envelope_size = (uint32_t)report->envelope.len;
    l->envelope_crc = crc32c(0, report->envelope);
    l->body_size = report->body.len;
    l->body_crc = crc32c(0, report->body);
    l->scan_flags = (uint8_t)scan.flags;
    buf_init(&data, batch_room(s) / 2);
    spool_put_letter_head(&data, l);
    buf_put(&data, report->envelope);
    buf_put(&data, report->body);
    must(buf_ok(&data));
    segment_put_record(&s->gathering->states, RECORD_LETTER, 0, buf_str(&data));
    buf_finish(&data);
    return l;
}

struct spool_letter *spool_add_report(struct spool *s, const struct spool_own_letter *report,
                                      struct spool_letter *letter,
                                      const struct spool_change *changes, size_t change_count)
{
    struct batch *b = s->gathering;
    if (b->report_count == b->report_cap) {
        b->report_cap = b->report_cap ? b->report_cap * 2 : 16;
        b->reports = realloc(b->reports, b->report_cap * sizeof b->reports[0]);
        must(b->reports != NULL);
    }
    struct report_place *place = &b->reports[b->report_count++];
    place->at = b->states.len;
    place->letter = put_report(s, report);
    place->record = b->states.len - place->at;
    b->state_records++;
    for (size_t i = 0; i < change_count; i++)
        spool_set_state(s, letter, changes[i].recipient, changes[i].state, changes[i].next_s,
                        changes[i].reason);
    place->end = b->states.len;
    return place->letter;
}

// ---- reading

void spool_hold(struct spool_letter *letter)
{
    letter->segment->readers++;
    letter->holders++;
    must(letter->holders != 0);
}

void spool_let_go(struct spool *s, struct spool_letter *letter)
{
    (void)s;
    must(letter->segment->readers > 0 && letter->holders > 0);
    letter->segment->readers--;
    letter->holders--;
}

static bool read_part(int fd, uint64_t offset, uint64_t size, uint32_t crc, struct buf *out,
                      const struct spool_letter *letter, const char *what, struct err *err)
{
    char id[MAIL_ID_TEXT + 1];
    size_t start = out->len;
    mail_id_text(&letter->id, id);
    char *to = buf_reserve(out, (size_t)size);
    if (!to)
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 1), "%s: %s is too large to read", id,
                       what);
    ssize_t n = os_pread_all(fd, to, (size_t)size, offset);
    if (n < 0)
        return err_system(err, (int)n, "reading the %s of %s", what, id);
    bool same = crc32c(0, str_from(to, (size_t)size)) == crc || fault_bites(BITE_letter_crc);
    if ((uint64_t)n < size || !same)
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "the %s of %s is damaged", what, id);
    buf_added(out, (size_t)size);
    must(out->len == start + size);
    return true;
}

bool spool_read_envelope(struct spool *s, const struct spool_letter *letter, struct buf *out,
                         struct err *err)
{
    (void)s;
    return read_part(letter->segment->fd, (uint64_t)letter->offset + LETTER_FIXED,
                     letter->envelope_size, letter->envelope_crc, out, letter, "envelope", err);
}

bool spool_read_body(struct spool *s, const struct spool_letter *letter, struct buf *out,
                     struct err *err)
{
    (void)s;
    must(!letter->large);
    return read_part(letter->segment->fd,
                     (uint64_t)letter->offset + LETTER_FIXED + letter->envelope_size,
                     letter->body_size, letter->body_crc, out, letter, "body", err);
}

bool spool_open_body(struct spool *s, const struct spool_letter *letter, int *fd, struct err *err)
{
    char name[LARGE_NAME];
    must(letter->large);
    large_name(name, &letter->id, false);
    *fd = os_open(s->body_dir, name, O_RDONLY | O_NOFOLLOW, 0);
    if (*fd == -ENOENT) // that it is gone will not change by itself
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "spool/body/%s is damaged: it is gone",
                       name);
    return *fd >= 0 || err_system(err, *fd, "spool/body/%s", name);
}

// ---- opening and closing

static bool make_directory(int dir, const char *name, int *fd, struct err *err)
{
    int rc = os_mkdir(dir, name, 0700);
    if (rc < 0 && rc != -EEXIST)
        return err_system(err, rc, "making spool/%s", name);
    *fd = os_open_directory(dir, name);
    if (*fd < 0)
        return err_system(err, *fd, "spool/%s", name);
    return true;
}

static bool take_lock(struct spool *s, struct err *err)
{
    s->lock = os_open(s->dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (s->lock < 0)
        return err_system(err, s->lock, "spool/lock");
    int rc;
    uint64_t by = os_monotonic_ms() + OS_REMAINS_MS;
    while ((rc = os_lock(s->lock)) == -EWOULDBLOCK && os_monotonic_ms() < by)
        os_sleep_ms(OS_REMAINS_LOOK_MS);
    if (rc == -EWOULDBLOCK)
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0),
                       "spool/lock is held: another queue works on this spool");
    if (rc < 0)
        return err_system(err, rc, "spool/lock");
    return true;
}

struct spool *spool_new(int dir)
{
    struct spool *s = calloc(1, sizeof *s);
    must(s != NULL);
    s->dir = dir;
    s->log_dir = s->body_dir = s->corrupt_dir = s->lock = -1;
    s->next_number = 1;
    s->next_frame = 1;
    os_random(s->hash_key, sizeof s->hash_key);
    map_init(&s->letters, letter_matches);
    list_init(&s->segments);
    list_init(&s->free);
    list_init(&s->remembered);
    batch_init(s, &s->batches[0]);
    batch_init(s, &s->batches[1]);
    s->gathering = &s->batches[0];
    return s;
}

bool spool_open(struct spool **spool, int dir, const struct spool_options *options, struct err *err)
{
    struct spool *s = *spool = spool_new(dir);
    s->options = *options;
    int rc = 0;
    bool ok = take_lock(s, err) && make_directory(dir, "log", &s->log_dir, err) &&
              make_directory(dir, "body", &s->body_dir, err) &&
              make_directory(dir, "corrupt", &s->corrupt_dir, err);
    if (ok && (rc = os_fsync(dir)) < 0)
        ok = err_system(err, rc, "spool/");
    if (ok)
        ok = recover_end(s, err);
    if (!ok)
        spool_close(spool);
    return ok;
}

void spool_close(struct spool **spool)
{
    struct spool *s = *spool;
    *spool = NULL;
    if (!s)
        return;
    s->closing = true;
    os_workers_close(&s->committer);
    os_workers_close(&s->helpers);
    os_workers_close(&s->writers);
    loop_cancel_hook(&s->hook);
    loop_cancel_timer(s->loop, &s->again);
    loop_cancel_timer(s->loop, &s->remember);
    recover_free(&s->recovery);
    size_t at = 0;
    for (struct spool_letter *l = spool_next(s, &at); l; l = spool_next(s, &at))
        free(l);
    map_finish(&s->letters);
    for (struct link *l; (l = list_pop(&s->segments)) || (l = list_pop(&s->free));) {
        struct segment *seg = CONTAINER_OF(l, struct segment, link);
        os_close(&seg->fd);
        free(seg);
    }
    for (size_t i = 0; i < s->reason_count; i++)
        free((void *)(uintptr_t)s->reasons[i].ptr);
    batch_finish(&s->batches[0]);
    batch_finish(&s->batches[1]);
    os_close(&s->log_dir);
    os_close(&s->body_dir);
    os_close(&s->corrupt_dir);
    os_close(&s->lock);
    free(s);
}

bool spool_indexed(const struct spool *s)
{
    return !s->recovery;
}

void spool_count(const struct spool *s, struct spool_counts *counts)
{
    *counts = (struct spool_counts){.letters = s->live_letters,
                                    .recipients = s->live_recipients,
                                    .segments = s->segment_count,
                                    .free_segments = s->free_count,
                                    .commits = s->commits,
                                    .committed_bytes = s->committed_bytes,
                                    .live_bytes = s->live_bytes,
                                    .moved = s->moved};
    if (s->recovery) {
        counts->to_read = s->recovery->segments;
        counts->read = s->recovery->segments_read;
    }
}

bool spool_disk_has(const struct spool *s, uint64_t octets)
{
    struct os_space space;
    if (os_space(s->dir, &space) < 0)
        return false;
    return space.bytes_free > octets && space.inodes_free > 16;
}

bool spool_has_space(struct spool *s, uint64_t reserve)
{
    s->short_of_space = !spool_disk_has(s, reserve);
    compact(s);
    return !s->short_of_space && !s->full;
}
