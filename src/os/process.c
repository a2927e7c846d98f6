#define _GNU_SOURCE
#include "os/process.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <limits.h>
#include <malloc.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/file.h"
#include "os/seam.h"

// ---- starting

// What the child does between fork and exec; nothing here allocates.
struct start {
    const char *path;
    const char *const *argv;
    const int *fds;
    int count;
    int null;
    int report; // a failure is written here; success closes it
    int parent;
};

// Moves fds[i] to 3 + i. First all go above the places to be filled, then down, so that none is
// overwritten before its turn.
static int place_descriptors(const struct start *start)
{
    int high[64], above = 3 + start->count;
    must(start->count <= (int)ARRAY_LEN(high));
    for (int i = 0; i < start->count; i++) {
        high[i] = fcntl(start->fds[i], F_DUPFD_CLOEXEC, above);
        if (high[i] < 0)
            return -errno;
    }
    int report = fcntl(start->report, F_DUPFD_CLOEXEC, above);
    if (report < 0 || dup2(start->null, 0) < 0)
        return -errno;
    for (int i = 0; i < start->count; i++) {
        if (dup2(high[i], 3 + i) < 0)
            return -errno;
    }
    return report;
}

static int become_child(const struct start *start)
{
    sigset_t none;
    sigemptyset(&none);
    int report = place_descriptors(start);
    if (report < 0)
        return report;
    // Ours are close-on-exec at birth. What our own parent left open is not; a kernel before 5.11
    // cannot change that in one call, and then it stays.
    (void)close_range((unsigned)(3 + start->count), ~0U, CLOSE_RANGE_CLOEXEC);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return -errno;
    if (getppid() != start->parent)
        _exit(1); // the parent died before the kernel was told what to do then
    execv(start->path, (char *const *)(uintptr_t)start->argv);
    int error = -errno;
    ssize_t n = write(report, &error, sizeof(error));
    _exit(n == sizeof(error) ? 127 : 126);
}

static int wait_for_exec(int report)
{
    int error = 0;
    ssize_t n;
    do
        n = read(report, &error, sizeof(error));
    while (n < 0 && errno == EINTR);
    return n == sizeof(error) ? error : 0;
}

static int fork_and_exec(struct start *start)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    start->report = ends[1];
    start->parent = getpid();
    int pid = (int)SEAM(spawn, start->path, fork());
    if (pid == 0) {
        int error = become_child(start);
        ssize_t n = write(ends[1], &error, sizeof(error));
        _exit(n == sizeof(error) ? 127 : 126);
    }
    os_close(&ends[1]);
    int error = pid > 0 ? wait_for_exec(ends[0]) : 0;
    os_close(&ends[0]);
    if (error < 0) {
        waitpid(pid, NULL, 0);
        return error;
    }
    return pid;
}

int os_spawn(const char *path, const char *const argv[], const int *fds, size_t count)
{
    struct start start = {.path = path, .argv = argv, .fds = fds, .count = (int)count};
    must(count <= 64);
    start.null = os_open(OS_HERE, "/dev/null", O_RDONLY, 0);
    if (start.null < 0)
        return start.null;
    int pid = fork_and_exec(&start);
    os_close(&start.null);
    return pid;
}

int os_exec(const char *path, const char *const argv[])
{
    execv(path, (char *const *)(uintptr_t)argv);
    return -errno;
}

bool os_reap(struct os_exit *ended)
{
    int status, pid;
    do
        pid = waitpid(-1, &status, WNOHANG);
    while (pid < 0 && errno == EINTR);
    if (pid <= 0)
        return false;
    *ended = (struct os_exit){
        .pid = pid,
        .code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
    };
    return true;
}

void os_kill(int pid, int signal)
{
    must(pid > 0); // 0 and below are groups
    kill(pid, signal);
}

// ---- signals

static void told_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGCHLD);
    sigaddset(set, SIGUSR1);
}

static void signals_ready(struct watch *watch, unsigned events)
{
    struct os_signals *signals = CONTAINER_OF(watch, struct os_signals, watch);
    struct signalfd_siginfo info;
    (void)events;
    // One a call: `got` may close us, and the loop comes again while there are more.
    if (read(watch->fd, &info, sizeof(info)) == sizeof(info))
        signals->got(signals, (int)info.ssi_signo);
}

