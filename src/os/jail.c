// How the jail is built.
//
// 1. Nothing new may come in: no_new_privs, no core, no dump, a bound on descriptors and memory.
// 2. Landlock takes away every file but what is beneath the role's directories, TCP, abstract unix
//    sockets, and signals to processes outside. It holds for paths; descriptors that are open stay
//    as they were opened.
// 3. seccomp takes away the system calls that the role does not need: os/jail_calls.def. It holds
//    for descriptors and arguments as well, but cannot see what a path points at.
//
// Landlock comes first because seccomp would forbid its calls; both bind the calling thread and
// what it starts, hence: before the first thread. Both are asked of the kernel at run time, since a
// program built on one kernel runs on another.
//
// Sanitizer builds answer EPERM where others kill: a report may try to start a symbolizer.
#define _GNU_SOURCE

#include "os/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// ---- the table of calls

// Groups that follow from the build, not from a role.
enum {
    JAIL_PROBE = 1 << 16,
    JAIL_SANITIZERS = 1 << 17,
};

#ifdef POSTHOUSE_SANITIZED
enum { BUILD_SANITIZED = 1 };
#else
enum { BUILD_SANITIZED = 0 };
#endif
#ifdef POSTHOUSE_FAULT_SEAM
enum { BUILD_PROBE = 1 };
#else
enum { BUILD_PROBE = 0 };
#endif

// Masks and values of jail_calls.def.
#define INT UINT32_MAX
#define POINTER UINT64_MAX
#define OWN_PID UINT64_MAX
#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define SOCKET_TYPE (INT & ~(unsigned)(SOCK_NONBLOCK | SOCK_CLOEXEC))
#define OPEN_TO_WRITE (O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))

enum { MAX_CHECKS = 2 };

// A mask of 0 is no check.
struct check {
    unsigned argument;
    uint64_t mask;
    uint64_t value;
};

struct allowed {
    unsigned group;
    int number;
    const char *name;
    const char *words; // NULL: with any arguments
    struct check checks[MAX_CHECKS];
};

struct denied {
    int number;
    int error; // 0: the process ends
};

// clang-format off
#define JAIL_CALL(group, call)                    {JAIL_##group, SCMP_SYS(call), #call, NULL, {{0, 0, 0}}},
#define JAIL_CALL_IF(group, call, words, where)   {JAIL_##group, SCMP_SYS(call), #call, words, {where}},
#define WHERE(argument, mask, value)              {argument, mask, value},
#define JAIL_ERROR(call, error)
#define JAIL_KILL(call)
static const struct allowed allowed_calls[] = {
#include "os/jail_calls.def"
};
#undef JAIL_CALL
#undef JAIL_CALL_IF
#undef WHERE
#undef JAIL_ERROR
#undef JAIL_KILL

#define JAIL_CALL(group, call)
#define JAIL_CALL_IF(group, call, words, where)
#define JAIL_ERROR(call, error) {SCMP_SYS(call), error},
#define JAIL_KILL(call)         {SCMP_SYS(call), 0},
static const struct denied denied_calls[] = {
#include "os/jail_calls.def"
};
#undef JAIL_CALL
#undef JAIL_CALL_IF
#undef JAIL_ERROR
#undef JAIL_KILL
// clang-format on

static bool call_is_allowed(unsigned groups, int number)
{
    for (size_t i = 0; i < ARRAY_LEN(allowed_calls); i++)
        if (allowed_calls[i].number == number && (allowed_calls[i].group & groups))
            return true;
    return false;
}

// A row counts when a group of the role has it and no row before it says the same, or more: any
// arguments where this one names some.
static bool row_counts(unsigned groups, size_t row)
{
    const struct allowed *a = &allowed_calls[row];
    if (!(a->group & groups))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(allowed_calls); i++) {
        const struct allowed *b = &allowed_calls[i];
        if (i == row || b->number != a->number || !(b->group & groups))
            continue;
        bool same = a->words && b->words ? str_eq(str_of(a->words), str_of(b->words))
                                         : a->words == b->words;
        if ((same && i < row) || (a->words && !b->words))
            return false;
    }
    return true;
}

// ---- what every process of ours gives up

static bool set_limit(int resource, rlim_t wanted, struct err *err)
{
    struct rlimit old;
    if (getrlimit((__rlimit_resource_t)resource, &old) < 0)
        return err_system(err, -errno, "jail: getrlimit");
    rlim_t value = old.rlim_max == RLIM_INFINITY || wanted < old.rlim_max ? wanted : old.rlim_max;
    struct rlimit new = {.rlim_cur = value, .rlim_max = value};
    if (setrlimit((__rlimit_resource_t)resource, &new) < 0)
        return err_system(err, -errno, "jail: setrlimit");
    return true;
}

