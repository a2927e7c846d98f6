// libunbound speaks through an event loop of whoever calls it (unbound-event.h): the first half of
// this file is that, over os/loop.h. Its callbacks may come within ub_resolve_event; from inside of
// one, nothing is asked. A wrong signature comes with rcode 0: look at `sec`.
#include "dns/resolve.h"

#include <errno.h>
#include <sys/time.h>
#include <unbound.h>

#include <unbound-event.h>

#include "base/limits.h"
#include "os/file.h"
#include "os/log.h"

enum { WAYS_MAX = 4, CLASS_IN = 1 };

// ---- the loop, as libunbound sees it

struct base {
    struct ub_event_base super; // first: libunbound knows no more
    struct loop *loop;
};

struct event {
    struct ub_event super;
    struct loop *loop;
    struct watch watch;
    struct timer timer;
    bool watched;
    short bits; // UB_EV_*
    void (*callback)(int fd, short bits, void *argument);
    void *argument;
};

static struct event *event_of(struct ub_event *super)
{
    return CONTAINER_OF(super, struct event, super);
}

static void add_bits(struct ub_event *super, short bits)
{
    event_of(super)->bits |= bits;
}

static void remove_bits(struct ub_event *super, short bits)
{
    struct event *e = event_of(super);
    e->bits = (short)(e->bits & ~bits);
}

static void set_fd(struct ub_event *super, int fd)
{
    event_of(super)->watch.fd = fd;
}

static int stop_timer(struct ub_event *super)
{
    struct event *e = event_of(super);
    loop_cancel_timer(e->loop, &e->timer);
    return 0;
}

static int stop(struct ub_event *super)
{
    struct event *e = event_of(super);
    if (e->watched)
        loop_remove(e->loop, &e->watch);
    e->watched = false;
    return stop_timer(super);
}

static void free_event(struct ub_event *super)
{
    (void)stop(super);
    free(event_of(super));
}

static void set_timer(struct event *e, const struct timeval *wait)
{
    uint64_t ms = (uint64_t)wait->tv_sec * 1000 + ((uint64_t)wait->tv_usec + 999) / 1000;
    loop_set_timer(e->loop, &e->timer, ms);
}

static int start(struct ub_event *super, struct timeval *wait)
{
    struct event *e = event_of(super);
    unsigned events =
        (e->bits & UB_EV_READ ? LOOP_READ : 0u) | (e->bits & UB_EV_WRITE ? LOOP_WRITE : 0u);
    struct err err;
    (void)stop(super);
    if (wait && (e->bits & UB_EV_TIMEOUT))
        set_timer(e, wait);
    if (e->watch.fd >= 0 && events) {
        if (!loop_add(e->loop, &e->watch, events, &err))
            return -1;
        e->watched = true;
    }
    return 0;
}

static int start_timer(struct ub_event *super, struct ub_event_base *base,
                       void (*callback)(int, short, void *), void *argument, struct timeval *wait)
{
    struct event *e = event_of(super);
    (void)base;
    e->callback = callback;
    e->argument = argument;
    set_timer(e, wait);
    return 0;
}

static int no_signals(struct ub_event *super, struct timeval *wait)
{
    (void)super;
    (void)wait;
    return -1;
}

static int no_signal(struct ub_event *super)
{
    (void)super;
    return -1;
}

// The event may be gone when the callback returns.
static void call(struct event *e, short bits)
{
    if (!(e->bits & UB_EV_PERSIST))
        (void)stop(&e->super);
    e->callback(e->watch.fd, bits, e->argument);
}

static void ready(struct watch *watch, unsigned events)
{
    struct event *e = CONTAINER_OF(watch, struct event, watch);
    int bits = (events & (LOOP_READ | LOOP_HANGUP) ? UB_EV_READ : 0) |
               (events & (LOOP_WRITE | LOOP_HANGUP) ? UB_EV_WRITE : 0);
    if (bits & e->bits)
        call(e, (short)(bits & e->bits));
}

static void fire(struct timer *timer)
{
    call(CONTAINER_OF(timer, struct event, timer), UB_EV_TIMEOUT);
}

static const struct ub_event_vmt event_calls = {.add_bits = add_bits,
                                                .del_bits = remove_bits,
                                                .set_fd = set_fd,
                                                .free = free_event,
                                                .add = start,
                                                .del = stop,
                                                .add_timer = start_timer,
                                                .del_timer = stop_timer,
                                                .add_signal = no_signals,
                                                .del_signal = no_signal};

static struct ub_event *new_event(struct ub_event_base *base, int fd, short bits,
                                  void (*callback)(int, short, void *), void *argument)
{
    struct event *e = calloc(1, sizeof *e);
    must(e != NULL);
    *e = (struct event){.super = {UB_EVENT_MAGIC, (struct ub_event_vmt *)(uintptr_t)&event_calls},
                        .loop = CONTAINER_OF(base, struct base, super)->loop,
                        .watch = {.fd = fd, .ready = ready},
                        .timer = {.fire = fire},
                        .bits = bits,
                        .callback = callback,
                        .argument = argument};
    return &e->super;
}

