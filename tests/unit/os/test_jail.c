// Each case runs in a child that shuts itself into a role's jail and reports by its exit status.
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "os/file.h"
#include "os/jail.h"

#ifdef POSTHOUSE_SANITIZED
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

struct row {
    const char *role;
    unsigned calls;
    uint64_t max_files;
    uint64_t max_memory;
};

static const struct row rows[] = {
#define JAIL(role, calls, max_files, max_memory) {#role, calls, max_files, max_memory},
#include "roles/jails.def"
#undef JAIL
};

static const struct row connector = {"CONNECTOR", JAIL_BASE | JAIL_CONNECT, 64, 0};

// ---- the inmate: what a role holds before its jail is shut

enum { HELPER_ROW = 4711 };

struct inmate {
    char path[64]; // of the temporary directory, with inside/ and outside/ in it
    int inside;    // the directory that the jail leaves
    int readable;  // one that it leaves for reading
    int outside;   // opened before, not left
    int file;      // inside/kept, open for reading and writing
    int pair[2];
    int listener;
    int client; // connected to it, not yet accepted
    int epoll;
    uint16_t port;
    int go;   // a byte here makes the helper write to the database
    int done; // the end of file here: it did
    sqlite3 *db;
    struct jail_probe probe;
    struct jail_report report;
};

static int die(const char *what)
{
    fprintf(stderr, "# preparation failed: %s: %s\n", what, strerror(errno));
    _exit(99);
}

#define NEED(cond) ((cond) ? 0 : die(#cond))

static void put_file(int dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    NEED(fd >= 0);
    NEED(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static int sql(sqlite3 *db, const char *text)
{
    return sqlite3_exec(db, text, NULL, NULL, NULL);
}

static sqlite3 *open_database(const struct inmate *in)
{
    char path[128];
    sqlite3 *db = NULL;
    snprintf(path, sizeof(path), "%s/outside/test.db", in->path);
    NEED(sqlite3_open(path, &db) == SQLITE_OK);
    NEED(sqlite3_busy_timeout(db, 5000) == SQLITE_OK);
    NEED(sql(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;"
                 "CREATE TABLE IF NOT EXISTS t(a INTEGER, b TEXT); INSERT INTO t VALUES(1, 'x');"
                 "SELECT * FROM t") == SQLITE_OK);
    return db;
}

// The administrator's command: another process, outside, that writes to the same database.
static void start_helper(struct inmate *in)
{
    int go[2], done[2];
    NEED(pipe2(go, O_CLOEXEC) == 0 && pipe2(done, O_CLOEXEC) == 0);
    pid_t pid = fork();
    NEED(pid >= 0);
    if (pid == 0) {
        char byte, text[64];
        close(go[1]);
        close(done[0]);
        if (read(go[0], &byte, 1) == 1) {
            sqlite3 *db = open_database(in);
            snprintf(text, sizeof(text), "INSERT INTO t VALUES(%d, 'helper')", HELPER_ROW);
            NEED(sql(db, text) == SQLITE_OK);
            sqlite3_close(db);
        }
        _exit(0);
    }
    close(go[0]);
    close(done[1]);
    in->go = go[1];
    in->done = done[0];
}

static void prepare_network(struct inmate *in)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof(at);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    NEED(bind(in->listener, (struct sockaddr *)&at, len) == 0 && listen(in->listener, 5) == 0);
    NEED(getsockname(in->listener, (struct sockaddr *)&at, &len) == 0);
    in->port = at.sin_port;
    in->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    NEED(connect(in->client, (struct sockaddr *)&at, sizeof(at)) == 0);
    NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in->pair) == 0);
}

static void prepare(struct inmate *in)
{
    static const char *const folders[] = {"new", "cur", "tmp", "empty"};
    char path[96];
    snprintf(path, sizeof(path), "%s/inside", in->path);
    in->inside = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof(path), "%s/readable", in->path);
    in->readable = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof(path), "%s/outside", in->path);
    in->outside = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    NEED(in->inside >= 0 && in->readable >= 0 && in->outside >= 0);
    for (size_t i = 0; i < ARRAY_LEN(folders); i++)
        NEED(mkdirat(in->inside, folders[i], 0700) == 0 || errno == EEXIST);
    put_file(in->inside, "new/letter", "你好\n");
    put_file(in->inside, "kept", "kept\n");
    put_file(in->readable, "letter", "你好\n");
    put_file(in->outside, "secret", "secret\n");
    in->file = openat(in->inside, "kept", O_RDWR | O_CLOEXEC);
    in->epoll = epoll_create1(EPOLL_CLOEXEC);
    NEED(in->file >= 0 && in->epoll >= 0);
    prepare_network(in);
    start_helper(in);
    in->db = open_database(in);
    jail_probe_open(&in->probe);
}

