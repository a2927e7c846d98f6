// Compaction: what still lives in the oldest segment is copied to the head of the log, and the
// segment's file goes. It begins when the log is longer than its bound: twice what lives, and four
// segments (promise 7). Oldest first, like all use of segments again, so that it needs no record of
// what lives where: see docs/decisions/0003.
//
//   read in a helper thread ──► copied into the batch that gathers, the states behind it ──►
//   durable ──► the letter is where its copy is
//
// Until the batch is durable the letter stays where it was, and recovery takes the first copy that
// it finds: a cut at any moment changes nothing. A letter that somebody reads at that moment stays,
// and is tried again.
#include "base/crc32c.h"
#include "os/file.h"
#include "os/log.h"
#include "store/spool_private.h"

// One handful of letters, read from the oldest segment.
struct handful {
    struct os_job job;
    struct spool *spool;
    struct segment *segment;
    size_t count;
    struct spool_letter *letters[MOVE_LETTERS];
    struct str records[MOVE_LETTERS]; // data of their records, in `bytes`; empty: unreadable
    struct buf bytes;
};

static size_t data_size(const struct spool_letter *letter)
{
    uint64_t size = LETTER_FIXED + (uint64_t)letter->envelope_size;
    return (size_t)(letter->large ? size : size + letter->body_size);
}

// In the helper thread. The letters are held: their places do not change.
static bool read_record(struct handful *h, const struct spool_letter *letter, struct str *record)
{
    size_t size = data_size(letter);
    char *to = buf_reserve(&h->bytes, size);
    must(to != NULL); // MOVE_BYTES was counted before
    ssize_t n = os_pread_all(h->segment->fd, to, size, letter->offset);
    if (n < 0 || (size_t)n < size)
        return false;
    struct str envelope = str_from(to + LETTER_FIXED, letter->envelope_size);
    struct str body = str_from(envelope.ptr + envelope.len, size - LETTER_FIXED - envelope.len);
    if (memcmp(to, letter->id.bytes, sizeof letter->id.bytes) != 0 ||
        crc32c(0, envelope) != letter->envelope_crc ||
        (!letter->large && crc32c(0, body) != letter->body_crc))
        return false;
    buf_added(&h->bytes, size);
    *record = str_from(to, size);
    return true;
}

static void read_handful(struct os_job *job)
{
    struct handful *h = CONTAINER_OF(job, struct handful, job);
    for (size_t i = 0; i < h->count; i++)
        if (!read_record(h, h->letters[i], &h->records[i]))
            h->records[i] = STR("");
}

// ---- into the batch

static void remember(struct batch *b, struct spool_letter *letter, size_t offset)
{
    if (b->move_count == b->move_cap) {
        b->move_cap = b->move_cap ? b->move_cap * 2 : MOVE_LETTERS;
        b->moves = realloc(b->moves, b->move_cap * sizeof b->moves[0]);
        must(b->moves != NULL);
    }
    b->moves[b->move_count++] = (struct move){.letter = letter, .offset = (uint32_t)offset};
}

// The letter as it is now: its record, and the states that differ from a new letter's.
static bool copy_letter(struct spool *s, struct spool_letter *letter, struct str record)
{
    struct batch *b = s->gathering;
    size_t start = b->frame.len;
    if (!batch_takes(s, record.len))
        return false;
    segment_put_record(&b->frame, RECORD_LETTER, letter->large ? RECORD_LARGE : 0, record);
    must(buf_ok(&b->frame));
    b->letter_records++;
    for (uint32_t i = 0; i < letter->recipient_count; i++) {
        const struct spool_recipient *r = &letter->recipients[i];
        if (r->state == SPOOL_WAITING && r->attempts == 0 && r->reason == 0)
            continue;
        spool_put_state(&b->states, letter, i, spool_reason(s, r));
        b->state_records++;
    }
    must(buf_ok(&b->states));
    remember(b, letter, start + SEGMENT_RECORD_HEADER);
    return true;
}

