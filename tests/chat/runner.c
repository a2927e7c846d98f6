// chat [--engine NAME] [--connect HOST:PORT] FILE|FOLDER...
//
// Plays .chat scripts (script.h says how they are written), all of them where a folder is named,
// against an engine in memory, each three ways: whole groups, byte by byte, cut at every CRLF; or
// against a running server, one way. What is called the server here is the engine's side, which
// with --engine client is the client. Prints TAP.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine.h"
#include "script.h"
#include "socket.h"

enum { OUTPUT_MAX = 4 * 1024 * 1024, SCRIPT_MAX = 1024 * 1024, CODE_LENGTH = 3 };

static const struct chat_engine *const engines[] = {&chat_smtp, &chat_lmtp, &chat_pop3,
                                                    &chat_client};

// The server's side of a conversation: an engine, or a socket.
struct server {
    const struct chat_engine *engine; // NULL: the socket
    void *state;
    int fd;
    enum chat_way cut;
    struct buf received; // over the socket
};

struct talk {
    struct server *server;
    const struct chat_script *script;
    struct str letter; // what no M line has shown yet
    bool in_letter;
    struct buf why; // what went wrong
};

// ---- the server

static struct buf *output_of(struct server *s)
{
    return s->engine ? s->engine->output(s->state) : &s->received;
}

static void say(struct server *s, struct str bytes)
{
    if (!s->engine) {
        (void)chat_send(s->fd, bytes); // a server that went away shows at the next S line
        return;
    }
    while (bytes.len > 0) {
        size_t n = s->cut == CHAT_BYTES ? 1 : bytes.len;
        if (s->cut == CHAT_LINES) {
            n = str_find(bytes, STR("\r\n")) + 2;
            n = n > bytes.len ? bytes.len : n;
        }
        s->engine->feed(s->state, str_sub(bytes, 0, n));
        bytes = str_skip(bytes, n);
    }
}

// The next line of the server, without CRLF; it stays in the output until drop_line.
static bool next_line(struct server *s, struct str *line)
{
    bool silent;
    for (;;) {
        struct str all = buf_str(output_of(s));
        size_t end = str_find(all, STR("\r\n"));
        *line = str_sub(all, 0, end);
        if (end < all.len)
            return true;
        if (s->engine || !chat_receive(s->fd, &s->received, &silent))
            return false;
    }
}

static void drop_line(struct server *s, struct str line)
{
    buf_drop(output_of(s), line.len + 2);
}

static bool has_closed(struct server *s)
{
    bool silent = false;
    if (s->engine)
        return s->engine->closed(s->state);
    return !chat_receive(s->fd, &s->received, &silent) && !silent;
}

// ---- one conversation

static bool differ(struct talk *t, const struct chat_step *step, struct str want, struct str got)
{
    enum { SHOWN = 200 };
    buf_putf(&t->why, "%u: want ", step ? step->line : 0);
    buf_put_escaped(&t->why, str_sub(want, 0, SHOWN));
    buf_put(&t->why, STR(", got "));
    buf_put_escaped(&t->why, str_sub(got, 0, SHOWN));
    return false;
}

static bool goes_on(struct str line)
{
    return line.len > CODE_LENGTH && line.ptr[CODE_LENGTH] == '-';
}

// Drops the lines of a reply up to its last.
static bool skip_rest(struct talk *t, const struct chat_step *step, struct str code)
{
    struct str line;
    bool more = true;
    while (more) {
        if (!next_line(t->server, &line))
            return differ(t, step, STR("the rest of the reply"), STR("nothing"));
        if (!str_starts(line, code))
            return differ(t, step, code, line);
        more = goes_on(line);
        drop_line(t->server, line);
    }
    return true;
}

static bool is_client(const struct talk *t)
{
    return t->server->engine && t->server->engine->client;
}

static bool expect_once(struct talk *t, const struct chat_step *step)
{
    struct str line;
    if (!next_line(t->server, &line))
        return differ(t, step, step->text, STR("nothing"));
    bool right = is_client(t) ? str_eq(line, step->text) : str_starts(line, step->text);
    if (!right)
        return differ(t, step, step->text, line);
    if (step->text.len <= CODE_LENGTH && goes_on(line))
        return skip_rest(t, step, step->text);
    drop_line(t->server, line);
    return true;
}

static bool expect(struct talk *t, const struct chat_step *step)
{
    for (uint64_t i = 0; i < step->count; i++)
        if (!expect_once(t, step))
            return false;
    return true;
}

static bool expect_silence(struct talk *t, const struct chat_step *step)
{
    struct str said = buf_str(output_of(t->server));
    if (said.len > 0)
        return differ(t, step, STR("no more replies"), said);
    if (is_client(t))
        said = buf_str(t->server->engine->results(t->server->state));
    return said.len == 0 || differ(t, step, STR("no more results"), said);
}