bool os_signals_open(struct loop *loop, struct os_signals *signals, struct err *err)
{
    sigset_t set;
    told_signals(&set);
    signal(SIGPIPE, SIG_IGN);
    signals->watch.ready = signals_ready;
    signals->watch.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals->watch.fd < 0)
        return err_system(err, errno, "signalfd");
    if (!loop_add(loop, &signals->watch, LOOP_READ, err)) {
        os_close(&signals->watch.fd);
        return false;
    }
    must(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    return true;
}

void os_signals_close(struct loop *loop, struct os_signals *signals)
{
    sigset_t set;
    if (signals->watch.fd < 0)
        return;
    loop_remove(loop, &signals->watch);
    os_close(&signals->watch.fd);
    told_signals(&set);
    must(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
}

void os_signals_ignore(void)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        signal(ignored[i], SIG_IGN);
}

// The allocator raises this limit with each larger block that is freed, and keeps such blocks then:
// a queue that has read its log would hold what it read it with.
void os_memory_start(void)
{
    enum { LARGE_BLOCK = 1024 * 1024 };
    (void)mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK); // a sanitizer's allocator knows no such option
}

// ---- identity

bool os_find_user(struct str name, struct os_identity *identity, struct err *err)
{
    char cname[LOGIN_NAME_MAX], room[16384];
    struct passwd entry, *found = NULL;
    if (name.len == 0 || name.len >= sizeof(cname) || str_index(name, '\0') < name.len)
        return err_set(err, ERR_GIVE_UP, STATUS(0, 0, 0), "not a user name: %.*s", STR_ARG(name));
    memcpy(cname, name.ptr, name.len);
    cname[name.len] = '\0';
    int r = getpwnam_r(cname, &entry, room, sizeof(room), &found);
    if (!found && r != 0 && r != ENOENT)
        return err_system(err, r, "looking up user %s", cname);
    if (!found)
        return err_set(err, ERR_GIVE_UP, STATUS(0, 0, 0), "there is no user %s", cname);
    *identity = (struct os_identity){.uid = entry.pw_uid, .gid = entry.pw_gid};
    return true;
}

struct os_identity os_own_identity(void)
{
    return (struct os_identity){geteuid(), getegid()};
}

bool os_is_root(void)
{
    return geteuid() == 0;
}

static bool is_wholly(const struct os_identity *identity)
{
    uid_t ruid, euid, suid;
    gid_t rgid, egid, sgid;
    if (getresuid(&ruid, &euid, &suid) < 0 || getresgid(&rgid, &egid, &sgid) < 0)
        return false;
    uid_t uid = identity->uid;
    gid_t gid = identity->gid;
    return ruid == uid && euid == uid && suid == uid && rgid == gid && egid == gid && sgid == gid;
}

bool os_become(const struct os_identity *identity, struct err *err)
{
    int death_signal = 0;
    prctl(PR_GET_PDEATHSIG, &death_signal);
    if (identity->uid == 0)
        return err_set(err, ERR_GIVE_UP, STATUS(0, 0, 0), "root is not a user to give up root for");
    if (os_is_root() && (setgroups(1, &identity->gid) < 0 ||
                         setresgid(identity->gid, identity->gid, identity->gid) < 0 ||
                         setresuid(identity->uid, identity->uid, identity->uid) < 0))
        return err_system(err, errno, "becoming uid %u, gid %u", identity->uid, identity->gid);
    // setresuid has cleared it: the role would outlive a supervisor that was killed.
    if (death_signal)
        prctl(PR_SET_PDEATHSIG, death_signal);
    if (!is_wholly(identity) || setuid(0) == 0)
        return err_set(err, ERR_GIVE_UP, STATUS(0, 0, 0), "this process is not uid %u, gid %u",
                       identity->uid, identity->gid);
    return true;
}

// ---- this process

bool os_own_path(struct buf *out, struct err *err)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
    if (n < 0)
        return err_system(err, errno, "/proc/self/exe");
    if ((size_t)n == sizeof(path))
        return err_system(err, ENAMETOOLONG, "/proc/self/exe");
    buf_put(out, str_from(path, (size_t)n));
    return buf_ok(out) || err_system(err, ENAMETOOLONG, "/proc/self/exe");
}

unsigned os_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1; // more than 1,024 processors: the configuration can say how many
    return (unsigned)CPU_COUNT(&set);
}

uint64_t os_file_limit(void)
{
    struct rlimit files;
    return getrlimit(RLIMIT_NOFILE, &files) < 0 ? 0 : files.rlim_max; // infinity is the largest
}

int os_own_pid(void)
{
    return getpid();
}

struct str os_environment(const char *name)
{
    return str_of(getenv(name));
}