static bool enter(struct inmate *in, const struct row *row)
{
    const struct jail_path paths[] = {{in->inside, true}, {in->readable, false}};
    bool files = row->calls & (JAIL_FILES | JAIL_CHANGE | JAIL_MOVE);
    const struct jail jail = {.role = row->role,
                              .calls = row->calls,
                              .paths = files ? paths : NULL,
                              .path_count = files ? ARRAY_LEN(paths) : 0,
                              .needs_link = files,
                              .max_files = row->max_files,
                              .max_memory = row->max_memory};
    struct err err;
    if (jail_enter(&jail, &in->report, &err))
        return true;
    fprintf(stderr, "# %s\n", err.text);
    return false;
}

// How a case ended: its errno (0 = it worked), or KILLED + signal.
enum { KILLED = 1000 };

static int ended(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return KILLED + WTERMSIG(status);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static char *temporary; // the group's directory

static int in_jail(const struct row *row, int (*body)(struct inmate *))
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct inmate in = {.db = NULL};
        snprintf(in.path, sizeof(in.path), "%s", temporary);
        prepare(&in);
        if (!enter(&in, row))
            _exit(98);
        _exit(body(&in));
    }
    return ended(pid);
}

static int result(long rc)
{
    return rc < 0 ? errno : 0;
}

// ---- what no role may do

#define TRY(name, call)                                                                            \
    static int name(struct inmate *in)                                                             \
    {                                                                                              \
        (void)in;                                                                                  \
        return result(call);                                                                       \
    }

TRY(open_absolute, open("/etc/passwd", O_RDONLY))
TRY(open_outside, openat(in->outside, "secret", O_RDONLY))
TRY(open_above, openat(in->inside, "../outside/secret", O_RDONLY))
TRY(list_root, open("/", O_RDONLY | O_DIRECTORY))
TRY(write_readable, openat(in->readable, "letter", O_WRONLY))
TRY(create_readable, openat(in->readable, "made", O_WRONLY | O_CREAT, 0600))
TRY(create_outside, openat(in->outside, "made", O_WRONLY | O_CREAT, 0600))
TRY(truncate_outside, openat(in->outside, "secret", O_WRONLY | O_TRUNC))
TRY(unlink_outside, unlinkat(in->outside, "secret", 0))
TRY(link_in, linkat(in->outside, "secret", in->inside, "tmp/secret", 0))
TRY(link_out, linkat(in->inside, "new/letter", in->outside, "letter", 0))
TRY(link_by_descriptor, linkat(in->file, "", in->inside, "tmp/x", AT_EMPTY_PATH))
TRY(move_out, renameat(in->inside, "new/letter", in->outside, "letter"))
TRY(symlink_inside, symlinkat("/etc/passwd", in->inside, "tmp/link"))
TRY(mknod_inside, mknodat(in->inside, "tmp/fifo", S_IFIFO | 0600, 0))
TRY(chmod_inside, fchmodat(in->inside, "kept", 0666, 0))
TRY(chown_open, fchown(in->file, 1, 1))

static int make_executable(struct inmate *in)
{
    void *at = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, in->file, 0);
    return at == MAP_FAILED ? errno : 0;
}

static int turn_executable(struct inmate *in)
{
    (void)in;
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? 0 : result(mprotect(at, 4096, PROT_READ | PROT_EXEC));
}

TRY(make_process, syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) // where it works, both are heard

TRY(signal_parent, kill(1, 0))
TRY(signal_other_thread_group, syscall(SYS_tgkill, 1, 1, 0))
TRY(become_dumpable, prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))

static int raise_limit(struct inmate *in)
{
    (void)in;
    struct rlimit limit = {1 << 20, 1 << 20};
    return result(setrlimit(RLIMIT_NOFILE, &limit));
}

