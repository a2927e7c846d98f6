// Each case runs in a child that shuts itself into a role's jail and reports by its exit status.
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "jail_inmate.h"

// ---- what no role may do

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
    unsigned but;        // roles with this group may
};

static const struct forbidden forbidden[] = {
    {"open /etc/passwd", open_absolute, false, false, 0},
    {"open a file outside by a descriptor", open_outside, false, false, 0},
    {"open a file outside by ..", open_above, false, false, 0},
    {"open /", list_root, false, false, 0},
    {"write where it may read", write_readable, false, false, 0},
    {"create where it may read", create_readable, false, false, 0},
    {"create outside", create_outside, false, false, 0},
    {"truncate outside", truncate_outside, false, false, 0},
    {"unlink outside", unlink_outside, false, false, 0},
    {"link from outside", link_in, false, false, 0},
    {"link to outside", link_out, false, false, 0},
    {"link a descriptor", link_by_descriptor, false, false, 0},
    {"move to outside", move_out, false, false, 0},
    {"make a symbolic link", symlink_inside, false, false, 0},
    {"make a fifo", mknod_inside, false, false, 0},
    {"change modes", chmod_inside, false, false, 0},
    {"change owners", chown_open, false, false, 0},
    {"map executable memory", make_executable, false, true, 0},
    {"make memory executable", turn_executable, false, true, 0},
    {"make a process", make_process, false, false, 0},
    {"signal process 1", signal_parent, false, false, 0},
    {"signal a thread of another process", signal_other_thread_group, false, false, 0},
    {"become dumpable", become_dumpable, false, true, 0},
    {"raise a limit", raise_limit, false, true, 0},
    {"send to an address", send_elsewhere, false, false, 0},
    {"own a socket's signals", own_signals, false, false, 0},
    {"write over the event log", unset_append, false, false, 0},
    {"control a device", control_device, false, false, 0},
    {"bind", bind_listener, false, false, JAIL_RESOLVE},
    {"setuid", set_user, false, false, 0},
    {"read a link", read_other_name, false, true, 0},
    {"execve", do_exec, true, false, 0},
    {"execveat", do_execveat, true, false, 0},
    {"vfork", do_fork, true, false, 0},
    {"ptrace", do_ptrace, true, false, 0},
    {"process_vm_readv", do_vm_read, true, false, 0},
    {"pidfd_getfd", do_pidfd_getfd, true, false, 0},
    {"bpf", do_bpf, true, false, 0},
    {"keyctl", do_keyctl, true, false, 0},
    {"io_uring_setup", do_io_uring, true, false, 0},
    {"userfaultfd", do_userfaultfd, true, false, 0},
    {"perf_event_open", do_perf, true, false, 0},
    {"personality", do_personality, true, false, 0},
    {"finit_module", do_module, true, false, 0},
    {"kexec_load", do_kexec, true, false, 0},
    {"mount", do_mount, true, false, 0},
    {"umount2", do_unmount, true, false, 0},
    {"chroot", do_chroot, true, false, 0},
    {"open_by_handle_at", do_handle, true, false, 0},
    {"setns", do_setns, true, false, 0},
    {"unshare", do_unshare, true, false, 0},
    {"socket", open_socket, true, false, JAIL_RESOLVE | JAIL_CONNECT},
    {"socketpair", open_socket_pair, true, false, 0},
};

static void no_role_gets_out(void **state)
{
    (void)state;
    for (size_t r = 0; r < row_count; r++)
        for (size_t i = 0; i < ARRAY_LEN(forbidden); i++)
            if ((!SANITIZED || !forbidden[i].sanitizers_may) && !(rows[r].calls & forbidden[i].but))
                must_fail(&rows[r], forbidden[i].what, forbidden[i].body, forbidden[i].kills);
}

TRY(open_unix_socket, socket(AF_UNIX, SOCK_STREAM, 0))
TRY(open_datagram_socket, socket(AF_INET, SOCK_DGRAM, 0))
TRY(open_raw_socket, socket(AF_PACKET, SOCK_RAW, 0))

static void a_connector_opens_streams_only(void **state)
{
    (void)state;
    for (size_t r = 0; r < row_count; r++) {
        if (!(rows[r].calls & JAIL_CONNECT))
            continue;
        must_fail(&rows[r], "unix socket", open_unix_socket, false);
        must_fail(&rows[r], "datagram socket", open_datagram_socket, false);
        must_fail(&rows[r], "raw socket", open_raw_socket, false);
    }
}

static void a_resolver_opens_sockets_of_the_internet_only(void **state)
{
    (void)state;
    for (size_t r = 0; r < row_count; r++) {
        if (!(rows[r].calls & JAIL_RESOLVE))
            continue;
        must_fail(&rows[r], "unix socket", open_unix_socket, false);
        must_fail(&rows[r], "raw socket", open_raw_socket, false);
    }
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
    for (size_t r = 0; r < row_count; r++)
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
    for (size_t r = 0; r < row_count; r++) {
        for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
            probe = probes[i];
            if (i == 1 && (rows[r].calls & (JAIL_RESOLVE | JAIL_CONNECT))) // they may
                continue;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_role_gets_out),
        cmocka_unit_test(a_connector_opens_streams_only),
        cmocka_unit_test(a_resolver_opens_sockets_of_the_internet_only),
        cmocka_unit_test(a_broken_must_ends_by_abort),
        cmocka_unit_test(sanitizers_report_inside),
        cmocka_unit_test(tells_which_walls_stand),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(a_jail_that_cannot_be_is_an_error),
        cmocka_unit_test(probes_try_from_inside),
    };
    return cmocka_run_group_tests_name("jail", tests, jail_directory_make, jail_directory_remove);
}
