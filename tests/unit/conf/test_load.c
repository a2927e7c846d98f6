// Golden files: golden/NAME.yaml is a configuration with mistakes, golden/NAME.out what is said of
// it. The program runs in golden/; `test_load --write` makes the .out files anew, to be read before
// they are committed.
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "conf/conf.h"
#include "os/file.h"

enum { OUT_MAX = 1 << 20 };

// A file in a directory of this test's own.
struct place {
    char directory[64];
    char path[128];
};

struct loaded {
    struct place place; // of load_text; the values' places name it
    struct arena arena;
    struct conf conf;
    struct conf_problems problems;
    struct buf said; // the problems as text
    bool ok;
};

static void load(struct loaded *l, const char *path, size_t memory)
{
    arena_init(&l->arena, memory);
    buf_init(&l->said, OUT_MAX);
    l->ok = conf_load(str_of(path), &l->arena, &l->conf, &l->problems);
    conf_put_problems(&l->said, &l->problems);
    assert_int_equal(l->ok, l->problems.count == 0);
    assert_true(buf_ok(&l->said));
}

static void unload(struct loaded *l)
{
    buf_finish(&l->said);
    arena_finish(&l->arena);
}

static bool says(const struct loaded *l, const char *text)
{
    return str_find(buf_str(&l->said), str_of(text)) < l->said.len;
}

static void make_place(struct place *p)
{
    snprintf(p->directory, sizeof(p->directory), "/tmp/test_load.XXXXXX");
    assert_non_null(mkdtemp(p->directory));
    snprintf(p->path, sizeof(p->path), "%s/posthouse.yaml", p->directory);
}

static void remove_place(struct place *p)
{
    unlink(p->path);
    assert_int_equal(rmdir(p->directory), 0);
}

static void write_file(const char *path, struct str text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(os_write_all(fd, text), 0);
    close(fd);
}

static void load_text(struct loaded *l, struct str text)
{
    make_place(&l->place);
    write_file(l->place.path, text);
    load(l, l->place.path, LIMIT_config_memory);
    remove_place(&l->place);
}

// ---- golden files

struct goldens {
    size_t count;
    bool rewrite;
};

static bool compare(void *context, const char *name)
{
    struct goldens *goldens = context;
    struct loaded l;
    struct buf want;
    char out[300];
    if (!str_ends(str_of(name), STR(".yaml")))
        return true;
    snprintf(out, sizeof(out), "%.*s.out", (int)strlen(name) - 5, name);
    load(&l, name, LIMIT_config_memory);
    if (goldens->rewrite)
        write_file(out, buf_str(&l.said));
    buf_init(&want, OUT_MAX);
    if (os_read_file(OS_HERE, out, &want) != 0 || !str_eq(buf_str(&want), buf_str(&l.said)))
        fail_msg("%s: what is said differs from %s:\n%.*s", name, out, STR_ARG(buf_str(&l.said)));
    assert_false(l.ok);
    buf_finish(&want);
    unload(&l);
    goldens->count++;
    return true;
}

static void golden_files(void **state)
{
    struct goldens *goldens = *state;
    int dir = os_open_directory(OS_HERE, ".");
    assert_true(dir >= 0);
    assert_int_equal(os_list(dir, compare, goldens), 0);
    os_close(&dir);
    assert_true(goldens->count >= 20);
}

// ---- what is good

static void defaults(void **state)
{
    struct loaded l;
    (void)state;
    load_text(&l, STR("hostname: mail.example.test\n"));
    assert_true(l.ok);
    assert_true(str_eq(l.conf.hostname, STR("mail.example.test")));
    assert_true(str_starts(l.conf.spool_dir, STR("/tmp/test_load.")));
    assert_true(str_ends(l.conf.spool_dir, STR("/spool")));
    assert_true(str_eq(l.conf.mailbox, STR("%d/%u")));
    assert_int_equal(l.conf.limits.max_message, 26214400);
    assert_int_equal(l.conf.limits.smtp_idle, 300000);
    assert_int_equal(l.conf.bare_newline, CONF_BARE_CONVERT);
    assert_int_equal(l.conf.listen_count, 0);
    assert_int_equal(l.conf.source_count, 1);
    unload(&l);
}