static int no_exit(struct ub_event_base *base, struct timeval *wait)
{
    (void)base;
    (void)wait;
    return -1;
}

static const struct ub_event_base_vmt base_calls = {.loopexit = no_exit, .new_event = new_event};

// ---- the ways that questions may go

// One of them, with libunbound's context for it. The first whose probe goes well is taken.
struct way {
    struct resolve *resolve;
    struct ub_ctx *context;
    const char *text;
    bool checks;     // signatures
    bool servers;    // of resolv.conf
    bool configured; // by dns.server
    enum { UNKNOWN, WORKS, FAILS } state;
    struct resolve_question probe;
};

struct resolve {
    struct base base;
    uint64_t timeout_ms;
    struct str anchored; // a name that the keys are of
    struct way ways[WAYS_MAX];
    size_t way_count;
    const struct way *way; // NULL until it is decided
    bool probing;
    struct turn_hook decision;
    struct link waiting; // questions until then
    struct arena process;
};

// ---- one question

static void answer(struct resolve_question *q, const struct dns_reply *reply)
{
    q->context = NULL;
    loop_cancel_timer(q->resolve->base.loop, &q->patience);
    q->answered(q, reply);
}

static void on_answer(void *mine, int rcode, void *packet, int len, int sec, char *why, int limited)
{
    // libunbound: 0 not signed, 1 wrong, 2 right.
    static const enum dns_security securities[] = {DNS_INSECURE, DNS_BOGUS, DNS_SECURE};
    struct dns_reply reply = {.packet = STR("")};
    (void)why; // told by the verdict; it names servers and keys that are no business of a sender
    if (rcode != 0)
        reply.trouble = limited ? "too many questions" : "the name servers failed";
    else
        reply.packet = str_from(packet, (size_t)len);
    if (sec >= 0 && sec < (int)ARRAY_LEN(securities))
        reply.security = securities[sec];
    answer(mine, &reply);
}

static void out_of_patience(struct timer *timer)
{
    struct resolve_question *q = CONTAINER_OF(timer, struct resolve_question, patience);
    (void)ub_cancel(q->context, q->id);
    answer(q, &(struct dns_reply){.trouble = "no answer in time"});
}

static void send_to(struct ub_ctx *context, struct resolve_question *q)
{
    int id = 0;
    q->context = context;
    q->patience.fire = out_of_patience;
    loop_set_timer(q->resolve->base.loop, &q->patience, q->resolve->timeout_ms);
    int rc = ub_resolve_event(context, q->name.ptr, (int)q->type, CLASS_IN, q, on_answer, &id);
    if (rc != 0 && q->context)
        answer(q, &(struct dns_reply){.trouble = "this cannot be asked"});
    else if (q->context) // else it is answered already
        q->id = id;
}

// ---- which way?

static void take_way(struct resolve *r, const struct way *way)
{
    struct link *first;
    r->way = way;
    if (!way->checks)
        log_line(LOG_WARNING,
                 "DNS by %s, with no signature checked (DNSSEC): no keys, or answers without "
                 "signatures",
                 way->text);
    while ((first = list_pop(&r->waiting)))
        send_to(way->context, CONTAINER_OF(first, struct resolve_question, link));
}

// The first that works, once those before it failed; the last is taken when none does.
static void decide(struct turn_hook *hook)
{
    struct resolve *r = CONTAINER_OF(hook, struct resolve, decision);
    for (size_t i = 0; i < r->way_count && !r->way; i++) {
        bool last = i + 1 == r->way_count; // not probed
        if (r->ways[i].state == UNKNOWN && !last)
            return;
        if (r->ways[i].state == WORKS || last)
            take_way(r, &r->ways[i]);
    }
}

// ---- making them

struct option {
    const char *name, *value;
};

static bool fail(struct err *err, const char *what, int code)
{
    return err_set(err, ERR_TRY_LATER, STATUS(4, 4, 3), "libunbound: %s: %s", what,
                   ub_strerror(code));
}

