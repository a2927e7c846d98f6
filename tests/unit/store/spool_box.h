// A spool below a temporary directory, with small segments so that they fill, for the tests of
// spool.c, commit.c and recover.c. A test program defines _GNU_SOURCE before it includes this.
#ifndef TESTS_UNIT_STORE_SPOOL_BOX_H
#define TESTS_UNIT_STORE_SPOOL_BOX_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "os/clock.h"
#include "os/fault.h"
#include "os/file.h"
#include "os/log.h"
#include "store/spool_private.h"

enum { SEGMENT = 128 * 1024, LARGE = 8 * 1024, ARENA = 8 << 20 };

// ---- the house

struct box {
    char path[64];
    int dir;
    uint64_t segment_size;
    struct loop *loop;
    struct spool *spool;
    struct arena arena;
};

// One that waits, and what it was told.
struct wait {
    struct spool_waiter waiter;
    int told;
    bool durable;
    int order;
    int *next_order;
};

static inline void told(struct spool_waiter *waiter, bool durable)
{
    struct wait *w = CONTAINER_OF(waiter, struct wait, waiter);
    w->told++;
    w->durable = durable;
    if (w->next_order)
        w->order = ++*w->next_order;
}

static inline void wait_for(struct box *b, struct wait *w, bool for_states)
{
    w->waiter = (struct spool_waiter){.for_states = for_states, .done = told};
    spool_wait(b->spool, &w->waiter);
}

static inline void turn(struct box *b)
{
    struct err err;
    assert_true(loop_turn(b->loop, 10, &err));
}

static inline bool try_open(struct box *b, struct err *err)
{
    const struct spool_options options = {.segment_size = b->segment_size, .large_body = LARGE};
    if (!spool_open(&b->spool, b->dir, &options, err))
        return false;
    assert_true(loop_open(&b->loop, err));
    if (!spool_begin(b->spool, b->loop, err))
        return false;
    while (!spool_indexed(b->spool))
        turn(b);
    return true;
}

static inline void open_spool(struct box *b)
{
    struct err err;
    if (!try_open(b, &err))
        fail_msg("%s", err.text);
}

static inline bool busy(const struct spool *s)
{
    return !spool_idle(s) || s->making_spare || s->leaving || s->retiring || s->moving ||
           os_workers_waiting(s->helpers) || os_workers_waiting(s->writers);
}

// Until all that was begun is done.
static inline void settle(struct box *b)
{
    for (int i = 0; i < 3; i++) {
        turn(b);
        for (int turns = 0; busy(b->spool); turns++) {
            assert_true(turns < 2000);
            turn(b);
        }
    }
}

static inline void close_spool(struct box *b)
{
    if (b->spool && b->loop)
        settle(b);
    spool_close(&b->spool);
    loop_close(&b->loop);
}

static inline void reopen(struct box *b)
{
    close_spool(b);
    open_spool(b);
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    return remove(path);
}

static inline int set_up(void **state)
{
    static struct box box;
    box = (struct box){.segment_size = SEGMENT};
    snprintf(box.path, sizeof(box.path), "/tmp/posthouse-spool-XXXXXX");
    if (!mkdtemp(box.path))
        return -1;
    box.dir = os_open_directory(OS_HERE, box.path);
    arena_init(&box.arena, ARENA);
    *state = &box;
    open_spool(&box);
    return 0;
}

