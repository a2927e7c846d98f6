// A letter in chunks: whatever the octets are and wherever they are cut, by chunks or by the
// network, the letter is what they are with whole line ends, and none of them is a command.
// The first octet chooses the piece that is fed at a time; then a chunk is a count (one octet) and
// so many octets.
#include "base/limits.h"
#include "proto/smtp_server.h"
#include "whole_lines.h"

enum { MEMORY = 4 * 1024 * 1024, INPUT_MAX = 16 * 1024 };

static const struct smtp_server_config config = {
    .hostname = {"mail.example.test", 17},
    .max_message = MEMORY,
    .max_recipients = 100,
};

struct letter {
    struct buf body;
    struct buf replies;
    unsigned ended;
};

static void feed(struct smtp_server *s, struct str input, struct letter *letter)
{
    struct smtp_event event;
    do {
        input = str_skip(input, smtp_server_feed(s, input, &event));
        if (event.type == SMTP_BODY)
            buf_put(&letter->body, event.bytes);
        else if (event.type == SMTP_ASK_MAIL)
            smtp_server_answer(s, SMTP_REPLY_sender_ok, STR(""));
        else if (event.type == SMTP_ASK_RCPT)
            smtp_server_answer(s, SMTP_REPLY_recipient_ok, STR(""));
        else if (event.type == SMTP_ASK_DATA)
            smtp_server_answer(s, SMTP_REPLY_go_ahead, STR(""));
        else if (event.type == SMTP_ASK_END)
            smtp_server_answer(s, SMTP_REPLY_queued, STR(""));
        letter->ended += event.type == SMTP_ASK_END;
        must(event.type != SMTP_REFUSED && event.type != SMTP_CLOSE);
        buf_put(&letter->replies, buf_str(&s->out));
        buf_clear(&s->out);
    } while (event.type != SMTP_MORE);
    must(input.len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_server s;
    struct letter letter = {.ended = 0};
    struct buf wire, text, want;
    size_t chunks = 0;
    if (size < 1 || size > INPUT_MAX)
        return 0;
    size_t step = data[0] == 0 ? SIZE_MAX : data[0];
    struct str rest = str_from(data + 1, size - 1);
    buf_init(&wire, MEMORY);
    buf_init(&text, MEMORY);
    buf_init(&want, MEMORY);
    buf_init(&letter.body, MEMORY);
    buf_init(&letter.replies, MEMORY);
    while (rest.len > 0) {
        struct str chunk = str_sub(rest, 1, (unsigned char)rest.ptr[0]);
        rest = str_skip(rest, 1 + chunk.len);
        buf_putf(&wire, "BDAT %zu%s\r\n", chunk.len, rest.len > 0 ? "" : " LAST");
        buf_put(&wire, chunk);
        buf_put(&text, chunk);
        chunks++;
    }
    put_whole_lines(&want, buf_str(&text));

    smtp_server_init(&s, &config);
    feed(&s, STR("EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<bob@example.test>\r\n"),
         &letter);
    buf_clear(&letter.replies);
    for (struct str left = buf_str(&wire); left.len > 0; left = str_skip(left, step))
        feed(&s, str_sub(left, 0, step), &letter);
    must(letter.ended == (chunks > 0));
    must(str_eq(buf_str(&letter.body), buf_str(&want)) || chunks == 0);
    size_t replies = 0;
    for (struct str all = buf_str(&letter.replies); all.len > 0; replies++) {
        must(str_starts(all, STR("250 2.0.0 ")));
        all = str_skip(all, str_find(all, STR("\r\n")) + 2);
    }
    must(replies == chunks);

    smtp_server_finish(&s);
    buf_finish(&letter.replies);
    buf_finish(&letter.body);
    buf_finish(&want);
    buf_finish(&text);
    buf_finish(&wire);
    return 0;
}