static int send_elsewhere(struct inmate *in)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    return result(sendto(in->pair[0], "x", 1, 0, (struct sockaddr *)&to, sizeof(to)));
}

TRY(unset_append, fcntl(in->file, F_SETFL, 0))
TRY(own_signals, fcntl(in->pair[0], F_SETOWN, getpid()))
TRY(control_device, ioctl(in->pair[0], FIONREAD, &(int){0}))

static int bind_listener(struct inmate *in)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    return result(bind(in->client, (struct sockaddr *)&at, sizeof(at)));
}

TRY(set_user, setuid(0))
TRY(read_other_name, readlink("/proc/self/exe", (char[64]){0}, 64))
TRY(do_exec, syscall(SYS_execve, "/bin/true", NULL, NULL))
TRY(do_execveat, syscall(SYS_execveat, AT_FDCWD, "/bin/true", NULL, NULL, 0))
TRY(do_fork, syscall(SYS_vfork))
TRY(do_ptrace, syscall(SYS_ptrace, 0, 0, 0, 0))
TRY(do_vm_read, syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0))
TRY(do_pidfd_getfd, syscall(SYS_pidfd_getfd, -1, 0, 0))
TRY(do_bpf, syscall(SYS_bpf, 0, NULL, 0))
TRY(do_keyctl, syscall(SYS_keyctl, 0, 0, 0, 0, 0))
TRY(do_io_uring, syscall(SYS_io_uring_setup, 1, NULL))
TRY(do_userfaultfd, syscall(SYS_userfaultfd, 0))
TRY(do_perf, syscall(SYS_perf_event_open, NULL, 0, 0, -1, 0))
TRY(do_personality, syscall(SYS_personality, 0xffffffff))
TRY(do_module, syscall(SYS_finit_module, -1, "", 0))
TRY(do_kexec, syscall(SYS_kexec_load, 0, 0, NULL, 0))
TRY(do_mount, syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL))
TRY(do_unmount, syscall(SYS_umount2, "/nowhere", 0))
TRY(do_chroot, syscall(SYS_chroot, "/"))
TRY(do_handle, syscall(SYS_open_by_handle_at, -1, NULL, 0))
TRY(do_setns, syscall(SYS_setns, -1, 0))
TRY(do_unshare, syscall(SYS_unshare, 0))
TRY(open_socket, socket(AF_INET, SOCK_STREAM, 0))
TRY(open_socket_pair, socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){0}))

struct forbidden {
    const char *what;
    int (*body)(struct inmate *);
    bool kills;
    bool sanitizers_may; // the wider list of sanitizer builds has it
};

static const struct forbidden forbidden[] = {
    {"open /etc/passwd", open_absolute, false, false},
    {"open a file outside by a descriptor", open_outside, false, false},
    {"open a file outside by ..", open_above, false, false},
    {"open /", list_root, false, false},
    {"write where it may read", write_readable, false, false},
    {"create where it may read", create_readable, false, false},
    {"create outside", create_outside, false, false},
    {"truncate outside", truncate_outside, false, false},
    {"unlink outside", unlink_outside, false, false},
    {"link from outside", link_in, false, false},
    {"link to outside", link_out, false, false},
    {"link a descriptor", link_by_descriptor, false, false},
    {"move to outside", move_out, false, false},
    {"make a symbolic link", symlink_inside, false, false},
    {"make a fifo", mknod_inside, false, false},
    {"change modes", chmod_inside, false, false},
    {"change owners", chown_open, false, false},
    {"map executable memory", make_executable, false, true},
    {"make memory executable", turn_executable, false, true},
    {"make a process", make_process, false, false},
    {"signal process 1", signal_parent, false, false},
    {"signal a thread of another process", signal_other_thread_group, false, false},
    {"become dumpable", become_dumpable, false, true},
    {"raise a limit", raise_limit, false, true},
    {"send to an address", send_elsewhere, false, false},
    {"own a socket's signals", own_signals, false, false},
    {"write over the event log", unset_append, false, false},
    {"control a device", control_device, false, false},
    {"bind", bind_listener, false, false},
    {"setuid", set_user, false, false},
    {"read a link", read_other_name, false, true},
    {"execve", do_exec, true, false},
    {"execveat", do_execveat, true, false},
    {"vfork", do_fork, true, false},
    {"ptrace", do_ptrace, true, false},
    {"process_vm_readv", do_vm_read, true, false},
    {"pidfd_getfd", do_pidfd_getfd, true, false},
    {"bpf", do_bpf, true, false},
    {"keyctl", do_keyctl, true, false},
    {"io_uring_setup", do_io_uring, true, false},
    {"userfaultfd", do_userfaultfd, true, false},
    {"perf_event_open", do_perf, true, false},
    {"personality", do_personality, true, false},
    {"finit_module", do_module, true, false},
    {"kexec_load", do_kexec, true, false},
    {"mount", do_mount, true, false},
    {"umount2", do_unmount, true, false},
    {"chroot", do_chroot, true, false},
    {"open_by_handle_at", do_handle, true, false},
    {"setns", do_setns, true, false},
    {"unshare", do_unshare, true, false},
    {"socket", open_socket, true, false},
    {"socketpair", open_socket_pair, true, false},
};

