// One job at a time works on a body, so its slices keep their order however many threads there are:
//
//     slices: waiting -> (first of them) in the worker -> done in the loop -> the next one
//
// A failure is final: the part may have a hole, and a failed sync is never retried (promise 4).
#include "store/large.h"

#include <errno.h>
#include <fcntl.h>

#include "base/crc32c.h"
#include "os/fault.h"
#include "os/file.h"
#include "store/spool_private.h"

struct large {
    struct os_job job;
    struct spool *spool;
    struct mail_id id;
    struct link waiting;         // slices
    struct large_slice *current; // with the worker
    bool busy, closing;
    // The worker's while `busy`:
    int fd;
    bool made, failed, renamed;
    struct err err;
    uint64_t synced; // octets of the body that a sync covered
    struct buf table;
    uint32_t piece_crc; // of the piece that is not full yet
    char *copy;         // LARGE_PIECE octets, while a slice is written
    // True from the last slice on:
    bool finished;
    bool kept; // a record refers to it
    struct large_body body;
};

void large_name(char name[LARGE_NAME], const struct mail_id *id, bool part)
{
    mail_id_text(id, name);
    if (part)
        memcpy(name + MAIL_ID_TEXT, ".part", sizeof ".part");
}

// ---- in the worker

static int open_part(struct large *l)
{
    char name[LARGE_NAME];
    if (l->fd >= 0)
        return 0;
    large_name(name, &l->id, true);
    l->fd = os_open(l->spool->body_dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    l->made = l->fd >= 0;
    return l->made ? 0 : l->fd;
}

static void end_piece(struct large *l)
{
    buf_put_u32(&l->table, l->piece_crc);
    l->piece_crc = 0;
}

// `bytes` is ours, and ends no later than the piece of the file in which it begins.
static int write_own(struct large *l, struct str bytes)
{
    int rc = os_pwrite_all(l->fd, bytes, l->body.scan.size);
    if (rc < 0)
        return rc;
    l->piece_crc = crc32c(l->piece_crc, bytes);
    scan_feed(&l->body.scan, bytes);
    if (l->body.scan.size % LARGE_PIECE == 0)
        end_piece(l);
    return 0;
}

static int write_piece(struct large *l, struct str piece)
{
    while (piece.len) {
        struct str part = str_sub(piece, 0, LARGE_PIECE - l->body.scan.size % LARGE_PIECE);
        if (part.len > LARGE_MAX - l->body.scan.size)
            return -EFBIG;
        memcpy(l->copy, part.ptr, part.len); // the one copy (promise 2)
        int rc = write_own(l, str_from(l->copy, part.len));
        if (rc < 0)
            return rc;
        piece = str_skip(piece, part.len);
    }
    return 0;
}

// What stands in the file so far is on disk after this.
static int sync_part(struct large *l)
{
    l->synced = l->body.scan.size;
    return os_fdatasync(l->fd);
}

static int end_file(struct large *l)
{
    char part[LARGE_NAME], name[LARGE_NAME];
    int dir = l->spool->body_dir;
    large_name(part, &l->id, true);
    large_name(name, &l->id, false);
    scan_end(&l->body.scan);
    if (l->body.scan.size % LARGE_PIECE)
        end_piece(l);
    must(buf_ok(&l->table));
    l->body.crc = crc32c(0, buf_str(&l->table));
    int rc = os_pwrite_all(l->fd, buf_str(&l->table), l->body.scan.size);
    if (rc == 0)
        rc = sync_part(l);
    if (rc == 0)
        rc = os_rename(dir, part, dir, name);
    l->renamed = rc == 0;
    if (rc == 0 && !fault_bites(BITE_body_directory))
        rc = os_fsync(dir);
    os_close(&l->fd);
    l->finished = rc == 0;
    return rc;
}

static int write_slice(struct large *l, const struct large_slice *slice)
{
    int rc = open_part(l);
    l->copy = malloc(LARGE_PIECE);
    must(l->copy != NULL);
    for (size_t i = 0; i < slice->piece_count && rc == 0; i++)
        rc = write_piece(l, slice->pieces[i]);
    free(l->copy);
    if (rc == 0 && slice->last)
        return end_file(l);
    if (rc == 0 && l->body.scan.size - l->synced >= LARGE_SYNC)
        rc = sync_part(l);
    return rc;
}

static void slice_work(struct os_job *job)
{
    struct large *l = CONTAINER_OF(job, struct large, job);
    struct large_slice *slice = l->current;
    char id[MAIL_ID_TEXT + 1];
    must(!l->finished);
    int rc = l->failed ? 0 : write_slice(l, slice);
    if (rc < 0) {
        mail_id_text(&l->id, id);
        l->failed = true;
        err_system(&l->err, rc, "writing spool/body/%s", id);
    }
    slice->ok = !l->failed;
    if (l->failed)
        slice->err = l->err;
}

// What no record refers to goes. What stays all the same is removed at the next start.
static void removal_work(struct os_job *job)
{
    struct large *l = CONTAINER_OF(job, struct large, job);
    char name[LARGE_NAME];
    large_name(name, &l->id, !l->renamed);
    int rc = os_unlink(l->spool->body_dir, name);
    (void)rc;
    os_close(&l->fd);
}

// ---- in the loop

static void go_on(struct large *l);

static void slice_done(struct os_job *job)
{
    struct large *l = CONTAINER_OF(job, struct large, job);
    struct large_slice *slice = l->current;
    l->current = NULL;
    slice->done(slice); // may append, or close
    l->busy = false;
    go_on(l);
}

static void free_large(struct large *l)
{
    must(l->fd < 0);
    buf_finish(&l->table);
    free(l);
}

static void removal_done(struct os_job *job)
{
    free_large(CONTAINER_OF(job, struct large, job));
}

static void submit(struct large *l, void (*work)(struct os_job *), void (*done)(struct os_job *))
{
    l->busy = true;
    l->job = (struct os_job){.work = work, .done = done};
    os_workers_submit(l->spool->writers, &l->job);
}

static void go_on(struct large *l)
{
    bool spool_closes = l->spool->closing; // what is left is removed at the next start
    if (l->busy)
        return;
    if (spool_closes && l->closing) {
        os_close(&l->fd);
        free_large(l);
    } else if (spool_closes) {
        return;
    } else if (!list_empty(&l->waiting)) {
        l->current = CONTAINER_OF(list_pop(&l->waiting), struct large_slice, link);
        submit(l, slice_work, slice_done);
    } else if (l->closing && l->made && !l->kept) {
        submit(l, removal_work, removal_done);
    } else if (l->closing) {
        free_large(l);
    }
}

void large_open(struct large **large, struct spool *spool, const struct mail_id *id)
{
    struct large *l = calloc(1, sizeof *l);
    must(l != NULL);
    l->spool = spool;
    l->id = *id;
    l->fd = -1;
    list_init(&l->waiting);
    scan_begin(&l->body.scan);
    buf_init(&l->table, ((size_t)LARGE_MAX / LARGE_PIECE + 1) * sizeof(uint32_t));
    *large = l;
}

void large_append(struct large *l, struct large_slice *slice)
{
    must(!l->closing);
    list_append(&l->waiting, &slice->link);
    go_on(l);
}

void large_close(struct large **large)
{
    struct large *l = *large;
    *large = NULL;
    if (!l)
        return;
    l->closing = true;
    go_on(l);
}

const struct large_body *large_body(const struct large *l)
{
    return l->finished ? &l->body : NULL;
}

void large_keep(struct large *l)
{
    must(l->finished);
    l->kept = true;
}

// ---- removing

struct removal {
    struct os_job job;
    struct spool *spool;
    struct mail_id id;
};

static void remove_work(struct os_job *job)
{
    struct removal *r = CONTAINER_OF(job, struct removal, job);
    char name[LARGE_NAME];
    large_name(name, &r->id, false);
    int rc = os_unlink(r->spool->body_dir, name); // a body that stays is removed at the next start
    (void)rc;
}

static void remove_done(struct os_job *job)
{
    free(CONTAINER_OF(job, struct removal, job));
}

void large_remove(struct spool *s, const struct mail_id *id)
{
    struct removal *r = calloc(1, sizeof *r);
    must(r != NULL);
    *r = (struct removal){.job = {.work = remove_work, .done = remove_done}, .spool = s, .id = *id};
    os_workers_submit(s->helpers, &r->job);
}

// ---- reading

bool large_reader_init(struct large_reader *r, int fd, uint64_t size, uint32_t crc, struct err *err)
{
    *r = (struct large_reader){.fd = fd, .size = size};
    size_t length = (size_t)(size / LARGE_PIECE + (size % LARGE_PIECE != 0)) * sizeof(uint32_t);
    buf_init(&r->table, length);
    if (size > LARGE_MAX)
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "a body of no possible size");
    char *to = buf_reserve(&r->table, length);
    must(to != NULL || length == 0);
    ssize_t n = length ? os_pread_all(fd, to, length, size) : 0;
    if (n >= 0)
        buf_added(&r->table, (size_t)n);
    bool ok = n >= 0 && (size_t)n == length && crc32c(0, buf_str(&r->table)) == crc;
    if (!ok)
        large_reader_finish(r);
    if (n < 0)
        return err_system(err, (int)n, "reading a body");
    if (!ok)
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "the body is damaged: its table");
    r->piece = malloc(LARGE_PIECE);
    must(r->piece != NULL);
    return true;
}

