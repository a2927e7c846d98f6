// The check of a spool: a scripted log, struck as for recovery, in files. It never fails; and where
// it finds nothing but legal states, a start finds no damage and counts the same.
#include <fcntl.h>
#include <unistd.h>

#include "log_script.h"
#include "os/file.h"
#include "store/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct place {
    char path[64];
    int dir, log_dir;
};

static void write_files(struct place *place, const struct log *log)
{
    snprintf(place->path, sizeof place->path, "/tmp/posthouse-fuzz-check-XXXXXX");
    must(mkdtemp(place->path) != NULL);
    place->dir = os_open_directory(OS_HERE, place->path);
    must(place->dir >= 0 && os_mkdir(place->dir, "log", 0700) == 0);
    place->log_dir = os_open_directory(place->dir, "log");
    for (size_t i = 0; i < log->count; i++) {
        char name[24];
        segment_name(name, log->segments[i].number);
        int fd = os_open(place->log_dir, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
        must(fd >= 0 && os_write_all(fd, str_from(log->bytes[i], SEGMENT)) == 0);
        os_close(&fd);
    }
}

static void remove_files(struct place *place, const struct log *log)
{
    for (size_t i = 0; i < log->count; i++) {
        char name[24];
        segment_name(name, log->segments[i].number);
        must(os_unlink(place->log_dir, name) == 0);
    }
    os_close(&place->log_dir);
    must(os_rmdir(place->dir, "log") == 0);
    os_close(&place->dir);
    must(rmdir(place->path) == 0);
}

static void found(struct check_report *report, const struct check_finding *finding)
{
    must(report->states[finding->state] > 0 && finding->offset <= SEGMENT);
    must(check_fact(finding->state)->kind != CHECK_LIFE);
}

static void compare(const struct check_report *report, struct log *log)
{
    struct spool *s = spool_new(-1);
    struct recovery r = {.spool = s};
    log_link(log, s);
    for (size_t i = 0; i < log->count; i++) {
        struct segment *seg = &log->segments[i];
        struct segment_index x;
        size_t at = 0;
        index_init(&x);
        index_of_frames(&x, seg, str_from(log->bytes[i], SEGMENT));
        must(x.damage_count == 0);
        while (recover_obey(&r, seg, &x, &at, 1000)) {
        }
        index_finish(&x);
    }
    // What an aborted frame holds is nobody's: a start reads it before it knows, the check does
    // not.
    must(r.misfits == 0 || report->states[CHECK_ABORTED_FRAME] > 0);
    must(report->letters == s->live_letters && report->live_bytes == s->live_bytes);
    must(report->recipients[SPOOL_WAITING] + report->recipients[SPOOL_HELD] == s->live_recipients);
    log_close(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct spool_options options = {.segment_size = SEGMENT, .large_body = SEGMENT};
    struct check_report report = {.found = found};
    struct place place;
    struct log log;
    struct err err;
    struct str script = str_from(data, size);
    log_write(&log, &script);
    strike(&log, script);
    write_files(&place, &log);
    must(spool_check(place.dir, &options, &report, &err));
    if (check_damage(&report) == 0)
        compare(&report, &log);
    remove_files(&place, &log);
    log_free(&log);
    return 0;
}
