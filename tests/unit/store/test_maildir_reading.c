// Reading: listing, finding and naming letters, whoever put them there.
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "maildir_house.h"

struct expected {
    const char *file;
    bool in_cur;
    struct str bytes;
    const char *unique;
    uint64_t size, wire_size;
    bool no_final_newline;
};

#define OURS "1700000000.0123456789ABCDEFGHJKMNPQRS_0.posthouse"

// In the order of the list.
static const struct expected letters_expected[] = {
    {"odd name", true, PIECE("x\n"), "odd name", 2, 3, false},
    {"你好", false, PIECE("王\n"), "你好", 4, 5, false},
    {"7", false, PIECE("a\nb\n"), "7", 4, 6, false},
    {"99.M1P2.host", true, PIECE(""), "99.M1P2.host", 0, 0, false},
    {"100.M1P2.host:2,S", true, PIECE("a\nb"), "100.M1P2.host", 3, 4, true},
    {"100.M1P3.host:1,x", false, PIECE("a\r\nb\r\n"), "100.M1P3.host", 6, 6, false},
    // Dovecot's sizes are believed, the end is looked at.
    {"101.M1.host,S=3,W=4:2,", true, PIECE("a\nb"), "101.M1.host", 3, 4, true},
    {"102.M1.host,W=40,S=30:2,RS", true, PIECE("thirty octets, says the name.\n"), "102.M1.host",
     30, 40, false},
    // What cannot be sizes is counted.
    {"103.host,S=9", false, PIECE("a\n"), "103.host", 2, 3, false},
    {"104.host,S=9,W=8", false, PIECE("a\n"), "104.host", 2, 3, false},
    {"105.host,S=x,W=", false, PIECE("a\n"), "105.host", 2, 3, false},
    {"106.host,S=99999999999999999999,W=1", false, PIECE("a"), "106.host", 1, 1, true},
    {"107.host:2,S,S=9,W=9", true, PIECE("a"), "107.host", 1, 1, true},
    // Ours are believed without a look.
    {OURS ",S=1000,W=1100", false, PIECE(""), OURS, 1000, 1100, false},
    {"1700000001.A_0.posthouse,S=1,W=1,N:2,S", true, PIECE("a"), "1700000001.A_0.posthouse", 1, 1,
     true},
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
        if (!str_eq(l->file, str_of(e->file)) || l->in_cur != e->in_cur ||
            !str_eq(l->unique, str_of(e->unique)) || l->size != e->size ||
            l->wire_size != e->wire_size || l->no_final_newline != e->no_final_newline)
            fail_msg("letter %zu: %s; got %.*s S=%d W=%d N=%d", i, e->file, STR_ARG(l->file),
                     (int)l->size, (int)l->wire_size, l->no_final_newline);
        assert_int_equal(l->file.ptr[l->file.len], '\0');
    }
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
    assert_true(letters[0].in_cur && str_eq(letters[0].unique, STR("5.a")));
    assert_true(str_eq(letters[1].unique, STR("5.ab")));
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
    for (size_t limit = 64; limit <= 1024; limit *= 4) {
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
    const struct maildir_letter letter = {.unique = str_of(unique)};
    struct buf out;
    struct str copy = {NULL, 0};
    buf_init(&out, 256);
    maildir_put_uidl(&out, &letter);
    assert_true(buf_ok(&out) && arena_copy(&h->arena, buf_str(&out), &copy));
    buf_finish(&out);
    return copy;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(letters_are_listed_oldest_first),
        CASE(an_empty_mailbox_has_no_letters),
        CASE(a_letter_under_two_names_is_told_once),
        CASE(too_many_letters_are_an_error),
        CASE(a_letter_is_found_wherever_it_went),
        CASE(a_link_in_place_of_a_letter_is_not_followed),
        CASE(a_unique_id_is_the_name_or_its_digest),
    };
    return cmocka_run_group_tests_name("maildir_reading", tests, NULL, NULL);
}
