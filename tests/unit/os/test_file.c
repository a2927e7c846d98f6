// os/file.c in a directory of its own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/file.h"

struct place {
    char path[32];
    int dir;
};

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    memcpy(p->path, "/tmp/posthouse-file-XXXXXX", 27);
    *state = p;
    if (!mkdtemp(p->path))
        return -1;
    p->dir = os_open_directory(OS_HERE, p->path);
    return p->dir < 0;
}

static bool remove_name(void *context, const char *name)
{
    const int *dir = context;
    return os_unlink(*dir, name) == 0 || os_rmdir(*dir, name) == 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    int r = os_list(p->dir, remove_name, &p->dir);
    os_close(&p->dir);
    r = r ? r : os_rmdir(OS_HERE, p->path);
    free(p);
    return r;
}

static int make(const struct place *p, const char *name, const char *text)
{
    int fd = os_open(p->dir, name, O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(os_write_all(fd, str_of(text)), 0);
    return fd;
}

static void opens(void **state)
{
    struct place *p = *state;
    struct stat st;
    assert_int_equal(os_open(p->dir, "none", O_RDONLY, 0), -ENOENT);
    int fd = make(p, "信件", "x");
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(os_fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(os_open(p->dir, "信件", O_RDWR | O_CREAT | O_EXCL, 0600), -EEXIST);
    assert_int_equal(os_open_directory(p->dir, "信件"), -ENOTDIR);
    int other = os_duplicate(fd);
    assert_true(other >= 0 && other != fd);
    assert_true(fcntl(other, F_GETFD) & FD_CLOEXEC);
    os_close(&fd);
    os_close(&fd); // nothing twice
    assert_int_equal(fd, -1);
    assert_int_equal(os_write_all(other, STR("y")), 0);
    os_close(&other);
    assert_int_equal(os_duplicate(999999), -EBADF);
}

static void reads_and_writes(void **state)
{
    struct place *p = *state;
    char got[16] = {0};
    int fd = make(p, "f", "0123456789");
    assert_int_equal(os_pwrite_all(fd, STR("ab"), 4), 0);
    assert_int_equal(os_pread(fd, got, 4, 3), 4);
    assert_memory_equal(got, "3ab6", 4);
    assert_int_equal(os_pread_all(fd, got, sizeof(got), 8), 2);
    assert_int_equal(os_pread_all(fd, got, sizeof(got), 10), 0);
    assert_int_equal(os_pread_all(fd, got, sizeof(got), 1000), 0);
    assert_int_equal(os_read(fd, got, sizeof(got)), 0); // at the end
    assert_int_equal(os_write_all(fd, STR("")), 0);
    assert_int_equal(os_truncate(fd, 3), 0);
    assert_int_equal(os_pread_all(fd, got, sizeof(got), 0), 3);
    assert_int_equal(os_fdatasync(fd), 0);
    assert_int_equal(os_fsync(fd), 0);
    assert_int_equal(os_syncfs(fd), 0);
    assert_int_equal(os_fsync(p->dir), 0);
    os_close(&fd);
    assert_int_equal(os_write_all(999999, STR("x")), -EBADF);
    assert_int_equal(os_pwrite_all(999999, STR("x"), 0), -EBADF);
    assert_int_equal(os_pread_all(999999, got, 1, 0), -EBADF);
    assert_int_equal(os_fdatasync(999999), -EBADF);
}

static void whole_files(void **state)
{
    struct place *p = *state;
    struct buf out;
    static char big[40000];
    memset(big, 'b', sizeof(big) - 1);
    int fd = make(p, "big", big);
    os_close(&fd);
    for (size_t limit = sizeof(big) - 3; limit <= sizeof(big) + 1; limit++) {
        buf_init(&out, limit);
        int r = os_read_file(p->dir, "big", &out);
        bool fits = limit >= sizeof(big) - 1;
        assert_int_equal(r, fits ? 0 : -EFBIG);
        assert_int_equal(out.len, fits ? sizeof(big) - 1 : 0);
        assert_true(buf_ok(&out));
        buf_finish(&out);
    }
    buf_init(&out, 100);
    buf_put(&out, STR("kept"));
    assert_int_equal(os_read_file(p->dir, "none", &out), -ENOENT);
    assert_int_equal(os_read_file(p->dir, "big", &out), -EFBIG);
    assert_int_equal(os_read_file(p->dir, ".", &out), -EISDIR);
    assert_true(str_eq(buf_str(&out), STR("kept")));
    buf_finish(&out);
}

static void names(void **state)
{
    struct place *p = *state;
    struct stat st;
    int fd = make(p, "a", "text");
    os_close(&fd);
    assert_int_equal(os_link(p->dir, "a", p->dir, "b"), 0);
    assert_int_equal(os_link(p->dir, "a", p->dir, "b"), -EEXIST); // nothing is replaced
    assert_int_equal(os_stat(p->dir, "b", &st), 0);
    assert_int_equal(st.st_nlink, 2);
    assert_int_equal(os_unlink(p->dir, "a"), 0);
    assert_int_equal(os_unlink(p->dir, "a"), -ENOENT);
    assert_int_equal(os_mkdir(p->dir, "d", 0700), 0);
    assert_int_equal(os_mkdir(p->dir, "d", 0700), -EEXIST);
    assert_int_equal(os_rename(p->dir, "b", p->dir, "d/c"), 0);
    assert_int_equal(os_rename(p->dir, "b", p->dir, "d/c"), -ENOENT);
    assert_int_equal(os_chmod(p->dir, "d/c", 0640), 0);
    assert_int_equal(os_stat(p->dir, "d/c", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(os_chown(p->dir, "d/c", st.st_uid, st.st_gid), 0);
    assert_int_equal(os_rmdir(p->dir, "d"), -ENOTEMPTY);
    assert_int_equal(os_unlink(p->dir, "d/c"), 0);
    assert_int_equal(os_rmdir(p->dir, "d"), 0);
    assert_int_equal(symlinkat("nowhere", p->dir, "s"), 0);
    assert_int_equal(os_stat(p->dir, "s", &st), 0); // the link itself
    assert_true(S_ISLNK(st.st_mode));
}

struct seen {
    unsigned count, stop_after;
};

static bool count_name(void *context, const char *name)
{
    struct seen *seen = context;
    assert_int_not_equal(name[0], '.');
    return ++seen->count != seen->stop_after;
}

static void lists(void **state)
{
    struct place *p = *state;
    for (int i = 0; i < 5; i++) {
        char name[2] = {(char)('a' + i), 0};
        int fd = make(p, name, "");
        os_close(&fd);
    }
    for (int round = 0; round < 2; round++) { // the position is not kept
        struct seen all = {0, 0}, some = {0, 2};
        assert_int_equal(os_list(p->dir, count_name, &all), 0);
        assert_int_equal(all.count, 5);
        assert_int_equal(os_list(p->dir, count_name, &some), 0);
        assert_int_equal(some.count, 2);
    }
    struct seen all = {0, 0}, files = {0, 0};
    assert_int_equal(os_mkdir(p->dir, "directory", 0700), 0);
    assert_int_equal(symlinkat("a", p->dir, "link"), 0);
    assert_int_equal(os_list(p->dir, count_name, &all), 0);
    assert_int_equal(os_list_files(p->dir, count_name, &files), 0);
    assert_int_equal(all.count, 7);
    assert_int_equal(files.count, 5);
    assert_int_equal(os_rmdir(p->dir, "directory"), 0);
    int fd = os_open(p->dir, "a", O_RDONLY, 0);
    assert_int_equal(os_list(fd, count_name, NULL), -ENOTDIR);
    os_close(&fd);
}

static void locks(void **state)
{
    struct place *p = *state;
    int fd = make(p, "lock", ""), other = os_open(p->dir, "lock", O_RDWR, 0);
    assert_int_equal(os_lock(fd), 0);
    assert_int_equal(os_lock(fd), 0); // it is ours
    assert_int_equal(os_lock(other), -EWOULDBLOCK);
    os_close(&other); // closing another descriptor does not lose ours
    other = os_open(p->dir, "lock", O_RDWR, 0);
    assert_int_equal(os_lock(other), -EWOULDBLOCK);
    os_close(&fd);
    assert_int_equal(os_lock(other), 0);
    os_close(&other);
    int one = os_open_directory(p->dir, "."), two = os_open_directory(p->dir, ".");
    assert_int_equal(os_flock(one), 0);
    assert_int_equal(os_flock(two), -EWOULDBLOCK);
    os_close(&one);
    assert_int_equal(os_flock(two), 0);
    os_close(&two);
}

static void space(void **state)
{
    struct place *p = *state;
    struct os_space space = {0, 0, 0};
    assert_int_equal(os_space(p->dir, &space), 0);
    assert_true(space.bytes_total >= space.bytes_free && space.bytes_total > 0);
    assert_true(space.inodes_free > 0);
    assert_int_equal(os_space(999999, &space), -EBADF);
    assert_false(os_syncfs_trusted(999999));
    int memory = os_memfd("not a disk");
    assert_false(os_syncfs_trusted(memory));
    os_close(&memory);
}

static void sealed_memory(void **state)
{
    char got[4];
    void *at = NULL, *readable = NULL;
    (void)state;
    int fd = os_memfd("test");
    assert_true(fd >= 0);
    assert_int_equal(os_truncate(fd, 4096), 0);
    assert_int_equal(os_map(fd, 4096, true, &at), 0);
    memcpy(at, "mail", 4);
    assert_int_equal(os_pread_all(fd, got, 4, 0), 4);
    assert_memory_equal(got, "mail", 4);
    assert_int_equal(os_seal(fd, OS_SEAL_SHRINK | OS_SEAL_GROW), 0);
    assert_true(os_sealed(fd, OS_SEAL_SHRINK));
    assert_false(os_sealed(fd, OS_SEAL_SHRINK | OS_SEAL_WRITE));
    assert_int_equal(os_truncate(fd, 0), -EPERM);
    assert_int_equal(os_truncate(fd, 8192), -EPERM);
    assert_int_equal(os_seal(fd, OS_SEAL_WRITE), -EBUSY); // while it is mapped for writing
    os_unmap(at, 4096);
    assert_int_equal(os_seal(fd, OS_SEAL_WRITE), 0);
    assert_true(os_sealed(fd, OS_SEAL_SHRINK | OS_SEAL_GROW | OS_SEAL_WRITE));
    assert_int_equal(os_pwrite_all(fd, STR("x"), 0), -EPERM);
    at = NULL;
    assert_int_equal(os_map(fd, 4096, true, &at), -EPERM);
    assert_null(at);
    assert_int_equal(os_map(fd, 4096, false, &readable), 0);
    assert_memory_equal(readable, "mail", 4);
    os_unmap(readable, 4096);
    os_unmap(NULL, 4096);
    os_close(&fd);
    assert_false(os_sealed(0, OS_SEAL_SHRINK)); // not even sealable
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(opens),       CASE(reads_and_writes),
        CASE(whole_files), CASE(names),
        CASE(lists),       CASE(locks),
        CASE(space),       cmocka_unit_test(sealed_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
