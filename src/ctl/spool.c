// posthouse spool check.
#include <inttypes.h>

#include "base/json.h"
#include "base/limits.h"
#include "ctl/identity.h"
#include "os/file.h"
#include "store/check.h"

enum { OUT_PIECE = 32768 };

struct spool_report {
    struct check_report report;
    struct command *command;
    struct json json;
};

static void put_piece(struct spool_report *r)
{
    if (r->command->out.len >= OUT_PIECE && !command_flush(r->command))
        r->report.found = NULL; // nobody reads on
}

static void put_line(struct check_report *report, const struct check_finding *finding)
{
    struct spool_report *r = CONTAINER_OF(report, struct spool_report, report);
    const struct check_fact *fact = check_fact(finding->state);
    buf_putf(&r->command->out, "%s at %" PRIu64 ": %s %d, %s (%s); a start: %s\n", finding->file,
             finding->offset, fact->kind == CHECK_DAMAGE ? "DAMAGE, state" : "state",
             (int)finding->state, fact->on_disk, finding->detail, fact->start);
    put_piece(r);
}

static void name_text(struct json *j, const char *name, const char *text)
{
    json_name(j, name);
    json_put_string(j, str_of(text));
}

static void name_number(struct json *j, const char *name, uint64_t number)
{
    json_name(j, name);
    json_put_int(j, (int64_t)number);
}

static void put_object(struct check_report *report, const struct check_finding *finding)
{
    struct spool_report *r = CONTAINER_OF(report, struct spool_report, report);
    const struct check_fact *fact = check_fact(finding->state);
    struct json *j = &r->json;
    json_open_object(j);
    name_text(j, "file", finding->file);
    name_number(j, "offset", finding->offset);
    name_number(j, "state", finding->state);
    json_name(j, "damage");
    json_put_bool(j, fact->kind == CHECK_DAMAGE);
    name_text(j, "on_disk", fact->on_disk);
    name_text(j, "detail", finding->detail);
    name_text(j, "start", fact->start);
    json_close_object(j);
    put_piece(r);
}

static const char *const states[] = {
    [SPOOL_WAITING] = "waiting", [SPOOL_HELD] = "held",     [SPOOL_DELIVERED] = "delivered",
    [SPOOL_DROPPED] = "dropped", [SPOOL_FAILED] = "failed",
};

static void put_summary(struct buf *out, const struct check_report *report)
{
    buf_putf(out, "letters: %" PRIu64 "\nrecipients:", report->letters);
    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        buf_putf(out, "%s %" PRIu64 " %s", i ? "," : "", report->recipients[i], states[i]);
    buf_putf(out, "\nsegments: %" PRIu64 ", %" PRIu64 " free\noctets live: %" PRIu64 "\nstates:",
             report->segments, report->free_segments, report->live_bytes);
    for (int i = 1; i < CHECK_STATES; i++)
        if (report->states[i])
            buf_putf(out, " %d (%" PRIu64 ")", i, report->states[i]);
    buf_putf(out, "\ndamaged places: %" PRIu64 "\n", check_damage(report));
}

static void end_json(struct json *j, const struct check_report *report)
{
    char number[8];
    json_close_array(j);
    name_number(j, "letters", report->letters);
    json_name(j, "recipients");
    json_open_object(j);
    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        name_number(j, states[i], report->recipients[i]);
    json_close_object(j);
    name_number(j, "segments", report->segments);
    name_number(j, "free_segments", report->free_segments);
    name_number(j, "live", report->live_bytes);
    json_name(j, "states");
    json_open_object(j);
    for (int i = 1; i < CHECK_STATES; i++) {
        snprintf(number, sizeof number, "%d", i);
        if (report->states[i])
            name_number(j, number, report->states[i]);
    }
    json_close_object(j);
    name_number(j, "damage", check_damage(report));
    json_close_object(j);
    buf_put_byte(j->out, '\n');
}

static int check(struct command *c, int dir)
{
    const struct spool_options options = {.segment_size = LIMIT_segment,
                                          .large_body = LIMIT_large_body};
    struct spool_report r = {.report.found = c->json ? put_object : put_line, .command = c};
    struct err err;
    if (c->json) {
        json_begin(&r.json, &c->out);
        json_open_object(&r.json);
        json_name(&r.json, "findings");
        json_open_array(&r.json);
    }
    if (!spool_check(dir, &options, &r.report, &err)) {
        buf_clear(&c->out);
        return command_error(c, &err);
    }
    if (c->json)
        end_json(&r.json, &r.report);
    else
        put_summary(&c->out, &r.report);
    return check_damage(&r.report) ? EXIT_FAILED : EXIT_DONE;
}

int spool_check_command(struct command *c)
{
    struct str path;
    if (!arena_copy(c->arena, c->conf->spool_dir, &path))
        return command_fail(c, "the spool directory's name is too long");
    // As the queue does: the way there may be root's, what stands in it is the user's.
    int dir = os_open_directory(OS_HERE, path.ptr);
    if (dir < 0)
        return command_later(c, "%s: %s", path.ptr, strerror(-dir));
    int code = identity_take(c);
    if (code == EXIT_DONE)
        code = check(c, dir);
    os_close(&dir);
    return code;
}
