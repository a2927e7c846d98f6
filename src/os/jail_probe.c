// What tests ask of a process in its jail. Only builds with the fault seam have it: a server has no
// code that tries to get out.
#define _GNU_SOURCE

#include "os/jail.h"

#include <errno.h>

#ifdef POSTHOUSE_FAULT_SEAM

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int try_open(void)
{
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

static int try_connect(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int rc = connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : 0;
    close(fd);
    // Nobody listens, but the question went out.
    return rc == -ECONNREFUSED ? 0 : rc;
}

// A program that cannot be: where execve is allowed it answers -ENOENT, and this process goes on.
static int try_exec(void)
{
    char *argv[] = {NULL};
    char *environment[] = {NULL};
    execve("/nonexistent/posthouse", argv, environment);
    return errno == ENOENT ? 0 : -errno;
}

int jail_try(struct str what)
{
    static const struct {
        const char *what;
        int (*try)(void);
    } tries[] = {
        {"open", try_open},
        {"connect", try_connect},
        {"exec", try_exec},
    };
    for (size_t i = 0; i < ARRAY_LEN(tries); i++)
        if (str_eq(what, str_of(tries[i].what)))
            return tries[i].try();
    return -ENOSYS;
}

void jail_probe_open(struct jail_probe *probe)
{
    probe->fds = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    probe->maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
}

struct entry {
    uint64_t inode;
    int64_t next;
    uint16_t size;
    uint8_t type;
    char name[];
};

static void put_descriptor(int dir, const char *name, struct buf *out)
{
    char target[256];
    ssize_t n = readlinkat(dir, name, target, sizeof(target));
    if (n < 0)
        return; // "." and ".."
    buf_putf(out, "fd %s ", name);
    buf_put_escaped(out, str_from(target, (size_t)n));
    buf_put_byte(out, '\n');
}

static void put_descriptors(int dir, struct buf *out)
{
    _Alignas(struct entry) char entries[4096];
    ssize_t n;
    if (lseek(dir, 0, SEEK_SET) < 0)
        return;
    while ((n = syscall(SYS_getdents64, dir, entries, sizeof(entries))) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct entry *e = (const struct entry *)(const void *)(entries + at);
            put_descriptor(dir, e->name, out);
            at += e->size;
        }
    }
}

static void put_maps(int maps, struct buf *out)
{
    char bytes[4096];
    bool at_line_start = true;
    ssize_t n;
    if (lseek(maps, 0, SEEK_SET) < 0)
        return;
    while ((n = read(maps, bytes, sizeof(bytes))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (at_line_start)
                buf_put(out, STR("map "));
            buf_put_byte(out, bytes[i]);
            at_line_start = bytes[i] == '\n';
        }
    }
}

void jail_probe_put(const struct jail_probe *probe, struct buf *out)
{
    if (probe->fds >= 0)
        put_descriptors(probe->fds, out);
    if (probe->maps >= 0)
        put_maps(probe->maps, out);
}

#else

int jail_try(struct str what)
{
    (void)what;
    return -ENOSYS;
}

void jail_probe_open(struct jail_probe *probe)
{
    *probe = (struct jail_probe){.fds = -1, .maps = -1};
}

void jail_probe_put(const struct jail_probe *probe, struct buf *out)
{
    (void)probe;
    (void)out;
}

#endif