static inline int tear_down(void **state)
{
    struct box *b = *state;
    close_spool(b);
    os_close(&b->dir);
    arena_finish(&b->arena);
    return nftw(b->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

// ---- letters

static inline struct mail_id id_of(uint64_t n)
{
    static const uint8_t base[10] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
    return mail_id_make(1767225600123, base, n);
}

static inline void put_envelope(struct buf *out, struct arena *arena, uint64_t n,
                                uint32_t recipients)
{
    struct err err;
    struct envelope e = {.id = id_of(n),
                         .arrived_ms = 1767225600123,
                         .client = STR("127.0.0.1"),
                         .helo = STR("kunde.example"),
                         .session = STR("S0"),
                         .recipient_count = recipients};
    struct address *to = arena_alloc_array(arena, recipients, sizeof(*to));
    assert_non_null(to);
    assert_true(address_read(STR("absender@example.org"), arena, &e.reverse_path, &err));
    for (uint32_t i = 0; i < recipients; i++) {
        struct str copy;
        char text[64];
        snprintf(text, sizeof(text), "\xe6\x94\xb6\xe4\xbb\xb6%u@\xe4\xbe\x8b.test", i);
        assert_true(arena_copy(arena, str_of(text), &copy));
        assert_true(address_read(copy, arena, &to[i], &err));
    }
    e.recipients = to;
    envelope_put(out, &e);
    assert_true(buf_ok(out));
}

struct text {
    struct buf envelope, body;
    struct str pieces[3];
    struct spool_submission submission;
};

// Letter n: a body of `size` octets that depends on n, in two pieces.
static inline void make(struct box *b, struct text *t, uint64_t n, uint32_t recipients, size_t size)
{
    buf_init(&t->envelope, LIMIT_envelope);
    buf_init(&t->body, 1 << 24);
    put_envelope(&t->envelope, &b->arena, n, recipients);
    buf_putf(&t->body, "Subject: \xe4\xbf\xa1 %llu\r\n\r\n", (unsigned long long)n);
    while (t->body.len < size)
        buf_put_byte(&t->body, (char)(unsigned char)(n * 31 + t->body.len * 7));
    struct str body = buf_str(&t->body);
    t->pieces[0] = buf_str(&t->envelope);
    t->pieces[1] = str_sub(body, 0, body.len / 3);
    t->pieces[2] = str_skip(body, body.len / 3);
    t->submission = (struct spool_submission){.id = id_of(n),
                                              .pieces = t->pieces,
                                              .piece_count = 3,
                                              .envelope_size = (uint32_t)t->envelope.len};
}

static inline void free_text(struct text *t)
{
    buf_finish(&t->envelope);
    buf_finish(&t->body);
}

static inline enum spool_added try_add(struct box *b, uint64_t n, uint32_t recipients, size_t size,
                                       struct spool_letter **letter)
{
    struct text t;
    struct envelope envelope;
    struct err err;
    make(b, &t, n, recipients, size);
    enum spool_added how = spool_add(b->spool, &t.submission, &b->arena, &envelope, letter, &err);
    if (how == SPOOL_ADDED)
        assert_int_equal(envelope.recipient_count, recipients);
    free_text(&t);
    arena_reset(&b->arena);
    return how;
}

static inline struct spool_letter *add(struct box *b, uint64_t n, uint32_t recipients, size_t size)
{
    struct spool_letter *letter;
    assert_int_equal(try_add(b, n, recipients, size, &letter), SPOOL_ADDED);
    return letter;
}

static inline struct spool_letter *commit(struct box *b, uint64_t n, uint32_t recipients,
                                          size_t size)
{
    struct spool_letter *letter = add(b, n, recipients, size);
    settle(b);
    assert_true(letter->durable);
    return letter;
}

static inline struct spool_letter *find(struct box *b, uint64_t n)
{
    struct mail_id id = id_of(n);
    return spool_find(b->spool, &id);
}

static inline void end(struct box *b, struct spool_letter *letter)
{
    for (uint32_t i = 0; i < letter->recipient_count; i++)
        spool_set_state(b->spool, letter, i, SPOOL_DELIVERED, 0, STR(""));
}

static inline bool read_large(struct box *b, const struct spool_letter *letter, struct buf *out,
                              struct err *err)
{
    struct large_reader r;
    struct str piece;
    int fd;
    if (!spool_open_body(b->spool, letter, &fd, err))
        return false;
    bool ok = large_reader_init(&r, fd, letter->body_size, letter->body_crc, err);
    while (ok && (ok = large_reader_next(&r, &piece, err)) && piece.len)
        buf_put(out, piece);
    if (r.piece)
        large_reader_finish(&r);
    os_close(&fd);
    return ok;
}

static inline bool read_body(struct box *b, const struct spool_letter *letter, struct buf *out,
                             struct err *err)
{
    return letter->large ? read_large(b, letter, out, err)
                         : spool_read_body(b->spool, letter, out, err);
}

static inline bool reads_as(struct box *b, const struct spool_letter *letter, const struct text *t)
{
    struct buf got;
    struct err err;
    buf_init(&got, 1 << 24);
    bool same = spool_read_envelope(b->spool, letter, &got, &err) &&
                str_eq(buf_str(&got), buf_str(&t->envelope));
    buf_clear(&got);
    same = same && read_body(b, letter, &got, &err) && str_eq(buf_str(&got), buf_str(&t->body));
    buf_finish(&got);
    return same;
}

// Letter n is in the index, durable, and reads as it came.
static inline void check_letter(struct box *b, uint64_t n, uint32_t recipients, size_t size)
{
    struct text t;
    struct spool_letter *letter = find(b, n);
    if (!letter)
        fail_msg("letter %llu is gone", (unsigned long long)n);
    make(b, &t, n, recipients, size);
    assert_true(letter->durable);
    assert_int_equal(letter->recipient_count, recipients);
    assert_true(reads_as(b, letter, &t));
    free_text(&t);
    arena_reset(&b->arena);
}

static inline struct spool_counts counts(struct box *b)
{
    struct spool_counts c;
    spool_count(b->spool, &c);
    return c;
}

// What the counters and the segments say of the letters is what the letters say.
static inline void check_books(struct box *b)
{
    uint64_t letters = 0, recipients = 0;
    size_t at = 0;
    for (struct spool_letter *l = spool_next(b->spool, &at); l; l = spool_next(b->spool, &at)) {
        uint32_t pending = 0;
        for (uint32_t i = 0; i < l->recipient_count; i++)
            pending += l->recipients[i].state < SPOOL_DELIVERED;
        assert_int_equal(l->pending, pending);
        letters += pending > 0;
        recipients += pending;
    }
    assert_int_equal(counts(b).letters, letters);
    assert_int_equal(counts(b).recipients, recipients);
    LIST_EACH(&b->spool->segments, s, after)
    {
        struct segment *seg = CONTAINER_OF(s, struct segment, link);
        uint32_t live = 0, offset = 0;
        LIST_EACH(&seg->letters, l, next)
        {
            const struct spool_letter *letter = CONTAINER_OF(l, struct spool_letter, link);
            live += letter->pending > 0;
            assert_true(letter->offset > offset);
            offset = letter->offset;
        }
        assert_int_equal(seg->live, live);
        assert_int_equal(seg->readers, 0);
    }
}

// ---- files

static inline void file_path(struct box *b, char path[160], const char *folder, const char *name)
{
    snprintf(path, 160, "%s/%s/%s", b->path, folder, name);
}

static inline bool count_name(void *context, const char *name)
{
    (void)name;
    ++*(size_t *)context;
    return true;
}

static inline size_t count_files(struct box *b, const char *folder)
{
    size_t n = 0;
    int fd = os_open_directory(b->dir, folder);
    assert_true(fd >= 0);
    assert_int_equal(os_list(fd, count_name, &n), 0);
    os_close(&fd);
    return n;
}

static inline void write_at(struct box *b, uint64_t number, uint64_t offset, struct str bytes)
{
    char name[24], path[160];
    segment_name(name, number);
    file_path(b, path, "log", name);
    int fd = os_open(OS_HERE, path, O_RDWR, 0);
    assert_true(fd >= 0);
    assert_int_equal(os_pwrite_all(fd, bytes, offset), 0);
    os_close(&fd);
}

static inline void flip(struct box *b, uint64_t number, uint64_t offset)
{
    char name[24], path[160], byte;
    segment_name(name, number);
    file_path(b, path, "log", name);
    int fd = os_open(OS_HERE, path, O_RDWR, 0);
    assert_true(fd >= 0);
    assert_int_equal(os_pread_all(fd, &byte, 1, offset), 1);
    byte = (char)(byte ^ 0x10);
    assert_int_equal(os_pwrite_all(fd, str_from(&byte, 1), offset), 0);
    os_close(&fd);
}

static inline void make_file(struct box *b, const char *folder, const char *name)
{
    char path[160];
    file_path(b, path, folder, name);
    int fd = os_open(OS_HERE, path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(os_write_all(fd, STR("left over")), 0);
    os_close(&fd);
}

static inline bool has_file(struct box *b, const char *folder, const char *name)
{
    char path[160];
    file_path(b, path, folder, name);
    return access(path, F_OK) == 0;
}

// The last block of each segment, where an index block ends.
static inline void wipe_indexes(struct box *b)
{
    static const char zeros[SEGMENT_BLOCK];
    for (uint64_t number = 1; number < 1000; number++) {
        char name[24];
        segment_name(name, number);
        if (has_file(b, "log", name))
            write_at(b, number, b->segment_size - SEGMENT_BLOCK, str_from(zeros, sizeof(zeros)));
    }
}

// ---- large bodies

// A letter whose body goes through large.c, in one slice.
struct big {
    struct large *large;
    struct large_slice slice;
    struct text text;
    bool done;
};

static inline void slice_done(struct large_slice *slice)
{
    CONTAINER_OF(slice, struct big, slice)->done = true;
}

static inline void write_large(struct box *b, struct big *l, uint64_t n, size_t size)
{
    struct envelope envelope;
    struct spool_letter *letter;
    struct err err;
    make(b, &l->text, n, 2, size);
    l->done = false;
    assert_int_equal(spool_add(b->spool, &l->text.submission, &b->arena, &envelope, &letter, &err),
                     SPOOL_TOO_LARGE);
    large_open(&l->large, b->spool, &l->text.submission.id);
    l->slice = (struct large_slice){
        .pieces = l->text.pieces + 1, .piece_count = 2, .last = true, .done = slice_done};
    large_append(l->large, &l->slice);
    while (!l->done)
        turn(b);
}

static inline enum spool_added add_large(struct box *b, struct big *l, struct spool_letter **letter,
                                         struct err *err)
{
    struct envelope envelope;
    enum spool_added how = SPOOL_BAD;
    *letter = NULL;
    if (l->slice.ok)
        how = spool_add_large(b->spool, l->large, &l->text.submission.id, l->text.pieces[0],
                              &b->arena, &envelope, letter, err);
    else
        *err = l->slice.err;
    large_close(&l->large);
    free_text(&l->text);
    arena_reset(&b->arena);
    return how;
}

// A fresh house in the middle of a case.
static inline struct box *start_over(void **state)
{
    assert_int_equal(tear_down(state), 0);
    assert_int_equal(set_up(state), 0);
    return *state;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
