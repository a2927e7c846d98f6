// One role's real process, jail and all, with the test in the place of the supervisor and of its
// peers.
#ifndef TESTS_UNIT_ROLES_ROLE_BOX_H
#define TESTS_UNIT_ROLES_ROLE_BOX_H

#include <fcntl.h>

#include "base/limits.h"
#include "conf/conf.h"
#include "ipc/ipc.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/log.h"
#include "os/process.h"
#include "os/random.h"

struct role_box {
    char dir[48]; // its state directory
    struct str state_dir;
    struct arena arena;
    struct conf conf;
    struct loop *loop;
    const char *program;
    enum ipc_role role;
    struct ipc_handlers control_handlers;
    struct ipc_channel *control;
    uint32_t peers;
    bool ready, drained, ended;
};

static inline bool box_remove_file(void *context, const char *name)
{
    return os_unlink(*(int *)context, name) == 0;
}

static inline void box_remove(const char *dir, bool last)
{
    int fd = os_open_directory(OS_HERE, dir);
    assert_true(fd >= 0);
    assert_int_equal(os_list(fd, box_remove_file, &fd), 0);
    os_close(&fd);
    if (last)
        assert_int_equal(os_rmdir(OS_HERE, dir), 0);
}

static inline void box_write(struct role_box *box, const char *name, struct str bytes)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", box->dir, name);
    int fd = os_open(OS_HERE, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(os_write_all(fd, bytes), 0);
    os_close(&fd);
}

static inline void box_setup(struct role_box *box, const char *program, enum ipc_role role)
{
    struct conf_problems problems;
    char path[128];
    struct err err;
    *box = (struct role_box){.program = program, .role = role};
    arena_init(&box->arena, LIMIT_config_memory);
    snprintf(box->dir, sizeof(box->dir), "box-%016llx", (unsigned long long)os_random_u64());
    snprintf(path, sizeof(path), "%s/posthouse.yaml", box->dir);
    assert_int_equal(os_mkdir(OS_HERE, box->dir, 0700), 0);
    box_write(box, "posthouse.yaml", STR("hostname: mail.example.test\nstate_dir: .\n"));
    if (!conf_load(str_of(path), &box->arena, &box->conf, &problems))
        fail_msg("%.*s", STR_ARG(problems.items[0].text));
    box->state_dir = box->conf.state_dir;
    assert_true(loop_open(&box->loop, &err));
    log_start("test", box->loop, -1);
}

// Runs the loop until `until` is true; a generous limit ends what would hang.
static inline void box_run(struct role_box *box, const bool *until)
{
    uint64_t end = os_monotonic_ms() + 30000;
    struct err err;
    while (!*until) {
        assert_true(loop_turn(box->loop, 1000, &err));
        if (os_monotonic_ms() > end)
            fail_msg("nothing came for 30 seconds");
    }
}

static inline void box_on_ready(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role_box *box = ipc_context(channel);
    (void)m;
    (void)owner;
    box->ready = true;
}

static inline void box_on_drained(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role_box *box = ipc_context(channel);
    (void)m;
    (void)owner;
    box->drained = true;
}

static inline void box_on_parted(struct ipc_channel *channel, struct msg *m, void *owner)
{
    (void)channel;
    (void)m;
    (void)owner;
}

static inline void box_closed(struct ipc_channel *channel, const char *why)
{
    struct role_box *box = ipc_context(channel);
    (void)why;
    box->control = NULL;
    box->ended = true;
}

static inline void box_send_setup(struct role_box *box)
{
    struct msg m = {.type = MSG_setup};
    struct buf packed;
    buf_init(&packed, LIMIT_config_packed);
    conf_pack(&packed, &box->conf);
    m.setup.config = os_memfd("config");
    m.setup.instance = 7;
    assert_true(m.setup.config >= 0);
    assert_int_equal(os_pwrite_all(m.setup.config, buf_str(&packed), 0), 0);
    ipc_send(box->control, &m);
    os_close(&m.setup.config);
    buf_finish(&packed);
}

// Starts the process and gives it its configuration.
static inline void box_start(struct role_box *box)
{
    const char *const argv[] = {box->program, NULL};
    struct err err;
    int fds[2];
    box->ready = box->ended = false;
    box->control_handlers = (struct ipc_handlers){.on = {[MSG_ready] = box_on_ready,
                                                         [MSG_drained] = box_on_drained,
                                                         [MSG_parted] = box_on_parted},
                                                  .closed = box_closed};
    assert_int_equal(net_pair(fds), 0);
    assert_true(os_spawn(box->program, argv, &fds[1], 1) > 0);
    os_close(&fds[1]);
    assert_true(ipc_open(&box->control, box->loop, fds[0], IPC_SUPERVISOR, box->role, 0,
                         &box->control_handlers, box, &err));
    box_send_setup(box);
}

// A channel on which the test plays `peer`.
static inline struct ipc_channel *box_peer(struct role_box *box, enum ipc_role peer,
                                           const struct ipc_handlers *handlers, void *context)
{
    struct msg m = {.type = MSG_peer};
    struct ipc_channel *channel;
    struct err err;
    int fds[2];
    assert_int_equal(net_pair(fds), 0);
    m.peer.channel = fds[1];
    m.peer.role = (uint32_t)peer;
    m.peer.instance = box->peers++;
    ipc_send(box->control, &m);
    os_close(&fds[1]);
    assert_true(ipc_open(&channel, box->loop, fds[0], peer, box->role, 0, handlers, context, &err));
    return channel;
}

// The process ends when its control channel does; *how is what it ended with.
static inline void box_stop(struct role_box *box, struct os_exit *how)
{
    uint64_t end = os_monotonic_ms() + 30000;
    ipc_close(&box->control);
    while (!os_reap(how)) {
        struct err err;
        assert_true(loop_turn(box->loop, 10, &err));
        if (os_monotonic_ms() > end)
            fail_msg("the role does not end");
    }
}

static inline void box_teardown(struct role_box *box)
{
    box_remove(box->dir, true);
    loop_close(&box->loop);
    arena_finish(&box->arena);
}

#endif
