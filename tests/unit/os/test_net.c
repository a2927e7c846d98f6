// os/net.c over loopback and unix sockets.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/file.h"
#include "os/net.h"

static void wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    assert_int_equal(poll(&p, 1, 5000), 1);
}

static int listen_anywhere(const char *text, struct net_address *where)
{
    assert_true(net_address_read(str_of(text), where));
    int listener = net_listen(where, 10);
    assert_true(listener >= 0);
    assert_int_equal(net_local_address(listener, where), 0);
    assert_true(where->port > 0);
    return listener;
}

static int accept_one(int listener, struct net_address *peer)
{
    wait_for(listener, POLLIN);
    int fd = net_accept(listener, peer);
    assert_true(fd >= 0);
    return fd;
}

static void talk_over_tcp(void **state)
{
    struct net_address where, peer, local;
    char got[16];
    int value = 0;
    socklen_t len = sizeof(value);
    (void)state;
    int listener = listen_anywhere("127.0.0.1:0", &where);
    assert_int_equal(net_accept(listener, &peer), -EAGAIN);
    int client = net_connect(&where);
    assert_true(client >= 0);
    int server = accept_one(listener, &peer);
    wait_for(client, POLLOUT);
    assert_int_equal(net_connect_result(client), 0);
    assert_int_equal(net_local_address(client, &local), 0);
    assert_memory_equal(&peer, &local, sizeof(peer));
    assert_true(net_is_loopback(&peer));
    // TCP_NODELAY came from the listener; both are non-blocking and close-on-exec.
    assert_int_equal(getsockopt(server, IPPROTO_TCP, TCP_NODELAY, &value, &len), 0);
    assert_true(value);
    assert_true(fcntl(server, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(server, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(net_receive(server, got, sizeof(got)), -EAGAIN);
    assert_false(net_has_input(server));
    assert_int_equal(net_send(client, STR("你好")), 6);
    wait_for(server, POLLIN);
    assert_true(net_has_input(server)); // and leaves it there
    assert_int_equal(net_receive(server, got, sizeof(got)), 6);
    assert_memory_equal(got, "你好", 6);
    net_end_output(client);
    wait_for(server, POLLIN);
    assert_false(net_has_input(server)); // the end is none
    assert_int_equal(net_receive(server, got, sizeof(got)), 0);
    os_close(&client);
    // The peer is gone: an error, no signal.
    ssize_t n = 0;
    for (int i = 0; i < 100 && n >= 0; i++) {
        n = net_send(server, STR("x"));
        poll(NULL, 0, 5);
    }
    assert_true(n == -EPIPE || n == -ECONNRESET);
    os_close(&server);
    os_close(&listener);
}

static void ipv4_on_a_star(void **state)
{
    struct net_address where, peer;
    (void)state;
    int listener = listen_anywhere("*:0", &where);
    struct net_address four = {.family = 4, .bytes = {127, 0, 0, 1}, .port = where.port};
    int client = net_connect(&four);
    assert_true(client >= 0);
    int server = accept_one(listener, &peer);
    assert_int_equal(peer.family, 4);
    assert_true(net_is_loopback(&peer));
    os_close(&server);
    os_close(&client);
    os_close(&listener);
}

static void refused(void **state)
{
    struct net_address where;
    (void)state;
    int listener = listen_anywhere("127.0.0.1:0", &where);
    assert_int_equal(net_listen(&where, 10), -EADDRINUSE);
    os_close(&listener);
    int client = net_connect(&where);
    if (client >= 0) {
        wait_for(client, POLLOUT);
        assert_int_equal(net_connect_result(client), -ECONNREFUSED);
        os_close(&client);
    } else {
        assert_int_equal(client, -ECONNREFUSED);
    }
    struct net_address foreign = {.family = 4, .bytes = {192, 0, 2, 1}};
    assert_int_equal(net_listen(&foreign, 10), -EADDRNOTAVAIL);
}

static void sockets_at_paths(void **state)
{
    char root[] = "/tmp/posthouse-net-XXXXXX";
    // Longer in all than sun_path takes.
    static const char folder[] =
        "a-directory-with-a-name-that-is-so-long-that-a-socket-in-it-has-no-room-in-sun-path-which-"
        "holds-one-hundred-and-eight";
    struct stat st;
    struct buf path;
    unsigned uid = 12345;
    (void)state;
    assert_non_null(mkdtemp(root));
    int top = os_open_directory(OS_HERE, root);
    assert_int_equal(os_mkdir(top, folder, 0700), 0);
    int dir = os_open_directory(top, folder);
    assert_true(dir >= 0);
    buf_init(&path, 1000);
    buf_putf(&path, "%s/%s/control", root, folder);
    buf_put_byte(&path, '\0');
    assert_int_equal(net_connect_path(path.ptr), -ENOENT);

    mode_t before = umask(077);
    int listener = net_listen_path(dir, "control", 0660);
    umask(before);
    assert_true(listener >= 0);
    assert_int_equal(os_stat(dir, "control", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    int again = net_listen_path(dir, "control", 0600); // takes a dead one's place
    assert_true(again >= 0);
    int client = net_connect_path(path.ptr);
    assert_true(client >= 0);
    int server = accept_one(again, NULL);
    assert_int_equal(net_peer_uid(server, &uid), 0);
    assert_int_equal(uid, getuid());
    os_close(&again);
    assert_int_equal(net_connect_path(path.ptr), -ECONNREFUSED);

    os_close(&server);
    os_close(&client);
    os_close(&listener);
    assert_int_equal(os_unlink(dir, "control"), 0);
    assert_int_equal(os_rmdir(top, folder), 0);
    os_close(&dir);
    os_close(&top);
    assert_int_equal(os_rmdir(OS_HERE, root), 0);
    buf_finish(&path);
}

static void descriptors_travel(void **state)
{
    int pair[2], data[2], got = 77;
    char bytes[8];
    (void)state;
    assert_int_equal(net_pair(pair), 0);
    assert_int_equal(net_pair(data), 0);
    assert_int_equal(net_send_fd(pair[0], STR("plain"), -1), 5);
    assert_int_equal(net_receive_fd(pair[1], bytes, sizeof(bytes), &got), 5);
    assert_int_equal(got, -1);
    assert_int_equal(net_send_fd(pair[0], STR("fd"), data[0]), 2);
    os_close(&data[0]);
    assert_int_equal(net_receive_fd(pair[1], bytes, sizeof(bytes), &got), 2);
    assert_true(got >= 0);
    assert_true(fcntl(got, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(net_send(data[1], STR("hi")), 2);
    assert_int_equal(net_receive(got, bytes, sizeof(bytes)), 2);
    os_close(&got);
    assert_int_equal(net_receive_fd(pair[1], bytes, sizeof(bytes), &got), -EAGAIN);
    os_close(&pair[0]);
    assert_int_equal(net_receive_fd(pair[1], bytes, sizeof(bytes), &got), 0);
    os_close(&pair[1]);
    os_close(&data[1]);
}

// A peer of ill will sends several: all are closed, none is leaked.
static void addresses_of_this_host(void **state)
{
    struct net_address found[64];
    bool loopback = false;
    (void)state;
    size_t count = net_own_addresses(found, ARRAY_LEN(found));
    assert_in_range(count, 1, ARRAY_LEN(found));
    for (size_t i = 0; i < count; i++) {
        assert_true(found[i].family == 4 || found[i].family == 6);
        loopback = loopback || net_is_loopback(&found[i]);
    }
    assert_true(loopback);
    assert_int_equal(net_own_addresses(found, 1), 1);
    assert_int_equal(net_own_addresses(found, 0), 0);
}

static void too_many_descriptors(void **state)
{
    (void)state;
    for (size_t count = 2; count <= 4; count++) {
        int pair[2], got = 77, fds[4] = {0, 0, 0, 0};
        char bytes[8];
        union {
            char room[CMSG_SPACE(sizeof(fds))];
            struct cmsghdr align;
        } control = {.room = {0}};
        struct iovec part = {.iov_base = bytes, .iov_len = 1};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control.room,
                                 .msg_controllen = CMSG_SPACE(count * sizeof(int))};
        assert_int_equal(net_pair(pair), 0);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(count * sizeof(int));
        for (size_t i = 0; i < count; i++)
            fds[i] = pair[0];
        memcpy(CMSG_DATA(head), fds, count * sizeof(int));
        bytes[0] = 'x';
        assert_int_equal(sendmsg(pair[0], &message, 0), 1);
        int lowest_free = dup(0);
        close(lowest_free);
        assert_int_equal(net_receive_fd(pair[1], bytes, sizeof(bytes), &got), -EPROTO);
        assert_int_equal(got, -1);
        int lowest_now = dup(0);
        assert_int_equal(lowest_now, lowest_free);
        close(lowest_now);
        os_close(&pair[0]);
        os_close(&pair[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(talk_over_tcp),
        cmocka_unit_test(ipv4_on_a_star),
        cmocka_unit_test(refused),
        cmocka_unit_test(sockets_at_paths),
        cmocka_unit_test(descriptors_travel),
        cmocka_unit_test(addresses_of_this_host),
        cmocka_unit_test(too_many_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