static bool expect_close(struct talk *t, const struct chat_step *step)
{
    if (!has_closed(t->server))
        return differ(t, step, STR("<close>"), STR("an open connection"));
    return expect_silence(t, step);
}

static bool expect_result(struct talk *t, const struct chat_step *step)
{
    struct buf *results = t->server->engine->results(t->server->state);
    struct str line = str_sub(buf_str(results), 0, str_index(buf_str(results), '\n'));
    if (!str_starts(line, step->text))
        return differ(t, step, step->text, line);
    buf_drop(results, line.len + (line.len < results->len));
    return true;
}

static bool expect_letter(struct talk *t, const struct chat_step *step)
{
    const struct chat_engine *engine = t->server->engine;
    if (!engine)
        return true;
    if (!t->in_letter)
        t->letter = engine->letter ? engine->letter(t->server->state) : STR("");
    t->in_letter = step->kind == CHAT_LETTER;
    if (step->kind == CHAT_LETTER_END)
        return t->letter.len == 0 || differ(t, step, STR("the letter's end"), t->letter);
    size_t end = str_find(t->letter, STR("\r\n"));
    struct str line = str_sub(t->letter, 0, end);
    if (t->letter.len == 0)
        return differ(t, step, step->text, STR("the letter's end"));
    if (!str_eq(line, step->text))
        return differ(t, step, step->text, line);
    t->letter = str_skip(t->letter, end + 2);
    return true;
}

// A group of C lines that begins at step *at, in one write; *at becomes its last step.
static bool say_group(struct talk *t, size_t *at)
{
    const struct chat_step *steps = t->script->steps;
    struct buf group;
    buf_init(&group, OUTPUT_MAX);
    if (!expect_silence(t, &steps[*at]))
        return false;
    t->in_letter = false;
    buf_put(&group, steps[*at].text);
    while (*at + 1 < t->script->step_count && steps[*at + 1].kind == CHAT_SEND)
        buf_put(&group, steps[++*at].text);
    must(buf_ok(&group));
    say(t->server, buf_str(&group));
    buf_finish(&group);
    return true;
}

static bool play_step(struct talk *t, size_t *at)
{
    const struct chat_step *step = &t->script->steps[*at];
    switch (step->kind) {
    case CHAT_SEND:
        return say_group(t, at);
    case CHAT_HANG_UP:
        t->server->engine->hang_up(t->server->state);
        return true;
    case CHAT_SILENCE:
        t->server->engine->fall_silent(t->server->state);
        return true;
    case CHAT_EXPECT:
        return expect(t, step);
    case CHAT_REST:
        return skip_rest(t, step, STR(""));
    case CHAT_CLOSE:
        return expect_close(t, step);
    case CHAT_LETTER:
    case CHAT_LETTER_END:
        return expect_letter(t, step);
    case CHAT_RESULT:
        return expect_result(t, step);
    }
    return false;
}

static bool play(struct talk *t)
{
    const struct chat_script *script = t->script;
    for (size_t i = 0; i < script->step_count; i++)
        if (!play_step(t, &i))
            return false;
    return script->step_count == 0 || expect_silence(t, &script->steps[script->step_count - 1]);
}

// ---- opening

static bool play_in_memory(struct talk *t, const struct chat_engine *engine, enum chat_way cut)
{
    struct server server = {.engine = engine, .state = engine->open(), .cut = cut};
    bool ok = true;
    t->server = &server;
    for (size_t i = 0; i < t->script->setting_count && ok; i++) {
        const struct chat_setting *setting = &t->script->settings[i];
        ok = engine->set(server.state, setting->name, setting->value);
        if (!ok)
            buf_putf(&t->why, "%u: the engine does not know this setting", setting->line);
    }
    if (ok) {
        engine->start(server.state);
        ok = play(t);
    }
    engine->close(server.state);
    return ok;
}

static bool play_over_socket(struct talk *t, struct str where)
{
    struct server server = {.fd = chat_connect(where)};
    if (server.fd < 0) {
        buf_put(&t->why, STR("0: cannot connect"));
        return false;
    }
    buf_init(&server.received, OUTPUT_MAX);
    t->server = &server;
    bool ok = play(t);
    buf_finish(&server.received);
    chat_disconnect(server.fd);
    return ok;
}

// ---- TAP

struct totals {
    unsigned played, failed;
};

