// The engine with bytes of an attacker. The same text is fed line by line, in small pieces, and in
// one go; every reply must be a reply, every letter must be what the standard makes of the octets
// that were taken for it, and the cut must not matter.
#include "base/limits.h"
#include "proto/smtp_server.h"

enum { MEMORY = 4 * 1024 * 1024, INPUT_MAX = 64 * 1024, MAX_MESSAGE = 4096 };

struct driver {
    struct smtp_server server;
    struct buf replies;
    struct buf letters; // all of them, with what was asked about each
    struct buf raw;     // octets consumed since the 354
    struct buf body;
    bool early;
    bool chunks; // the letter comes by BDAT: fuzz_smtp_bdat knows what it must be
};

static void answer(struct driver *d, enum smtp_reply reply)
{
    smtp_server_answer(&d->server, reply, STR(""));
}

// The clauses in the plainest words: RFC 5321 sections 2.3.8, 4.1.1.4, 4.5.2.
static void must_be_the_letter(struct str raw, struct str body)
{
    struct buf want;
    buf_init(&want, MEMORY);
    must(str_ends(raw, STR(".\r\n")));
    raw.len -= 3;
    must(raw.len == 0 || str_ends(raw, STR("\r\n")));
    while (raw.len > 0) {
        struct str line = str_sub(raw, 0, str_find(raw, STR("\r\n")));
        raw = str_skip(raw, line.len + 2);
        must(!str_eq(line, STR("."))); // the end would have been here
        line = str_skip(line, line.len > 0 && line.ptr[0] == '.');
        for (size_t i = 0; i < line.len; i++) {
            if (line.ptr[i] == '\n')
                buf_put(&want, STR("\r\n"));
            else
                buf_put_byte(&want, line.ptr[i] == '\r' ? ' ' : line.ptr[i]);
        }
        buf_put(&want, STR("\r\n"));
    }
    must(buf_ok(&want));
    must(str_eq(buf_str(&want), body));
    must(body.len <= MAX_MESSAGE);
    buf_finish(&want);
}

static void must_be_replies(struct str all)
{
    while (all.len > 0) {
        size_t len = str_find(all, STR("\r\n"));
        struct str line = str_sub(all, 0, len);
        must(len < all.len && len + 2 <= LIMIT_reply_line && len >= 4);
        must(line.ptr[0] >= '2' && line.ptr[0] <= '5');
        must(line.ptr[3] == ' ' || line.ptr[3] == '-');
        for (size_t i = 0; i < len; i++)
            must(line.ptr[i] >= 0x20 && line.ptr[i] < 0x7f);
        all = str_skip(all, len + 2);
    }
}

static void end_letter(struct driver *d, const struct smtp_event *event)
{
    must(event->size == d->body.len);
    must(d->server.recipient_count > 0 && !list_empty(&d->server.recipients));
    if (!d->chunks)
        must_be_the_letter(buf_str(&d->raw), buf_str(&d->body));
    buf_putf(&d->letters, "[%u %d %d %llu]", d->server.recipient_count, d->server.utf8,
             d->server.body_8bit, (unsigned long long)d->server.declared_size);
    buf_put(&d->letters, buf_str(&d->body));
    answer(d, d->body.len % 3 == 2 ? SMTP_REPLY_local_trouble : SMTP_REPLY_queued);
}