// EXDEV is Landlock's word for a link or move out of where it is allowed.
static bool refused(int end)
{
    return end == EPERM || end == EACCES || end == EXDEV;
}

static void must_fail(const struct row *row, const char *what, int (*body)(struct inmate *),
                      bool kills)
{
    int end = in_jail(row, body);
    bool as_told = kills && !SANITIZED ? end == KILLED + SIGSYS : refused(end);
    if (!as_told)
        fail_msg("%s: %s ended with %d", row->role, what, end);
}

static void no_role_gets_out(void **state)
{
    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        for (size_t i = 0; i < ARRAY_LEN(forbidden); i++)
            if (!SANITIZED || !forbidden[i].sanitizers_may)
                must_fail(&rows[r], forbidden[i].what, forbidden[i].body, forbidden[i].kills);
}

// ---- what the roles need

static int use_memory(struct inmate *in)
{
    (void)in;
    char *p = malloc(1000);
    for (size_t size = 1000; p && size < 50u << 20; size *= 3) {
        char *bigger = realloc(p, size * 3);
        if (!bigger)
            return 1;
        p = bigger;
        memset(p, 1, size * 3);
    }
    free(p);
    return p ? 0 : 1;
}

static int use_loop(struct inmate *in)
{
    struct epoll_event event = {.events = EPOLLIN};
    struct timespec now;
    char byte;
    if (epoll_ctl(in->epoll, EPOLL_CTL_ADD, in->pair[1], &event) < 0 ||
        send(in->pair[0], "x", 1, MSG_NOSIGNAL) != 1 || epoll_wait(in->epoll, &event, 1, 1000) != 1)
        return errno ? errno : 1;
    int copy = fcntl(in->pair[1], F_DUPFD_CLOEXEC, 0);
    if (copy < 0 || fcntl(copy, F_GETFL) < 0 || recv(copy, &byte, 1, 0) != 1)
        return errno;
    if (clock_gettime(CLOCK_MONOTONIC, &now) < 0 || usleep(1) < 0)
        return errno;
    return result(close(copy));
}

static int leave_cleanly(struct inmate *in)
{
    (void)in;
    free(malloc(100));
    exit(0); // with all that libraries do then
}

static void *thread_main(void *argument)
{
    int *failed = argument;
    char *bytes = calloc(3, 100000);
    *failed = !bytes || pthread_setname_np(pthread_self(), "jailed") != 0;
    free(bytes);
    return NULL;
}

static int use_threads(struct inmate *in)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    int failed[THREADS] = {0}, sum = 0;
    (void)in;
    for (int i = 0; i < THREADS; i++) {
        int rc = pthread_create(&threads[i], NULL, thread_main, &failed[i]);
        if (rc)
            return rc;
    }
    for (int i = 0; i < THREADS; i++) {
        if (pthread_join(threads[i], NULL))
            return 1;
        sum += failed[i];
    }
    return sum;
}

