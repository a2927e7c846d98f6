// The commands up to the login: the porter's half of the engine.
#include "proto/pop3_private.h"

enum { DIGEST_LENGTH = 32 };

// Whether there is such a user is not told (RFC 1939 section 7).
static void cmd_user(struct pop3_server *s, const struct pop3_parsed *argument,
                     struct pop3_event *event)
{
    (void)event;
    if (!s->terms.passwords) {
        pop3_say_error(s, POP3_REPLY_no_passwords);
        return;
    }
    buf_clear(&s->user);
    buf_put(&s->user, argument->text);
    s->state = NAMED;
    pop3_say(s, POP3_REPLY_user_ok, STR(""));
}

static void cmd_pass(struct pop3_server *s, const struct pop3_parsed *argument,
                     struct pop3_event *event)
{
    event->user = buf_str(&s->user);
    event->secret = argument->text;
    pop3_ask(s, event, ASKED_LOGIN, POP3_ASK_LOGIN);
}

static bool is_digest(struct str text)
{
    bool ok = text.len == DIGEST_LENGTH;
    for (size_t i = 0; ok && i < text.len; i++) {
        char c = text.ptr[i];
        ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    }
    return ok;
}

// A name may have spaces, a digest has none.
static void cmd_apop(struct pop3_server *s, const struct pop3_parsed *argument,
                     struct pop3_event *event)
{
    size_t space = str_rindex(argument->text, ' ');
    struct str digest = str_skip(argument->text, space + 1);
    if (!s->terms.apop) {
        pop3_say_error(s, POP3_REPLY_no_apop);
        return;
    }
    if (!is_digest(digest)) {
        pop3_say_error(s, POP3_REPLY_bad_digest);
        return;
    }
    event->user = str_trim_blanks(str_sub(argument->text, 0, space));
    event->secret = digest;
    event->apop = true;
    pop3_ask(s, event, ASKED_LOGIN, POP3_ASK_LOGIN);
}

static void cmd_utf8(struct pop3_server *s, const struct pop3_parsed *argument,
                     struct pop3_event *event)
{
    (void)argument;
    (void)event;
    s->terms.utf8 = true;
    pop3_say(s, POP3_REPLY_utf8_on, STR(""));
}

static void cmd_quit(struct pop3_server *s, const struct pop3_parsed *argument,
                     struct pop3_event *event)
{
    (void)argument;
    (void)event;
    pop3_say(s, POP3_REPLY_bye, STR(""));
    s->state = CLOSING;
}

// clang-format off
static const struct pop3_command rows[] = {
    { POP3_VERB("USER"), AUTHORIZATION, TEXT,       false, cmd_user },
    { POP3_VERB("PASS"), NAMED,         SECRET,     false, cmd_pass },
    { POP3_VERB("APOP"), AUTHORIZATION, TEXT,       false, cmd_apop },
    { POP3_VERB("CAPA"), AUTHORIZATION, NOTHING,    false, pop3_capa },
    { POP3_VERB("LANG"), AUTHORIZATION, MAYBE_TEXT, false, pop3_lang },
    { POP3_VERB("UTF8"), AUTHORIZATION, NOTHING,    false, cmd_utf8 },
    { POP3_VERB("QUIT"), AUTHORIZATION, NOTHING,    false, cmd_quit },
};
// clang-format on

const struct pop3_table pop3_authorization = {rows, ARRAY_LEN(rows)};
