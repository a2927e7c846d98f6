// The log: lines for people on standard error, and events for programs: one JSON object a line in
// log/events.jsonl. The supervisor opens the file and hands each role a descriptor that can only
// append; a role writes whole lines, gathered over one loop turn. Where the disk is full, events
// are missing, never parts of one.
#ifndef OS_LOG_H
#define OS_LOG_H

#include "base/err.h"
#include "base/str.h"
#include "os/loop.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

// The process's one sink (the only mutable global of the project). `events` < 0: no event file.
// The loop may be NULL (tools): then events are written at once. `role` stays the caller's; NULL
// for the command itself. `events` is taken over.
void log_start(const char *role, struct loop *loop, int events);
void log_set_events(int events); // after a rotation; the old descriptor is closed
void log_set_level(enum log_level level);
void log_flush(void);

// "posthouse: ROLE: text", in one write; from any thread. What came from outside is passed by %.*s
// and comes out escaped.
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

// The events: os/events.def holds name, level, meaning; docs/log.md is made from it.
enum log_event_name {
#define EVENT(name, level, meaning) EVENT_##name,
#include "os/events.def"
#undef EVENT
    EVENT_COUNT,
};

// Fields of one event. An empty str and a 0 number are left out.
struct log_event {
    enum log_event_name name;
    struct str id;      // queue id
    struct str session; // session id
    struct str peer;    // address of the other end, without its port
    struct str helo;
    struct str host; // name of the host at the other end, where we were the client
    struct str from; // reverse-path
    struct str to;   // recipient
    struct str message_id;
    struct str user;
    struct str text; // reply or reason
    struct str rule; // which rule decided
    unsigned code;   // reply code
    uint64_t size;
    uint64_t attempts;
    uint64_t delay_ms;
};
// From the loop's thread. An event whose line would pass LIMIT_event_line has its texts cut to 64
// octets and a field "clipped": true.
void log_event(const struct log_event *event);

#endif