// Answers as odd as a caller may give, but always the same to the same question.
static void handle(struct driver *d, const struct smtp_event *event)
{
    switch (event->type) {
    case SMTP_ASK_MAIL:
        must(event->address == &d->server.reverse_path);
        must(event->size <= MAX_MESSAGE);
        answer(d, event->size == 77 ? SMTP_REPLY_no_space : SMTP_REPLY_sender_ok);
        break;
    case SMTP_ASK_RCPT:
        must(event->address->kind != ADDRESS_NULL);
        must(d->server.recipient_count < 3);
        answer(d, str_starts(event->address->local, STR("x")) ? SMTP_REPLY_relay_denied
                                                              : SMTP_REPLY_recipient_ok);
        break;
    case SMTP_ASK_DATA:
        d->chunks = d->server.in_chunk;
        buf_clear(&d->raw);
        buf_clear(&d->body);
        answer(d, d->server.declared_size == 78 ? SMTP_REPLY_no_space : SMTP_REPLY_go_ahead);
        break;
    case SMTP_BODY:
        must(event->bytes.len > 0);
        buf_put(&d->body, event->bytes);
        break;
    case SMTP_ASK_END:
        end_letter(d, event);
        break;
    case SMTP_CLOSE:
        d->early = event->reply == SMTP_REPLY_early_talker;
        break;
    case SMTP_RESET:
        must(d->server.recipient_count == 0 && !d->server.has_id);
        break;
    case SMTP_HELO:
        must(d->server.helo.len > 0);
        break;
    case SMTP_REFUSED:
        must(smtp_reply_code(event->reply) >= 400);
        break;
    case SMTP_MORE:
    case SMTP_WAIT:
    case SMTP_FULL:
        break;
    }
    buf_put(&d->replies, buf_str(&d->server.out));
    buf_clear(&d->server.out);
}

// False when the session is closed.
static bool feed(struct driver *d, struct str input)
{
    struct smtp_event event;
    size_t idle = 0;
    do {
        size_t n = smtp_server_feed(&d->server, input, &event);
        must(n <= input.len);
        idle = n > 0 ? 0 : idle + 1;
        must(idle < 8); // it comes forward
        buf_put(&d->raw, str_sub(input, 0, n));
        input = str_skip(input, n);
        handle(d, &event);
    } while (event.type != SMTP_MORE && event.type != SMTP_CLOSE);
    must(event.type == SMTP_CLOSE || input.len == 0);
    return event.type == SMTP_MORE;
}

// step 0: all in one go. Otherwise a piece is at most `step` octets and never reaches behind an LF,
// so that no text is early.
static void run(struct driver *d, const struct smtp_server_config *config, struct str input,
                size_t step)
{
    *d = (struct driver){.early = false};
    smtp_server_init(&d->server, config);
    buf_init(&d->replies, MEMORY);
    buf_init(&d->letters, MEMORY);
    buf_init(&d->raw, MEMORY);
    buf_init(&d->body, MEMORY);
    smtp_server_greet(&d->server, SMTP_REPLY_banner);
    bool open = true;
    while (open && input.len > 0) {
        size_t n = input.len;
        if (step > 0) {
            n = str_index(input, '\n') + 1;
            n = n > step ? step : n;
            n = n > input.len ? input.len : n;
        }
        open = feed(d, str_sub(input, 0, n));
        input = str_skip(input, n);
    }
    must(buf_ok(&d->replies) && buf_ok(&d->letters) && buf_ok(&d->raw) && buf_ok(&d->body));
    must_be_replies(buf_str(&d->replies));
}

static void finish(struct driver *d)
{
    smtp_server_finish(&d->server);
    buf_finish(&d->replies);
    buf_finish(&d->letters);
    buf_finish(&d->raw);
    buf_finish(&d->body);
}

static void must_agree(const struct driver *a, const struct driver *b)
{
    must(str_eq(buf_str(&a->replies), buf_str(&b->replies)));
    must(str_eq(buf_str(&a->letters), buf_str(&b->letters)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > INPUT_MAX)
        return 0;
    struct smtp_server_config config = {
        .hostname = STR("mail.example.test"),
        .max_message = MAX_MESSAGE,
        .max_recipients = 3,
        .refuse_bare_newline = data[0] & 1,
        .lmtp = data[0] & 0x80,
    };
    struct str input = str_from(data + 1, size - 1);
    struct driver lines, pieces, whole;
    run(&lines, &config, input, SIZE_MAX);
    run(&pieces, &config, input, 1 + (size_t)(data[0] >> 1) % 16);
    run(&whole, &config, input, 0);
    must(!lines.early && !pieces.early);
    must_agree(&lines, &pieces);
    if (!whole.early)
        must_agree(&lines, &whole);
    finish(&lines);
    finish(&pieces);
    finish(&whole);
    return 0;
}