static void tell(struct totals *totals, const char *path, const char *way, bool ok,
                 const struct buf *why)
{
    struct str name = str_of(path);
    size_t slash = str_rindex(name, '/');
    name = slash < name.len ? str_skip(name, slash + 1) : name;
    totals->played++;
    totals->failed += !ok;
    printf("%s %u - %.*s %s\n", ok ? "ok" : "not ok", totals->played, STR_ARG(name), way);
    if (!ok)
        printf("# %s:%.*s\n", path, STR_ARG(buf_str(why)));
}

static void run_script(struct totals *totals, const char *path, const struct chat_script *script,
                       const struct chat_engine *engine, struct str where)
{
    static const struct {
        enum chat_way way;
        const char *name;
    } cuts[] = {{CHAT_WHOLE, "whole"}, {CHAT_BYTES, "bytes"}, {CHAT_LINES, "lines"}};
    for (size_t i = 0; i < ARRAY_LEN(cuts) && where.len == 0; i++) {
        struct talk t = {.script = script};
        if (!(script->ways & CHAT_MEMORY) || !(script->ways & cuts[i].way))
            continue;
        buf_init(&t.why, OUTPUT_MAX);
        bool ok = play_in_memory(&t, engine, cuts[i].way);
        tell(totals, path, cuts[i].name, ok, &t.why);
        buf_finish(&t.why);
    }
    if (where.len > 0 && (script->ways & CHAT_SOCKET)) {
        struct talk t = {.script = script};
        buf_init(&t.why, OUTPUT_MAX);
        bool ok = play_over_socket(&t, where);
        tell(totals, path, "socket", ok, &t.why);
        buf_finish(&t.why);
    }
}

static bool read_whole(const char *path, struct buf *text)
{
    FILE *file = fopen(path, "rb");
    char piece[4096];
    size_t n;
    if (!file)
        return false;
    while ((n = fread(piece, 1, sizeof piece, file)) > 0)
        buf_put(text, str_from(piece, n));
    bool ok = !ferror(file) && buf_ok(text);
    return fclose(file) == 0 && ok;
}

static void run_file(struct totals *totals, const char *path, const struct chat_engine *engine,
                     struct str where)
{
    struct chat_script script;
    struct err err = {.class = ERR_NONE};
    struct buf text, why;
    struct arena process;
    buf_init(&text, SCRIPT_MAX);
    buf_init(&why, OUTPUT_MAX);
    arena_init(&process, (size_t)64 * SCRIPT_MAX);
    if (!read_whole(path, &text)) {
        buf_put(&why, STR("0: cannot be read"));
        tell(totals, path, "", false, &why);
    } else if (!chat_read(buf_str(&text), engine->client, &process, &script, &err)) {
        buf_putf(&why, "%d: %s", err.code, err.text);
        tell(totals, path, "", false, &why);
    } else {
        run_script(totals, path, &script, engine, where);
    }
    arena_finish(&process);
    buf_finish(&why);
    buf_finish(&text);
}

static int is_script(const struct dirent *entry)
{
    return str_ends(str_of(entry->d_name), STR(".chat"));
}

// A folder's scripts in the order of their names; or one file.
static void run_path(struct totals *totals, const char *path, const struct chat_engine *engine,
                     struct str where)
{
    struct dirent **entries;
    int count = scandir(path, &entries, is_script, alphasort);
    if (count < 0) {
        run_file(totals, path, engine, where);
        return;
    }
    for (int i = 0; i < count; i++) {
        struct buf file;
        buf_init(&file, OUTPUT_MAX);
        buf_putf(&file, "%s/%s", path, entries[i]->d_name);
        buf_put_byte(&file, '\0');
        must(buf_ok(&file));
        run_file(totals, file.ptr, engine, where);
        buf_finish(&file);
        free(entries[i]);
    }
    free(entries);
}

static const struct chat_engine *find_engine(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(engines); i++)
        if (str_eq(str_of(engines[i]->name), str_of(name)))
            return engines[i];
    return NULL;
}

int main(int argc, char **argv)
{
    const struct chat_engine *engine = &chat_smtp;
    struct str where = STR("");
    struct totals totals = {0, 0};
    int at = 1;
    for (; at + 1 < argc && str_starts(str_of(argv[at]), STR("--")); at += 2) {
        struct str option = str_of(argv[at]);
        if (str_eq(option, STR("--engine")))
            engine = find_engine(argv[at + 1]);
        else if (str_eq(option, STR("--connect")))
            where = str_of(argv[at + 1]);
        else
            engine = NULL;
    }
    if (!engine || at >= argc || (engine->client && where.len > 0)) {
        fprintf(stderr, "usage: chat [--engine NAME] [--connect HOST:PORT] FILE|FOLDER...\n");
        return 64;
    }
    for (; at < argc; at++)
        run_path(&totals, argv[at], engine, where);
    printf("1..%u\n", totals.played);
    return totals.failed > 0;
}
