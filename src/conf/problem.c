#include "conf/problem.h"

#include "base/limits.h"
#include "base/width.h"

enum { TEXT_MAX = 2000, LINE_COLUMNS = 100, LINE_BEFORE = 60 };

struct str problem_text(struct arena *arena, const char *fmt, ...)
{
    struct buf raw, safe;
    struct str copy;
    va_list args;
    buf_init(&raw, TEXT_MAX);
    buf_init(&safe, 4 * TEXT_MAX);
    va_start(args, fmt);
    buf_vputf(&raw, fmt, args);
    va_end(args);
    buf_put_escaped(&safe, buf_str(&raw));
    if (!buf_ok(&raw))
        copy = STR("too long to be shown");
    else if (!arena_copy(arena, buf_str(&safe), &copy))
        copy = STR("the configuration takes too much memory");
    buf_finish(&raw);
    buf_finish(&safe);
    return copy;
}

bool complain(struct complaint *complaint, struct str text, struct str hint)
{
    *complaint = (struct complaint){.text = text, .hint = hint};
    return false;
}

void problems_init(struct conf_problems *problems, struct arena *arena)
{
    *problems = (struct conf_problems){0};
    problems->items = arena_alloc_array(arena, LIMIT_config_errors, sizeof(*problems->items));
    must(problems->items != NULL); // the first thing in the arena
}

static struct str line_of(struct str text, unsigned line)
{
    struct str head = STR("");
    while (line > 0 && str_cut(&text, '\n', &head))
        line--;
    if (line > 0)
        return STR("");
    return str_ends(head, STR("\r")) ? str_sub(head, 0, head.len - 1) : head;
}

void problems_add(struct conf_problems *problems, const struct conf_source *source,
                  struct conf_place place, struct complaint complaint)
{
    if (problems->count == LIMIT_config_errors) {
        problems->left_out++;
        return;
    }
    problems->items[problems->count++] = (struct conf_problem){
        .file = place.file,
        .line = place.line,
        .column = place.column,
        .text = complaint.text,
        .hint = complaint.hint,
        .source = source && place.line ? line_of(source->text, place.line) : STR(""),
    };
}

static size_t rank(struct str file, const struct conf_source *sources, size_t count)
{
    size_t i = 0;
    while (i < count && !str_eq(sources[i].name, file))
        i++;
    return i;
}

void problems_sort(struct conf_problems *problems, const struct conf_source *sources,
                   size_t source_count)
{
    // By insertion: few, nearly in order, and what stands at one place keeps its order.
    for (size_t i = 1; i < problems->count; i++) {
        struct conf_problem moved = problems->items[i];
        size_t moved_rank = rank(moved.file, sources, source_count);
        size_t k = i;
        for (; k > 0; k--) {
            const struct conf_problem *before = &problems->items[k - 1];
            size_t before_rank = rank(before->file, sources, source_count);
            bool later = before_rank != moved_rank    ? before_rank > moved_rank
                         : before->line != moved.line ? before->line > moved.line
                                                      : before->column > moved.column;
            if (!later)
                break;
            problems->items[k] = *before;
        }
        problems->items[k] = moved;
    }
}

// What is shown of a line takes one column for each control or broken byte, so that the mark below
// stands where it should.
static void put_shown(struct buf *out, struct str s)
{
    while (s.len) {
        unsigned char lead = (unsigned char)s.ptr[0];
        size_t n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
        bool c1 = lead == 0xc2 && s.len > 1 && (unsigned char)s.ptr[1] < 0xa0;
        if (n > s.len || !str_is_utf8(str_sub(s, 0, n))) {
            n = 1;
            buf_put_byte(out, '?');
        } else if (lead == '\t') {
            buf_put_byte(out, ' ');
        } else if (lead < 0x20 || lead == 0x7f || c1) {
            buf_put_byte(out, '?');
        } else {
            buf_put(out, str_sub(s, 0, n));
        }
        s = str_skip(s, n);
    }
}

// The octets before the nth character (from 1), by the bytes that begin one.
static size_t column_at(struct str line, unsigned column)
{
    size_t i = 0;
    for (unsigned seen = 0; i < line.len; i++)
        if (((unsigned char)line.ptr[i] & 0xc0) != 0x80 && ++seen == column)
            break;
    return i;
}

static void put_source(struct buf *out, const struct conf_problem *p)
{
    struct buf shown, before;
    size_t at = column_at(p->source, p->column);
    size_t from = 0;
    // Of a long line only what is near the mark.
    if (width_of(str_sub(p->source, 0, at)) > LINE_BEFORE)
        from = width_fit(p->source, width_of(str_sub(p->source, 0, at)) - LINE_BEFORE);
    struct str part = str_skip(p->source, from);
    size_t mark = at - from;
    buf_init(&shown, 4 * LIMIT_config_file);
    buf_init(&before, 4 * LIMIT_config_file);
    put_shown(&shown, str_sub(part, 0, width_fit(part, LINE_COLUMNS)));
    put_shown(&before, str_sub(part, 0, mark));
    buf_putf(out, "    %.*s\n    ", STR_ARG(buf_str(&shown)));
    for (size_t i = width_of(buf_str(&before)); i > 0; i--)
        buf_put_byte(out, ' ');
    buf_put(out, STR("^\n"));
    buf_finish(&shown);
    buf_finish(&before);
}

void conf_put_problems(struct buf *out, const struct conf_problems *problems)
{
    for (size_t i = 0; i < problems->count; i++) {
        const struct conf_problem *p = &problems->items[i];
        buf_put_escaped(out, p->file);
        if (p->line)
            buf_putf(out, ":%u:%u", p->line, p->column);
        buf_putf(out, ": %.*s\n", STR_ARG(p->text));
        if (str_trim(p->source).len)
            put_source(out, p);
        if (p->hint.len)
            buf_putf(out, "    %.*s\n", STR_ARG(p->hint));
    }
    if (problems->left_out)
        buf_putf(out, "and %zu more, not shown\n", problems->left_out);
}
