// Each numbered state of spool_states.def is made on purpose and seen with its number; what the
// check counts is what a start finds.
#define _GNU_SOURCE
#include "spool_box.h"

#include "base/crc32c.h"
#include "store/check.h"

enum { RECIPIENTS = 2, BODY = 700, FINDINGS = 256 };

// ---- asking

struct seen {
    struct check_report report;
    struct check_finding last[CHECK_STATES]; // of each state; texts are not kept
    char files[CHECK_STATES][96];
};

static void note(struct check_report *report, const struct check_finding *finding)
{
    struct seen *seen = CONTAINER_OF(report, struct seen, report);
    seen->last[finding->state] = *finding;
    snprintf(seen->files[finding->state], 96, "%s", finding->file);
    assert_true(check_fact(finding->state)->kind != CHECK_LIFE);
    assert_true(finding->detail[0] != '\0');
}

static void look(struct box *b, struct seen *seen)
{
    const struct spool_options options = {.segment_size = b->segment_size, .large_body = LARGE};
    struct err err;
    *seen = (struct seen){.report.found = note};
    if (!spool_check(b->dir, &options, &seen->report, &err))
        fail_msg("%s", err.text);
}

// The state is there so often; it alone decides whether there is damage.
static void check_seen(struct box *b, enum check_state state, uint64_t times)
{
    struct seen seen;
    look(b, &seen);
    if (seen.report.states[state] != times)
        fail_msg("state %d: %llu times, not %llu", state,
                 (unsigned long long)seen.report.states[state], (unsigned long long)times);
    uint64_t damage = check_fact(state)->kind == CHECK_DAMAGE ? times : 0;
    assert_int_equal(check_damage(&seen.report), damage);
}

// What a start makes of it: the same numbers, and nothing that it would call damage.
static void check_start_agrees(struct box *b)
{
    struct seen seen;
    look(b, &seen);
    assert_int_equal(check_damage(&seen.report), 0);
    size_t corrupt = count_files(b, "corrupt");
    open_spool(b);
    const struct spool_counts c = counts(b);
    assert_int_equal(seen.report.letters, c.letters);
    assert_int_equal(seen.report.recipients[SPOOL_WAITING] + seen.report.recipients[SPOOL_HELD],
                     c.recipients);
    assert_int_equal(seen.report.live_bytes, c.live_bytes);
    assert_int_equal(count_files(b, "corrupt"), corrupt);
    close_spool(b);
}

// ---- writing a log by hand

struct writer {
    struct box *box;
    struct segment segment;
    char *bytes;
    struct buf frame;
    uint32_t records;
    uint64_t next_frame;
};

static void begin_frame(struct writer *w)
{
    static const char room[SEGMENT_FRAME_HEADER];
    buf_clear(&w->frame);
    buf_put(&w->frame, str_from(room, sizeof room));
    w->records = 0;
}

static void begin_use(struct writer *w, uint64_t number, uint64_t use)
{
    w->segment = (struct segment){.number = number, .use = use, .size = SEGMENT, .fd = -1};
    w->segment.end = SEGMENT_BLOCK;
    memset(w->segment.epoch, (int)(use & 0xff), SEGMENT_EPOCH);
    memset(w->bytes, 0, SEGMENT);
    if (use == 1) // a log of its own
        w->next_frame = 1;
    begin_frame(w);
}