static int use_accept(struct inmate *in)
{
    int one = 1;
    struct sockaddr_in peer;
    socklen_t len = sizeof(peer);
    int fd = accept4(in->listener, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
        return errno;
    len = sizeof(peer);
    if (getsockname(fd, (struct sockaddr *)&peer, &len) < 0 ||
        send(fd, "220", 3, MSG_NOSIGNAL) != 3)
        return errno;
    return result(shutdown(fd, SHUT_WR));
}

static int pass_descriptor(struct inmate *in)
{
    char byte = 'x', space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr m = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &in->file, sizeof(int));
    if (sendmsg(in->pair[0], &m, MSG_NOSIGNAL) != 1)
        return errno;
    m.msg_controllen = sizeof(space);
    if (recvmsg(in->pair[1], &m, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&m))
        return errno;
    int fd;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
    if (fd <= in->file || read(fd, &byte, 1) != 1 || byte != 'k')
        return 1;
    struct stat st; // as os_fstat does
    return syscall(SYS_fstat, fd, &st) == 0 && st.st_size == 5 ? 0 : 1;
}

static int use_memfd(struct inmate *in)
{
    (void)in;
    int fd = memfd_create("window", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, 8192) < 0 || write(fd, "letter", 6) != 6 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return errno;
    void *at = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED || memcmp(at, "letter", 6) != 0)
        return errno ? errno : 1;
    return 0;
}

static int use_locks(struct inmate *in)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    if (flock(in->inside, LOCK_EX | LOCK_NB) < 0 || fcntl(in->file, F_SETLK, &lock) < 0)
        return errno;
    lock = (struct flock){.l_type = F_UNLCK, .l_whence = SEEK_SET};
    if (fcntl(in->file, F_SETLK, &lock) < 0)
        return errno;
    lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return result(fcntl(in->file, F_OFD_SETLK, &lock));
}

static bool see_name(void *context, const char *name)
{
    *(size_t *)context += name[0] != '\0';
    return true;
}

static int read_files(struct inmate *in)
{
    size_t names = 0;
    struct stat st;
    struct statfs fs;
    char bytes[256];
    int fd = openat(in->readable, "letter", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0 || pread(fd, bytes, 7, 0) != 7)
        return errno;
    int dir = openat(in->inside, "new", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || os_list(dir, see_name, &names) < 0 || names != 1)
        return errno ? errno : 1;
    if (fstatat(in->inside, "new/letter", &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno;
    return result(fstatat(in->inside, "new/none", &st, 0)) == ENOENT ? 0 : 1;
}

static int deliver(struct inmate *in)
{
    int fd = openat(in->inside, "tmp/x", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "letter\n", 7) != 7 || pwrite(fd, "L", 1, 0) != 1 ||
        ftruncate(fd, 6) < 0 || fdatasync(fd) < 0 || fsync(in->inside) < 0)
        return errno;
    if (linkat(in->inside, "tmp/x", in->inside, "new/x", 0) < 0 || syncfs(in->inside) < 0 ||
        renameat(in->inside, "new/x", in->inside, "cur/x") < 0 ||
        unlinkat(in->inside, "tmp/x", 0) < 0 || unlinkat(in->inside, "cur/x", 0) < 0)
        return errno;
    return result(mkdirat(in->inside, "made", 0700)) || result(unlinkat(in->inside, "made", 0x200));
}

static int move_letters(struct inmate *in)
{
    if (renameat(in->inside, "new/letter", in->inside, "cur/letter:2,S") < 0)
        return errno;
    int cur = openat(in->inside, "cur", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cur < 0 || unlinkat(cur, "letter:2,S", 0) < 0)
        return errno;
    return result(fsync(cur));
}

static int use_store(struct inmate *in)
{
    struct stat st;
    if (pwrite(in->file, "更多", 6, 4096) != 6 || fdatasync(in->file) < 0 ||
        fstat(in->file, &st) < 0 || st.st_size != 4102 || ftruncate(in->file, 5) < 0)
        return errno ? errno : 1;
    return 0;
}

static int count_rows(sqlite3 *db, int a)
{
    sqlite3_stmt *ask = NULL;
    int count = -1;
    if (sqlite3_prepare_v2(db, "SELECT count(*) FROM t WHERE a = ?", -1, &ask, NULL) == SQLITE_OK) {
        sqlite3_bind_int(ask, 1, a);
        if (sqlite3_step(ask) == SQLITE_ROW)
            count = sqlite3_column_int(ask, 0);
    }
    sqlite3_finalize(ask);
    return count;
}

// More frames than one page of the wal-index holds, a sort beyond the cache, checkpoints, another
// process's write, and the end: all without opening a file.
static int use_database(struct inmate *in)
{
    char byte;
    if (sql(in->db,
            "PRAGMA wal_autocheckpoint=0; BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
            "SELECT i+1 FROM n WHERE i<5000) INSERT INTO t SELECT i+10, randomblob(3000) "
            "FROM n; COMMIT; UPDATE t SET b='王' WHERE a=12") != SQLITE_OK)
        return 2;
    if (count_rows(in->db, 5010) != 1 || sql(in->db, "SELECT * FROM t ORDER BY b") != SQLITE_OK)
        return 3;
    if (sql(in->db, "BEGIN; SAVEPOINT s; DELETE FROM t WHERE a>10; ROLLBACK TO s; COMMIT") !=
        SQLITE_OK)
        return 4;
    if (sql(in->db, "PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t VALUES(7,'after')") !=
        SQLITE_OK)
        return 5;
    if (write(in->go, "g", 1) != 1 || read(in->done, &byte, 1) != 0)
        return 6;
    if (count_rows(in->db, HELPER_ROW) < 1 || sql(in->db, "DELETE FROM t") != SQLITE_OK)
        return 7;
    return sqlite3_close(in->db) == SQLITE_OK ? 0 : 8;
}

static void *database_thread(void *argument)
{
    sqlite3 *db = argument;
    return count_rows(db, 1) >= 1 && sql(db, "INSERT INTO t VALUES(2,'thread')") == SQLITE_OK
               ? db
               : NULL;
}

static int use_database_in_thread(struct inmate *in)
{
    pthread_t thread;
    void *got = NULL;
    if (pthread_create(&thread, NULL, database_thread, in->db) || pthread_join(thread, &got))
        return 1;
    return got == in->db ? 0 : 2;
}

static int connect_out(struct inmate *in)
{
    int error;
    socklen_t len = sizeof(error);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = in->port};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS))
        return errno;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return errno;
    return result(socket(AF_INET6, SOCK_STREAM, 0));
}