static void copy_handful(struct os_job *job)
{
    struct handful *h = CONTAINER_OF(job, struct handful, job);
    struct spool *s = h->spool;
    bool copied = false;
    for (size_t i = 0; i < h->count && !s->closing; i++) {
        struct spool_letter *letter = h->letters[i];
        if (h->records[i].len == 0) {
            char id[MAIL_ID_TEXT + 1];
            mail_id_text(&letter->id, id);
            log_line(LOG_ERROR, "%s cannot be read: it stays in spool/log/%012llu", id,
                     (unsigned long long)h->segment->number);
            letter->immovable = true;
        } else if (letter->pending && copy_letter(s, letter, h->records[i])) {
            copied = true; // held until the batch is durable
            continue;
        }
        spool_let_go(s, letter);
    }
    s->moving = copied;
    buf_finish(&h->bytes);
    free(h);
    if (copied)
        batch_added(s);
}

// ---- when the batch is durable

void compact_arrived(struct spool *s, struct batch *b)
{
    (void)s;
    for (size_t i = 0; i < b->move_count; i++) {
        if (b->moves[i].segment) // a further frame of the batch: states only
            continue;
        b->moves[i].segment = b->segment;
        b->moves[i].offset += (uint32_t)b->offset;
    }
}

void compact_done(struct spool *s, struct batch *b)
{
    for (size_t i = 0; i < b->move_count; i++) {
        const struct move *m = &b->moves[i];
        struct spool_letter *letter = m->letter;
        spool_let_go(s, letter);
        if (!m->segment || letter->holders || !letter->pending)
            continue;
        spool_count_live(s, letter, false);
        list_remove(&letter->link);
        spool_place_letter(letter, m->segment, m->offset);
        spool_count_live(s, letter, true);
        s->moved++;
    }
    if (b->move_count)
        s->moving = false;
    b->move_count = 0;
}

// ---- when to begin

// The log with the segment that it is about to need. A disk that is short of space gets back all
// but the current segment and the reserve; a full one also what is dead between the living, but for
// a half, for the ends of frames and segments, and the indexes, take up to that.
bool beyond_bound(const struct spool *s)
{
    uint64_t size = s->options.segment_size;
    uint64_t surplus = s->short_of_space || s->full ? 1 + SEGMENTS_RESERVE : SEGMENTS_SURPLUS;
    uint64_t live = s->full ? s->live_bytes + s->live_bytes / 2 : 2 * s->live_bytes;
    return (s->segment_count + segment_is_due(s)) * size > live + surplus * size;
}

static void move_some(struct spool *s, struct segment *seg)
{
    struct handful *h = calloc(1, sizeof *h);
    size_t bytes = 0;
    must(h != NULL);
    LIST_EACH(&seg->letters, at, after)
    {
        struct spool_letter *letter = CONTAINER_OF(at, struct spool_letter, link);
        if (!letter->pending || letter->holders || letter->immovable)
            continue;
        if (h->count == MOVE_LETTERS || (h->count && bytes + data_size(letter) > MOVE_BYTES))
            break;
        bytes += data_size(letter);
        spool_hold(letter);
        h->letters[h->count++] = letter;
    }
    if (h->count == 0) { // all are being read: another time
        free(h);
        return;
    }
    h->job = (struct os_job){.work = read_handful, .done = copy_handful};
    h->spool = s;
    h->segment = seg;
    buf_init(&h->bytes, bytes);
    must(buf_reserve(&h->bytes, bytes) != NULL); // in one piece: the records are views into it
    s->moving = true;
    os_workers_submit(s->helpers, &h->job);
}

// A segment in which a sync failed must not keep all others from being used again: its letters move
// too, and its file goes.
void compact(struct spool *s)
{
    if (s->recovery || s->moving || s->retiring || s->closing || s->stuck ||
        list_empty(&s->segments))
        return;
    struct segment *oldest = CONTAINER_OF(s->segments.next, struct segment, link);
    if (oldest == s->current || !(oldest->suspect || beyond_bound(s)))
        return;
    if (segment_unused(s, oldest))
        segment_retire(s, oldest);
    else if (oldest->live)
        move_some(s, oldest);
}