static void write_bytes(struct writer *w, uint64_t size)
{
    char name[24], path[160];
    segment_name(name, w->segment.number);
    file_path(w->box, path, "log", name);
    int fd = os_open(OS_HERE, path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(os_write_all(fd, str_from(w->bytes, size)), 0);
    w->segment.fd = fd;
}

static void end_use(struct writer *w)
{
    struct err err;
    write_bytes(w, SEGMENT);
    assert_true(segment_begin(&w->segment, &err));
    os_close(&w->segment.fd);
}

// A frame at the end of the use, or where the test says; its offset.
static uint64_t end_frame(struct writer *w)
{
    uint64_t at = w->segment.end;
    segment_seal_frame(&w->frame, &w->segment, w->next_frame++, w->records);
    assert_true(w->frame.len <= SEGMENT - at);
    memcpy(w->bytes + at, w->frame.ptr, w->frame.len);
    w->segment.end += w->frame.len;
    begin_frame(w);
    return at;
}

static void put_record(struct writer *w, uint8_t kind, uint8_t flags, struct buf *data)
{
    segment_put_record(&w->frame, kind, flags, buf_str(data));
    buf_finish(data);
    w->records++;
}

enum spoil { SOUND, BAD_BODY, BAD_ENVELOPE, OTHER_ENVELOPE };

static void put_letter(struct writer *w, uint64_t n, char fill, enum spoil spoil)
{
    struct buf data, envelope, body;
    struct mail_id id = id_of(n);
    buf_init(&data, 1 << 16);
    buf_init(&envelope, 1 << 16);
    buf_init(&body, 1 << 16);
    put_envelope(&envelope, &w->box->arena, spoil == OTHER_ENVELOPE ? n + 1 : n, RECIPIENTS);
    if (spoil == BAD_ENVELOPE)
        envelope.ptr[0] = 99; // a version that there is not
    while (body.len < BODY)
        buf_put_byte(&body, fill);
    buf_put(&data, str_from(id.bytes, sizeof id.bytes));
    buf_put_u32(&data, (uint32_t)envelope.len);
    buf_put_u32(&data, crc32c(0, buf_str(&envelope)));
    buf_put_u64(&data, body.len);
    buf_put_u32(&data, crc32c(0, buf_str(&body)) ^ (spoil == BAD_BODY));
    buf_put_u32(&data, 0);
    buf_put_u32(&data, RECIPIENTS);
    buf_put(&data, buf_str(&envelope));
    buf_put(&data, buf_str(&body));
    put_record(w, RECORD_LETTER, 0, &data);
    buf_finish(&envelope);
    buf_finish(&body);
    arena_reset(&w->box->arena);
}

static void letter(struct writer *w, uint64_t n)
{
    put_letter(w, n, 'x', SOUND);
}

static void state(struct writer *w, uint64_t n, uint32_t recipient, uint8_t value)
{
    struct buf data;
    struct mail_id id = id_of(n);
    buf_init(&data, 256);
    buf_put(&data, str_from(id.bytes, sizeof id.bytes));
    buf_put_u32(&data, recipient);
    buf_put_byte(&data, (char)value);
    buf_put_u16(&data, 3);
    buf_put_u32(&data, 1767225700);
    buf_put(&data, STR("mailbox full"));
    put_record(w, RECORD_STATE, 0, &data);
}

static void ended(struct writer *w, uint64_t n)
{
    for (uint32_t i = 0; i < RECIPIENTS; i++)
        state(w, n, i, SPOOL_DELIVERED);
}

static void put_abort(struct writer *w, uint64_t number, uint64_t use, uint64_t good_end)
{
    struct buf data;
    buf_init(&data, 64);
    buf_put_u64(&data, number);
    buf_put_u64(&data, use);
    buf_put_u64(&data, good_end);
    put_record(w, RECORD_ABORT, 0, &data);
}

// A frame with one letter.
static uint64_t frame_of(struct writer *w, uint64_t n)
{
    letter(w, n);
    return end_frame(w);
}

static int make_writer(void **state)
{
    static struct writer w;
    if (set_up(state) != 0)
        return -1;
    w = (struct writer){.box = *state};
    close_spool(w.box);
    for (uint64_t n = 1; n <= 1 + SEGMENTS_RESERVE; n++) { // those that were made ready
        char path[160], name[24];
        segment_name(name, n);
        file_path(w.box, path, "log", name);
        unlink(path);
    }
    w.bytes = calloc(1, SEGMENT);
    buf_init(&w.frame, SEGMENT);
    begin_use(&w, 1, 1);
    *state = &w;
    return w.bytes ? 0 : -1;
}

static int free_writer(void **state)
{
    struct writer *w = *state;
    free(w->bytes);
    buf_finish(&w->frame);
    *state = w->box;
    return tear_down(state);
}

#define LOG_CASE(name) cmocka_unit_test_setup_teardown(name, make_writer, free_writer)

// ---- what a used spool holds

static void an_empty_spool_is_sound(void **state)
{
    struct writer *w = *state;
    struct seen seen;
    look(w->box, &seen);
    for (size_t i = 0; i < CHECK_STATES; i++)
        assert_int_equal(seen.report.states[i], 0);
}

static void letters_and_their_states_are_counted(void **context)
{
    struct writer *w = *context;
    struct seen seen;
    letter(w, 1);
    letter(w, 2);
    letter(w, 3);
    end_frame(w);
    state(w, 1, 0, SPOOL_HELD);
    state(w, 2, 0, SPOOL_WAITING);
    state(w, 2, 1, SPOOL_DROPPED);
    ended(w, 3);
    state(w, 77, 0, SPOOL_DELIVERED);
    end_frame(w);
    letter(w, 2);
    end_frame(w);
    end_use(w);
    begin_use(w, 2, 0);
    write_bytes(w, SEGMENT);
    os_close(&w->segment.fd);
    look(w->box, &seen);
    assert_int_equal(seen.report.states[CHECK_FREE_SEGMENT], 1);
    assert_int_equal(seen.report.states[CHECK_LAST_FRAME], 1);
    assert_int_equal(seen.report.states[CHECK_LETTER], 2);
    assert_int_equal(seen.report.states[CHECK_ENDED_LETTER], 1);
    assert_int_equal(seen.report.states[CHECK_STATE_ALONE], 1);
    assert_int_equal(seen.report.states[CHECK_COPY], 1);
    assert_int_equal(seen.report.letters, 2);
    assert_int_equal(seen.report.recipients[SPOOL_WAITING], 2);
    assert_int_equal(seen.report.recipients[SPOOL_HELD], 1);
    assert_int_equal(seen.report.recipients[SPOOL_DELIVERED], 2);
    assert_int_equal(seen.report.recipients[SPOOL_DROPPED], 1);
    assert_int_equal(seen.report.segments, 2);
    assert_int_equal(seen.report.free_segments, 1);
    check_start_agrees(w->box);
}

// ---- what a stop leaves

static void a_segment_that_was_not_filled(void **state)
{
    struct writer *w = *state;
    write_bytes(w, 3 * SEGMENT_BLOCK);
    os_close(&w->segment.fd);
    check_seen(w->box, CHECK_UNFILLED_SEGMENT, 1);
    check_start_agrees(w->box);
}

static void a_use_without_frames(void **state)
{
    struct writer *w = *state;
    end_use(w);
    check_seen(w->box, CHECK_EMPTY_USE, 1);
    check_start_agrees(w->box);
}

static void files_of_bodies(void **state)
{
    struct writer *w = *state;
    char name[LARGE_NAME];
    struct mail_id id = id_of(5);
    letter(w, 5); // its body is in the log
    end_frame(w);
    end_use(w);
    large_name(name, &id, true);
    make_file(w->box, "body", name);
    check_seen(w->box, CHECK_PART, 1);
    large_name(name, &id, false);
    make_file(w->box, "body", name);
    check_seen(w->box, CHECK_UNWANTED_BODY, 1);
    make_file(w->box, "body", "\xe4\xbf\xa1\n");
    make_file(w->box, "log", "0000000001x1");
    check_seen(w->box, CHECK_STRANGER, 2);
    make_file(w->box, "corrupt", "000000000009");
    check_seen(w->box, CHECK_SET_ASIDE, 1);
}

static void a_torn_end(void **state)
{
    struct writer *w = *state;
    struct seen seen;
    frame_of(w, 1);
    uint64_t at = frame_of(w, 2);
    w->bytes[at + 200] ^= 1;
    end_use(w);
    look(w->box, &seen);
    assert_int_equal(seen.last[CHECK_TORN_END].offset, at);
    assert_string_equal(seen.files[CHECK_TORN_END], "log/000000000001");
    check_seen(w->box, CHECK_TORN_END, 1);
    check_start_agrees(w->box);
    begin_use(w, 2, 2); // the next start gave its number again
    w->next_frame--;
    frame_of(w, 3);
    end_use(w);
    check_seen(w->box, CHECK_TORN_END, 1);
    check_start_agrees(w->box);
}

static void an_aborted_frame(void **context)
{
    struct writer *w = *context;
    struct seen seen;
    letter(w, 1);
    letter(w, 3);
    end_frame(w);
    letter(w, 2);
    state(w, 1, 0, SPOOL_WAITING);
    state(w, 1, 0, SPOOL_DELIVERED);
    uint64_t at = end_frame(w);
    end_use(w);
    begin_use(w, 2, 2);
    put_abort(w, 1, 1, at);
    state(w, 1, 0, SPOOL_WAITING); // they stand again
    state(w, 1, 0, SPOOL_DELIVERED);
    end_frame(w);
    end_use(w);
    check_seen(w->box, CHECK_ABORTED_FRAME, 1);
    look(w->box, &seen);
    assert_int_equal(seen.report.letters, 2);
    assert_int_equal(seen.report.recipients[SPOOL_DELIVERED], 1);
    assert_int_equal(seen.last[CHECK_ABORTED_FRAME].offset, at);
    check_start_agrees(w->box);
    // That they may stand again does not last.
    state(w, 1, 0, SPOOL_WAITING);
    end_frame(w);
    end_use(w);
    check_seen(w->box, CHECK_STATE_AFTER_END, 1);
}

static void an_abort_of_what_is_not_whole(void **state)
{
    struct writer *w = *state;
    for (int torn = 0; torn < 3; torn++) { // not there; torn; the first of its use
        begin_use(w, 1, 1);
        if (torn < 2)
            frame_of(w, 1);
        uint64_t at = frame_of(w, 2);
        if (torn)
            w->bytes[at + 100] ^= 1;
        else
            memset(w->bytes + at, 0, SEGMENT_BLOCK);
        end_use(w);
        begin_use(w, 2, 2);
        put_abort(w, 1, 1, at);
        letter(w, 3);
        end_frame(w);
        end_use(w);
        check_seen(w->box, CHECK_ABORTED_NOTHING, 1);
        check_seen(w->box, CHECK_TORN_END, 0);
        check_seen(w->box, CHECK_EMPTY_USE, 0);
        check_start_agrees(w->box);
    }
}

static void an_abort_of_a_use_that_is_gone(void **state)
{
    struct writer *w = *state;
    begin_use(w, 2, 8);
    put_abort(w, 1, 7, 8192);
    letter(w, 1);
    end_frame(w);
    end_use(w);
    check_seen(w->box, CHECK_ABORT_ALONE, 1);
    check_start_agrees(w->box);
}

static void a_use_that_was_never_made(void **state)
{
    struct writer *w = *state;
    frame_of(w, 1);
    end_use(w);
    begin_use(w, 3, 3);
    frame_of(w, 2);
    end_use(w);
    check_seen(w->box, CHECK_USE_GAP, 1);
    check_start_agrees(w->box);
}

static void a_segment_of_another_size(void **state)
{
    struct writer *w = *state;
    frame_of(w, 1);
    end_use(w);
    w->box->segment_size = 2 * SEGMENT;
    check_seen(w->box, CHECK_OTHER_SIZE, 1);
    check_start_agrees(w->box);
}

// ---- damage

static void a_hole(void **state)
{
    struct writer *w = *state;
    struct seen seen;
    frame_of(w, 1);
    uint64_t at = frame_of(w, 2);
    frame_of(w, 3);
    w->bytes[at + 8] ^= 1;
    end_use(w);
    check_seen(w->box, CHECK_HOLE, 1);
    look(w->box, &seen);
    assert_int_equal(seen.last[CHECK_HOLE].offset, at);
    assert_int_equal(seen.report.letters, 2);
}

static void a_hole_before_the_first_frame(void **state)
{
    struct writer *w = *state;
    uint64_t at = frame_of(w, 1);
    frame_of(w, 2);
    memset(w->bytes + at, 0, SEGMENT_BLOCK);
    end_use(w);
    check_seen(w->box, CHECK_HOLE, 1);
}

static void an_end_that_is_lost(void **state)
{
    struct writer *w = *state;
    struct seen seen;
    frame_of(w, 1);
    uint64_t at = frame_of(w, 2);
    memset(w->bytes + at, 0, SEGMENT_BLOCK);
    end_use(w);
    begin_use(w, 2, 2);
    frame_of(w, 3);
    end_use(w);
    check_seen(w->box, CHECK_LOST_END, 1);
    look(w->box, &seen);
    assert_int_equal(seen.last[CHECK_LOST_END].offset, at);
    assert_string_equal(seen.files[CHECK_LOST_END], "log/000000000001");
}

static void an_end_that_is_lost_before_an_abort(void **state)
{
    struct writer *w = *state;
    frame_of(w, 1);
    uint64_t at = frame_of(w, 2), end = w->segment.end;
    memset(w->bytes + at, 0, SEGMENT_BLOCK);
    end_use(w);
    begin_use(w, 2, 2);
    w->next_frame++; // the batch that failed
    put_abort(w, 1, 1, end);
    end_frame(w);
    end_use(w);
    check_seen(w->box, CHECK_LOST_END, 1);
}

static void a_header_that_is_damaged(void **state)
{
    struct writer *w = *state;
    frame_of(w, 1);
    end_use(w);
    flip(w->box, 1, 20);
    check_seen(w->box, CHECK_BAD_HEADER, 1);
    static const char zeros[SEGMENT_BLOCK];
    write_at(w->box, 1, 0, str_from(zeros, sizeof zeros)); // frames behind a header of zeros
    check_seen(w->box, CHECK_BAD_HEADER, 1);
}

static void records_that_cannot_be(void **state)
{
    struct writer *w = *state;
    struct buf data;
    buf_init(&data, 64);
    buf_put(&data, STR("no kind of ours"));
    letter(w, 1);
    put_record(w, 9, 0, &data);
    end_frame(w);
    buf_init(&data, 64);
    buf_put(&data, STR("too short"));
    put_record(w, RECORD_STATE, 0, &data);
    buf_init(&data, 64);
    buf_put(&data, STR("too short"));
    put_record(w, RECORD_LETTER, 0, &data);
    end_frame(w);
    letter(w, 2);
    w->records++; // more than there are
    end_frame(w);
    end_use(w);
    check_seen(w->box, CHECK_BAD_RECORD, 4);
}

static void letters_that_are_damaged(void **state)
{
    struct writer *w = *state;
    put_letter(w, 1, 'x', BAD_BODY);
    put_letter(w, 2, 'x', BAD_ENVELOPE);
    put_letter(w, 3, 'x', OTHER_ENVELOPE);
    letter(w, 4);
    end_frame(w);
    end_use(w);
    check_seen(w->box, CHECK_BAD_LETTER, 3);
}

static void frames_with_a_wrong_number(void **state)
{
    struct writer *w = *state;
    struct seen seen;
    frame_of(w, 1);
    w->next_frame++;
    frame_of(w, 2);
    w->next_frame--;
    frame_of(w, 3);
    end_use(w);
    check_seen(w->box, CHECK_BAD_NUMBER, 2);
    look(w->box, &seen);
    assert_int_equal(seen.report.letters, 2); // the third was not obeyed
    begin_use(w, 1, 1);                       // nothing can stand before the first frame of all
    w->next_frame = 5;
    frame_of(w, 1);
    end_use(w);
    check_seen(w->box, CHECK_BAD_NUMBER, 1);
}

static void a_use_that_is_lost(void **state)
{
    struct writer *w = *state;
    frame_of(w, 1);
    end_use(w);
    begin_use(w, 3, 3);
    w->next_frame++;
    frame_of(w, 2);
    end_use(w);
    check_seen(w->box, CHECK_LOST_USE, 1);
}

static void two_segments_of_one_use(void **state)
{
    struct writer *w = *state;
    frame_of(w, 1);
    end_use(w);
    w->segment.number = 2;
    frame_of(w, 2);
    memmove(w->bytes + SEGMENT_BLOCK, w->bytes + 2 * SEGMENT_BLOCK, SEGMENT_BLOCK);
    memset(w->bytes + 2 * SEGMENT_BLOCK, 0, SEGMENT_BLOCK);
    end_use(w);
    check_seen(w->box, CHECK_SAME_USE, 1);
}

static void a_file_that_was_cut(void **state)
{
    struct writer *w = *state;
    frame_of(w, 1);
    end_use(w);
    char path[160];
    file_path(w->box, path, "log", "000000000001");
    assert_int_equal(truncate(path, SEGMENT - 1), 0);
    check_seen(w->box, CHECK_BAD_LENGTH, 1);
}

static void aborts_out_of_place(void **state)
{
    struct writer *w = *state;
    uint64_t at = frame_of(w, 1);
    frame_of(w, 2);
    letter(w, 3);
    put_abort(w, 1, 1, at); // of its own use, and not first
    end_frame(w);
    end_use(w);
    check_seen(w->box, CHECK_BAD_ABORT, 1);
    static const struct {
        uint64_t number, use, back;
    } wrong[] = {{2, 1, 0}, {1, 2, 0}, {1, 1, 2}, {1, 0, 0}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        begin_use(w, 1, 1);
        frame_of(w, 1);
        frame_of(w, 2);
        at = frame_of(w, 3);
        end_use(w);
        begin_use(w, 2, 2);
        put_abort(w, wrong[i].number, wrong[i].use, at - wrong[i].back * SEGMENT_BLOCK);
        end_frame(w);
        end_use(w);
        check_seen(w->box, CHECK_BAD_ABORT, 1);
    }
}

static void states_that_cannot_be(void **context)
{
    struct writer *w = *context;
    letter(w, 1);
    end_frame(w);
    state(w, 1, RECIPIENTS, SPOOL_DELIVERED);
    end_frame(w);
    end_use(w);
    check_seen(w->box, CHECK_NO_SUCH_RECIPIENT, 1);
    begin_use(w, 1, 1);
    letter(w, 1);
    end_frame(w);
    state(w, 1, 0, SPOOL_DELIVERED);
    state(w, 1, 0, SPOOL_DELIVERED); // compaction says it again
    end_frame(w);
    end_use(w);
    check_seen(w->box, CHECK_STATE_AFTER_END, 0);
    state(w, 1, 0, SPOOL_WAITING);
    state(w, 1, 0, SPOOL_DROPPED);
    end_frame(w);
    end_use(w);
    check_seen(w->box, CHECK_STATE_AFTER_END, 2);
}

static void letters_that_differ(void **state)
{
    struct writer *w = *state;
    letter(w, 1);
    put_letter(w, 1, 'y', SOUND);
    end_frame(w);
    end_use(w);
    check_seen(w->box, CHECK_OTHER_LETTER, 1);
}

static void a_copy_of_a_letter_that_ended(void **state)
{
    struct writer *w = *state;
    letter(w, 1);
    ended(w, 1);
    end_frame(w);
    letter(w, 1);
    end_frame(w);
    end_use(w);
    check_seen(w->box, CHECK_COPY_AFTER_END, 1);
}

// ---- the index at the end of a segment

// As the queue writes it when it leaves the segment: of a letter and a state in each of two frames.
static void put_index(struct writer *w, uint64_t use, uint32_t wrong_octet)
{
    struct buf payload, trailer, data;
    buf_init(&payload, SEGMENT);
    buf_init(&trailer, SEGMENT_BLOCK);
    struct segment_frame frame;
    uint32_t records = 0;
    for (uint64_t at = SEGMENT_BLOCK; at < w->segment.end; at += SEGMENT_BLOCK) {
        struct str rest = str_from(w->bytes + at, SEGMENT - at);
        if (segment_parse(rest, w->segment.epoch, &frame) != SEGMENT_FRAME)
            continue;
        struct segment_record record;
        size_t in = 0;
        bool damaged;
        while (segment_next_record(&frame, &in, &record, &damaged)) {
            records++;
            if (record.kind != RECORD_LETTER) {
                segment_put_record(&payload, record.kind, record.flags, record.data);
                continue;
            }
            buf_init(&data, 64);
            buf_put(&data, str_sub(record.data, 0, LETTER_FIXED));
            buf_put_u32(&data, (uint32_t)(at + SEGMENT_FRAME_HEADER + record.offset));
            segment_put_record(&payload, RECORD_PLACE, record.flags, buf_str(&data));
            buf_finish(&data);
        }
    }
    payload.ptr[wrong_octet % payload.len] ^= wrong_octet != 0;
    assert_true(payload.len <= SEGMENT_BLOCK);
    uint64_t offset = SEGMENT - 2 * SEGMENT_BLOCK;
    memcpy(w->bytes + offset, payload.ptr, payload.len);
    buf_put_u32(&trailer, 1);
    buf_put_u64(&trailer, use);
    buf_put(&trailer, str_from(w->segment.epoch, SEGMENT_EPOCH));
    buf_put_u64(&trailer, offset);
    buf_put_u64(&trailer, payload.len);
    buf_put_u32(&trailer, crc32c(0, buf_str(&payload)));
    buf_put_u32(&trailer, records);
    buf_put_u64(&trailer, 1);
    buf_put_u64(&trailer, w->next_frame - 1);
    buf_put_u64(&trailer, w->segment.end);
    char *to = w->bytes + SEGMENT - SEGMENT_BLOCK;
    uint32_t crc = crc32c(0, buf_str(&trailer));
    memcpy(to, "PHIDX001", 8);
    memcpy(to + 8, &crc, 4); // little-endian machines only, as the tests are
    memcpy(to + 12, trailer.ptr, trailer.len);
    buf_finish(&payload);
    buf_finish(&trailer);
    end_use(w);
}

static void indexes(void **context)
{
    struct writer *w = *context;
    letter(w, 1);
    end_frame(w);
    letter(w, 2);
    state(w, 1, 0, SPOOL_DELIVERED);
    end_frame(w);
    put_index(w, 1, 0);
    check_seen(w->box, CHECK_INDEX, 1);
    check_start_agrees(w->box);
    put_index(w, 1, 30); // whole, and not what the frames say
    check_seen(w->box, CHECK_FALSE_INDEX, 1);
    put_index(w, 7, 30); // of another use
    check_seen(w->box, CHECK_OLD_INDEX, 1);
    put_index(w, 1, 0);
    flip(w->box, 1, SEGMENT - 2 * SEGMENT_BLOCK + 5); // not whole
    check_seen(w->box, CHECK_OLD_INDEX, 1);
    check_start_agrees(w->box);
    put_index(w, 1, 0);
    flip(w->box, 1, SEGMENT - SEGMENT_BLOCK + 75);
    check_seen(w->box, CHECK_OLD_INDEX, 1);
    frame_of(w, 3); // behind what the index knows
    end_use(w);
    check_seen(w->box, CHECK_FALSE_INDEX, 1);
}

// ---- with a real spool

static void a_spool_that_runs_is_locked(void **state)
{
    struct box *b = *state;
    const struct spool_options options = {.segment_size = SEGMENT, .large_body = LARGE};
    struct check_report report = {.found = NULL};
    struct err err;
    assert_false(spool_check(b->dir, &options, &report, &err));
    assert_int_equal(err.class, ERR_TRY_LATER);
    close_spool(b);
    assert_true(spool_check(b->dir, &options, &report, &err));
}

static void a_large_body(void **state)
{
    struct box *b = *state;
    struct big big;
    struct spool_letter *l;
    struct err err;
    char name[LARGE_NAME], path[160];
    struct mail_id id = id_of(1);
    write_large(b, &big, 1, 200000);
    assert_int_equal(add_large(b, &big, &l, &err), SPOOL_ADDED);
    close_spool(b);
    check_seen(b, CHECK_BAD_LETTER, 0);
    check_seen(b, CHECK_LETTER, 1);
    check_start_agrees(b);
    large_name(name, &id, false);
    file_path(b, path, "body", name);
    assert_int_equal(truncate(path, 200000), 0); // the table is gone
    check_seen(b, CHECK_BAD_LETTER, 1);
    assert_int_equal(unlink(path), 0);
    check_seen(b, CHECK_BAD_LETTER, 1);
}

static uint64_t draw(uint64_t *chance)
{
    *chance ^= *chance << 13;
    *chance ^= *chance >> 7;
    *chance ^= *chance << 17;
    return *chance >> 20;
}

// One of the last letters is tried: one in ten stays for long.
static void attempt(struct box *b, uint64_t last, uint64_t *chance)
{
    uint64_t n = last - draw(chance) % 12;
    struct spool_letter *l = find(b, n);
    for (uint32_t i = 0; l && l->durable && i < l->recipient_count; i++) {
        bool stays = n % 10 == 0 || draw(chance) % 4 == 0;
        if (l->recipients[i].state < SPOOL_DELIVERED)
            spool_set_state(b->spool, l, i, stays ? (uint8_t)(draw(chance) % 2) : SPOOL_DELIVERED,
                            9, STR("\xe6\xbb\xa1"));
    }
}

// Letters come, are tried, end, move; the spool is closed now and then. The check and the start
// agree about every one of these spools.
static void random_runs_agree(void **state)
{
    struct box *b = *state;
    uint64_t chance = 88172645463325252u, letters = 100, moved = 0;
    for (int round = 0; round < 24; round++) {
        for (int step = 0; step < 60; step++) {
            struct spool_letter *l;
            (void)try_add(b, ++letters, 1 + (uint32_t)(draw(&chance) % 3), draw(&chance) % LARGE,
                          &l);
            attempt(b, letters, &chance);
            attempt(b, letters, &chance);
            if (draw(&chance) % 5 == 0)
                settle(b);
        }
        moved += counts(b).moved;
        close_spool(b);
        check_start_agrees(b);
        open_spool(b);
    }
    assert_true(moved > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_CASE(an_empty_spool_is_sound),
        LOG_CASE(letters_and_their_states_are_counted),
        LOG_CASE(a_segment_that_was_not_filled),
        LOG_CASE(a_use_without_frames),
        LOG_CASE(files_of_bodies),
        LOG_CASE(a_torn_end),
        LOG_CASE(an_aborted_frame),
        LOG_CASE(an_abort_of_what_is_not_whole),
        LOG_CASE(an_abort_of_a_use_that_is_gone),
        LOG_CASE(a_use_that_was_never_made),
        LOG_CASE(a_segment_of_another_size),
        LOG_CASE(a_hole),
        LOG_CASE(a_hole_before_the_first_frame),
        LOG_CASE(an_end_that_is_lost),
        LOG_CASE(an_end_that_is_lost_before_an_abort),
        LOG_CASE(a_header_that_is_damaged),
        LOG_CASE(records_that_cannot_be),
        LOG_CASE(letters_that_are_damaged),
        LOG_CASE(frames_with_a_wrong_number),
        LOG_CASE(a_use_that_is_lost),
        LOG_CASE(two_segments_of_one_use),
        LOG_CASE(a_file_that_was_cut),
        LOG_CASE(aborts_out_of_place),
        LOG_CASE(states_that_cannot_be),
        LOG_CASE(letters_that_differ),
        LOG_CASE(a_copy_of_a_letter_that_ended),
        LOG_CASE(indexes),
        CASE(a_spool_that_runs_is_locked),
        CASE(a_large_body),
        CASE(random_runs_agree),
    };
    log_start("test", NULL, -1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