struct wanted {
    const char *what;
    unsigned calls;
    int (*body)(struct inmate *);
};

static const struct wanted wanted[] = {
    {"memory", JAIL_BASE, use_memory},
    {"loop", JAIL_BASE, use_loop},
    {"a clean exit", JAIL_BASE, leave_cleanly},
    {"threads", JAIL_THREADS, use_threads},
    {"accept", JAIL_ACCEPT, use_accept},
    {"passing descriptors", JAIL_PASS, pass_descriptor},
    {"memfd and seals", JAIL_MEMFD, use_memfd},
    {"locks", JAIL_LOCKS, use_locks},
    {"reading files", JAIL_FILES, read_files},
    {"delivery", JAIL_CHANGE, deliver},
    {"moving letters", JAIL_FILES | JAIL_MOVE, move_letters},
    {"open files", JAIL_STORE, use_store},
    {"SQLite", JAIL_STORE | JAIL_LOCKS, use_database},
    {"SQLite in a thread", JAIL_STORE | JAIL_LOCKS | JAIL_THREADS, use_database_in_thread},
    {"connecting", JAIL_CONNECT, connect_out},
};

static void must_work(const struct row *row, const struct wanted *w)
{
    int end = in_jail(row, w->body);
    if (end != 0)
        fail_msg("%s: %s ended with %d", row->role, w->what, end);
}

static void every_role_can_work(void **state)
{
    (void)state;
    unsigned tried = 0;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
            if ((rows[r].calls & wanted[i].calls) == wanted[i].calls) {
                must_work(&rows[r], &wanted[i]);
                tried |= wanted[i].calls;
            }
    must_work(&connector, &wanted[ARRAY_LEN(wanted) - 1]);
    // Every group of some role was used.
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        assert_int_equal(rows[r].calls & ~tried, 0);
}

TRY(look_around, fstatat(in->outside, "secret", &(struct stat){.st_size = 0}, 0))

