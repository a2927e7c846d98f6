// Does what its arguments say through os/, in the directory of its second argument, as the role of
// its first: "write NAME OFFSET TEXT", "fsync NAME", ... Prints the result of each. A witness for
// test_fault.py.
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>

#include "os/clock.h"
#include "os/fault.h"
#include "os/file.h"
#include "os/jail.h"
#include "os/loop.h"
#include "os/random.h"

static uint64_t number(const char *text)
{
    uint64_t n = 0;
    must(str_to_u64(str_of(text), &n));
    return n;
}

// Opens for one operation; closes after it.
static int with_file(int dir, const char *name, int flags, char **args,
                     int (*operation)(int fd, char **args))
{
    int fd = os_open(dir, name, flags, 0600);
    if (fd < 0)
        return fd;
    int r = operation(fd, args);
    os_close(&fd);
    return r;
}

static int write_at(int fd, char **args)
{
    return os_pwrite_all(fd, str_of(args[2]), number(args[1]));
}

static int append(int fd, char **args)
{
    return os_write_all(fd, str_of(args[1]));
}

static int no_operation(int fd, char **args)
{
    (void)fd, (void)args;
    return 0;
}

static int cut_at(int fd, char **args)
{
    return os_truncate(fd, number(args[1]));
}

static int data_sync(int fd, char **args)
{
    (void)args;
    return os_fdatasync(fd);
}

static int full_sync(int fd, char **args)
{
    (void)args;
    return os_fsync(fd);
}

static int do_write(int dir, char **args)
{
    return with_file(dir, args[0], O_WRONLY | O_CREAT, args, write_at);
}

static int do_append(int dir, char **args)
{
    return with_file(dir, args[0], O_WRONLY | O_APPEND, args, append);
}

static int do_create(int dir, char **args)
{
    return with_file(dir, args[0], O_WRONLY | O_CREAT | O_EXCL, args, no_operation);
}

static int do_empty(int dir, char **args)
{
    return with_file(dir, args[0], O_WRONLY | O_TRUNC, args, no_operation);
}

static int do_truncate(int dir, char **args)
{
    return with_file(dir, args[0], O_WRONLY, args, cut_at);
}

static int do_fdatasync(int dir, char **args)
{
    return with_file(dir, args[0], O_RDONLY, args, data_sync);
}

static int do_fsync(int dir, char **args)
{
    return with_file(dir, args[0], O_RDONLY, args, full_sync);
}

static int do_syncfs(int dir, char **args)
{
    (void)args;
    return os_syncfs(dir);
}

static int do_link(int dir, char **args)
{
    return os_link(dir, args[0], dir, args[1]);
}

static int do_rename(int dir, char **args)
{
    return os_rename(dir, args[0], dir, args[1]);
}

static int do_unlink(int dir, char **args)
{
    return os_unlink(dir, args[0]);
}

static int do_mkdir(int dir, char **args)
{
    return os_mkdir(dir, args[0], 0700);
}

static int do_rmdir(int dir, char **args)
{
    return os_rmdir(dir, args[0]);
}

static int do_clock(int dir, char **args)
{
    (void)dir, (void)args;
    printf("%llu %llu ", (unsigned long long)os_wall_ms(), (unsigned long long)os_monotonic_ms());
    return 0;
}

static int do_random(int dir, char **args)
{
    (void)dir, (void)args;
    os_random_u64();
    return 0;
}

struct writer {
    int dir;
    char name[2];
};

static void *write_much(void *context)
{
    struct writer *w = context;
    for (int i = 0; i < 200; i++) {
        char *args[] = {w->name, (char[]){'0', 0}, w->name};
        must(do_write(w->dir, args) == 0);
    }
    return NULL;
}

// Four threads at once.
static int do_threads(int dir, char **args)
{
    pthread_t ids[4];
    struct writer writers[4];
    (void)args;
    for (int i = 0; i < 4; i++) {
        writers[i] = (struct writer){dir, {(char)('p' + i), '\0'}};
        must(pthread_create(&ids[i], NULL, write_much, &writers[i]) == 0);
    }
    for (int i = 0; i < 4; i++)
        must(pthread_join(ids[i], NULL) == 0);
    return 0;
}

// From here on as a jailed role, with this directory only.
static int do_jail(int dir, char **args)
{
    struct jail_path path = {.fd = dir, .change = true};
    struct jail jail = {.role = "actor",
                        .calls = JAIL_BASE | JAIL_FILES | JAIL_CHANGE,
                        .paths = &path,
                        .path_count = 1,
                        .needs_link = true,
                        .max_files = 64};
    struct jail_report report;
    struct err err;
    (void)args;
    return jail_enter(&jail, &report, &err) ? 0 : -1;
}

struct alarm {
    struct timer timer;
    struct loop *loop;
};

static void on_fire(struct timer *timer)
{
    loop_stop(CONTAINER_OF(timer, struct alarm, timer)->loop);
}

// Sleeps in a loop until a timer fires.
static int do_timer(int dir, char **args)
{
    struct alarm alarm = {.timer.fire = on_fire};
    struct err err;
    (void)dir;
    must(loop_open(&alarm.loop, &err));
    loop_set_timer(alarm.loop, &alarm.timer, number(args[0]));
    int r = loop_run(alarm.loop, &err) ? 0 : -err.code;
    loop_close(&alarm.loop);
    return r;
}

// clang-format off
static const struct operation {
    const char *name;
    int args;
    int (*run)(int dir, char **args);
} operations[] = {
    {"write", 3, do_write},         {"append", 2, do_append},     {"create", 1, do_create},
    {"empty", 1, do_empty},         {"truncate", 2, do_truncate}, {"fdatasync", 1, do_fdatasync},
    {"fsync", 1, do_fsync},         {"syncfs", 0, do_syncfs},     {"link", 2, do_link},
    {"rename", 2, do_rename},       {"unlink", 1, do_unlink},     {"mkdir", 1, do_mkdir},
    {"rmdir", 1, do_rmdir},         {"clock", 0, do_clock},       {"random", 0, do_random},
    {"threads", 0, do_threads},     {"jail", 0, do_jail},         {"timer", 1, do_timer},
};
// clang-format on

static const struct operation *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
        if (str_eq(str_of(operations[i].name), str_of(name)))
            return &operations[i];
    }
    return NULL;
}

int main(int argc, char **argv)
{
    must(argc >= 3);
    fault_start(argv[1]);
    int dir = os_open_directory(OS_HERE, argv[2]);
    must(dir >= 0);
    for (int i = 3; i < argc;) {
        const struct operation *operation = find(argv[i++]);
        must(operation != NULL && i + operation->args <= argc);
        printf("%d\n", operation->run(dir, argv + i));
        fflush(stdout);
        i += operation->args;
    }
    os_close(&dir);
    return 0;
}
