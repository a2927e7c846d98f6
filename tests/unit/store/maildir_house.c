#define _GNU_SOURCE

#include "maildir_house.h"

#include <fcntl.h>
#include <ftw.h>
#include <unistd.h>

enum { ARENA = 1 << 20 };

struct house *house_of(void **state)
{
    return *state;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    return remove(path);
}

int remove_tree(const char *path)
{
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int house_set_up(void **state)
{
    static struct house house;
    struct err err;
    snprintf(house.path, sizeof(house.path), "/tmp/posthouse-maildir-XXXXXX");
    if (!mkdtemp(house.path))
        return -1;
    house.mail_dir = os_open_directory(OS_HERE, house.path);
    arena_init(&house.arena, ARENA);
    *state = &house;
    return house.mail_dir < 0 ||
           !maildir_open(house.mail_dir, STR("例え.test/王"), true, &house.md, &err);
}

int house_tear_down(void **state)
{
    struct house *h = house_of(state);
    maildir_close(&h->md);
    os_close(&h->mail_dir);
    arena_finish(&h->arena);
    return remove_tree(h->path);
}

void put_file(int dir, const char *name, struct str bytes)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes.ptr, bytes.len), bytes.len);
    close(fd);
}

static bool count_name(void *context, const char *name)
{
    (void)name;
    ++*(size_t *)context;
    return true;
}

size_t count_files(int dir)
{
    size_t n = 0;
    assert_int_equal(os_list(dir, count_name, &n), 0);
    return n;
}
