#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "ctl/usage.h"

static const char init_usage[] = "DIR --hostname NAME --domain D... [--smtp ADDR:PORT] [--quiet]";

// Every usage of the table can be read, and its words are told apart.
static void the_table_is_sound(void **state)
{
    size_t count;
    const struct command_row *rows = command_rows(&count);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        struct usage usage;
        usage_read(rows[i].usage, &usage);
        assert_true(rows[i].group[0] && rows[i].help[0] && rows[i].run);
        assert_int_equal(rows[i].help[strlen(rows[i].help) - 1], '.');
        for (size_t k = 0; k < i; k++)
            assert_false(str_eq(str_of(rows[k].group), str_of(rows[i].group)) &&
                         (str_eq(str_of(rows[k].name), str_of(rows[i].name)) || !rows[i].name[0]));
    }
}

static void the_grammar(void **state)
{
    static const struct {
        const char *name, *value;
        bool option, optional, repeats;
    } want[] = {
        {"DIR", "", false, false, false},   {"hostname", "NAME", true, false, false},
        {"domain", "D", true, false, true}, {"smtp", "ADDR:PORT", true, true, false},
        {"quiet", "", true, true, false},
    };
    struct usage usage;
    (void)state;
    usage_read(init_usage, &usage);
    assert_int_equal(usage.count, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const struct usage_item *item = &usage.items[i];
        assert_true(str_eq(item->name, str_of(want[i].name)));
        assert_true(str_eq(item->value, str_of(want[i].value)));
        assert_int_equal(item->option, want[i].option);
        assert_int_equal(item->optional, want[i].optional);
        assert_int_equal(item->repeats, want[i].repeats);
    }
    usage_read("[COMMAND...] [--man PAGE]", &usage);
    assert_int_equal(usage.count, 2);
    assert_true(usage.items[0].optional && usage.items[0].repeats && !usage.items[0].option);
    assert_true(usage.items[1].optional && usage.items[1].option && !usage.items[1].repeats);
    assert_true(str_eq(usage.items[1].value, STR("PAGE")));
    usage_read("", &usage);
    assert_int_equal(usage.count, 0);
}

struct matched {
    struct arena arena;
    struct command c;
    struct str problem;
    bool help;
    bool ok;
};

static void match(struct matched *m, const char *usage_text, unsigned flags, const char *line)
{
    static const struct command_row plain = {"x", "", "", COMMAND_PLAIN, NULL, ""};
    static const struct command_row json = {"x", "", "", COMMAND_JSON, NULL, ""};
    struct str rest = str_of(line), words[20];
    struct usage usage;
    size_t count = 0;
    arena_init(&m->arena, LIMIT_config_memory);
    m->c = (struct command){.arena = &m->arena, .row = flags ? &json : &plain};
    m->problem = STR("");
    while (count < ARRAY_LEN(words) && str_cut(&rest, ' ', &words[count]))
        count++;
    usage_read(usage_text, &usage);
    m->ok = usage_match(&usage, &m->c, words, count, &m->help, &m->problem);
}

static void what_fits(void **state)
{
    struct matched m;
    struct str value;
    (void)state;
    match(&m, init_usage, 0, "--domain a run --domain=b --hostname h --quiet");
    assert_true(m.ok);
    assert_int_equal(m.c.arg_count, 1);
    assert_true(str_eq(m.c.args[0], STR("run")));
    assert_true(command_has(&m.c, "quiet") && !command_has(&m.c, "smtp"));
    assert_true(command_value(&m.c, "domain", 0, &value) && str_eq(value, STR("a")));
    assert_true(command_value(&m.c, "domain", 1, &value) && str_eq(value, STR("b")));
    assert_false(command_value(&m.c, "domain", 2, &value));
    arena_finish(&m.arena);
    match(&m, "ADDR", 0, "-- --not-an-option");
    assert_true(m.ok && str_eq(m.c.args[0], STR("--not-an-option")));
    arena_finish(&m.arena);
    match(&m, "FILE", 0, "-");
    assert_true(m.ok && str_eq(m.c.args[0], STR("-")));
    arena_finish(&m.arena);
    match(&m, "[A...]", COMMAND_JSON, "1 2 --json 3");
    assert_true(m.ok && m.c.json && m.c.arg_count == 3);
    arena_finish(&m.arena);
    match(&m, "[--man PAGE]", 0, "--man=a=b");
    assert_true(m.ok && command_value(&m.c, "man", 0, &value) && str_eq(value, STR("a=b")));
    arena_finish(&m.arena);
    match(&m, "ADDR", 0, "用户@例子.测试");
    assert_true(m.ok && str_eq(m.c.args[0], STR("用户@例子.测试")));
    arena_finish(&m.arena);
}

static void what_does_not(void **state)
{
    static const struct {
        const char *usage, *line, *problem;
    } cases[] = {
        {init_usage, "", "DIR is missing"},
        {init_usage, "d", "--hostname is missing"},
        {init_usage, "d --hostname h", "--domain is missing"},
        {init_usage, "d --hostname h --domain", "--domain needs a value: D"},
        {init_usage, "d --hostname h --hostname i --domain x", "--hostname stands twice"},
        {init_usage, "d e --hostname h --domain x", "\"e\" is one argument too many"},
        {init_usage, "d --quiet=1", "--quiet takes no value"},
        {init_usage, "d --hostnam h", "unknown option --hostnam, did you mean --hostname?"},
        {init_usage, "d --zebra", "unknown option --zebra"},
        {init_usage, "d -x", "unknown option -x"},
        {init_usage, "d -hostname", "unknown option -hostname, did you mean --hostname?"},
        {init_usage, "d -c f", "-c FILE stands before the command"},
        {init_usage, "d --=x", "unknown option --=x"},
        {"", "--json", "unknown option --json"},
        {"", "x", "\"x\" is one argument too many"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct matched m;
        match(&m, cases[i].usage, 0, cases[i].line);
        assert_false(m.ok || m.help);
        assert_string_equal(m.problem.ptr, cases[i].problem);
        arena_finish(&m.arena);
    }
}

static void help_wins(void **state)
{
    static const char *const lines[] = {"--help", "d --help", "-h x y z"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct matched m;
        match(&m, init_usage, 0, lines[i]);
        assert_true(!m.ok && m.help);
        arena_finish(&m.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_sound), cmocka_unit_test(the_grammar),
        cmocka_unit_test(what_fits),          cmocka_unit_test(what_does_not),
        cmocka_unit_test(help_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
