#include "ctl/usage.h"

#include "base/nearest.h"

// Takes brackets and dots off a word.
static struct str strip(struct str word, bool *opens, bool *closes, bool *repeats)
{
    bool more = true;
    *opens = str_starts(word, STR("["));
    word = str_skip(word, *opens ? 1 : 0);
    while (more) {
        more = false;
        if (str_ends(word, STR("..."))) {
            word.len -= 3;
            *repeats = more = true;
        } else if (str_ends(word, STR("]"))) {
            word.len -= 1;
            *closes = more = true;
        }
    }
    return word;
}

void usage_read(const char *text, struct usage *usage)
{
    struct str rest = str_of(text), word;
    bool inside = false; // brackets
    *usage = (struct usage){.count = 0};
    while (str_cut(&rest, ' ', &word)) {
        bool opens, closes = false, repeats = false;
        must(usage->count < USAGE_ITEMS_MAX);
        struct usage_item *item = &usage->items[usage->count++];
        item->name = strip(word, &opens, &closes, &repeats);
        item->option = str_starts(item->name, STR("--"));
        item->name = str_skip(item->name, item->option ? 2 : 0);
        item->optional = inside || opens;
        inside = (inside || opens) && !closes;
        if (item->option && !closes && !repeats && str_cut(&rest, ' ', &word)) {
            item->value = strip(word, &opens, &closes, &repeats);
            must(!opens);
            inside = inside && !closes;
        }
        item->repeats = repeats;
        must(item->name.len > 0 && (item->option || !item->value.len));
    }
    must(!inside);
}

PRINTF_LIKE(3, 4)
static bool wrong(struct command *c, struct str *problem, const char *fmt, ...)
{
    struct buf text;
    va_list args;
    buf_init(&text, 65536);
    va_start(args, fmt);
    buf_vputf(&text, fmt, args);
    va_end(args);
    if (!arena_copy(c->arena, buf_str(&text), problem))
        *problem = STR("the arguments take too much memory");
    buf_finish(&text);
    return false;
}

static const struct usage_item *find_option(const struct usage *usage, struct str name)
{
    for (size_t i = 0; i < usage->count; i++)
        if (usage->items[i].option && str_eq(usage->items[i].name, name))
            return &usage->items[i];
    return NULL;
}

static bool unknown_option(const struct usage *usage, struct command *c, struct str word,
                           struct str name, struct str *problem)
{
    struct nearest nearest;
    if (str_eq(word, STR("-c")))
        return wrong(c, problem, "-c FILE stands before the command");
    nearest_init(&nearest, name);
    for (size_t i = 0; i < usage->count; i++)
        if (usage->items[i].option)
            nearest_offer(&nearest, usage->items[i].name);
    if (nearest.best.len)
        return wrong(c, problem, "unknown option %.*s, did you mean --%.*s?", STR_ARG(word),
                     STR_ARG(nearest.best));
    return wrong(c, problem, "unknown option %.*s", STR_ARG(word));
}

// What is gathered; room for as many as there are words.
struct gathered {
    struct str *args;
    struct command_option *options;
};

// The option words[*at]; *at moves over its value.
static bool take_option(const struct usage *usage, struct command *c, struct gathered *g,
                        const struct str *words, size_t count, size_t *at, struct str *problem)
{
    struct str word = words[*at], value = STR(""), name;
    struct str rest = str_skip(word, str_starts(word, STR("--")) ? 2 : 1);
    bool joined = str_index(rest, '=') < rest.len;
    bool cut = str_cut(&rest, '=', &name);
    const struct usage_item *item =
        cut && str_starts(word, STR("--")) ? find_option(usage, name) : NULL;
    if (!item)
        return unknown_option(usage, c, word, cut ? name : STR(""), problem);
    if (item->value.len == 0 && joined)
        return wrong(c, problem, "--%.*s takes no value", STR_ARG(name));
    if (item->value.len && !joined && ++*at == count)
        return wrong(c, problem, "--%.*s needs a value: %.*s", STR_ARG(name), STR_ARG(item->value));
    if (item->value.len)
        value = joined ? rest : words[*at];
    for (size_t i = 0; i < c->option_count && !item->repeats; i++)
        if (str_eq(g->options[i].name, name))
            return wrong(c, problem, "--%.*s stands twice", STR_ARG(name));
    g->options[c->option_count++] = (struct command_option){.name = item->name, .value = value};
    return true;
}

static bool check_count(const struct usage *usage, struct command *c, struct str *problem)
{
    size_t least = 0, most = 0;
    bool endless = false;
    for (size_t i = 0; i < usage->count; i++) {
        const struct usage_item *item = &usage->items[i];
        if (item->option) {
            bool given = false;
            for (size_t k = 0; k < c->option_count; k++)
                given |= str_eq(c->options[k].name, item->name);
            if (!given && !item->optional)
                return wrong(c, problem, "--%.*s is missing", STR_ARG(item->name));
            continue;
        }
        if (!item->optional && least++ == c->arg_count)
            return wrong(c, problem, "%.*s is missing", STR_ARG(item->name));
        most++;
        endless |= item->repeats;
    }
    if (c->arg_count > most && !endless)
        return wrong(c, problem, "\"%.*s\" is one argument too many", STR_ARG(c->args[most]));
    return true;
}

bool usage_match(const struct usage *usage, struct command *c, const struct str *words,
                 size_t count, bool *help, struct str *problem)
{
    struct gathered g = {
        .args = arena_alloc_array(c->arena, count + 1, sizeof(*g.args)),
        .options = arena_alloc_array(c->arena, count + 1, sizeof(*g.options)),
    };
    bool options_end = false;
    *help = false;
    if (!g.args || !g.options)
        return wrong(c, problem, "too many arguments");
    c->args = g.args;
    c->options = g.options;
    c->arg_count = c->option_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct str word = words[i];
        if (options_end || !str_starts(word, STR("-")) || word.len == 1)
            g.args[c->arg_count++] = word;
        else if (str_eq(word, STR("--")))
            options_end = true;
        else if (str_eq(word, STR("--help")) || str_eq(word, STR("-h")))
            *help = true;
        else if (str_eq(word, STR("--json")) && (c->row->flags & COMMAND_JSON))
            c->json = true;
        else if (!take_option(usage, c, &g, words, count, &i, problem))
            return false;
    }
    return !*help && check_count(usage, c, problem);
}
