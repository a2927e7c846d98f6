// The list of what each role may do, against tools/jail.expected.
// `test_jail_list --expected` prints what that file should hold.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "os/jail.h"

static const struct {
    const char *role;
    unsigned calls;
    uint64_t max_files;
    uint64_t max_memory;
} rows[] = {
#define JAIL(role, calls, max_files, max_memory) {#role, calls, max_files, max_memory},
#include "roles/jails.def"
#undef JAIL
};

static void describe_all(struct buf *out)
{
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        const struct jail jail = {.role = rows[r].role,
                                  .calls = rows[r].calls,
                                  .max_files = rows[r].max_files,
                                  .max_memory = rows[r].max_memory};
        buf_putf(out, "%s[%s]\n", r ? "\n" : "", rows[r].role);
        jail_describe(&jail, out);
    }
}

// Lines of `a` that `b` lacks in the section of the same role.
static void tell_difference(struct str a, struct str b, char sign)
{
    struct str line, section = STR("");
    while (str_cut(&a, '\n', &line)) {
        if (str_starts(line, STR("[")))
            section = line;
        size_t from = str_find(b, section) + section.len;
        struct str other = str_skip(b, from);
        other = str_sub(other, 0, str_find(other, STR("\n[")));
        bool found = false;
        struct str candidate;
        while (!found && str_cut(&other, '\n', &candidate))
            found = str_eq(candidate, line);
        if (!found && !str_eq(line, section) && line.len)
            fprintf(stderr, "# %c %.*s %.*s\n", sign, STR_ARG(section), STR_ARG(line));
    }
}

static void roles_may_what_was_agreed(void **state)
{
    struct buf now, agreed;
    char bytes[4096];
    size_t n;
    (void)state;
    buf_init(&now, 1 << 20);
    buf_init(&agreed, 1 << 20);
    FILE *f = fopen(JAIL_EXPECTED, "re");
    while (f && (n = fread(bytes, 1, sizeof(bytes), f)) > 0)
        buf_put(&agreed, str_from(bytes, n));
    if (f)
        fclose(f);
    describe_all(&now);
    bool same = str_eq(buf_str(&now), buf_str(&agreed));
    if (!same) {
        tell_difference(buf_str(&agreed), buf_str(&now), '-');
        tell_difference(buf_str(&now), buf_str(&agreed), '+');
        fprintf(stderr, "# What a role may do has changed. Where that is meant, agree to it:\n"
                        "#     test_jail_list --expected > tools/jail.expected\n"
                        "# and say in the commit why the role needs it.\n");
    }
    buf_finish(&now);
    buf_finish(&agreed);
    assert_true(same);
}

static void a_description_is_sorted_and_whole(void **state)
{
    const struct jail_path paths[] = {{3, false}, {4, true}, {5, false}};
    const struct jail jail = {.role = "test",
                              .calls = JAIL_BASE | JAIL_FILES | JAIL_CHANGE,
                              .paths = paths,
                              .path_count = ARRAY_LEN(paths),
                              .max_files = 7,
                              .max_memory = 8};
    struct buf out;
    struct str rest, line, before = STR("");
    unsigned opens = 0;
    (void)state;
    buf_init(&out, 1 << 16);
    jail_describe(&jail, &out);
    assert_true(
        str_ends(buf_str(&out), STR("files 7\nmemory 8\npath change\npath read\npath read\n")));
    rest = buf_str(&out);
    while (str_cut(&rest, '\n', &line) && str_starts(line, STR("call "))) {
        assert_true(str_cmp(before, line) < 0);
        before = line;
        opens += str_starts(line, STR("call openat"));
    }
    // JAIL_CHANGE opens any way; what JAIL_FILES adds is no news.
    assert_int_equal(opens, 1);
    assert_true(str_find(buf_str(&out), STR("call read\n")) < out.len);
    assert_true(str_find(buf_str(&out), STR("call mmap (without PROT_EXEC)\n")) < out.len);
    assert_true(str_find(buf_str(&out), STR("socket")) == out.len);
    buf_finish(&out);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_may_what_was_agreed),
        cmocka_unit_test(a_description_is_sorted_and_whole),
    };
    if (argc == 2 && strcmp(argv[1], "--expected") == 0) {
        struct buf out;
        buf_init(&out, 1 << 20);
        describe_all(&out);
        fwrite(out.ptr, 1, out.len, stdout);
        buf_finish(&out);
        return 0;
    }
    return cmocka_run_group_tests_name("jail_list", tests, NULL, NULL);
}
