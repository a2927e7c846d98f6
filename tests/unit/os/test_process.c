// os/process.c: children, signals, identity.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/file.h"
#include "os/net.h"
#include "os/process.h"

struct scene {
    struct loop *loop;
    struct os_signals signals;
    int got[64];
    size_t count, want;
};

static void on_signal(struct os_signals *signals, int signal)
{
    struct scene *s = CONTAINER_OF(signals, struct scene, signals);
    assert_true(s->count < ARRAY_LEN(s->got));
    s->got[s->count++] = signal;
    if (s->count == s->want)
        loop_stop(s->loop);
}

static int set_up(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    struct err err;
    s->signals.got = on_signal;
    *state = s;
    return loop_open(&s->loop, &err) && os_signals_open(s->loop, &s->signals, &err) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct scene *s = *state;
    os_signals_close(s->loop, &s->signals);
    os_signals_close(s->loop, &s->signals);
    loop_close(&s->loop);
    free(s);
    return 0;
}

static void wait_for(struct scene *s, size_t signals)
{
    struct err err;
    s->want = s->count + signals;
    assert_true(loop_run(s->loop, &err));
}

static void signals_are_events(void **state)
{
    struct scene *s = *state;
    static const int all[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        os_kill(os_own_pid(), all[i]);
    wait_for(s, ARRAY_LEN(all));
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        bool found = false;
        for (size_t j = 0; j < s->count; j++)
            found = found || s->got[j] == all[i];
        assert_true(found);
    }
}

// No shell in the project, but a good witness in a test: it sees its descriptors and arguments.
static int spawn_shell(const char *script, const int *fds, size_t count)
{
    const char *const argv[] = {"witness", "-c", script, "$0 is this", NULL};
    return os_spawn("/bin/sh", argv, fds, count);
}

static struct os_exit ended(struct scene *s)
{
    struct os_exit e;
    while (!os_reap(&e))
        wait_for(s, 1);
    assert_false(os_reap(&(struct os_exit){0}));
    return e;
}

static void exits(void **state)
{
    struct scene *s = *state;
    int pid = spawn_shell("exit 7", NULL, 0);
    assert_true(pid > 0);
    struct os_exit e = ended(s);
    assert_int_equal(e.pid, pid);
    assert_int_equal(e.code, 7);
    assert_int_equal(e.signal, 0);
    // Our blocked signals are not the child's.
    pid = spawn_shell("kill -TERM $$; exit 0", NULL, 0);
    assert_true(pid > 0);
    e = ended(s);
    assert_int_equal(e.code, -1);
    assert_int_equal(e.signal, SIGTERM);
}

static void not_a_program(void **state)
{
    const char *const argv[] = {"x", NULL};
    (void)state;
    assert_int_equal(os_spawn("/nonexistent/program", argv, NULL, 0), -ENOENT);
    assert_int_equal(os_spawn("/etc/passwd", argv, NULL, 0), -EACCES);
    assert_int_equal(os_exec("/nonexistent/program", argv), -ENOENT);
    assert_false(os_reap(&(struct os_exit){0})); // no corpse is left
    int bad = 999999;
    assert_int_equal(spawn_shell("exit 0", &bad, 1), -EBADF);
}

// Descriptors arrive in order even when their numbers overlap the places they go to.
static void descriptors_in_order(void **state)
{
    struct scene *s = *state;
    int pair[2], fds[3];
    char got[64] = {0};
    assert_int_equal(net_pair(pair), 0);
    int first = os_memfd("first"), second = os_memfd("second");
    assert_int_equal(os_pwrite_all(first, STR("one\n"), 0), 0);
    assert_int_equal(os_pwrite_all(second, STR("two\n"), 0), 0);
    // 5 and 4 change places, most likely: the order is against that of the numbers.
    fds[0] = pair[1];
    fds[1] = first > second ? first : second;
    fds[2] = first > second ? second : first;
    int pid =
        spawn_shell("cat <&4 >&3; cat <&5 >&3; cat >&3; ls /proc/self/fd | wc -l >&3", fds, 3);
    assert_true(pid > 0);
    assert_int_equal(ended(s).code, 0);
    assert_true(net_receive(pair[0], got, sizeof(got) - 1) > 0);
    // 0 is empty; ls sees 0 1 2 3 4 5 and its own.
    assert_string_equal(got, first > second ? "one\ntwo\n7\n" : "two\none\n7\n");
    os_close(&pair[0]);
    os_close(&pair[1]);
    os_close(&first);
    os_close(&second);
}

static void dies_with_the_parent(void **state)
{
    int pair[2];
    char byte;
    (void)state;
    assert_int_equal(net_pair(pair), 0);
    assert_int_equal(fcntl(pair[0], F_SETFL, 0), 0); // this end may block
    int parent = fork();
    if (parent == 0) {
        // The grandchild holds pair[1] as its 3, and would for a minute.
        int pid = spawn_shell("exec sleep 60", &pair[1], 1);
        _exit(pid > 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(parent, &status, 0), parent);
    assert_int_equal(status, 0);
    os_close(&pair[1]);
    assert_int_equal(net_receive(pair[0], &byte, 1), 0);
    os_close(&pair[0]);
}

static void users(void **state)
{
    struct os_identity identity;
    struct err err;
    (void)state;
    assert_true(os_find_user(STR("root"), &identity, &err));
    assert_int_equal(identity.uid, 0);
    const struct str none[] = {STR("no-such-user-here"), STR(""), STR("root\0x"), STR("用户")};
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        assert_false(os_find_user(none[i], &identity, &err));
        assert_int_equal(err.class, ERR_GIVE_UP);
    }
    assert_int_equal(os_is_root(), geteuid() == 0);
}

static int become_in_child(const struct os_identity *identity)
{
    int status, pid = fork();
    if (pid == 0) {
        struct err err;
        bool became = os_become(identity, &err);
        bool kept = geteuid() == identity->uid && getegid() == identity->gid && setuid(0) < 0;
        _exit(became ? (kept ? 0 : 2) : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void gives_up_root(void **state)
{
    struct os_identity nobody = {.uid = 65534, .gid = 65534};
    struct os_identity self = {.uid = getuid(), .gid = getgid()};
    struct os_identity root = {.uid = 0, .gid = 0};
    (void)state;
    assert_int_equal(become_in_child(&root), 1); // never to root
    assert_int_equal(become_in_child(&nobody), os_is_root() || self.uid == nobody.uid ? 0 : 1);
    if (!os_is_root())
        assert_int_equal(become_in_child(&self), 0);
}

static void itself(void **state)
{
    struct buf path;
    struct err err;
    (void)state;
    buf_init(&path, PATH_MAX);
    assert_true(os_own_path(&path, &err));
    assert_true(str_ends(buf_str(&path), STR("/test_process")));
    buf_finish(&path);
    buf_init(&path, 3);
    assert_false(os_own_path(&path, &err));
    buf_finish(&path);
    assert_true(os_cpu_count() >= 1);
    assert_int_equal(os_own_pid(), getpid());
    setenv("POSTHOUSE_TEST", "值", 1);
    assert_true(str_eq(os_environment("POSTHOUSE_TEST"), STR("值")));
    assert_int_equal(os_environment("POSTHOUSE_TEST_NONE").len, 0);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(signals_are_events),
        CASE(exits),
        CASE(not_a_program),
        CASE(descriptors_in_order),
        cmocka_unit_test(dies_with_the_parent),
        cmocka_unit_test(users),
        cmocka_unit_test(gives_up_root),
        cmocka_unit_test(itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
