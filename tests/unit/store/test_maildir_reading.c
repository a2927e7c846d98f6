// Reading. Every case works in a Maildir of its own.
#define _GNU_SOURCE

#include <errno.h>
#include <sys/stat.h>

#include "maildir_faults.h"

struct expected {
    const char *file;
    bool in_cur;
    struct str bytes;
    const char *unique;
    uint64_t told; // by the name, or MAILDIR_SIZE_UNKNOWN
    uint64_t size; // what is known when a size that no name told was learned
};

#define OURS "1700000000.0123456789ABCDEFGHJKMNPQRS_0.posthouse"

#define NO MAILDIR_SIZE_UNKNOWN

// In the order of the list.
static const struct expected letters_expected[] = {
    {"odd name", true, PIECE("x\n"), "odd name", NO, 3},
    {"你好", false, PIECE("王\n"), "你好", NO, 5},
    {"7", false, PIECE("a\nb\n"), "7", NO, 6},
    {"99.M1P2.host", true, PIECE(""), "99.M1P2.host", NO, 0},
    // RETR adds the last line end: it counts.
    {"100.M1P2.host:2,S", true, PIECE("a\nb"), "100.M1P2.host", NO, 6},
    {"100.M1P3.host:1,x", false, PIECE("a\r\nb\r\n"), "100.M1P3.host", NO, 6},
    // Sizes are believed, Dovecot's like ours, and no file is read.
    {"101.M1.host,S=4,W=6:2,", true, PIECE("a\nb\n"), "101.M1.host", 6, 6},
    {"102.M1.host,W=40,S=30:2,RS", true, PIECE("less than thirty"), "102.M1.host", 40, 40},
    {OURS ",S=1000,W=1100", false, PIECE(""), OURS, 1100, 1100},
    {"1700000001.A_0.posthouse,S=1,W=1,N:2,S", true, PIECE("a"), "1700000001.A_0.posthouse", 3, 3},
    // What cannot be sizes is counted.
    {"1800000003.host,S=9", false, PIECE("a\n"), "1800000003.host", NO, 3},
    {"1800000004.host,S=9,W=8", false, PIECE("a\n"), "1800000004.host", NO, 3},
    {"1800000005.host,S=x,W=", false, PIECE("a\n"), "1800000005.host", NO, 3},
    {"1800000006.host,S=99999999999999999999,W=1", false, PIECE("a"), "1800000006.host", NO, 3},
    {"1800000007.host:2,S,S=9,W=9", true, PIECE("a"), "1800000007.host", NO, 3},
    {"1800000008.host,S=9,W=18446744073709551615", true, PIECE("a\n"), "1800000008.host", NO, 3},
};

static void letters_are_listed_oldest_first(void **state)
{
    struct house *h = house_of(state);
    struct maildir_letter *letters;
    size_t count;
    struct err err;
    for (size_t i = ARRAY_LEN(letters_expected); i-- > 0;) {
        const struct expected *e = &letters_expected[i];
        put_file(e->in_cur ? h->md.cur : h->md.new, e->file, e->bytes);
    }
    put_file(h->md.new, ".hidden", STR("no letter"));
    assert_int_equal(mkdirat(h->md.cur, "1.directory", 0700), 0);
    assert_int_equal(symlinkat("/etc/passwd", h->md.new, "1.link"), 0);
    assert_int_equal(mkfifoat(h->md.new, "1.fifo", 0600), 0);
    assert_true(maildir_list(&h->md, &h->arena, &letters, &count, &err));
    assert_int_equal(count, ARRAY_LEN(letters_expected));
    for (size_t i = 0; i < count; i++) {
        const struct expected *e = &letters_expected[i];
        const struct maildir_letter *l = &letters[i];
        if (!str_eq(str_of(l->file), str_of(e->file)) || l->length != str_of(e->file).len ||
            l->in_cur != e->in_cur || l->unique != str_of(e->unique).len || l->wire_size != e->told)
            fail_msg("letter %zu: %s; got %s, %d", i, e->file, l->file, (int)l->wire_size);
        if (e->told == NO)
            assert_true(maildir_learn_size(&h->md, &letters[i], &err));
        if (l->wire_size != e->size)
            fail_msg("letter %zu: %s; learned %d", i, e->file, (int)l->wire_size);
    }
}