static void everything_set(void **state)
{
    struct loaded l;
    (void)state;
    load_text(&l, STR("\xef\xbb\xbf%YAML 1.1\n---\n"
                      "hostname: '邮件.例子.测试'\r\n"
                      "spool_dir: /var/spool/邮件/\r\n"
                      "mailbox: \"%d/u-%u\"\n"
                      "bare_newline: refuse\n"
                      "limits:\n"
                      "  max_message: 50M\n"
                      "  drain: 0\n"
                      "listen:\n"
                      "  - protocol: smtp\n"
                      "    address: \"[::1]:25\"\n"
                      "  - {address: 127.0.0.1:110, protocol: pop3}\n"
                      "include:\n"
                      "...\n"));
    assert_int_equal(l.problems.count, 0);
    assert_true(str_eq(l.conf.hostname, STR("邮件.例子.测试")));
    assert_string_equal(l.conf.spool_dir.ptr, "/var/spool/邮件");
    assert_int_equal(l.conf.bare_newline, CONF_BARE_REFUSE);
    assert_int_equal(l.conf.limits.max_message, 52428800);
    assert_int_equal(l.conf.limits.drain, 0);
    assert_int_equal(l.conf.listen_count, 2);
    assert_int_equal(l.conf.listen[0].protocol, CONF_SMTP);
    assert_int_equal(l.conf.listen[0].address.port, 25);
    assert_int_equal(l.conf.listen[1].protocol, CONF_POP3);
    assert_int_equal(l.conf.listen[1].address.family, 4);
    assert_int_equal(l.conf.listen[1].place.line, 13);
    unload(&l);
}

// Paths are relative to the file they stand in; lists are joined in the order of the names.
static void includes(void **state)
{
    static const char *const names[] = {"posthouse.yaml", "conf.d/b.yaml", "conf.d/a.yaml",
                                        "conf.d/.hidden.yaml", "conf.d/c.yaml~"};
    static const char *const texts[] = {
        "include: [conf.d/*.yaml]\nlisten:\n  - {protocol: smtp, address: \"127.0.0.1:1\"}\n",
        "hostname: mail.example.test\nlisten:\n  - {protocol: smtp, address: \"127.0.0.1:3\"}\n",
        "spool_dir: s\nlisten:\n  - {protocol: smtp, address: \"127.0.0.1:2\"}\n",
        "broken",
        "broken",
    };
    struct place place;
    struct loaded l;
    char path[256];
    (void)state;
    make_place(&place);
    snprintf(path, sizeof(path), "%s/conf.d", place.directory);
    assert_int_equal(mkdir(path, 0700), 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", place.directory, names[i]);
        write_file(path, str_of(texts[i]));
    }
    load(&l, place.path, LIMIT_config_memory);
    assert_true(l.ok);
    assert_int_equal(l.conf.source_count, 3);
    assert_true(str_ends(l.conf.sources[0], STR("/posthouse.yaml")));
    assert_true(str_ends(l.conf.sources[1], STR("/conf.d/a.yaml")));
    assert_true(str_ends(l.conf.sources[2], STR("/conf.d/b.yaml")));
    assert_true(str_ends(l.conf.spool_dir, STR("/conf.d/s")));
    assert_int_equal(l.conf.listen_count, 3);
    // The main file's include stands before its list.
    assert_int_equal(l.conf.listen[0].address.port, 2);
    assert_int_equal(l.conf.listen[1].address.port, 3);
    assert_int_equal(l.conf.listen[2].address.port, 1);
    unload(&l);
    for (size_t i = 1; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", place.directory, names[i]);
        unlink(path);
    }
    snprintf(path, sizeof(path), "%s/conf.d", place.directory);
    assert_int_equal(rmdir(path), 0);
    remove_place(&place);
}

static void shown_values_load_to_the_same(void **state)
{
    struct loaded first, second;
    struct buf one, two, packed_one, packed_two;
    (void)state;
    load_text(&first,
              STR("hostname: mail.example.test\nrun_as: \"yes\"\nmail_user: \"a \\\"b\\\\\"\n"
                  "limits: {drain: 1500ms, disk_reserve: 1000001}\n"
                  "listen:\n  - {protocol: pop3, address: \"*:110\"}\n"
                  "dns: {server: \"127.0.0.1@5353\"}\n"
                  "routes:\n  - {domain: .例子.测试, to: \"smtp://[::1]:26\"}\n"
                  "  - {domain: \"*\", sender: a.test, to: \"error: \\\"no\\\"\"}\n"));
    assert_true(first.ok);
    buf_init(&one, OUT_MAX);
    buf_init(&two, OUT_MAX);
    buf_init(&packed_one, OUT_MAX);
    buf_init(&packed_two, OUT_MAX);
    conf_show(&one, &first.conf);
    load_text(&second, buf_str(&one));
    assert_true(second.ok);
    conf_pack(&packed_one, &first.conf);
    conf_pack(&packed_two, &second.conf);
    assert_true(str_eq(buf_str(&packed_one), buf_str(&packed_two)));
    conf_show(&two, &second.conf);
    // Only the places differ.
    assert_true(str_find(buf_str(&one), STR("# default\n")) < one.len);
    assert_true(str_find(buf_str(&two), STR("# default\n")) == two.len);
    buf_finish(&one);
    buf_finish(&two);
    buf_finish(&packed_one);
    buf_finish(&packed_two);
    unload(&first);
    unload(&second);
}