// The other way round: a group that a role lacks is a wall.
static void lacking_groups_are_walls(void **state)
{
    static const struct wanted walls[] = {
        {"threads", JAIL_THREADS, use_threads},
        {"accept", JAIL_ACCEPT, use_accept},
        {"passing", JAIL_PASS, pass_descriptor},
        {"memfd", JAIL_MEMFD, use_memfd},
        {"locks", JAIL_LOCKS, use_locks},
        {"files", JAIL_FILES, read_files},
        {"delivery", JAIL_CHANGE, deliver},
        {"moving", JAIL_MOVE | JAIL_CHANGE, move_letters},
        {"open files", JAIL_STORE | JAIL_CHANGE, use_store},
        {"status of a path", JAIL_STORE | JAIL_FILES | (SANITIZED ? JAIL_BASE : 0), look_around},
    };
    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        for (size_t i = 0; i < ARRAY_LEN(walls); i++)
            if (!(rows[r].calls & walls[i].calls))
                must_fail(&rows[r], walls[i].what, walls[i].body, false);
}

// ---- the reader: what stands in a letter stays as it is

TRY(rewrite_letter, openat(in->inside, "new/letter", O_RDWR))
TRY(forge_letter, openat(in->inside, "new/forged", O_RDONLY | O_CREAT, 0600))
TRY(forge_unnamed, openat(in->inside, "new", O_RDWR | O_TMPFILE, 0600))
TRY(cut_letter, openat(in->inside, "new/letter", O_RDONLY | O_TRUNC))
TRY(link_letter, linkat(in->inside, "new/letter", in->inside, "cur/letter", 0))

static void a_reader_changes_no_letter(void **state)
{
    static const struct row reader = {"reader", JAIL_BASE | JAIL_FILES | JAIL_MOVE, 64, 0};
    (void)state;
    must_fail(&reader, "write", rewrite_letter, false);
    must_fail(&reader, "create", forge_letter, false);
    must_fail(&reader, "create without a name", forge_unnamed, false);
    must_fail(&reader, "truncate", cut_letter, false);
    must_fail(&reader, "link", link_letter, false);
}

TRY(open_unix_socket, socket(AF_UNIX, SOCK_STREAM, 0))
TRY(open_datagram_socket, socket(AF_INET, SOCK_DGRAM, 0))
TRY(open_raw_socket, socket(AF_PACKET, SOCK_RAW, 0))

static void a_connector_opens_streams_only(void **state)
{
    (void)state;
    must_fail(&connector, "unix socket", open_unix_socket, false);
    must_fail(&connector, "datagram socket", open_datagram_socket, false);
    must_fail(&connector, "raw socket", open_raw_socket, false);
    must_fail(&connector, "socketpair", open_socket_pair, true);
    must_fail(&connector, "bind", bind_listener, false);
}

// ---- ends

static int fail_must(struct inmate *in)
{
    (void)in;
    must(in == NULL);
    return 0;
}

static void a_broken_must_ends_by_abort(void **state)
{
    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        assert_int_equal(in_jail(&rows[r], fail_must), KILLED + SIGABRT);
}

static int overflow_heap(struct inmate *in)
{
    char *bytes = malloc(16);
    volatile size_t at = in->db ? 16 : 0;
    bytes[at] = 'x';
    free(bytes);
    return 0;
}

static void sanitizers_report_inside(void **state)
{
    char text[8192] = "";
    int out[2];
    (void)state;
    if (!SANITIZED)
        return;
    assert_int_equal(pipe(out), 0);
    fflush(NULL);
    int old = dup(2);
    dup2(out[1], 2);
    int end = in_jail(&rows[0], overflow_heap);
    dup2(old, 2);
    close(old);
    close(out[1]);
    ssize_t n = read(out[0], text, sizeof(text) - 1);
    close(out[0]);
    assert_true(n > 0);
    assert_int_not_equal(end, 0);
    assert_non_null(strstr(text, "heap-buffer-overflow"));
    assert_non_null(strstr(text, "ABORTING"));
}

// ---- reports

static int check_report(struct inmate *in)
{
    if (!in->report.seccomp || in->report.max_files != 64)
        return 1;
    // Duplicating is the one way to a new descriptor that every role has.
    int fd, last = -1;
    while ((fd = fcntl(in->pair[0], F_DUPFD_CLOEXEC, 0)) >= 0)
        last = fd;
    return errno == EMFILE && last == 63 ? in->report.landlock_abi : 0;
}

static void tells_which_walls_stand(void **state)
{
    static const struct row small = {"small", JAIL_BASE, 64, 0};
    (void)state;
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    assert_int_equal(in_jail(&small, check_report), abi < 0 ? 0 : abi);
}

