#include "stage.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <fcntl.h>

#include "base/limits.h"
#include "conf/conf.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/process.h"

enum { TURN_MS = 5, PATIENCE_MS = 20000, ARENA = 1 << 24, CLIENT_MAX = 1 << 24 };

static void on_ready(struct ipc_channel *channel, struct msg *m, void *owner)
{
    (void)m;
    (void)owner;
    ((struct stage *)ipc_context(channel))->ready = true;
}

static void on_drained(struct ipc_channel *channel, struct msg *m, void *owner)
{
    (void)m;
    (void)owner;
    ((struct stage *)ipc_context(channel))->drained = true;
}

static void on_parted(struct ipc_channel *channel, struct msg *m, void *owner)
{
    (void)channel;
    (void)m;
    (void)owner;
}

static void on_control_closed(struct ipc_channel *channel, const char *why)
{
    struct stage *stage = ipc_context(channel);
    (void)why;
    stage->control = NULL;
    stage->gone = true;
}

static const struct ipc_handlers control_handlers = {
    .on = {[MSG_ready] = on_ready, [MSG_drained] = on_drained, [MSG_parted] = on_parted},
    .closed = on_control_closed};

static void turn(struct stage *stage, uint64_t since)
{
    struct err err;
    assert_true(loop_turn(stage->loop, TURN_MS, &err));
    assert_true(os_monotonic_ms() - since < PATIENCE_MS);
}

void stage_until(struct stage *stage, const bool *flag)
{
    uint64_t since = os_monotonic_ms();
    while (!*flag)
        turn(stage, since);
}

