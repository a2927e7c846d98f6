// The letter of RETR and TOP on its way out: line ends, stuffed dots, and where TOP stops.
#include "proto/pop3_private.h"

enum {
    BODY_TAIL = 5,            // what body_end may add: CRLF . CRLF
    BODY_STEP = BODY_TAIL + 4 // one more octet, a stuffed dot before it, a line end behind it
};

void pop3_server_body_begin(struct pop3_server *s)
{
    must(s->state == ASKED_LETTER);
    if (s->header_only)
        pop3_say(s, POP3_REPLY_top_follows, STR(""));
    else
        pop3_say_number(s, POP3_REPLY_letter_follows, s->letters[s->at].size);
    s->state = BODY;
    s->in_header = true;
    s->body_line = 0;
    s->after_cr = false;
}

bool pop3_server_body_enough(const struct pop3_server *s)
{
    must(s->state == BODY);
    return s->header_only && !s->in_header && s->lines_left == 0 && s->body_line == 0;
}

// A letter that another program left in the Maildir may have CRLF on disk.
static void end_line(struct pop3_server *s)
{
    bool empty = s->body_line == (s->after_cr ? 1 : 0);
    if (!s->in_header && s->lines_left > 0)
        s->lines_left--;
    if (empty)
        s->in_header = false;
    buf_put(&s->out, s->after_cr ? STR("\n") : STR("\r\n"));
    s->after_cr = false;
    s->body_line = 0;
}

size_t pop3_server_body(struct pop3_server *s, struct str bytes)
{
    must(s->state == BODY);
    size_t taken = 0;
    size_t room = pop3_room(s);
    size_t likely = bytes.len + bytes.len / 16; // one allocation where lines are of common length
    (void)buf_reserve(&s->out, likely < room ? likely : room);
    while (taken < bytes.len && pop3_room(s) >= BODY_STEP && !pop3_server_body_enough(s)) {
        struct str rest = str_skip(bytes, taken);
        if (s->body_line == 0 && rest.ptr[0] == '.')
            buf_put_byte(&s->out, '.');
        struct str text = str_sub(rest, 0, str_index(rest, '\n'));
        struct str now = str_sub(text, 0, pop3_room(s) - BODY_TAIL - 2);
        if (now.len > 0) {
            buf_put(&s->out, now);
            s->after_cr = now.ptr[now.len - 1] == '\r';
            s->body_line += now.len;
            taken += now.len;
        }
        if (now.len == text.len && taken < bytes.len) {
            end_line(s);
            taken++;
        }
    }
    return taken;
}

void pop3_server_body_end(struct pop3_server *s)
{
    must(s->state == BODY);
    if (s->body_line > 0)
        buf_put(&s->out, STR("\r\n"));
    buf_put(&s->out, STR(".\r\n"));
    must(buf_ok(&s->out));
    s->after_cr = false;
    s->state = TRANSACTION;
}