static bool lower_limits(const struct jail *jail, struct jail_report *report, struct err *err)
{
    if (!set_limit(RLIMIT_CORE, 0, err) || !set_limit(RLIMIT_NOFILE, jail->max_files, err))
        return false;
    // The sanitizers reserve terabytes of addresses.
    if (jail->max_memory && !BUILD_SANITIZED && !set_limit(RLIMIT_AS, jail->max_memory, err))
        return false;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return err_system(err, -errno, "jail: getrlimit");
    report->max_files = files.rlim_cur;
    return true;
}

static bool give_up_privileges(struct err *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_system(err, -errno, "jail: no_new_privs");
    // Processes of the same user read neither our memory nor our descriptors.
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return err_system(err, -errno, "jail: PR_SET_DUMPABLE");
    return true;
}

// Landlock and the filter bind the calling thread only. /proc/self/task has two links and one more
// for each thread; without /proc the caller's order has to be trusted.
static bool is_single_thread(void)
{
    struct stat st;
    return stat("/proc/self/task", &st) < 0 || st.st_nlink <= 3;
}

// ---- Landlock

// The kernel's numbers (linux/landlock.h), spelled out: the header of the machine that builds may
// be older than the kernel that runs.
enum {
    CALL_CREATE_RULESET = 444, // on every architecture
    CALL_ADD_RULE = 445,
    CALL_RESTRICT_SELF = 446,
    RULESET_VERSION = 1,
    RULE_PATH_BENEATH = 1,

    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_REMOVE_DIR = 1 << 4,
    FS_REMOVE_FILE = 1 << 5,
    FS_MAKE_DIR = 1 << 7,
    FS_MAKE_REG = 1 << 8,
    FS_FIRST = (1 << 13) - 1, // all of ABI 1
    FS_REFER = 1 << 13,       // ABI 2: link and rename into another directory
    FS_TRUNCATE = 1 << 14,    // ABI 3
    FS_IOCTL_DEV = 1 << 15,   // ABI 5
    FS_OF_FILE = FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE,

    NET_BIND_TCP = 1 << 0, // ABI 4
    NET_CONNECT_TCP = 1 << 1,

    SCOPE_ABSTRACT_UNIX = 1 << 0, // ABI 6
    SCOPE_SIGNAL = 1 << 1,
};

// Members that an older kernel does not know are 0, which it takes.
struct ruleset {
    uint64_t fs;
    uint64_t net;
    uint64_t scoped;
};

struct path_rule {
    uint64_t fs;
    int32_t fd;
} __attribute__((packed));

static struct ruleset handled_rights(const struct jail *jail, int abi)
{
    bool connects = jail->calls & (JAIL_CONNECT | JAIL_RESOLVE);
    struct ruleset r = {.fs = FS_FIRST};
    if (abi >= 2)
        r.fs |= FS_REFER;
    if (abi >= 3)
        r.fs |= FS_TRUNCATE;
    if (abi >= 4)
        r.net = connects ? NET_BIND_TCP : NET_BIND_TCP | NET_CONNECT_TCP;
    if (abi >= 5)
        r.fs |= FS_IOCTL_DEV;
    if (abi >= 6)
        r.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
    return r;
}

static uint64_t path_rights(unsigned calls, const struct jail_path *path)
{
    uint64_t rights = FS_READ_FILE | FS_READ_DIR;
    // A rename makes a name: MAKE_REG. That it makes no file is seccomp's (openat only to read).
    if (path->change && (calls & (JAIL_MOVE | JAIL_CHANGE)))
        rights |= FS_REMOVE_FILE | FS_MAKE_REG | FS_REFER;
    if (path->change && (calls & JAIL_CHANGE))
        rights |= FS_WRITE_FILE | FS_TRUNCATE | FS_MAKE_DIR | FS_REMOVE_DIR;
    return rights;
}