static void the_sample_loads(void **state)
{
    struct conf_setting settings[] = {{STR("hostname"), STR("mail.example.test")},
                                      {STR("spool_dir"), STR("spool dir")}};
    struct conf_sample sample = {.settings = settings, .count = 2};
    struct loaded l;
    struct buf text;
    (void)state;
    buf_init(&text, OUT_MAX);
    conf_put_sample(&text, &sample);
    load_text(&l, buf_str(&text));
    assert_true(l.ok);
    assert_int_equal(l.conf.listen_count, 0);
    assert_true(str_ends(l.conf.spool_dir, STR("/spool dir")));
    unload(&l);
    buf_clear(&text);
    sample.listen[CONF_POP3] = STR("[::1]:2110");
    conf_put_sample(&text, &sample);
    load_text(&l, buf_str(&text));
    assert_true(l.ok);
    assert_int_equal(l.conf.listen_count, 1);
    assert_int_equal(l.conf.listen[0].protocol, CONF_POP3);
    unload(&l);
    buf_finish(&text);
}

// The lists of all files are one, and each network knows where it stands.
static void networks_of_several_files(void **state)
{
    struct loaded l;
    struct place place;
    char more[160];
    (void)state;
    make_place(&place);
    snprintf(more, sizeof(more), "%s/more.yaml", place.directory);
    write_file(more, STR("trusted: [\"2001:db8::/32\", 192.0.2.7]\n"));
    write_file(place.path, STR("hostname: mail.example.test\n"
                               "include: [more.yaml]\n"
                               "trusted:\n"
                               "  - 192.0.2.0/28\n"));
    load(&l, place.path, LIMIT_config_memory);
    assert_true(l.ok);
    assert_int_equal(l.conf.trusted.count, 3);
    const struct conf_network *items = l.conf.trusted.items;
    assert_int_equal(items[0].range.bits, 32);
    assert_true(str_ends(items[0].place.file, STR("/more.yaml")));
    assert_int_equal(items[1].place.column, 28);
    assert_int_equal(items[2].range.bits, 28);
    assert_int_equal(items[2].place.line, 4);
    unload(&l);
    unlink(more);
    remove_place(&place);
}

// ---- limits and hostile files

static void put_networks(struct buf *text, unsigned count)
{
    buf_clear(text);
    buf_put(text, STR("hostname: mail.example.test\ntrusted:\n"));
    for (unsigned i = 0; i < count; i++)
        buf_putf(text, "  - 2001:db8:1111:2222:3333:4444:5555:%x\n", i + 0x1000);
}

static void only_so_many_networks(void **state)
{
    struct loaded l;
    struct buf text;
    (void)state;
    buf_init(&text, OUT_MAX);
    put_networks(&text, LIMIT_networks);
    load_text(&l, buf_str(&text));
    assert_true(l.ok);
    buf_clear(&text);
    conf_show(&text, &l.conf);
    unload(&l);
    load_text(&l, buf_str(&text)); // one long line
    assert_true(l.ok);
    assert_int_equal(l.conf.trusted.count, LIMIT_networks);
    unload(&l);
    put_networks(&text, LIMIT_networks + 1);
    load_text(&l, buf_str(&text));
    assert_false(l.ok);
    assert_true(says(&l, ":2:1: trusted has too many entries"));
    unload(&l);
    buf_finish(&text);
}

static void depth(void **state)
{
    struct loaded l;
    struct buf text;
    (void)state;
    for (unsigned levels = 30; levels < 35; levels++) {
        buf_init(&text, OUT_MAX);
        buf_put(&text, STR("hostname: a.b\nx: "));
        for (unsigned i = 0; i < levels; i++)
            buf_put_byte(&text, '[');
        for (unsigned i = 0; i < levels; i++)
            buf_put_byte(&text, ']');
        load_text(&l, buf_str(&text));
        assert_false(l.ok);
        assert_int_equal(says(&l, "nested too deep"), levels + 1 > LIMIT_config_depth);
        buf_finish(&text);
        unload(&l);
    }
}

