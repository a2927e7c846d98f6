#include "ctl/secret.h"

#include "base/limits.h"
#include "base/wipe.h"
#include "os/file.h"
#include "os/terminal.h"
#include "store/password.h"

enum { STANDARD_INPUT = 0, LINE_MAX_OCTETS = LIMIT_password + 2 }; // CR LF

// A buf that grows leaves copies behind that nobody wipes: all its room is taken at once.
static void secret_init(struct buf *text)
{
    buf_init(text, LINE_MAX_OCTETS);
    must(buf_reserve(text, LINE_MAX_OCTETS) != NULL);
}

static void finish(struct buf *text)
{
    wipe(text->ptr, text->cap);
    buf_finish(text);
}

void secret_finish(struct secret *secret)
{
    finish(&secret->text);
}

static int check_length(const struct command *c, const struct buf *text)
{
    if (!text->len)
        return command_fail(c, "the password is empty");
    if (text->len > LIMIT_password)
        return command_fail(c, "the password is longer than %d octets", LIMIT_password);
    if (!str_is_utf8(buf_str(text))) // RFC 6856 section 2.2: nobody could log in with it
        return command_fail(c, "the password is not UTF-8");
    return EXIT_DONE;
}

// As many octets as a line may have, fewer only at the end of the input.
static ssize_t fill(struct buf *text)
{
    ssize_t n = 1;
    while (n > 0 && text->len < LINE_MAX_OCTETS && str_index(buf_str(text), '\n') == text->len) {
        size_t room = LINE_MAX_OCTETS - text->len;
        n = os_read(STANDARD_INPUT, buf_reserve(text, room), room);
        if (n > 0)
            buf_added(text, (size_t)n);
    }
    return n;
}

static int read_input(const struct command *c, struct buf *text)
{
    struct err err;
    ssize_t n = fill(text);
    if (n < 0) {
        err_system(&err, (int)n, "standard input");
        return command_error(c, &err);
    }
    size_t end = str_index(buf_str(text), '\n');
    if (end < text->len && end && text->ptr[end - 1] == '\r')
        end--;
    text->len = end;
    return check_length(c, text);
}

static int ask_once(const struct command *c, struct str question, struct buf *text)
{
    struct err err;
    int code = os_ask_secret(question, text);
    if (code >= 0)
        return check_length(c, text);
    err_system(&err, code, "no password was given");
    return command_fail(c, "%s", err.text);
}

static int ask_twice(const struct command *c, struct buf *text)
{
    struct buf again;
    secret_init(&again);
    int code = ask_once(c, STR("Password: "), text);
    if (code == EXIT_DONE)
        code = ask_once(c, STR("Again: "), &again);
    if (code == EXIT_DONE && !str_eq(buf_str(text), buf_str(&again)))
        code = command_fail(c, "the two passwords differ");
    finish(&again);
    return code;
}

int secret_get(struct secret *secret, const struct command *c)
{
    secret->made = false;
    secret_init(&secret->text);
    if (command_has(c, "password-stdin"))
        return read_input(c, &secret->text);
    if (os_is_terminal(STANDARD_INPUT))
        return ask_twice(c, &secret->text);
    secret->made = true;
    password_make(&secret->text);
    return EXIT_DONE;
}
