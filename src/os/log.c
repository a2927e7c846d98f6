#define _GNU_SOURCE
#include "os/log.h"

#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/seam.h"

enum {
    GATHERED = 1 << 20, // bytes of events that one turn may gather before they are written
    LINE = 4096,        // of a line for people, before escaping
    CLIPPED = 64,       // what is kept of each field of an event that would not fit its line
};

// The process's one sink: the only mutable global of the project.
static struct {
    struct str role;
    struct loop *loop;
    int events;
    enum log_level level;
    bool failing; // the last write of events failed: told once
    bool half;    // the file ends within a line, whose rest is the first line of `gathered`
    struct buf gathered;
    struct turn_hook flush;
    uint64_t second; // of `stamp`
    char stamp[32];  // "2026-11-21T23:30:35", made once a second
} sink = {.events = -1, .level = LOG_INFO};

// ---- lines for people

void log_line(enum log_level level, const char *fmt, ...)
{
    struct buf raw, line;
    va_list args;
    if (level < sink.level)
        return;
    buf_init(&raw, LINE);
    buf_init(&line, 4 * LINE + 128);
    va_start(args, fmt);
    buf_vputf(&raw, fmt, args);
    va_end(args);
    buf_put(&line, STR("posthouse: "));
    if (sink.role.len)
        buf_putf(&line, "%.*s: ", STR_ARG(sink.role));
    if (buf_ok(&raw))
        buf_put_escaped(&line, buf_str(&raw));
    else
        buf_put(&line, STR("(a message too long to be told)"));
    buf_put_byte(&line, '\n');
    // One write: lines of several processes do not mix. There is nobody to tell of an error.
    ssize_t n = write(STDERR_FILENO, line.ptr, line.len);
    (void)n;
    buf_finish(&raw);
    buf_finish(&line);
}

// ---- events

static const struct event_row {
    const char *name;
    enum log_level level;
} events[] = {
#define EVENT(name, level, meaning) {#name, LOG_##level},
#include "os/events.def"
#undef EVENT
};

// clang-format off
static const struct text_field {
    const char *name;
    size_t offset;
} text_fields[] = {
    {"id",         offsetof(struct log_event, id)},
    {"session",    offsetof(struct log_event, session)},
    {"peer",       offsetof(struct log_event, peer)},
    {"host",       offsetof(struct log_event, host)},
    {"helo",       offsetof(struct log_event, helo)},
    {"from",       offsetof(struct log_event, from)},
    {"to",         offsetof(struct log_event, to)},
    {"message_id", offsetof(struct log_event, message_id)},
    {"user",       offsetof(struct log_event, user)},
    {"text",       offsetof(struct log_event, text)},
    {"rule",       offsetof(struct log_event, rule)},
};
// clang-format on

static void put_time(struct json *j)
{
    char text[48];
    uint64_t now = os_wall_ms(), second = now / 1000;
    if (second != sink.second || !sink.stamp[0]) {
        time_t t = (time_t)second;
        struct tm tm;
        must(gmtime_r(&t, &tm));
        must(strftime(sink.stamp, sizeof(sink.stamp), "%Y-%m-%dT%H:%M:%S", &tm) > 0);
        sink.second = second;
    }
    int n = snprintf(text, sizeof(text), "%s.%03uZ", sink.stamp, (unsigned)(now % 1000));
    json_name(j, "time");
    json_put_string(j, str_from(text, (size_t)n));
}

static void put_number(struct json *j, const char *name, uint64_t value)
{
    if (!value)
        return;
    json_name(j, name);
    json_put_int(j, value < INT64_MAX ? (int64_t)value : INT64_MAX);
}

// One object, one line. A text longer than `longest` is cut there.
static void put_event(struct buf *out, const struct log_event *event, size_t longest)
{
    struct json j;
    bool clipped = false;
    json_begin(&j, out);
    json_open_object(&j);
    put_time(&j);
    json_name(&j, "event");
    json_put_string(&j, str_of(events[event->name].name));
    json_name(&j, "role");
    json_put_string(&j, sink.role);
    for (size_t i = 0; i < ARRAY_LEN(text_fields); i++) {
        struct str value;
        memcpy(&value, (const char *)event + text_fields[i].offset, sizeof(value));
        if (!value.len)
            continue;
        clipped = clipped || value.len > longest;
        json_name(&j, text_fields[i].name);
        json_put_string(&j, str_sub(value, 0, longest));
    }
    put_number(&j, "code", event->code);
    put_number(&j, "size", event->size);
    put_number(&j, "attempts", event->attempts);
    put_number(&j, "delay_ms", event->delay_ms);
    if (clipped) {
        json_name(&j, "clipped");
        json_put_bool(&j, true);
    }
    json_close_object(&j);
    buf_put_byte(out, '\n');
}

// What is written leaves `gathered`, also before an error. Recorded in no trace: what a crash
// leaves of the log is no promise of the spool's.
static int write_events(void)
{
    while (sink.gathered.len) {
        struct str bytes = buf_str(&sink.gathered);
        size_t n;
        int64_t r = SEAM_MOVE(write, n, bytes.len, write(sink.events, bytes.ptr, n));
        if (r <= 0)
            return r < 0 ? (int)r : -EIO;
        sink.half = bytes.ptr[r - 1] != '\n';
        buf_drop(&sink.gathered, (size_t)r);
    }
    return 0;
}

// Nothing can be taken out of the file again (a role may only append), so a line that was begun is
// ended when there is room.
static void lose_events(void)
{
    sink.gathered.len = sink.half ? str_index(buf_str(&sink.gathered), '\n') + 1 : 0;
}

void log_flush(void)
{
    loop_cancel_hook(&sink.flush);
    if (!sink.gathered.len)
        return;
    int r = sink.events >= 0 ? write_events() : 0;
    if (r < 0 && !sink.failing)
        log_line(LOG_ERROR, "events are lost: writing the event log: %s", strerror(-r));
    sink.failing = r < 0;
    lose_events();
}

static void flush_at_turn_end(struct turn_hook *hook)
{
    (void)hook;
    log_flush();
}

// The line at the end of what is gathered; undone and false when it is longer than it may be.
static bool gather(const struct log_event *event, size_t longest)
{
    size_t before = sink.gathered.len;
    put_event(&sink.gathered, event, longest);
    if (buf_ok(&sink.gathered) && sink.gathered.len - before <= LIMIT_event_line)
        return true;
    sink.gathered.len = before;
    sink.gathered.overflow = false;
    return false;
}

void log_event(const struct log_event *event)
{
    if (sink.events < 0 || events[event->name].level < sink.level)
        return;
    if (GATHERED - sink.gathered.len < LIMIT_event_line)
        log_flush();
    if (!gather(event, LIMIT_event_line))
        must(gather(event, CLIPPED));
    if (sink.loop)
        loop_at_turn_end(sink.loop, &sink.flush);
    else
        log_flush();
}

// ---- the sink

void log_start(const char *role, struct loop *loop, int events_fd)
{
    log_flush();
    buf_finish(&sink.gathered);
    buf_init(&sink.gathered, GATHERED);
    sink.role = str_of(role);
    sink.loop = loop;
    sink.events = events_fd;
    sink.failing = sink.half = false;
    sink.flush.run = flush_at_turn_end;
}

void log_set_events(int events_fd)
{
    log_flush();
    buf_clear(&sink.gathered);
    os_close(&sink.events);
    sink.events = events_fd;
    sink.failing = sink.half = false;
}

void log_set_level(enum log_level level)
{
    sink.level = level;
}