static bool allow_path(int ruleset, const struct jail *jail, const struct jail_path *path,
                       uint64_t handled, struct err *err)
{
    struct stat st;
    if (fstat(path->fd, &st) < 0)
        return err_system(err, -errno, "jail: a path of %s", jail->role);
    struct path_rule rule = {.fs = path_rights(jail->calls, path) & handled, .fd = path->fd};
    if (!S_ISDIR(st.st_mode))
        rule.fs &= FS_OF_FILE;
    if (syscall(CALL_ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0)
        return err_system(err, -errno, "jail: Landlock rule of %s", jail->role);
    return true;
}

static bool enter_landlock(const struct jail *jail, struct jail_report *report, struct err *err)
{
    long abi = syscall(CALL_CREATE_RULESET, NULL, 0, RULESET_VERSION);
    // ABI 1 forbids every link and rename between directories; no rule can allow it.
    if (abi < 1 || (abi < 2 && jail->needs_link))
        return true;
    struct ruleset handled = handled_rights(jail, (int)abi);
    int ruleset = (int)syscall(CALL_CREATE_RULESET, &handled, sizeof(handled), 0);
    if (ruleset < 0)
        return err_system(err, -errno, "jail: Landlock rules");
    bool ok = true;
    for (size_t i = 0; ok && i < jail->path_count; i++)
        ok = allow_path(ruleset, jail, &jail->paths[i], handled.fs, err);
    if (ok && syscall(CALL_RESTRICT_SELF, ruleset, 0) < 0)
        ok = err_system(err, -errno, "jail: Landlock");
    close(ruleset);
    if (ok)
        report->landlock_abi = (int)abi;
    return ok;
}

// ---- seccomp

// Kernels before 4.14 lack the action, and this wall.
static bool kernel_has_seccomp(void)
{
    uint32_t action = SECCOMP_RET_KILL_PROCESS;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

static int add_allowed(scmp_filter_ctx filter, const struct allowed *row)
{
    struct scmp_arg_cmp compare[MAX_CHECKS];
    unsigned count = 0;
    for (; count < MAX_CHECKS && row->checks[count].mask; count++) {
        const struct check *c = &row->checks[count];
        uint64_t value = c->value == OWN_PID ? (uint64_t)getpid() : c->value;
        compare[count] =
            (struct scmp_arg_cmp){c->argument, SCMP_CMP_MASKED_EQ, c->mask, value & c->mask};
    }
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, row->number, count, compare);
}

static int add_denied(scmp_filter_ctx filter, const struct denied *row)
{
    uint32_t end = BUILD_SANITIZED ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS;
    uint32_t action = row->error ? SCMP_ACT_ERRNO((unsigned)row->error) : end;
    if (action == SCMP_ACT_ERRNO(EPERM))
        return 0; // what the filter does anyway
    return seccomp_rule_add(filter, action, row->number, 0);
}

static int fill_filter(scmp_filter_ctx filter, unsigned groups)
{
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    // A binary tree over the numbers instead of a list. libseccomp before 2.5 has none: no harm.
    (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(allowed_calls); i++)
        if (row_counts(groups, i))
            rc = add_allowed(filter, &allowed_calls[i]);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(denied_calls); i++)
        if (!call_is_allowed(groups, denied_calls[i].number))
            rc = add_denied(filter, &denied_calls[i]);
    return rc;
}

static bool enter_seccomp(const struct jail *jail, struct jail_report *report, struct err *err)
{
    if (!kernel_has_seccomp())
        return true;
    unsigned groups =
        jail->calls | (BUILD_PROBE ? JAIL_PROBE : 0u) | (BUILD_SANITIZED ? JAIL_SANITIZERS : 0u);
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return err_system(err, -ENOMEM, "jail: seccomp");
    int rc = fill_filter(filter, groups);
    if (rc == 0)
        rc = seccomp_load(filter);
    seccomp_release(filter);
    if (rc < 0)
        return err_system(err, rc, "jail: seccomp filter of %s", jail->role);
    report->seccomp = true;
    return true;
}

#ifdef POSTHOUSE_SANITIZED
// The leak check wants to clone and to trace us: after the jail there is none. The name is the
// sanitizer's.
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 0;
}
#endif

bool jail_enter(const struct jail *jail, struct jail_report *report, struct err *err)
{
    *report = (struct jail_report){.landlock_abi = 0};
    must(jail->calls & JAIL_BASE);
    if (!is_single_thread())
        return err_set(err, ERR_OUR_BUG, STATUS(0, 0, 0), "jail of %s: a thread runs already",
                       jail->role);
    return lower_limits(jail, report, err) && give_up_privileges(err) &&
           enter_landlock(jail, report, err) && enter_seccomp(jail, report, err);
}

// ---- the list in words

enum { LINE_MAX_BYTES = 96, LINES_MAX = ARRAY_LEN(allowed_calls) };

struct line {
    char text[LINE_MAX_BYTES];
};

static int compare_lines(const void *a, const void *b)
{
    return str_cmp(str_of(((const struct line *)a)->text), str_of(((const struct line *)b)->text));
}

void jail_describe(const struct jail *jail, struct buf *out)
{
    struct line lines[LINES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(allowed_calls); i++) {
        const struct allowed *a = &allowed_calls[i];
        if (!row_counts(jail->calls, i))
            continue;
        int n = snprintf(lines[count].text, LINE_MAX_BYTES, a->words ? "call %s (%s)" : "call %s%s",
                         a->name, a->words ? a->words : "");
        must(n > 0 && n < LINE_MAX_BYTES);
        count++;
    }
    qsort(lines, count, sizeof(lines[0]), compare_lines);
    for (size_t i = 0; i < count; i++)
        buf_putf(out, "%s\n", lines[i].text);
    buf_putf(out, "files %llu\n", (unsigned long long)jail->max_files);
    if (jail->max_memory)
        buf_putf(out, "memory %llu\n", (unsigned long long)jail->max_memory);
    for (int change = 0; change < 2; change++)
        for (size_t i = 0; i < jail->path_count; i++)
            if (jail->paths[i].change == (change == 0))
                buf_putf(out, "path %s\n", change == 0 ? "change" : "read");
}
