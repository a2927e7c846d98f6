// The sender's engine with a server that says what it likes. The first octet chooses LMTP, the size
// of the first letter and the pieces that are fed. Every recipient of a letter that was begun gets
// one result, none that the server did not give; what goes out are commands and texts with whole
// line ends; and where a line is cut does not matter.
#include "base/limits.h"
#include "proto/smtp_client.h"

enum {
    MEMORY = 65536,
    INPUT_MAX = 32 * 1024,
    LOG_MAX = 8 * 1024 * 1024,
    LETTERS = 3,
    RECIPIENTS = 3,
    LARGE = LIMIT_chunked_letter
};

static const char *const names[RECIPIENTS] = {"bob@x.example", "\xe6\xb5\x8b@x.example",
                                              "kim@x.example"};

struct driver {
    struct arena memory;
    struct smtp_client client;
    struct smtp_client_config config;
    struct address sender, addresses[RECIPIENTS];
    struct smtp_client_recipient recipients[RECIPIENTS];
    struct smtp_client_letter letter;
    unsigned begun, told;
    bool large;
    uint64_t given;
    struct buf said, results;
};

static void begin(struct driver *d)
{
    must(d->told == d->begun * RECIPIENTS);
    if (d->begun == LETTERS) {
        smtp_client_quit(&d->client);
        return;
    }
    for (size_t i = 0; i < RECIPIENTS; i++)
        d->recipients[i] = (struct smtp_client_recipient){.address = &d->addresses[i],
                                                          .notify = STR("NEVER"),
                                                          .orcpt = STR("rfc822;b@y.example")};
    d->letter = (struct smtp_client_letter){
        .reverse_path = &d->sender,
        .ret = STR("FULL"),
        .envid = STR("Q"),
        .size = d->large && d->begun == 0 ? LARGE : 8,
        .has_8bit = d->begun == 1,
        .declared_8bit = d->begun == 1,
        .needs_utf8 = d->begun == 2,
        .recipients = d->recipients,
        .recipient_count = RECIPIENTS,
    };
    d->given = 0;
    d->begun++;
    smtp_client_begin(&d->client, &d->letter);
}

static void give_text(struct driver *d)
{
    static char text[LARGE];
    if (text[0] == '\0')
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = i % 256 < 8 ? ".a\r\nb.\n\r"[i % 256] : 'c';
    if (d->given < d->letter.size)
        d->given += smtp_client_text(
            &d->client, str_sub(str_from(text, (size_t)d->letter.size), (size_t)d->given, LARGE));
    else
        smtp_client_text_end(&d->client);
}

static void take_result(struct driver *d, const struct smtp_client_event *event)
{
    const struct smtp_client_result *r = &event->result;
    must(event->recipient < RECIPIENTS && d->begun > 0);
    must(++d->told <= d->begun * RECIPIENTS);
    must(str_is_utf8(r->text) && r->text.len <= (size_t)4 * LIMIT_peer_text);
    must(r->code == 0 || r->status.class == r->code / 100);
    must(r->outcome != SMTP_CLIENT_TAKEN || (r->code >= 200 && r->code < 300 && d->given > 0));
    must(r->outcome != SMTP_CLIENT_FAILED || r->code >= 500 || r->status.class == 5);
    must(!r->maybe_taken || (r->outcome == SMTP_CLIENT_LATER && d->given > 0));
    buf_putf(&d->results, "[%u %u %d %d %u %.*s]", d->begun, event->recipient, (int)r->outcome,
             r->maybe_taken, r->code, STR_ARG(r->text));
}

// False when the engine waits for the server.
static bool handle(struct driver *d, const struct smtp_client_event *event)
{
    switch (event->type) {
    case SMTP_CLIENT_READY:
        begin(d);
        return true;
    case SMTP_CLIENT_TEXT:
        give_text(d);
        return true;
    case SMTP_CLIENT_RESULT:
        take_result(d, event);
        return true;
    case SMTP_CLIENT_REFUSED:
        must(d->begun == 0 && event->result.code >= 400);
        return true;
    case SMTP_CLIENT_CLOSED:
        must(d->told == d->begun * RECIPIENTS);
        buf_putf(&d->results, "(%d %u %.*s)", (int)event->end, event->result.code,
                 STR_ARG(event->result.text));
        return false;
    case SMTP_CLIENT_MORE:
        return d->client.out.len > 0;
    }
    return false;
}

// False when the session is over.
static bool feed(struct driver *d, struct str input)
{
    struct smtp_client_event event;
    bool goes_on = true;
    while (goes_on) {
        size_t n = smtp_client_feed(&d->client, input, &event);
        must(n <= input.len);
        input = str_skip(input, n);
        goes_on = handle(d, &event);
        buf_put(&d->said, buf_str(&d->client.out));
        buf_release(&d->client.out);
    }
    must(event.type == SMTP_CLIENT_CLOSED || input.len == 0);
    return event.type != SMTP_CLIENT_CLOSED;
}

// Every LF ends a CRLF, and no CR stands elsewhere. A text may be cut short.
static void must_be_whole_lines(struct str said)
{
    while (said.len > 0) {
        size_t lf = str_index(said, '\n');
        must(str_index(said, '\r') == (lf < said.len ? lf - 1 : said.len));
        said = str_skip(said, lf + 1);
    }
}

static void open_driver(struct driver *d, uint8_t how)
{
    struct err err;
    *d = (struct driver){.large = how & 2};
    d->config = (struct smtp_client_config){.hostname = STR("c.example"), .lmtp = how & 1};
    arena_init(&d->memory, MEMORY);
    buf_init(&d->said, LOG_MAX);
    buf_init(&d->results, LOG_MAX);
    must(address_read(STR("alice@example.test"), &d->memory, &d->sender, &err));
    for (size_t i = 0; i < RECIPIENTS; i++)
        must(address_read(str_of(names[i]), &d->memory, &d->addresses[i], &err));
    smtp_client_init(&d->client, &d->config);
}

// step 0: all in one go. Otherwise a piece is at most `step` octets and never reaches behind an LF:
// what the server says in one go before it was asked is its own fault.
static void run(struct driver *d, uint8_t how, struct str input, size_t step)
{
    open_driver(d, how);
    bool open = feed(d, STR(""));
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
    if (how & 4)
        smtp_client_timed_out(&d->client);
    else
        smtp_client_lost(&d->client);
    must(!feed(d, STR("")));
    must(d->told == d->begun * RECIPIENTS);
    must(buf_ok(&d->said) && buf_ok(&d->results));
    must_be_whole_lines(buf_str(&d->said));
}

static void finish(struct driver *d)
{
    smtp_client_finish(&d->client);
    buf_finish(&d->results);
    buf_finish(&d->said);
    arena_finish(&d->memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct driver lines, pieces, whole;
    if (size < 1 || size > INPUT_MAX)
        return 0;
    struct str input = str_from(data + 1, size - 1);
    run(&lines, data[0], input, SIZE_MAX);
    run(&pieces, data[0], input, 1 + (size_t)(data[0] >> 3) % 16);
    run(&whole, data[0], input, 0);
    must(str_eq(buf_str(&lines.said), buf_str(&pieces.said)));
    must(str_eq(buf_str(&lines.results), buf_str(&pieces.results)));
    finish(&lines);
    finish(&pieces);
    finish(&whole);
    return 0;
}