// On disk: what the name says, else what the file has; nothing of one that is gone.
static void stored_sizes(void **state)
{
    static const struct {
        const char *file;
        uint64_t size;
    } cases[] = {
        {"1.host", 3},         {"2.host,S=7:2,S", 7}, {"3.host,S=8,W=9", 8},
        {"4.host,W=9", 3},     {"5.host,S=x", 3},     {"6.host,S=18446744073709551615", 3},
        {"7.host:2,S,S=9", 3},
    };
    struct house *h = house_of(state);
    struct maildir_letter *letters;
    uint64_t size;
    size_t count;
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        put_file(i % 2 ? h->md.new : h->md.cur, cases[i].file, STR("ab\n"));
    assert_true(maildir_list(&h->md, &h->arena, &letters, &count, &err));
    assert_int_equal(count, ARRAY_LEN(cases));
    for (size_t i = 0; i < count; i++) {
        assert_true(maildir_stored_size(&h->md, &letters[i], &size, &err));
        assert_int_equal(size, cases[i].size);
    }
    assert_int_equal(renameat(h->md.cur, "1.host", h->md.cur, "1.host:2,RS"), 0);
    assert_true(maildir_stored_size(&h->md, &letters[0], &size, &err));
    assert_int_equal(size, 3);
    assert_int_equal(unlinkat(h->md.cur, "1.host:2,RS", 0), 0);
    assert_true(maildir_stored_size(&h->md, &letters[0], &size, &err));
    assert_int_equal(size, 0);
}

static void what_was_listed_is_found_by_name(void **state)
{
    struct house *h = house_of(state);
    struct maildir_letter *letters;
    size_t count;
    struct err err;
    assert_false(maildir_listed(NULL, 0, STR("1.a")));
    for (int i = 0; i < 50; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%d.%c,S=2,W=3%s", i / 3, 'a' + i % 3, i % 2 ? ":2,S" : "");
        put_file(i % 2 ? h->md.cur : h->md.new, name, STR("a\n"));
    }
    assert_true(maildir_list(&h->md, &h->arena, &letters, &count, &err));
    assert_int_equal(count, 50);
    for (size_t i = 0; i < count; i++)
        assert_true(maildir_listed(letters, count, str_of(letters[i].file)));
    assert_true(maildir_listed(letters, count, STR("3.b,S=2,W=3")));
    assert_true(maildir_listed(letters, count, STR("3.b:2,RT")));
    assert_false(maildir_listed(letters, count, STR("3.bb")));
    assert_false(maildir_listed(letters, count, STR("3.d,S=2,W=3")));
    assert_false(maildir_listed(letters, count, STR("99.a,S=2,W=3")));
}

static void an_empty_mailbox_has_no_letters(void **state)
{
    struct house *h = house_of(state);
    struct maildir_letter *letters;
    size_t count = 1;
    struct err err;
    assert_true(maildir_list(&h->md, &h->arena, &letters, &count, &err));
    assert_int_equal(count, 0);
}

// The name that a letter had and the name that it gets can both be met in one listing.
static void a_letter_under_two_names_is_told_once(void **state)
{
    struct house *h = house_of(state);
    struct maildir_letter *letters;
    size_t count;
    struct err err;
    put_file(h->md.new, "5.a,S=2,W=3", STR("a\n"));
    put_file(h->md.cur, "5.a,S=2,W=3:2,", STR("a\n"));
    put_file(h->md.cur, "5.a,S=2,W=3:2,S", STR("a\n"));
    put_file(h->md.cur, "5.ab:2,S", STR("a\n"));
    assert_true(maildir_list(&h->md, &h->arena, &letters, &count, &err));
    assert_int_equal(count, 2);
    assert_true(letters[0].in_cur && letters[0].unique == 3);
    assert_true(str_eq(str_of(letters[1].file), STR("5.ab:2,S")));
}

static void too_many_letters_are_an_error(void **state)
{
    struct house *h = house_of(state);
    struct maildir_letter *letters;
    struct arena small;
    size_t count;
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%d.x", i);
        put_file(h->md.new, name, STR("a\n"));
    }
    // Too small for the names, then for the letters too.
    for (size_t limit = 64; limit <= 512; limit *= 2) {
        struct err err = {.class = ERR_NONE};
        arena_init(&small, limit);
        assert_false(maildir_list(&h->md, &small, &letters, &count, &err));
        assert_int_equal(err.code, ENOMEM);
        assert_int_equal(err.class, ERR_TRY_LATER);
        assert_int_equal(count, 0);
        arena_finish(&small);
    }
}