static void only_so_many_problems_are_told(void **state)
{
    struct loaded l;
    struct buf text;
    (void)state;
    buf_init(&text, OUT_MAX);
    for (int i = 0; i < 5000; i++)
        buf_putf(&text, "key%d: x\n", i);
    load_text(&l, buf_str(&text));
    assert_int_equal(l.problems.count, LIMIT_config_errors);
    assert_int_equal(l.problems.left_out,
                     5001 - LIMIT_config_errors); // hostname is missing as well
    assert_true(says(&l, "and 4951 more, not shown\n"));
    buf_finish(&text);
    unload(&l);
}

static void sizes(void **state)
{
    struct loaded l;
    struct buf text;
    (void)state;
    buf_init(&text, 2 * LIMIT_config_file);
    buf_put(&text, STR("hostname: a.b\n#"));
    while (text.len < LIMIT_config_file)
        buf_put_byte(&text, 'x');
    load_text(&l, buf_str(&text));
    assert_true(l.ok);
    unload(&l);
    buf_put_byte(&text, 'x');
    load_text(&l, buf_str(&text));
    assert_true(says(&l, "it is larger than 1 MiB"));
    assert_int_equal(l.problems.count, 1);
    unload(&l);
    buf_finish(&text);
}

static void bytes(void **state)
{
    static const struct {
        struct str text;
        const char *said;
    } cases[] = {
        {{"hostname: a\0b\n", 14}, ":1:12: a NUL byte"},
        {{"\0", 1}, ":1:1: a NUL byte"},
        {{"hostname: \"a.\\0b\"\n", 18}, ":1:11: hostname holds a control character"},
        {{"hostname: a.b\nrun_as: \xed\xa0\x80\n", 26}, ":2:9: this is not UTF-8"},
        {{"a: \xef\xbb\xbf\n", 7}, ":1:4: a character that has no place in text"},
        {{"\xff\xfeh\0o\0", 6}, ":1:1: this is not UTF-8"},
        {{"a: \xe4\xb8", 5}, ":1:4: this is not UTF-8"},
        {{"# \xc2\x85\n", 5}, ":1:3: a control character"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct loaded l;
        load_text(&l, cases[i].text);
        assert_true(says(&l, cases[i].said));
        unload(&l);
    }
}

static void files_that_are_none(void **state)
{
    struct place place;
    struct loaded l;
    (void)state;
    make_place(&place);
    load(&l, place.path, LIMIT_config_memory);
    assert_true(says(&l, "No such file or directory"));
    assert_int_equal(l.problems.count, 1);
    unload(&l);
    load(&l, place.directory, LIMIT_config_memory);
    assert_true(says(&l, "it is not a regular file"));
    unload(&l);
    assert_int_equal(mkfifo(place.path, 0600), 0);
    load(&l, place.path, LIMIT_config_memory);
    assert_true(says(&l, "it is not a regular file"));
    unload(&l);
    load(&l, "", LIMIT_config_memory);
    assert_false(l.ok);
    unload(&l);
    remove_place(&place);
}

// However little memory there is beyond the tables, it ends in a problem and never in a crash.
static void little_memory(void **state)
{
    struct place place;
    struct loaded l;
    struct buf text;
    bool ok = false;
    size_t memory = 32768;
    (void)state;
    buf_init(&text, OUT_MAX);
    buf_put(&text, STR("hostname: mail.example.test\nlisten:\n"));
    for (int i = 1; i < 100; i++)
        buf_putf(&text, "  - {protocol: smtp, address: \"127.0.0.1:%d\"}\n", i);
    make_place(&place);
    write_file(place.path, buf_str(&text));
    for (; !ok && memory < LIMIT_config_memory; memory += 997) {
        load(&l, place.path, memory);
        ok = l.ok;
        assert_true(ok || says(&l, "too much memory"));
        unload(&l);
    }
    assert_true(ok && memory > 40000);
    remove_place(&place);
    buf_finish(&text);
}

int main(int argc, char **argv)
{
    struct goldens goldens = {.rewrite = argc > 1 && str_eq(str_of(argv[1]), STR("--write"))};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(golden_files, &goldens),
        cmocka_unit_test(defaults),
        cmocka_unit_test(everything_set),
        cmocka_unit_test(includes),
        cmocka_unit_test(shown_values_load_to_the_same),
        cmocka_unit_test(the_sample_loads),
        cmocka_unit_test(networks_of_several_files),
        cmocka_unit_test(only_so_many_networks),
        cmocka_unit_test(depth),
        cmocka_unit_test(only_so_many_problems_are_told),
        cmocka_unit_test(sizes),
        cmocka_unit_test(bytes),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