static bool set_options(struct ub_ctx *context, struct err *err)
{
    static const struct option options[] = {
        {"do-not-query-localhost:", "no"},
        {"num-queries-per-thread:", "2048"},
        {"outgoing-range:", "512"},
        {"msg-cache-size:", "8m"},
        {"rrset-cache-size:", "16m"},
        // A server that was away is asked again soon.
        {"infra-host-ttl:", "60"},
        {"infra-keep-probing:", "yes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        int rc = ub_ctx_set_option(context, options[i].name, options[i].value);
        if (rc)
            return fail(err, options[i].name, rc);
    }
    return true;
}

// False with *usable unset: there is no resolv.conf, which is no error.
static bool set_servers(struct way *way, const char *server, bool *usable, struct err *err)
{
    int rc = 0;
    *usable = true;
    if (server)
        rc = ub_ctx_set_fwd(way->context, server);
    else if (way->servers)
        *usable = ub_ctx_resolvconf(way->context, NULL) == 0;
    return rc == 0 || fail(err, server, rc);
}

// The last calls settle the context, with all files read. With a server of its own, which may be a
// test's, `test.` is asked there: libunbound would answer that itself (RFC 6761).
static bool open_way(struct way *way, const char *server, const char *anchor, bool *usable,
                     struct err *err)
{
    way->context = ub_ctx_create_ub_event(&way->resolve->base.super);
    must(way->context != NULL);
    if (!set_options(way->context, err) || !set_servers(way, server, usable, err))
        return false;
    int rc = way->checks ? ub_ctx_add_ta_file(way->context, anchor) : 0;
    if (rc == 0)
        rc = ub_ctx_zone_remove(way->context, server ? "test." : "none.invalid.");
    return rc == 0 || fail(err, "opening it", rc);
}

// In the order in which they are preferred.
static const struct way all_ways[] = {
    {.text = "the configured server", .configured = true, .checks = true},
    {.text = "the configured server", .configured = true},
    {.text = "the zones' servers", .checks = true},
    {.text = "the servers of resolv.conf", .servers = true, .checks = true},
    {.text = "the zones' servers"},
    {.text = "the servers of resolv.conf", .servers = true},
};

// Keys that cannot be used are no reason not to start: then nothing is checked.
static bool add_way(struct resolve *r, struct way way, const char *server, const char *anchor,
                    struct err *err)
{
    struct way *to = &r->ways[r->way_count];
    struct err why;
    bool usable = true;
    must(r->way_count < WAYS_MAX);
    *to = way;
    to->resolve = r;
    bool ok = open_way(to, server, anchor, &usable, &why);
    if (ok && usable) {
        r->way_count++;
        return true;
    }
    ub_ctx_delete(to->context);
    if (!ok && !way.checks)
        *err = why;
    else if (!ok)
        log_line(LOG_WARNING, "%s: %s", anchor, why.text);
    return ok || way.checks;
}

// The first name in the file of keys: what a probe asks for. False: there is none.
static bool read_anchor(struct resolve *r, const char *path)
{
    struct buf text;
    struct str rest, line, name = STR("");
    buf_init(&text, LIMIT_config_file);
    int rc = os_read_file(OS_HERE, path, &text);
    if (rc < 0 && rc != -ENOENT)
        log_line(LOG_WARNING, "%s: %s", path, strerror(-rc));
    rest = rc < 0 ? STR("") : buf_str(&text);
    while (!name.len && str_cut(&rest, '\n', &line)) {
        line = str_trim(line);
        size_t blank = str_index(line, ' '), tab = str_index(line, '\t');
        if (line.len && line.ptr[0] != ';')
            name = str_sub(line, 0, blank < tab ? blank : tab);
    }
    bool there = name.len > 0 && arena_copy(&r->process, name, &r->anchored);
    buf_finish(&text);
    return there;
}

bool resolve_open(struct resolve **resolve, struct loop *loop,
                  const struct resolve_options *options, struct err *err)
{
    struct resolve *r = calloc(1, sizeof *r);
    struct str server, anchor;
    must(r != NULL);
    arena_init(&r->process, LIMIT_config_file);
    must(arena_copy(&r->process, options->server, &server) &&
         arena_copy(&r->process, options->trust_anchor, &anchor));
    r->base.super =
        (struct ub_event_base){UB_EVENT_MAGIC, (struct ub_event_base_vmt *)(uintptr_t)&base_calls};
    r->base.loop = loop;
    r->timeout_ms = options->timeout_ms;
    r->decision.run = decide;
    list_init(&r->waiting);
    *resolve = r;
    bool keys = read_anchor(r, anchor.ptr), ok = true;
    for (size_t i = 0; ok && i < ARRAY_LEN(all_ways); i++)
        if ((server.len > 0) == all_ways[i].configured && (keys || !all_ways[i].checks))
            ok = add_way(r, all_ways[i], server.len ? server.ptr : NULL, anchor.ptr, err);
    return ok;
}

// ---- asking

static void probed(struct resolve_question *q, const struct dns_reply *reply)
{
    struct way *way = CONTAINER_OF(q, struct way, probe);
    bool works = !reply->trouble && (!way->checks || reply->security == DNS_SECURE);
    way->state = works ? WORKS : FAILS;
    loop_at_turn_end(way->resolve->base.loop, &way->resolve->decision);
}

static void probe(struct resolve *r)
{
    r->probing = true;
    for (size_t i = 0; i + 1 < r->way_count; i++) {
        struct way *way = &r->ways[i];
        way->probe = (struct resolve_question){
            .name = way->checks ? r->anchored : STR("."),
            .type = way->checks ? DNS_DNSKEY : DNS_NS,
            .answered = probed,
            .resolve = r,
        };
        send_to(way->context, &way->probe);
    }
    loop_at_turn_end(r->base.loop, &r->decision);
}

void resolve_ask(struct resolve *r, struct resolve_question *q)
{
    q->resolve = r;
    q->context = NULL;
    q->link = (struct link){NULL, NULL};
    q->patience = (struct timer){.due_ms = 0};
    if (r->way) {
        send_to(r->way->context, q);
        return;
    }
    list_append(&r->waiting, &q->link);
    if (!r->probing)
        probe(r);
}