static void read_all(int fd, struct str want)
{
    char bytes[64];
    ssize_t n = os_read(fd, bytes, sizeof(bytes));
    assert_true(n >= 0 && str_eq(str_from(bytes, (size_t)n), want));
    os_close(&fd);
}

static void a_letter_is_found_wherever_it_went(void **state)
{
    struct house *h = house_of(state);
    struct maildir_letter *letters;
    size_t count;
    struct err err = {.class = ERR_NONE};
    int fd;
    put_file(h->md.new, "5.a,S=2,W=3", STR("a\n"));
    put_file(h->md.new, "5.ab,S=2,W=3", STR("b\n"));
    assert_true(maildir_list(&h->md, &h->arena, &letters, &count, &err));
    assert_int_equal(count, 2);
    const struct maildir_letter *a = &letters[0];
    assert_true(maildir_open_letter(&h->md, a, &fd, &err));
    read_all(fd, STR("a\n"));
    static const char *const moves[] = {"cur/5.a,S=2,W=3:2,S", "cur/5.a,S=2,W=3:2,RS", "cur/5.a",
                                        "new/5.a,S=2,W=3:2,FRS", "new/5.a,S=2,W=3"};
    const char *at = "new/5.a,S=2,W=3";
    for (size_t i = 0; i < ARRAY_LEN(moves); i++) {
        assert_int_equal(renameat(h->md.top, at, h->md.top, moves[i]), 0);
        at = moves[i];
        assert_true(maildir_open_letter(&h->md, a, &fd, &err));
        read_all(fd, STR("a\n"));
    }
    assert_int_equal(renameat(h->md.top, at, h->md.top, "cur/5.a:2,T"), 0);
    assert_true(maildir_remove_letter(&h->md, a, &err));
    assert_int_equal(count_files(h->md.cur), 0);
    assert_int_equal(count_files(h->md.new), 1);
    // Gone: an error to read, none to remove.
    assert_false(maildir_open_letter(&h->md, a, &fd, &err));
    assert_int_equal(err.code, ENOENT);
    assert_int_equal(fd, -1);
    assert_true(maildir_remove_letter(&h->md, a, &err));
    assert_int_equal(count_files(h->md.new), 1);
    assert_true(maildir_remove_letter(&h->md, &letters[1], &err));
    assert_int_equal(count_files(h->md.new), 0);
}

static void a_link_in_place_of_a_letter_is_not_followed(void **state)
{
    struct house *h = house_of(state);
    struct maildir_letter *letters;
    size_t count;
    struct err err = {.class = ERR_NONE};
    int fd;
    put_file(h->md.new, OURS ",S=2,W=3", STR("a\n"));
    put_file(h->mail_dir, "secret", STR("secret\n"));
    assert_true(maildir_list(&h->md, &h->arena, &letters, &count, &err));
    assert_int_equal(count, 1);
    assert_int_equal(unlinkat(h->md.new, OURS ",S=2,W=3", 0), 0);
    assert_int_equal(symlinkat("../../../secret", h->md.new, OURS ",S=2,W=3"), 0);
    assert_false(maildir_open_letter(&h->md, letters, &fd, &err));
    assert_int_equal(err.code, ELOOP);
    assert_int_equal(unlinkat(h->md.new, OURS ",S=2,W=3", 0), 0);
    assert_int_equal(mkfifoat(h->md.new, OURS ",S=2,W=3", 0600), 0);
    assert_false(maildir_open_letter(&h->md, letters, &fd, &err));
    assert_int_equal(fd, -1);
}

static struct str uidl_of(struct house *h, const char *unique)
{
    uint16_t length = (uint16_t)str_of(unique).len;
    const struct maildir_letter letter = {.file = unique, .length = length, .unique = length};
    struct str uidl = {NULL, 0};
    assert_true(maildir_uidl(&letter, &h->arena, &uidl));
    return uidl;
}

static void a_unique_id_is_the_name_or_its_digest(void **state)
{
    struct house *h = house_of(state);
    char seventy[72];
    memset(seventy, 'x', 71);
    seventy[70] = '\0';
    static const char *const plain[] = {OURS, "7", "!~", "1.M1P2.host"};
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        assert_true(str_eq(uidl_of(h, plain[i]), str_of(plain[i])));
    assert_true(str_eq(uidl_of(h, seventy), str_of(seventy)));
    seventy[70] = 'x';
    seventy[71] = '\0';
    const char *const digested[] = {seventy, "odd name", "你好", "a\x7f", "a\x01", "", "tab\there"};
    for (size_t i = 0; i < ARRAY_LEN(digested); i++) {
        struct str id = uidl_of(h, digested[i]);
        assert_int_equal(id.len, 52); // 32 octets in base32
        for (size_t c = 0; c < id.len; c++)
            assert_true(id.ptr[c] >= 0x21 && id.ptr[c] <= 0x7e);
        for (size_t j = 0; j < i; j++)
            assert_false(str_eq(id, uidl_of(h, digested[j])));
        assert_true(str_eq(id, uidl_of(h, digested[i])));
    }
}