static int hold_gigabyte(struct inmate *in)
{
    (void)in;
    void *at = mmap(NULL, 1u << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? errno : 0;
}

static void memory_is_bounded(void **state)
{
    static const struct row small = {"small", JAIL_BASE, 64, 512u << 20};
    (void)state;
    assert_int_equal(in_jail(&small, hold_gigabyte), SANITIZED ? 0 : ENOMEM);
}

static void *wait_for_ever(void *argument)
{
    (void)argument;
    pause();
    return NULL;
}

static int enter_with_thread(void)
{
    const struct jail jail = {.role = "test", .calls = JAIL_BASE, .max_files = 64};
    struct jail_report report;
    struct err err = {.class = ERR_NONE};
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, wait_for_ever, NULL) == 0);
    return jail_enter(&jail, &report, &err) || err.class != ERR_OUR_BUG;
}

static int enter_with_bad_path(void)
{
    const struct jail_path path = {-1, true};
    const struct jail jail = {
        .role = "test", .calls = JAIL_BASE, .paths = &path, .path_count = 1, .max_files = 64};
    struct jail_report report;
    struct err err = {.class = ERR_NONE};
    return jail_enter(&jail, &report, &err) || err.code != EBADF;
}

static void a_jail_that_cannot_be_is_an_error(void **state)
{
    static int (*const bodies[])(void) = {enter_with_thread, enter_with_bad_path};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            _exit(bodies[i]());
        assert_int_equal(ended(pid), 0);
    }
}

#ifdef POSTHOUSE_FAULT_SEAM
static const char *probe; // what the child tries

static int try_probe(struct inmate *in)
{
    (void)in;
    return -jail_try(str_of(probe));
}

static int probe_tells(struct inmate *in)
{
    struct buf out;
    char want[96];
    buf_init(&out, 1 << 20);
    jail_probe_put(&in->probe, &out);
    snprintf(want, sizeof(want), "fd %d %s/inside\n", in->inside, in->path);
    size_t dir = str_find(buf_str(&out), str_of(want));
    size_t map = str_find(buf_str(&out), STR("\nmap "));
    size_t stack = str_find(buf_str(&out), STR("[stack]"));
    int rc = buf_ok(&out) && dir < out.len && map < out.len && stack < out.len ? 0 : 1;
    buf_finish(&out);
    return rc;
}

static void probes_try_from_inside(void **state)
{
    static const char *const probes[] = {"open", "connect", "exec"};
    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
            probe = probes[i];
            must_fail(&rows[r], probe, try_probe, i > 0);
        }
        assert_int_equal(in_jail(&rows[r], probe_tells), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(probes); i++)
        assert_int_equal(jail_try(str_of(probes[i])), 0); // outside, all of it is possible
    assert_int_equal(jail_try(STR("something else")), -ENOSYS);
}
#else
static void probes_try_from_inside(void **state)
{
    struct jail_probe probe;
    struct buf out;
    (void)state;
    assert_int_equal(jail_try(STR("open")), -ENOSYS);
    jail_probe_open(&probe);
    buf_init(&out, 100);
    jail_probe_put(&probe, &out);
    assert_int_equal(out.len, 0);
    buf_finish(&out);
}
#endif

// ---- the group's directory

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

static int remove_directory(void **state)
{
    (void)state;
    return nftw(temporary, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int make_directory(void **state)
{
    static char path[] = "/tmp/posthouse-jail-XXXXXX";
    (void)state;
    temporary = mkdtemp(path);
    if (!temporary)
        return -1;
    int dir = open(temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = mkdirat(dir, "inside", 0700) | mkdirat(dir, "outside", 0700) |
             mkdirat(dir, "readable", 0700);
    close(dir);
    return rc;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_role_gets_out),
        cmocka_unit_test(every_role_can_work),
        cmocka_unit_test(lacking_groups_are_walls),
        cmocka_unit_test(a_reader_changes_no_letter),
        cmocka_unit_test(a_connector_opens_streams_only),
        cmocka_unit_test(a_broken_must_ends_by_abort),
        cmocka_unit_test(sanitizers_report_inside),
        cmocka_unit_test(tells_which_walls_stand),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(a_jail_that_cannot_be_is_an_error),
        cmocka_unit_test(probes_try_from_inside),
    };
    return cmocka_run_group_tests_name("jail", tests, make_directory, remove_directory);
}
