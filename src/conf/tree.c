// The tree is built from libyaml's events rather than by its document loader: the loader resolves
// aliases (a few lines can then stand for gigabytes, or for a ring), and forgets where.
//
// libyaml counts lines by LF, CR, NEL, LS and PS, and leaves the place of a broken byte open. So
// the bytes are checked first: what could make the counts differ, or is no text, is told from here.
#include "conf/tree.h"

#include <yaml.h>

#include "base/limits.h"

struct reader {
    const struct conf_source *source;
    struct arena *arena;
    struct conf_problems *problems;
    struct tree_node *open[LIMIT_config_depth]; // the lists and mappings around the next node
    struct tree_node **end[LIMIT_config_depth]; // where their next child is hung
    size_t depth;
    struct tree_node *root;
    unsigned documents;
    bool failed; // a problem that does not end the reading
};

static bool wrong(struct reader *r, yaml_mark_t mark, const char *text, const char *hint)
{
    struct conf_place place = {
        .file = r->source->name,
        .line = (unsigned)mark.line + 1,
        .column = (unsigned)mark.column + 1,
    };
    problems_add(r->problems, r->source, place,
                 (struct complaint){.text = str_of(text), .hint = str_of(hint)});
    return false;
}

// What stands at byte i, as far as YAML wants something else there. *n: octets of the character.
static const char *byte_fault(struct str text, size_t i, bool indent, size_t *n, const char **hint)
{
    unsigned char c = (unsigned char)text.ptr[i];
    *n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0x80 ? 2 : 1;
    *hint = "save the file as plain UTF-8 text";
    if (*n > text.len - i || !str_is_utf8(str_sub(text, i, *n))) {
        *n = 1;
        return "this is not UTF-8";
    }
    struct str character = str_sub(text, i, *n);
    if (c == '\t' && indent) {
        *hint = "indent with spaces";
        return "a tab in the indentation";
    }
    if (c == '\r' && !str_starts(str_skip(text, i), STR("\r\n")))
        return "a carriage return that does not end a line";
    if (c == '\0')
        return "a NUL byte";
    bool c1 = c == 0xc2 && (unsigned char)character.ptr[1] < 0xa0;
    if ((c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7f || c1)
        return "a control character";
    if (str_eq(character, STR("\xe2\x80\xa8")) || str_eq(character, STR("\xe2\x80\xa9")))
        return "a Unicode line separator";
    if (str_eq(character, STR("\xef\xbb\xbf")) || str_eq(character, STR("\xef\xbf\xbe")) ||
        str_eq(character, STR("\xef\xbf\xbf")))
        return "a character that has no place in text";
    return NULL;
}

// One problem a line. The text starts after a byte order mark.
static bool check_bytes(struct reader *r, struct str text)
{
    yaml_mark_t mark = {0};
    bool indent = true, told = false, clean = true;
    for (size_t i = 0, n; i < text.len; i += n) {
        const char *hint;
        const char *fault = byte_fault(text, i, indent, &n, &hint);
        if (fault && !told) {
            clean = wrong(r, mark, fault, hint);
            told = true;
        }
        indent = indent && (text.ptr[i] == ' ' || text.ptr[i] == '\t');
        mark.column++;
        if (text.ptr[i] == '\n') {
            mark.line++;
            mark.column = 0;
            indent = true;
            told = false;
        }
    }
    return clean;
}

// libyaml's words for the usual slips, and what to do about them. Some are noticed far behind the
// place where they were made: libyaml's "context" is that place.
static const struct {
    const char *problem;
    bool at_context;
    const char *text;
    const char *hint;
} slips[] = {
    {"mapping values are not allowed in this context", false, "a second colon on this line",
     "put a value that holds \": \" in quotes, or look at the indentation"},
    {"could not find expected ':'", true, "a key without a colon", "write \"key: value\""},
    {"found character that cannot start any token", false, "a value can not begin like this",
     "put the value in quotes"},
    {"did not find expected key", false, "the lines do not fit together",
     "let the keys of one level begin in the same column"},
    {"found unexpected end of stream", true, "the quote that is opened here is never closed",
     "close the quote"},
    {"did not find expected alphabetic or numeric character", false,
     "a * or & means something else here", "put the value in quotes"},
    {"did not find expected ',' or ']'", true, "the list that is opened here goes wrong",
     "write commas between the values and close the bracket"},
    {"did not find expected ',' or '}'", true, "the mapping that is opened here goes wrong",
     "write commas between the pairs and close the brace"},
    {"did not find expected '-' indicator", false, "the list goes wrong here",
     "begin each value with a dash, all in the same column"},
};

static bool wrong_syntax(struct reader *r, const yaml_parser_t *parser)
{
    struct str problem = str_of(parser->problem);
    for (size_t i = 0; i < ARRAY_LEN(slips); i++)
        if (str_eq(problem, str_of(slips[i].problem)))
            return wrong(r, slips[i].at_context ? parser->context_mark : parser->problem_mark,
                         slips[i].text, slips[i].hint);
    struct str text = problem_text(r->arena, "%s", parser->problem ? parser->problem : "not YAML");
    return wrong(r, parser->problem_mark, text.ptr, "");
}

static struct tree_node *add_node(struct reader *r, enum tree_kind kind, yaml_mark_t mark)
{
    struct tree_node *node = ARENA_NEW(r->arena, struct tree_node);
    if (!node) {
        wrong(r, mark, "the configuration takes too much memory", "");
        return NULL;
    }
    node->kind = kind;
    node->line = (unsigned)mark.line + 1;
    node->column = (unsigned)mark.column + 1;
    if (r->depth == 0) {
        r->root = node;
    } else {
        *r->end[r->depth - 1] = node;
        r->end[r->depth - 1] = &node->next;
    }
    return node;
}

static bool add_scalar(struct reader *r, const yaml_event_t *event)
{
    struct str text = str_from(event->data.scalar.value, event->data.scalar.length);
    struct tree_node *node = add_node(r, TREE_SCALAR, event->start_mark);
    if (!node)
        return false;
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return arena_copy(r->arena, text, &node->text) ||
           wrong(r, event->start_mark, "the configuration takes too much memory", "");
}

static bool open_node(struct reader *r, enum tree_kind kind, yaml_mark_t mark)
{
    if (r->depth == LIMIT_config_depth)
        return wrong(r, mark, "nested too deep", "");
    struct tree_node *node = add_node(r, kind, mark);
    if (!node)
        return false;
    r->open[r->depth] = node;
    r->end[r->depth++] = &node->first;
    return true;
}

static void refuse(struct reader *r, yaml_mark_t mark, const yaml_char_t *anchor,
                   const yaml_char_t *tag)
{
    if (!anchor && !tag)
        return;
    r->failed = true;
    if (anchor)
        wrong(r, mark, "anchors are not taken here",
              "write the value out; a value that begins with & goes in quotes");
    else
        wrong(r, mark, "tags are not taken here",
              "leave the tag out; a value that begins with ! goes in quotes");
}

// False ends the reading.
static bool take(struct reader *r, const yaml_event_t *event)
{
    yaml_mark_t mark = event->start_mark;
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        r->failed = true;
        wrong(r, mark, "aliases are not taken here",
              "write the value out; a value that begins with * goes in quotes");
        return add_node(r, TREE_BROKEN, mark) != NULL;
    case YAML_DOCUMENT_START_EVENT:
        return ++r->documents == 1 ||
               wrong(r, mark, "a second document in one file", "leave out the line ---");
    case YAML_SCALAR_EVENT:
        refuse(r, mark, event->data.scalar.anchor, event->data.scalar.tag);
        return add_scalar(r, event);
    case YAML_SEQUENCE_START_EVENT:
        refuse(r, mark, event->data.sequence_start.anchor, event->data.sequence_start.tag);
        return open_node(r, TREE_LIST, mark);
    case YAML_MAPPING_START_EVENT:
        refuse(r, mark, event->data.mapping_start.anchor, event->data.mapping_start.tag);
        return open_node(r, TREE_MAPPING, mark);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        must(r->depth > 0);
        r->depth--;
        return true;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return true;
    }
    return true;
}