#ifdef POSTHOUSE_FAULT_SEAM

static void listing_may_fail_anywhere(void **state)
{
    struct house *h = house_of(state);
    size_t before = open_descriptors();
    put_file(h->md.new, "1.foreign", STR("abc\n"));
    put_file(h->md.cur, "2.foreign,S=4,W=5:2,S", STR("abc\n"));
    for (uint64_t n = 1;; n++) {
        struct maildir_letter *letters;
        size_t count;
        struct err err = {.class = ERR_NONE};
        struct fault_rule *r = arm(0, FAULT_ANY, n, 1, EIO);
        bool ok = maildir_list(&h->md, &h->arena, &letters, &count, &err);
        bool acted = r->acted > 0;
        disarm();
        assert_int_equal(open_descriptors(), before);
        assert_int_equal(ok, !acted);
        assert_int_equal(count, ok ? 2 : 0);
        assert_int_equal(err.code, ok ? 0 : EIO);
        if (ok)
            break;
    }
}

// No file is opened, none is asked about, whatever the names say; each directory is read once.
static void a_listing_touches_no_letter(void **state)
{
    struct house *h = house_of(state);
    struct maildir_letter *letters;
    size_t count;
    struct err err;
    put_file(h->md.new, "1.foreign", STR("abc\n"));
    put_file(h->md.cur, "2.foreign,S=4,W=5:2,S", STR("abc\n"));
    put_file(h->md.cur, "3.A_0.posthouse,S=4,W=5:2,S", STR("abc\n"));
    struct fault_rule *r = arm(0, FAULT_ANY, 1000, 1, EIO);
    assert_true(maildir_list(&h->md, &h->arena, &letters, &count, &err));
    assert_int_equal(count, 3);
    assert_int_equal(r->seen, 2); // one call of FAULT_list for each directory
    disarm();
}

// A letter that cannot be read keeps its size unknown.
static void a_size_may_fail_to_be_learned(void **state)
{
    struct house *h = house_of(state);
    struct maildir_letter *letters;
    size_t count;
    struct err err = {.class = ERR_NONE};
    size_t before = open_descriptors();
    put_file(h->md.new, "1.foreign", STR("abc\n"));
    assert_true(maildir_list(&h->md, &h->arena, &letters, &count, &err));
    for (uint64_t n = 1;; n++) {
        letters[0].wire_size = MAILDIR_SIZE_UNKNOWN;
        struct fault_rule *r = arm(0, FAULT_ANY, n, 1, EIO);
        bool ok = maildir_learn_size(&h->md, letters, &err);
        bool acted = r->acted > 0;
        disarm();
        assert_int_equal(open_descriptors(), before);
        assert_int_equal(ok, !acted);
        assert_true(letters[0].wire_size == (ok ? 5 : MAILDIR_SIZE_UNKNOWN));
        if (ok)
            break;
        assert_int_equal(err.code, EIO);
    }
    assert_int_equal(unlinkat(h->md.new, "1.foreign", 0), 0);
    assert_false(maildir_learn_size(&h->md, letters, &err));
    assert_int_equal(err.code, ENOENT);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(letters_are_listed_oldest_first),
        CASE(stored_sizes),
        CASE(what_was_listed_is_found_by_name),
        CASE(an_empty_mailbox_has_no_letters),
        CASE(a_letter_under_two_names_is_told_once),
        CASE(too_many_letters_are_an_error),
        CASE(a_letter_is_found_wherever_it_went),
        CASE(a_link_in_place_of_a_letter_is_not_followed),
        CASE(a_unique_id_is_the_name_or_its_digest),
#ifdef POSTHOUSE_FAULT_SEAM
        CASE(listing_may_fail_anywhere),
        CASE(a_listing_touches_no_letter),
        CASE(a_size_may_fail_to_be_learned),
#endif
    };
#ifdef POSTHOUSE_FAULT_SEAM
    start_page("postman");
#endif
    return cmocka_run_group_tests_name("maildir_reading", tests, NULL, NULL);
}
