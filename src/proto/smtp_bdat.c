// BDAT, RFC 3030. The octets behind the command are counted and always taken, whatever the reply
// will be: they must never be read as commands. So a refusal waits for the end of its chunk; and
// once a chunk of a letter was refused all later ones are, for the letter has a hole.
#include "proto/smtp_private.h"

void smtp_command_bdat(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    size_t space = str_index(args, ' ');
    struct str count = str_sub(args, 0, space);
    args = str_trim_blanks(str_skip(args, space));
    s->chunk_last = str_eq_nocase(args, STR("LAST"));
    if (!str_to_u64(count, &s->chunk_size) || (args.len > 0 && !s->chunk_last)) {
        smtp_refuse(s, event, SMTP_REPLY_bad_argument, STR("BDAT octets [LAST]"));
        return;
    }
    s->in_chunk = true;
    s->chunk_left = s->chunk_size;
    if (s->state == RCPT) // the letter's first
        s->asked = event->type = SMTP_ASK_DATA;
}

// A chunk has come whole.
static void end_chunk(struct smtp_server *s, struct smtp_event *event)
{
    char text[32];
    s->in_chunk = false;
    if (s->state == ALL_REFUSED) {
        smtp_refuse_data(s, event);
    } else if (s->state != CHUNKS) {
        smtp_refuse(s, event, SMTP_REPLY_bad_sequence,
                    smtp_out_of_order(s, STR("Send MAIL and RCPT first")));
    } else if (s->chunk_last) {
        smtp_end_message(s, event);
    } else if (s->data_reply != SMTP_REPLY_go_ahead) {
        smtp_put_reply(s, s->data_reply, STR(""));
    } else {
        snprintf(text, sizeof text, "%llu", (unsigned long long)s->chunk_size);
        smtp_put_reply(s, SMTP_REPLY_chunk_taken, str_of(text));
    }
}

size_t smtp_feed_chunk(struct smtp_server *s, struct str input, struct smtp_event *event)
{
    bool wanted = s->state == CHUNKS && s->data_reply == SMTP_REPLY_go_ahead;
    size_t used = 0;
    if (input.len > s->chunk_left)
        input.len = (size_t)s->chunk_left;
    if (!wanted)
        used = input.len;
    while (event->type == SMTP_MORE && used < input.len) {
        struct str piece;
        bool end;
        used += smtp_data_feed(&s->data, str_skip(input, used), &piece, &end);
        smtp_take_piece(s, piece, event);
    }
    s->chunk_left -= used;
    if (s->chunk_left > 0)
        return used;
    if (wanted && s->chunk_last && event->type == SMTP_MORE)
        smtp_take_piece(s, smtp_data_rest(&s->data), event);
    if (event->type == SMTP_MORE)
        end_chunk(s, event);
    return used;
}