// After a fault in the middle: what is still open lacks its end. Of the mapping at the top the
// pairs that are whole stay.
static void close_broken(struct reader *r)
{
    for (size_t i = 1; i < r->depth; i++)
        r->open[i]->kind = TREE_BROKEN;
    if (r->depth == 0 || r->root->kind != TREE_MAPPING)
        return;
    struct tree_node **pair = &r->root->first;
    while (*pair && (*pair)->next)
        pair = &(*pair)->next->next;
    *pair = NULL;
}

static bool read_events(struct reader *r, yaml_parser_t *parser)
{
    for (;;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event))
            return wrong_syntax(r, parser);
        bool end = event.type == YAML_STREAM_END_EVENT;
        bool ok = take(r, &event);
        yaml_event_delete(&event);
        if (!ok || end)
            return ok;
    }
}

bool tree_read(const struct conf_source *source, struct arena *arena, struct tree_node **root,
               struct conf_problems *problems)
{
    struct reader r = {.source = source, .arena = arena, .problems = problems};
    struct str text = source->text;
    yaml_parser_t parser;
    *root = NULL;
    if (str_starts(text, STR("\xef\xbb\xbf")))
        text = str_skip(text, 3);
    if (!check_bytes(&r, text))
        return false;
    must(yaml_parser_initialize(&parser));
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.ptr, text.len);
    bool whole = read_events(&r, &parser);
    yaml_parser_delete(&parser);
    if (!whole)
        close_broken(&r);
    *root = r.root;
    return whole && !r.failed;
}
