// A state directory of a test: made empty in the working directory, removed at the end.
#ifndef TESTS_UNIT_STORE_STATE_DIR_H
#define TESTS_UNIT_STORE_STATE_DIR_H

#include <fcntl.h>

#include "os/file.h"
#include "os/random.h"

struct state_dir {
    char path[48];
    int fd;
};

static inline struct str state_dir_path(const struct state_dir *dir)
{
    return str_of(dir->path);
}

static inline int state_dir_setup(void **state)
{
    struct state_dir *dir = calloc(1, sizeof(*dir));
    assert_non_null(dir);
    snprintf(dir->path, sizeof(dir->path), "state-%016llx", (unsigned long long)os_random_u64());
    assert_int_equal(os_mkdir(OS_HERE, dir->path, 0700), 0);
    dir->fd = os_open_directory(OS_HERE, dir->path);
    assert_true(dir->fd >= 0);
    *state = dir;
    return 0;
}

static inline bool state_dir_remove_file(void *context, const char *name)
{
    struct state_dir *dir = context;
    assert_int_equal(os_unlink(dir->fd, name), 0);
    return true;
}

static inline int state_dir_teardown(void **state)
{
    struct state_dir *dir = *state;
    assert_int_equal(os_list(dir->fd, state_dir_remove_file, dir), 0);
    os_close(&dir->fd);
    assert_int_equal(os_rmdir(OS_HERE, dir->path), 0);
    free(dir);
    return 0;
}

static inline void state_dir_write(const struct state_dir *dir, const char *name, struct str bytes)
{
    int fd = os_open(dir->fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(os_write_all(fd, bytes), 0);
    os_close(&fd);
}

static inline unsigned state_dir_mode(const struct state_dir *dir, const char *name)
{
    struct stat st;
    assert_int_equal(os_stat(dir->fd, name, &st), 0);
    return st.st_mode & 07777;
}

#endif