static uint32_t expected_crc(const struct large_reader *r)
{
    const unsigned char *b =
        (const unsigned char *)r->table.ptr + r->at / LARGE_PIECE * sizeof(uint32_t);
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

bool large_reader_next(struct large_reader *r, struct str *piece, struct err *err)
{
    uint64_t left = r->size - r->at;
    size_t want = left < LARGE_PIECE ? (size_t)left : LARGE_PIECE;
    *piece = STR("");
    if (want == 0)
        return true;
    ssize_t n = os_pread_all(r->fd, r->piece, want, r->at);
    if (n < 0)
        return err_system(err, (int)n, "reading a body");
    bool same = crc32c(0, str_from(r->piece, want)) == expected_crc(r);
    if ((size_t)n < want || !(same || fault_bites(BITE_large_crc)))
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "the body is damaged from octet %llu on",
                       (unsigned long long)r->at);
    *piece = str_from(r->piece, want);
    r->at += want;
    return true;
}

void large_reader_from(struct large_reader *r, uint64_t at)
{
    must(at % LARGE_PIECE == 0);
    r->at = at < r->size ? at : r->size;
}

void large_reader_again(struct large_reader *r)
{
    large_reader_from(r, 0);
}

void large_reader_finish(struct large_reader *r)
{
    buf_finish(&r->table);
    free(r->piece);
    r->piece = NULL;
}
