// Makes a spool of many letters, through the store's own API: see bench/README.md.
//
//     spool_fill DIR NAME=NUMBER... TO
//
// Prints one JSON object: what the spool holds then, and what was written for it.
#include <inttypes.h>
#include <stdio.h>

#include "base/limits.h"
#include "mail/envelope.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/random.h"
#include "store/spool.h"

enum { BATCH = 2000, LATER_S = 3600, BODY_LEAST = 64, RECIPIENTS_MOST = 10000, SETTLE_TURNS = 200 };

struct options {
    uint64_t letters;
    uint64_t body;       // octets of each
    uint64_t recipients; // of each: TO, again and again
    uint64_t ended;      // of ten letters so many are delivered at once
    uint64_t due;        // 1: the first attempt is due; 0: it was made, the next is an hour ahead
};

struct fill {
    struct options options;
    struct address *to; // options.recipients
    struct loop *loop;
    struct spool *spool;
    struct arena process, transaction;
    struct buf body;
    uint8_t base[10];
    uint64_t added, body_bytes;
    uint64_t segments_most; // before compaction had its time
    struct spool_waiter waiter;
    bool told;
};

static void told(struct spool_waiter *waiter, bool durable)
{
    must(durable); // a measurement with half of its letters is none
    CONTAINER_OF(waiter, struct fill, waiter)->told = true;
}

static void turn(struct fill *f, uint64_t wait_ms)
{
    struct err err;
    bool ok = loop_turn(f->loop, wait_ms, &err);
    must(ok);
}

static void wait_until_durable(struct fill *f, bool states)
{
    f->told = false;
    f->waiter = (struct spool_waiter){.for_states = states, .done = told};
    spool_wait(f->spool, &f->waiter);
    while (!f->told)
        turn(f, 1000);
}

static void put_body(struct fill *f, uint64_t number)
{
    buf_clear(&f->body);
    buf_putf(&f->body, "Subject: %" PRIu64 "\r\n\r\n", number);
    while (f->body.len + 2 < f->options.body)
        buf_put_byte(&f->body, (char)('a' + f->body.len % 26));
    buf_put(&f->body, STR("\r\n"));
}

// NULL: the batch is full.
static struct spool_letter *add(struct fill *f)
{
    struct spool_letter *letter;
    struct buf bytes;
    struct err err;
    struct envelope envelope = {.id = mail_id_make(os_wall_ms(), f->base, f->added),
                                .arrived_ms = os_wall_ms(),
                                .client = STR("192.0.2.1"),
                                .helo = STR("bench.example"),
                                .session = STR("bench"),
                                .recipients = f->to,
                                .recipient_count = (uint32_t)f->options.recipients};
    buf_init(&bytes, LIMIT_envelope);
    envelope_put(&bytes, &envelope);
    put_body(f, f->added);
    const struct str pieces[] = {buf_str(&bytes), buf_str(&f->body)};
    const struct spool_submission submission = {.id = envelope.id,
                                                .pieces = pieces,
                                                .piece_count = ARRAY_LEN(pieces),
                                                .envelope_size = (uint32_t)bytes.len};
    enum spool_added how =
        spool_add(f->spool, &submission, &f->transaction, &envelope, &letter, &err);
    must(how == SPOOL_ADDED || how == SPOOL_FULL);
    buf_finish(&bytes);
    arena_reset(&f->transaction);
    if (how == SPOOL_FULL)
        return NULL;
    f->added++;
    f->body_bytes += f->body.len;
    return letter;
}

static void set_state(struct fill *f, struct spool_letter *letter, bool ends)
{
    uint32_t now_s = (uint32_t)(os_wall_ms() / 1000);
    if (f->options.due && !ends)
        return; // as it is
    for (uint32_t i = 0; i < letter->recipient_count; i++) {
        letter->recipients[i].attempts = !ends;
        spool_set_state(f->spool, letter, i, ends ? SPOOL_DELIVERED : SPOOL_WAITING,
                        ends ? now_s : now_s + LATER_S,
                        ends ? STR("") : STR("deferred by spool_fill"));
    }
}

// Compaction goes on behind the last letter: until nothing has changed for a while.
static void settle(struct fill *f)
{
    struct spool_counts c;
    uint64_t moved = 0, segments = 0;
    spool_count(f->spool, &c);
    f->segments_most = c.segments;
    for (int quiet = 0; quiet < SETTLE_TURNS; quiet++) {
        turn(f, 5);
        spool_count(f->spool, &c);
        if (c.moved != moved || c.segments != segments)
            quiet = 0;
        moved = c.moved;
        segments = c.segments;
    }
}

