// Recovery of segments in memory. All of a scripted log is obeyed as at a start, and the books must
// agree: each counter says what the letters say.
#include "log_script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_damage(const struct segment_index *x)
{
    for (size_t i = 0; i < x->damage_count; i++) {
        must(x->damage[i].from >= SEGMENT_BLOCK && x->damage[i].from < x->damage[i].to);
        must(x->damage[i].to <= SEGMENT);
    }
    must(x->end >= SEGMENT_BLOCK && x->end <= SEGMENT);
}

static void check_books(struct spool *s, const struct log *log)
{
    uint64_t letters = 0, recipients = 0;
    size_t all = 0;
    for (size_t i = 0; i < log->count; i++) {
        const struct segment *seg = &log->segments[i];
        uint32_t live = 0;
        LIST_EACH(&seg->letters, at, after)
        {
            const struct spool_letter *l = CONTAINER_OF(at, struct spool_letter, link);
            uint32_t pending = 0;
            for (uint32_t k = 0; k < l->recipient_count; k++)
                pending += l->recipients[k].state < SPOOL_DELIVERED;
            must(pending == l->pending && l->segment == seg && l->recipient_count > 0);
            must(spool_find(s, &l->id) == l);
            must((uint64_t)l->offset + l->envelope_size <= SEGMENT);
            live += pending > 0;
            recipients += pending;
            all++;
        }
        must(seg->live == live);
        letters += live;
    }
    must(letters == s->live_letters && recipients == s->live_recipients);
    must(all == s->letters.count);
}

static void recover(struct spool *s, struct log *log)
{
    struct recovery r = {.spool = s};
    for (size_t i = 0; i < log->count; i++) {
        struct segment *seg = &log->segments[i];
        struct segment_index x;
        size_t at = 0;
        index_init(&x);
        index_of_frames(&x, seg, str_from(log->bytes[i], SEGMENT));
        check_damage(&x);
        while (recover_obey(&r, seg, &x, &at, 3))
            check_books(s, log);
        check_books(s, log);
        index_finish(&x);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct log log;
    struct spool *s = spool_new(-1);
    struct str script = str_from(data, size);
    log_write(&log, &script);
    strike(&log, script);
    log_link(&log, s);
    recover(s, &log);
    log_close(&s);
    log_free(&log);
    return 0;
}
