// A Maildir of the case's own below a temporary directory, and the fault seam of this process.
#ifndef TESTS_UNIT_STORE_MAILDIR_BOX_H
#define TESTS_UNIT_STORE_MAILDIR_BOX_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/fault.h"
#include "os/file.h"
#include "store/maildir.h"

enum { ARENA = 1 << 20 };

// ---- the house

struct house {
    char path[64];
    int mail_dir;
    struct maildir md;
    struct arena arena;
};

static inline struct house *house_of(void **state)
{
    return *state;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    return remove(path);
}

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
{
    struct house *h = house_of(state);
    maildir_close(&h->md);
    os_close(&h->mail_dir);
    arena_finish(&h->arena);
    return nftw(h->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void put_file(int dir, const char *name, struct str bytes)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes.ptr, bytes.len), bytes.len);
    close(fd);
}

static inline bool count_name(void *context, const char *name)
{
    (void)name;
    ++*(size_t *)context;
    return true;
}

static inline size_t count_files(int dir)
{
    size_t n = 0;
    assert_int_equal(os_list(dir, count_name, &n), 0);
    return n;
}

#ifdef POSTHOUSE_FAULT_SEAM

static struct fault_page *page;

static inline void start_page(void)
{
    char path[] = "/tmp/posthouse-fault-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && ftruncate(fd, sizeof(*page)) == 0);
    page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(page != MAP_FAILED);
    memcpy(page->magic, "PHFAULT1", 8);
    page->version = FAULT_VERSION;
    page->calls = FAULT_CALLS;
    setenv("POSTHOUSE_FAULT", path, 1);
    fault_start("postman");
    unlink(path);
    close(fd);
}

static inline struct fault_rule *rule(uint32_t call, uint64_t first, uint64_t count, int error)
{
    struct fault_rule *r = &page->rules[0];
    memset(r, 0, sizeof(*r));
    r->call = call;
    r->first = first;
    r->count = count;
    r->error = error;
    r->limit = UINT64_MAX;
    r->armed = 1;
    return r;
}

static inline void disarm(void)
{
    page->rules[0].armed = 0;
}

static inline size_t open_descriptors(void)
{
    size_t n = 0;
    int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
    n = count_files(dir);
    close(dir);
    return n;
}

// Opens the mailbox anew and delivers, as the postman does.

#endif

// STR is no constant expression; this is, for tables.
#define PIECE(text)                                                                                \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