static void fill(struct fill *f)
{
    static struct spool_letter *letters[BATCH];
    while (f->added < f->options.letters) {
        uint64_t first = f->added;
        size_t count = 0;
        while (count < BATCH && f->added < f->options.letters && (letters[count] = add(f)) != NULL)
            count++;
        wait_until_durable(f, false);
        for (size_t i = 0; i < count; i++)
            set_state(f, letters[i], (first + i) % 10 < f->options.ended);
    }
    wait_until_durable(f, true);
    settle(f);
}

static void report(struct fill *f, uint64_t begin_us)
{
    struct spool_counts c;
    spool_count(f->spool, &c);
    printf("{\"letters\":%" PRIu64 ",\"letter_bytes\":%" PRIu64 ",\"live_bytes\":%" PRIu64
           ",\"segments\":%" PRIu64 ",\"segments_most\":%" PRIu64
           ",\"segment_bytes\":%d,\"written_bytes\":%" PRIu64 ",\"moved\":%" PRIu64
           ",\"commits\":%" PRIu64 ",\"seconds\":%.3f}\n",
           c.letters, f->body_bytes, c.live_bytes, c.segments, f->segments_most, LIMIT_segment,
           c.committed_bytes, c.moved, c.commits, (double)(os_monotonic_us() - begin_us) / 1e6);
}

static bool take_option(struct options *o, struct str text)
{
    struct str name;
    const struct {
        struct str name;
        uint64_t *value;
    } names[] = {
        {STR("letters"), &o->letters}, {STR("body"), &o->body}, {STR("recipients"), &o->recipients},
        {STR("ended"), &o->ended},     {STR("due"), &o->due},
    };
    if (!str_cut(&text, '=', &name))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(name, names[i].name))
            return str_to_u64(text, names[i].value);
    return false;
}

static bool possible(const struct options *o)
{
    return o->body >= BODY_LEAST && o->body <= LIMIT_large_body && o->recipients >= 1 &&
           o->recipients <= RECIPIENTS_MOST;
}

static bool read_recipients(struct fill *f, struct str text, struct err *err)
{
    f->to = arena_alloc_array(&f->process, f->options.recipients, sizeof *f->to);
    must(f->to != NULL);
    if (!address_read(text, &f->process, &f->to[0], err))
        return false;
    for (uint64_t i = 1; i < f->options.recipients; i++)
        f->to[i] = f->to[0];
    return true;
}

static bool open_spool(struct fill *f, const char *path, struct err *err)
{
    const struct spool_options options = {.segment_size = LIMIT_segment,
                                          .large_body = LIMIT_large_body};
    int dir = os_open_directory(OS_HERE, path); // as long as the process
    if (dir < 0)
        return err_system(err, dir, "%s", path);
    return loop_open(&f->loop, err) && spool_open(&f->spool, dir, &options, err) &&
           spool_begin(f->spool, f->loop, err);
}

int main(int argc, char **argv)
{
    struct fill f = {.options = {.letters = 1000000, .body = 512, .recipients = 1}};
    struct err err;
    uint64_t begin_us = os_monotonic_us();
    bool ok = argc > 2;
    for (int i = 2; ok && i < argc - 1; i++)
        ok = take_option(&f.options, str_of(argv[i]));
    if (!ok || !possible(&f.options)) {
        fprintf(stderr, "usage: spool_fill DIR [letters=N] [body=OCTETS] [recipients=N] [ended=N] "
                        "[due=1] TO\n");
        return 64;
    }
    os_random(f.base, sizeof f.base);
    arena_init(&f.process, 16 * (size_t)LIMIT_envelope);
    arena_init(&f.transaction, 4 * (size_t)LIMIT_envelope);
    buf_init(&f.body, LIMIT_large_body);
    if (!read_recipients(&f, str_of(argv[argc - 1]), &err) || !open_spool(&f, argv[1], &err)) {
        fprintf(stderr, "spool_fill: %s\n", err.text);
        return 1;
    }
    fill(&f);
    report(&f, begin_us);
    spool_close(&f.spool);
    loop_close(&f.loop);
    buf_finish(&f.body);
    arena_finish(&f.transaction);
    arena_finish(&f.process);
    return 0;
}
