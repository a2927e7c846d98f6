// Replies in the session's language, and the two commands that tell and choose what a session can:
// CAPA and LANG.
#include <inttypes.h>

#include "base/limits.h"
#include "proto/pop3_private.h"

static const struct {
    struct str status;
    struct str text[POP3_LANGUAGES];
} replies[POP3_REPLY_COUNT] = {
#define POP3_REPLY(name, status, english, chinese)                                                 \
    {POP3_VERB(status), {POP3_VERB(english), POP3_VERB(chinese)}},
#include "proto/pop3_replies.def"
#undef POP3_REPLY
};

static const struct {
    struct str tag;
    struct str name;
} languages[POP3_LANGUAGES] = {
#define POP3_LANGUAGE(tag, TAG, name) {POP3_VERB(#tag), POP3_VERB(name)},
#include "proto/pop3_replies.def"
#undef POP3_LANGUAGE
};

static void put_line(struct buf *out, struct str line)
{
    buf_put(out, line);
    buf_put(out, STR("\r\n"));
}

void pop3_say(struct pop3_server *s, enum pop3_reply reply, struct str detail)
{
    must(reply < POP3_REPLY_COUNT && s->terms.language < POP3_LANGUAGES);
    struct str text = replies[reply].text[s->terms.language];
    size_t at = str_find(text, STR("%s"));
    buf_put(&s->out, replies[reply].status);
    if (text.len > 0)
        buf_put_byte(&s->out, ' ');
    buf_put(&s->out, str_sub(text, 0, at));
    if (at < text.len)
        buf_put(&s->out, detail);
    put_line(&s->out, str_skip(text, at + 2));
}

void pop3_say_number(struct pop3_server *s, enum pop3_reply reply, uint64_t detail)
{
    struct buf digits;
    buf_init(&digits, 32);
    buf_putf(&digits, "%" PRIu64, detail);
    pop3_say(s, reply, buf_str(&digits));
    buf_finish(&digits);
}

// The server closes by itself only on an attack: a stranger who guesses commands is one. Someone
// who has logged in may err as often as he likes.
void pop3_say_error(struct pop3_server *s, enum pop3_reply reply)
{
    pop3_say(s, reply, STR(""));
    if ((s->state & AUTHORIZATION) && ++s->errors >= LIMIT_command_errors) {
        pop3_say(s, POP3_REPLY_too_many_errors, STR(""));
        s->state = CLOSING;
    }
}

// ---- CAPA

// In both states the same (RFC 2449 section 6, RFC 6856 section 2).
void pop3_capa(struct pop3_server *s, const struct pop3_parsed *argument, struct pop3_event *event)
{
    (void)argument;
    (void)event;
    pop3_say(s, POP3_REPLY_capabilities, STR(""));
    if (s->terms.passwords)
        put_line(&s->out, STR("USER"));
    buf_put(&s->out, STR("TOP\r\n"
                         "UIDL\r\n"
                         "PIPELINING\r\n"
                         "RESP-CODES\r\n"
                         "AUTH-RESP-CODE\r\n"
                         "EXPIRE NEVER\r\n"
                         "LOGIN-DELAY 0\r\n"
                         "UTF8 USER\r\n"
                         "LANG\r\n"
                         "IMPLEMENTATION Posthouse\r\n"
                         ".\r\n"));
}

// ---- LANG

static unsigned find_language(struct str tag)
{
    unsigned i = 0;
    while (i < POP3_LANGUAGES && !str_eq_nocase(tag, languages[i].tag))
        i++;
    return i;
}

// By RFC 4647 section 3.4: zh-Hans-CN, then zh-Hans, then zh. POP3_LANGUAGES where there is none.
static unsigned look_up(struct str range)
{
    if (str_eq(range, STR("*")))
        return POP3_ENGLISH;
    unsigned language = find_language(range);
    for (size_t end = range.len; language == POP3_LANGUAGES && end > 0;) {
        end--;
        if (range.ptr[end] == '-')
            language = find_language(str_sub(range, 0, end));
    }
    return language;
}

static void list_languages(struct pop3_server *s)
{
    pop3_say(s, POP3_REPLY_languages, STR(""));
    for (size_t i = 0; i < POP3_LANGUAGES; i++) {
        buf_put(&s->out, languages[i].tag);
        buf_put_byte(&s->out, ' ');
        put_line(&s->out, languages[i].name);
    }
    put_line(&s->out, STR("."));
}

void pop3_lang(struct pop3_server *s, const struct pop3_parsed *argument, struct pop3_event *event)
{
    (void)event;
    if (!argument->given) {
        list_languages(s);
        return;
    }
    unsigned language = look_up(argument->text);
    if (language == POP3_LANGUAGES) {
        pop3_say_error(s, POP3_REPLY_no_such_language);
        return;
    }
    s->terms.language = (uint8_t)language;
    pop3_say(s, POP3_REPLY_language_set, languages[language].tag);
}
