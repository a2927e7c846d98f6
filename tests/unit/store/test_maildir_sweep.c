// What a postman that died left in tmp/ of a Maildir.
#define _GNU_SOURCE

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/file.h"
#include "store/maildir.h"

struct house {
    char path[64];
    int mail_dir;
    struct maildir md;
};

static int set_up(void **state)
{
    static struct house house;
    struct err err;
    snprintf(house.path, sizeof(house.path), "/tmp/posthouse-sweep-XXXXXX");
    if (!mkdtemp(house.path))
        return -1;
    house.mail_dir = os_open_directory(OS_HERE, house.path);
    *state = &house;
    return house.mail_dir < 0 || !maildir_open(house.mail_dir, STR("d/u"), true, &house.md, &err);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    return remove(path);
}

static int tear_down(void **state)
{
    struct house *h = *state;
    maildir_close(&h->md);
    os_close(&h->mail_dir);
    return nftw(h->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void put_name(char *to, size_t size)
{
    static const uint8_t base[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    const struct maildir_name name = {
        .id = mail_id_make(1767225600123, base, 0), .size = 24, .wire_size = 27};
    struct buf text;
    buf_init(&text, size - 1);
    maildir_name_put(&text, &name);
    assert_true(buf_ok(&text));
    memcpy(to, text.ptr, text.len);
    to[text.len] = '\0';
    buf_finish(&text);
}

static void make_file(int dir, const char *name)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static bool count_name(void *context, const char *name)
{
    (void)name;
    ++*(size_t *)context;
    return true;
}

static size_t count_files(int dir)
{
    size_t n = 0;
    assert_int_equal(os_list(dir, count_name, &n), 0);
    return n;
}

struct one_needed {
    struct maildir_witnesses witnesses;
    struct str name;
};

static bool is_the_one(const struct maildir_witnesses *witnesses, struct str name)
{
    return str_eq(name, CONTAINER_OF(witnesses, struct one_needed, witnesses)->name);
}

// Old files of ours go from tmp, whether they were linked or not; nothing else does.
static void what_a_postman_left_in_tmp_is_swept(void **state)
{
    static const char *const foreign[] = {
        "1767225600.M1P2.host,S=4,W=5",
        "1767225600.0123456789ABCDEFGHJKMNPQRS_0.posthouse,S=4,W=5", // not the second of its id
        "x.posthouse,S=4,W=5",
        ".posthouse",
        "notes.txt",
    };
    struct house *h = *state;
    const struct str pieces[] = {STR("Subject: \xe4\xbd\xa0\xe5\xa5\xbd\r\n\r\nbody\r\n")};
    struct maildir_pieces text;
    char name[256];
    struct one_needed nobodys = {.witnesses = {.needed = is_the_one}};
    struct one_needed still = {.witnesses = {.needed = is_the_one}, .name = STR("")};
    struct stat st;
    struct err err;
    bool delivered;
    size_t removed;
    int fd;
    put_name(name, sizeof(name));
    still.name = str_of(name);
    for (int linked = 0; linked < 2; linked++) {
        maildir_pieces_init(&text, pieces, 1);
        assert_true(maildir_write(&h->md, name, &text.source, &fd, &delivered, &err));
        os_close(&fd);
        if (linked)
            assert_true(maildir_link(&h->md, name, &err));
        for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
            make_file(h->md.tmp, foreign[i]);
        assert_int_equal(fstatat(h->md.tmp, name, &st, 0), 0);
        uint64_t changed = (uint64_t)st.st_ctime;
        assert_true(maildir_sweep(&h->md, changed, &nobodys.witnesses, &removed, &err));
        assert_int_equal(removed, 0);
        assert_true(maildir_sweep(&h->md, changed + 1, &still.witnesses, &removed, &err));
        assert_int_equal(removed, 0);
        // Its age is not that of the letter.
        const struct timespec old[2] = {{1000000000, 0}, {1000000000, 0}};
        assert_int_equal(utimensat(h->md.tmp, name, old, 0), 0);
        assert_true(maildir_sweep(&h->md, changed, &nobodys.witnesses, &removed, &err));
        assert_int_equal(removed, 0);
        assert_true(maildir_sweep(&h->md, changed + 3600, &nobodys.witnesses, &removed, &err));
        assert_int_equal(removed, 1);
        assert_int_equal(fstatat(h->md.tmp, name, &st, 0), -1);
        assert_int_equal(count_files(h->md.tmp), ARRAY_LEN(foreign));
        assert_int_equal(count_files(h->md.new), linked);
    }
    assert_int_equal(fstatat(h->md.new, name, &st, 0), 0);
    assert_int_equal(st.st_nlink, 1);
    // A directory of such a name is nobody's witness.
    assert_int_equal(mkdirat(h->md.tmp, name, 0700), 0);
    assert_true(maildir_sweep(&h->md, UINT64_MAX, &nobodys.witnesses, &removed, &err));
    assert_int_equal(fstatat(h->md.tmp, name, &st, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_a_postman_left_in_tmp_is_swept, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
