#include "ctl/control.h"

#include <errno.h>

#include "base/limits.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/loop.h"
#include "os/net.h"

enum {
    SILENCE_MS = 30000,
    LOOK_AGAIN_MS = 20,
    PATH_LIMIT = 8192,
    PIECE = 65536,
};

// One question under way.
struct call {
    struct watch watch;
    struct timer silence;
    struct loop *loop;
    struct str unsent;
    struct buf answer;
    int result; // negative errno once it failed; 0 while it goes well
};

static bool put_path(const struct command *c, struct buf *path)
{
    buf_init(path, PATH_LIMIT);
    buf_putf(path, "%.*s/control", STR_ARG(c->conf->state_dir));
    buf_put_byte(path, '\0');
    return buf_ok(path);
}

static int connect_to(const struct command *c)
{
    struct buf path;
    int fd = put_path(c, &path) ? net_connect_path(path.ptr) : -ENAMETOOLONG;
    buf_finish(&path);
    return fd;
}

static void end(struct call *call, int result)
{
    call->result = result;
    loop_stop(call->loop);
}

static void send_more(struct call *call)
{
    ssize_t n = net_send(call->watch.fd, call->unsent);
    if (n == -EAGAIN)
        return;
    if (n < 0) {
        end(call, (int)n);
        return;
    }
    call->unsent = str_skip(call->unsent, (size_t)n);
    if (call->unsent.len == 0)
        loop_change(call->loop, &call->watch, LOOP_READ);
}

static void receive_more(struct call *call)
{
    char *to = buf_reserve(&call->answer, PIECE);
    if (!to) {
        end(call, -EFBIG);
        return;
    }
    ssize_t n = net_receive(call->watch.fd, to, PIECE);
    if (n == -EAGAIN)
        return;
    if (n <= 0) {
        end(call, (int)n);
        return;
    }
    buf_added(&call->answer, (size_t)n);
    loop_set_timer(call->loop, &call->silence, SILENCE_MS);
}

static void ready(struct watch *watch, unsigned events)
{
    struct call *call = CONTAINER_OF(watch, struct call, watch);
    if (call->unsent.len && (events & (LOOP_WRITE | LOOP_HANGUP)))
        send_more(call);
    else if (events & (LOOP_READ | LOOP_HANGUP))
        receive_more(call);
}

static void too_silent(struct timer *timer)
{
    end(CONTAINER_OF(timer, struct call, silence), -ETIMEDOUT);
}

static bool run(struct call *call, struct err *err)
{
    if (!loop_open(&call->loop, err))
        return false;
    bool ok = loop_add(call->loop, &call->watch, LOOP_READ | LOOP_WRITE, err);
    if (ok) {
        loop_set_timer(call->loop, &call->silence, SILENCE_MS);
        ok = loop_run(call->loop, err);
        loop_remove(call->loop, &call->watch);
        loop_cancel_timer(call->loop, &call->silence);
    }
    loop_close(&call->loop);
    if (ok && call->result < 0)
        ok = err_system(err, call->result, "the running instance");
    return ok;
}

// "no TEXT"; a text of several lines is made for people already (conf_put_problems).
static int read_refusal(const struct command *c, struct str text)
{
    if (str_index(text, '\n') == text.len)
        return command_fail(c, "%.*s", STR_ARG(text));
    int result = os_write_all(2, text);
    result = result < 0 ? result : os_write_all(2, STR("\n"));
    (void)result; // the exit code tells as well
    return EXIT_FAILED;
}

static int read_answer(const struct command *c, struct str answer, struct buf *body)
{
    struct str first;
    if (str_index(answer, '\n') == answer.len)
        return command_fail(c, "the running instance broke off its answer");
    if (str_starts(answer, STR("no ")))
        return read_refusal(c, str_trim(str_skip(answer, 3)));
    if (str_starts(answer, STR("later ")))
        return command_later(c, "%.*s", STR_ARG(str_trim(str_skip(answer, 6))));
    if (!str_cut(&answer, '\n', &first) || !str_eq(first, STR("ok")))
        return command_fail(c, "the running instance gave an answer that means nothing here");
    buf_put(body, answer);
    return EXIT_DONE;
}

int control_try(struct command *c, struct str request, struct buf *body, bool *running)
{
    struct call call = {.watch = {.ready = ready}, .silence = {.fire = too_silent}};
    struct buf line;
    struct err err;
    int fd = connect_to(c);
    *running = fd != -ENOENT && fd != -ECONNREFUSED;
    if (!*running)
        return EXIT_FAILED;
    if (fd < 0)
        return command_fail(c, "%.*s/control: %s", STR_ARG(c->conf->state_dir), strerror(-fd));
    buf_init(&line, LIMIT_control_request);
    buf_putf(&line, "%.*s\n", STR_ARG(request));
    buf_init(&call.answer, LIMIT_control_reply);
    call.watch.fd = fd;
    call.unsent = buf_str(&line);
    int code =
        run(&call, &err) ? read_answer(c, buf_str(&call.answer), body) : command_error(c, &err);
    os_close(&fd);
    buf_finish(&line);
    buf_finish(&call.answer);
    return code;
}

int control_ask(struct command *c, struct str request, struct buf *body)
{
    bool running;
    int code = control_try(c, request, body, &running);
    return running ? code
                   : command_fail(c, "not running (no answer at %.*s/control)",
                                  STR_ARG(c->conf->state_dir));
}

// Takes the last line off when it is "more PLACE".
static bool take_more(struct buf *body, struct str *place)
{
    struct str text = buf_str(body);
    if (!str_ends(text, STR("\n")))
        return false;
    text.len--;
    size_t before = str_rindex(text, '\n');
    size_t begin = before == text.len ? 0 : before + 1;
    struct str last = str_skip(text, begin);
    if (!str_starts(last, STR("more ")))
        return false;
    *place = str_skip(last, STR("more ").len);
    body->len = begin;
    return true;
}

int control_pages(struct command *c, const struct control_question *question,
                  int (*page)(struct command *c, struct str body, void *owner), void *owner)
{
    struct buf body, request;
    struct str place = STR("");
    bool more = true;
    int code = EXIT_DONE;
    buf_init(&body, LIMIT_control_reply);
    buf_init(&request, LIMIT_control_request);
    while (code == EXIT_DONE && more) {
        buf_clear(&request);
        buf_putf(&request, "%s", question->request);
        if (place.len || question->rest.len)
            buf_putf(&request, " %.*s%.*s", STR_ARG(place), STR_ARG(question->rest));
        buf_clear(&body);
        code = question->ask(c, buf_str(&request), &body);
        more = code == EXIT_DONE && take_more(&body, &place);
        if (code == EXIT_DONE)
            code = page(c, buf_str(&body), owner);
        if (more && !command_flush(c))
            code = EXIT_FAILED;
    }
    buf_finish(&request);
    buf_finish(&body);
    return code;
}

bool control_wait_gone(struct command *c, uint64_t limit_ms)
{
    uint64_t begin = os_monotonic_ms();
    struct loop *loop = NULL;
    struct err err;
    bool gone = false;
    if (!loop_open(&loop, &err))
        return false;
    while (!gone && os_monotonic_ms() - begin < limit_ms) {
        int fd = connect_to(c);
        gone = fd == -ENOENT || fd == -ECONNREFUSED;
        os_close(&fd);
        if (!gone && !loop_turn(loop, LOOK_AGAIN_MS, &err))
            break;
    }
    loop_close(&loop);
    return gone;
}

bool control_line(struct str *body, struct str *line)
{
    return str_cut(body, '\n', line);
}