static void pack_configuration(struct stage *stage, const char *options, struct buf *packed)
{
    struct buf text, path;
    struct arena arena;
    struct conf conf;
    struct conf_problems problems;
    buf_init(&text, LIMIT_config_file);
    buf_init(&path, 256);
    arena_init(&arena, ARENA);
    buf_putf(&text,
             "hostname: mail.example.test\nmail_dir: mail\n"
             "listen:\n  - {protocol: pop3, address: \"127.0.0.1:2110\"}\n%s",
             options);
    buf_putf(&path, "%s/posthouse.yaml", stage->directory);
    buf_put_byte(&path, '\0');
    int fd = os_open(OS_HERE, path.ptr, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(os_write_all(fd, buf_str(&text)), 0);
    os_close(&fd);
    assert_true(conf_load(str_of(path.ptr), &arena, &conf, &problems));
    conf_pack(packed, &conf);
    arena_finish(&arena);
    buf_finish(&path);
    buf_finish(&text);
}

static void send_setup(struct stage *stage, const char *options)
{
    struct buf packed;
    struct msg m = {.type = MSG_setup};
    buf_init(&packed, LIMIT_config_packed);
    pack_configuration(stage, options, &packed);
    int fd = os_memfd("configuration");
    assert_true(fd >= 0);
    assert_int_equal(os_write_all(fd, buf_str(&packed)), 0);
    m.setup.config = fd;
    ipc_send(stage->control, &m);
    os_close(&fd);
    buf_finish(&packed);
}

void stage_open(struct stage *stage, enum ipc_role role, const char *program, const char *options)
{
    struct err err;
    int ends[2];
    const char *const argv[] = {program, NULL};
    *stage = (struct stage){.role = role, .directory = "/tmp/posthouse-stage-XXXXXX"};
    assert_non_null(mkdtemp(stage->directory));
    int directory = os_open_directory(OS_HERE, stage->directory);
    assert_true(directory >= 0);
    assert_int_equal(os_mkdir(directory, "mail", 0700), 0);
    os_close(&directory);
    assert_true(loop_open(&stage->loop, &err));
    assert_int_equal(net_pair(ends), 0);
    stage->pid = os_spawn(program, argv, &ends[1], 1);
    assert_true(stage->pid > 0);
    os_close(&ends[1]);
    assert_true(ipc_open(&stage->control, stage->loop, ends[0], IPC_SUPERVISOR, role, 0,
                         &control_handlers, stage, &err));
    send_setup(stage, options);
    stage_until(stage, &stage->ready);
}

static void remove_tree(int parent, const char *name);

static bool remove_entry(void *context, const char *name)
{
    remove_tree(*(int *)context, name);
    return true;
}

static void remove_tree(int parent, const char *name)
{
    int directory = os_open_directory(parent, name);
    if (directory < 0) {
        assert_int_equal(os_unlink(parent, name), 0);
        return;
    }
    assert_int_equal(os_list(directory, remove_entry, &directory), 0);
    os_close(&directory);
    assert_int_equal(os_rmdir(parent, name), 0);
}

void stage_close(struct stage *stage)
{
    struct os_exit ended = {.pid = 0};
    uint64_t since = os_monotonic_ms();
    assert_false(stage->gone); // it did not die on the way
    for (int role = 0; role < IPC_ROLES; role++)
        ipc_close(&stage->peers[role]);
    ipc_close(&stage->control);
    while (!os_reap(&ended))
        turn(stage, since);
    assert_int_equal(ended.pid, stage->pid);
    assert_int_equal(ended.signal, 0);
    assert_int_equal(ended.code, 0);
    loop_close(&stage->loop);
    remove_tree(OS_HERE, stage->directory);
}

void stage_peer(struct stage *stage, enum ipc_role peer, const struct ipc_handlers *handlers)
{
    struct err err;
    int ends[2];
    struct msg m = {.type = MSG_peer};
    assert_int_equal(net_pair(ends), 0);
    m.peer.channel = ends[1];
    m.peer.role = peer;
    ipc_send(stage->control, &m);
    os_close(&ends[1]);
    assert_true(ipc_open(&stage->peers[peer], stage->loop, ends[0], peer, stage->role, 0, handlers,
                         stage, &err));
}

void stage_lose_peer(struct stage *stage, enum ipc_role peer)
{
    ipc_close(&stage->peers[peer]);
}

struct net_address stage_listen(struct stage *stage, uint32_t protocol)
{
    struct net_address address;
    struct msg m = {.type = MSG_listener};
    assert_true(net_address_read(STR("127.0.0.1:0"), &address));
    int fd = net_listen(&address, 64);
    assert_true(fd >= 0);
    assert_int_equal(net_local_address(fd, &address), 0);
    m.listener.socket = fd;
    m.listener.protocol = protocol;
    ipc_send(stage->control, &m);
    os_close(&fd);
    return address;
}

void stage_drain(struct stage *stage, uint32_t milliseconds)
{
    struct msg m = {.type = MSG_drain};
    m.drain.milliseconds = milliseconds;
    ipc_send(stage->control, &m);
}

// ---- clients

void client_connect(struct stage *stage, struct client *client, const struct net_address *address)
{
    uint64_t since = os_monotonic_ms();
    buf_init(&client->got, CLIENT_MAX);
    client->fd = net_connect(address);
    assert_true(client->fd >= 0);
    while (net_send(client->fd, STR("")) == -ENOTCONN)
        turn(stage, since);
}

void client_pair(struct client *client, int *other)
{
    int ends[2];
    buf_init(&client->got, CLIENT_MAX);
    assert_int_equal(net_pair(ends), 0);
    client->fd = ends[0];
    *other = ends[1];
}

void client_say(struct client *client, const char *text)
{
    struct str bytes = str_of(text);
    assert_int_equal(net_send(client->fd, bytes), bytes.len);
}

// False at the end of the connection.
static bool receive(struct client *client)
{
    char piece[65536];
    for (;;) {
        ssize_t n = net_receive(client->fd, piece, sizeof piece);
        if (n == -EAGAIN)
            return true;
        if (n <= 0)
            return false;
        buf_put(&client->got, str_from(piece, (size_t)n));
    }
}

static void show_difference(const struct client *client, const char *text)
{
    struct str got = str_sub(buf_str(&client->got), 0, 2000);
    print_error("want:\n%.2000s\ngot:\n%.*s\n", text, STR_ARG(got));
    fail();
}

void client_expect(struct stage *stage, struct client *client, const char *text)
{
    struct str want = str_of(text);
    uint64_t since = os_monotonic_ms();
    bool open = true;
    while (client->got.len < want.len && open) {
        turn(stage, since);
        open = receive(client);
    }
    if (!str_starts(buf_str(&client->got), want))
        show_difference(client, text);
    buf_drop(&client->got, want.len);
}

void client_expect_end(struct stage *stage, struct client *client, const char *text)
{
    uint64_t since = os_monotonic_ms();
    while (receive(client))
        turn(stage, since);
    if (!str_eq(buf_str(&client->got), str_of(text)))
        show_difference(client, text);
    buf_clear(&client->got);
}

void client_close(struct client *client)
{
    os_close(&client->fd);
    buf_finish(&client->got);
}
