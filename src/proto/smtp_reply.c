#include "proto/smtp_reply.h"

#include "base/limits.h"

struct row {
    unsigned code;
    struct status status;
    struct str head; // "550 5.7.1 ", or "354 " where the class is 0
    struct str text;
};

enum { CODE_LENGTH = 3 };

#define HEAD(code, class, subject, detail) #code " " #class "." #subject "." #detail " "

// clang-format off
static const struct row rows[SMTP_REPLY_COUNT] = {
#define REPLY(name, code, class, subject, detail, text)                                            \
    [SMTP_REPLY_##name] = {                                                                        \
        code, {class, subject, detail},                                                            \
        {HEAD(code, class, subject, detail),                                                       \
         class ? sizeof(HEAD(code, class, subject, detail)) - 1 : CODE_LENGTH + 1},                \
        {text, sizeof(text) - 1},                                                                  \
    },
#include "proto/replies.def"
#undef REPLY
};
// clang-format on

static const struct row *row_of(enum smtp_reply reply)
{
    must(reply < SMTP_REPLY_COUNT);
    return &rows[reply];
}

unsigned smtp_reply_code(enum smtp_reply reply)
{
    return row_of(reply)->code;
}

struct status smtp_reply_status(enum smtp_reply reply)
{
    return row_of(reply)->status;
}

const char *smtp_reply_text(enum smtp_reply reply)
{
    return row_of(reply)->text.ptr;
}

enum smtp_reply smtp_reply_of(const struct err *err)
{
    must(err->class != ERR_NONE);
    // A defect of ours is local trouble too: the letter is good, and never gets 5yz for it.
    bool passing = err->class == ERR_TRY_LATER || err->class == ERR_OUR_BUG;
    enum smtp_reply found = passing ? SMTP_REPLY_local_trouble : SMTP_REPLY_failed;
    for (unsigned i = SMTP_REPLY_COUNT; i-- > 0;) {
        const struct row *row = &rows[i];
        bool closing = row->code == 421; // never the answer to one command's error
        if (closing || row->status.class != (passing ? 4 : 5) ||
            row->status.subject != err->status.subject || row->status.detail != err->status.detail)
            continue;
        // Several rows share a status: the one with the error's own code, else the first.
        found = (enum smtp_reply)i;
        if (err->code == (int)row->code)
            break;
    }
    return found;
}

static bool shows_address(enum smtp_reply reply)
{
    return reply == SMTP_REPLY_forwarded || reply == SMTP_REPLY_moved;
}

enum smtp_reply smtp_reply_in_ascii(enum smtp_reply reply, struct str detail)
{
    if (!shows_address(reply) || str_is_ascii(detail))
        return reply;
    return reply == SMTP_REPLY_forwarded ? SMTP_REPLY_recipient_ok : SMTP_REPLY_moved_unsaid;
}

// What is longer than the room is cut, but no escape is.
static void put_detail(struct buf *out, struct str detail, bool utf8, size_t room)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < detail.len; i++) {
        unsigned char c = (unsigned char)detail.ptr[i];
        char escaped[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};
        struct str text = {escaped, sizeof escaped};
        if ((c >= 0x20 && c < 0x7f) || (c >= 0x80 && utf8))
            text = str_sub(detail, i, 1);
        if (text.len > room)
            return;
        buf_put(out, text);
        room -= text.len;
    }
}

void smtp_reply_put(struct buf *out, enum smtp_reply reply, struct str detail,
                    const struct mail_id *id)
{
    const struct row *row = row_of(reply);
    char text[sizeof " []" + MAIL_ID_TEXT] = "";
    struct str tail = STR("");
    if (id) {
        text[0] = ' ';
        text[1] = '[';
        mail_id_text(id, text + 2);
        text[2 + MAIL_ID_TEXT] = ']';
        tail = str_from(text, 2 + MAIL_ID_TEXT + 1);
    }
    size_t at = str_find(row->text, STR("%s"));
    struct str after = str_skip(row->text, at + 2);
    buf_put(out, row->head);
    buf_put(out, str_sub(row->text, 0, at));
    if (at < row->text.len)
        put_detail(out, detail, shows_address(reply) && str_is_utf8(detail),
                   LIMIT_reply_line - row->head.len - at - after.len - tail.len - 2);
    buf_put(out, after);
    buf_put(out, tail);
    buf_put(out, STR("\r\n"));
}

void smtp_reply_put_more(struct buf *out, enum smtp_reply reply, struct str text)
{
    buf_put(out, str_sub(row_of(reply)->head, 0, CODE_LENGTH));
    buf_put_byte(out, '-');
    buf_put(out, text);
    buf_put(out, STR("\r\n"));
}
