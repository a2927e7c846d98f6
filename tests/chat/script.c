#include "script.h"

enum { TEXT_MAX = 4 * 1024 * 1024 };

struct reader {
    struct chat_script *script;
    struct arena *arena;
    struct err *err;
    bool client; // S lines are sent, C lines expected
    unsigned line;
};

static bool wrong(struct reader *r, const char *why)
{
    err_set(r->err, ERR_PEER_WRONG, STATUS(0, 0, 0), "%s", why);
    r->err->code = (int)r->line;
    return false;
}

static int hex_value(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// One escape behind the backslash at text[*at].
static bool put_escape(struct buf *out, struct str text, size_t *at)
{
    static const char names[] = "rnt\\";
    static const char bytes[] = "\r\n\t\\";
    char c = text.ptr[*at];
    const char *hit = memchr(names, c, sizeof names - 1);
    if (hit) {
        buf_put_byte(out, bytes[hit - names]);
        *at += 1;
        return true;
    }
    if (c != 'x' || *at + 2 >= text.len)
        return false;
    int high = hex_value(text.ptr[*at + 1]), low = hex_value(text.ptr[*at + 2]);
    if (high < 0 || low < 0)
        return false;
    buf_put_byte(out, (char)(unsigned char)(high * 16 + low));
    *at += 3;
    return true;
}

bool chat_unescape(struct buf *out, struct str text)
{
    for (size_t at = 0; at < text.len;) {
        if (text.ptr[at] != '\\') {
            buf_put_byte(out, text.ptr[at++]);
            continue;
        }
        at++;
        if (at == text.len || !put_escape(out, text, &at))
            return false;
    }
    return true;
}

static bool put_repeated(struct buf *out, struct str text)
{
    struct str count;
    uint64_t n;
    if (!str_cut(&text, ' ', &count) || !str_to_u64(count, &n))
        return false;
    while (n-- > 0 && buf_ok(out))
        if (!chat_unescape(out, text))
            return false;
    return true;
}

static bool add_step(struct reader *r, enum chat_kind kind, struct str text)
{
    struct chat_step *step = &r->script->steps[r->script->step_count];
    *step = (struct chat_step){.kind = kind, .line = r->line, .count = 1};
    if (!arena_copy(r->arena, text, &step->text))
        return wrong(r, "the script is too large");
    r->script->step_count++;
    return true;
}

static bool read_send(struct reader *r, char form, struct str text)
{
    struct buf bytes;
    buf_init(&bytes, TEXT_MAX);
    bool ok = true;
    if (form == ':') {
        buf_put(&bytes, text);
        buf_put(&bytes, STR("\r\n"));
    } else {
        ok = form == '*' ? put_repeated(&bytes, text) : chat_unescape(&bytes, text);
    }
    if (!ok || !buf_ok(&bytes))
        ok = wrong(r, "a wrong escape, or too much text");
    else
        ok = add_step(r, CHAT_SEND, buf_str(&bytes));
    buf_finish(&bytes);
    return ok;
}

static bool read_expect_repeated(struct reader *r, struct str text)
{
    struct str count;
    struct chat_step *step = &r->script->steps[r->script->step_count];
    uint64_t n;
    if (!str_cut(&text, ' ', &count) || !str_to_u64(count, &n) || n == 0)
        return wrong(r, "a wrong count");
    if (!add_step(r, CHAT_EXPECT, text))
        return false;
    step->count = n;
    return true;
}

static bool read_ways(struct reader *r, struct str names)
{
    static const struct {
        struct str name;
        unsigned way;
    } ways[] = {
        {{"memory", 6}, CHAT_MEMORY}, {{"socket", 6}, CHAT_SOCKET}, {{"whole", 5}, CHAT_WHOLE},
        {{"bytes", 5}, CHAT_BYTES},   {{"lines", 5}, CHAT_LINES},
    };
    const unsigned where = CHAT_MEMORY | CHAT_SOCKET, cut = CHAT_WHOLE | CHAT_BYTES | CHAT_LINES;
    unsigned said = 0;
    struct str name;
    while (str_cut(&names, ' ', &name)) {
        size_t i = 0;
        while (i < ARRAY_LEN(ways) && !str_eq(ways[i].name, name))
            i++;
        if (i == ARRAY_LEN(ways))
            return wrong(r, "an unknown way to run a script");
        said |= ways[i].way;
    }
    // Nothing said of one side leaves it open.
    if ((said & where) == 0)
        said |= where;
    if ((said & cut) == 0)
        said |= cut;
    r->script->ways &= said;
    return true;
}

static bool read_directive(struct reader *r, struct str text)
{
    struct str name;
    if (!str_cut(&text, ' ', &name))
        return wrong(r, "a directive without a name");
    if (str_eq(name, STR("only")))
        return read_ways(r, text);
    struct chat_setting *setting = &r->script->settings[r->script->setting_count++];
    *setting = (struct chat_setting){.line = r->line, .name = name, .value = text};
    r->script->ways &= ~(unsigned)CHAT_SOCKET; // a running server has its own settings
    return true;
}

// A line that says all by itself.
static bool read_word(const struct reader *r, struct str line, enum chat_kind *kind)
{
    static const struct {
        const char *of_server, *of_client; // as the script spells it where that is our side
        enum chat_kind kind;
    } words[] = {
        {"S<close>", "C<close>", CHAT_CLOSE}, {"S: ...", "C: ...", CHAT_REST},
        {"M<end>", NULL, CHAT_LETTER_END},    {NULL, "S<close>", CHAT_HANG_UP},
        {NULL, "S<silence>", CHAT_SILENCE},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        const char *word = r->client ? words[i].of_client : words[i].of_server;
        *kind = words[i].kind;
        if (word && str_eq(line, str_of(word)))
            return true;
    }
    return false;
}

static bool read_line(struct reader *r, struct str line)
{
    if (line.len == 0 || line.ptr[0] == '#')
        return true;
    if (line.ptr[0] == '@')
        return read_directive(r, str_skip(line, 1));
    enum chat_kind kind;
    if (read_word(r, line, &kind))
        return add_step(r, kind, STR(""));
    char who = line.ptr[0], form = line.len > 1 ? line.ptr[1] : '\0';
    // Editors drop the blank at the end of "C: ".
    if (line.len > 2 && line.ptr[2] != ' ')
        return wrong(r, "a space is missing");
    struct str text = str_skip(line, 3);
    if (who == (r->client ? 'S' : 'C') && (form == ':' || form == '~' || form == '*'))
        return read_send(r, form, text);
    if (who == (r->client ? 'C' : 'S') && form == ':')
        return add_step(r, CHAT_EXPECT, text);
    if (who == (r->client ? 'C' : 'S') && form == '*')
        return read_expect_repeated(r, text);
    if (who == 'M' && form == ':' && !r->client)
        return add_step(r, CHAT_LETTER, text);
    if (who == 'R' && form == ':' && r->client)
        return add_step(r, CHAT_RESULT, text);
    return wrong(r, "neither C, S, M, R, @ nor a comment");
}

bool chat_read(struct str text, bool client, struct arena *arena, struct chat_script *script,
               struct err *err)
{
    size_t lines = 1;
    for (size_t i = 0; i < text.len; i++)
        lines += text.ptr[i] == '\n';
    *script = (struct chat_script){.ways = CHAT_ANY_WAY};
    script->steps = arena_alloc_array(arena, lines, sizeof *script->steps);
    script->settings = arena_alloc_array(arena, lines, sizeof *script->settings);
    must(script->steps && script->settings);
    struct reader r = {.script = script, .arena = arena, .err = err, .client = client};
    struct str line;
    while (str_cut(&text, '\n', &line)) {
        r.line++;
        if (!read_line(&r, line))
            return false;
    }
    return true;
}
