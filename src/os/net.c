#define _GNU_SOURCE
#include "os/net.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/file.h"
#include "os/seam.h"

enum { SOCKET_FLAGS = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC };

union socket_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
    struct sockaddr_storage storage;
};

static socklen_t to_system(const struct net_address *from, union socket_address *to)
{
    *to = (union socket_address){.storage = {0}};
    if (from->family == 4) {
        to->v4.sin_family = AF_INET;
        to->v4.sin_port = htons(from->port);
        memcpy(&to->v4.sin_addr, from->bytes, 4);
        return sizeof(to->v4);
    }
    must(from->family == 6);
    to->v6.sin6_family = AF_INET6;
    to->v6.sin6_port = htons(from->port);
    to->v6.sin6_scope_id = from->scope;
    memcpy(&to->v6.sin6_addr, from->bytes, 16);
    return sizeof(to->v6);
}

static void from_system(const union socket_address *from, struct net_address *to)
{
    *to = (struct net_address){0};
    if (from->any.sa_family == AF_INET) {
        to->family = 4;
        to->port = ntohs(from->v4.sin_port);
        memcpy(to->bytes, &from->v4.sin_addr, 4);
    } else if (from->any.sa_family == AF_INET6) {
        to->family = 6;
        to->port = ntohs(from->v6.sin6_port);
        to->scope = from->v6.sin6_scope_id;
        memcpy(to->bytes, &from->v6.sin6_addr, 16);
        net_address_unmap(to);
    }
}

static int set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static bool is_any(const struct net_address *address)
{
    static const uint8_t zeros[16];
    return memcmp(address->bytes, zeros, sizeof(zeros)) == 0;
}

static int listen_on(int fd, const struct net_address *address, int backlog)
{
    union socket_address to;
    socklen_t len = to_system(address, &to);
    int r = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (r == 0 && address->family == 6)
        r = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !is_any(address));
    // Accepted sockets inherit this one: a system call less for each connection.
    if (r == 0)
        r = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (r == 0 && bind(fd, &to.any, len) < 0)
        r = -errno;
    if (r == 0 && listen(fd, backlog) < 0)
        r = -errno;
    return r;
}

int net_listen(const struct net_address *address, int backlog)
{
    static const struct net_address any4 = {.family = 4};
    struct net_address where = *address;
    int family = address->family == 4 ? AF_INET : AF_INET6;
    int fd = (int)SEAM(listen, NULL, socket(family, SOCKET_FLAGS, 0));
    if (fd == -EAFNOSUPPORT && family == AF_INET6 && is_any(address)) {
        // "*" on a system without IPv6.
        where = any4;
        where.port = address->port;
        fd = (int)SEAM(listen, NULL, socket(AF_INET, SOCKET_FLAGS, 0));
    }
    if (fd < 0)
        return fd;
    int r = listen_on(fd, &where, backlog);
    if (r == 0)
        return fd;
    os_close(&fd);
    return r;
}

// Troubles of a connection that died in the queue (accept(2)): not ours, and not the listener's.
static bool died_waiting(int64_t error)
{
    switch (-error) {
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case EOPNOTSUPP:
    case EPERM:
        return true;
    default:
        return false;
    }
}

int net_accept(int listener, struct net_address *peer)
{
    union socket_address from;
    socklen_t len = sizeof(from);
    int64_t fd =
        SEAM(accept, NULL, accept4(listener, &from.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC));
    // When others still wait, the listener stays readable.
    if (fd < 0)
        return died_waiting(fd) ? -EAGAIN : (int)fd;
    if (peer)
        from_system(&from, peer);
    return (int)fd;
}

int net_local_address(int fd, struct net_address *address)
{
    union socket_address at;
    socklen_t len = sizeof(at);
    if (getsockname(fd, &at.any, &len) < 0)
        return -errno;
    from_system(&at, address);
    return 0;
}

// A non-blocking connect under way is a success: the end is told by net_connect_result.
static int connect_result(int64_t r)
{
    return r == -EINPROGRESS ? 0 : (int)r;
}

int net_connect(const struct net_address *address)
{
    union socket_address to;
    socklen_t len = to_system(address, &to);
    int fd = socket(to.any.sa_family, SOCKET_FLAGS, 0);
    if (fd < 0)
        return -errno;
    int r = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (r == 0)
        r = connect_result(SEAM(connect, NULL, connect(fd, &to.any, len)));
    if (r == 0)
        return fd;
    os_close(&fd);
    return r;
}

int net_connect_result(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -errno;
    return -error;
}

ssize_t net_receive(int fd, void *to, size_t len)
{
    size_t n;
    return SEAM_MOVE(receive, n, len, recv(fd, to, n, 0));
}

bool net_has_input(int fd)
{
    char byte;
    size_t n;
    return SEAM_MOVE(receive, n, 1, recv(fd, &byte, n, MSG_PEEK)) > 0;
}

ssize_t net_send(int fd, struct str bytes)
{
    size_t n;
    return SEAM_MOVE(send, n, bytes.len, send(fd, bytes.ptr, n, MSG_NOSIGNAL));
}

void net_end_output(int fd)
{
    shutdown(fd, SHUT_WR); // fails only when the connection is gone already
}

int net_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCKET_FLAGS, 0, fds) < 0 ? -errno : 0;
}

// sun_path holds 108 octets: a long path is shortened to its directory's descriptor and the name.
static int local_address(int dir, const char *name, union socket_address *at)
{
    *at = (union socket_address){.storage = {0}};
    at->local.sun_family = AF_UNIX;
    size_t room = sizeof(at->local.sun_path);
    int n = dir == OS_HERE ? snprintf(at->local.sun_path, room, "%s", name)
                           : snprintf(at->local.sun_path, room, "/proc/self/fd/%d/%s", dir, name);
    return n >= 0 && (size_t)n < room ? 0 : -ENAMETOOLONG;
}

static int listen_at(int fd, int dir, const char *name, unsigned mode)
{
    union socket_address at;
    int r = local_address(dir, name, &at);
    if (r < 0)
        return r;
    // Before bind, so that the name is never open to more than `mode`; after it, since bind takes
    // the umask off.
    if (fchmod(fd, (mode_t)mode) < 0 || bind(fd, &at.any, sizeof(at.local)) < 0)
        return -errno;
    r = os_chmod(dir, name, mode);
    if (r == 0 && listen(fd, SOMAXCONN) < 0)
        r = -errno;
    return r;
}

int net_listen_path(int dir, const char *name, unsigned mode)
{
    int r = os_unlink(dir, name); // a dead instance's; the caller holds the lock that says so
    if (r < 0 && r != -ENOENT)
        return r;
    int fd = (int)SEAM(listen, name, socket(AF_UNIX, SOCKET_FLAGS, 0));
    if (fd < 0)
        return fd;
    r = listen_at(fd, dir, name, mode);
    if (r == 0)
        return fd;
    os_close(&fd);
    return r;
}

static int connect_at(int dir, const char *name)
{
    union socket_address at;
    int r = local_address(dir, name, &at);
    if (r < 0)
        return r;
    int fd = socket(AF_UNIX, SOCKET_FLAGS, 0);
    if (fd < 0)
        return -errno;
    r = (int)SEAM(connect, name, connect(fd, &at.any, sizeof(at.local)));
    if (r == 0)
        return fd;
    os_close(&fd);
    return r;
}

int net_connect_path(const char *path)
{
    struct str whole = str_of(path);
    size_t slash = str_rindex(whole, '/');
    if (slash == whole.len)
        return connect_at(OS_HERE, path);
    char *parent = strndup(path, slash ? slash : 1); // "/" itself for "/name"
    must(parent != NULL);
    int dir = os_open(OS_HERE, parent, O_PATH | O_DIRECTORY, 0);
    free(parent);
    if (dir < 0)
        return dir;
    int r = connect_at(dir, path + slash + 1);
    os_close(&dir);
    return r;
}

int net_peer_uid(int fd, unsigned *uid)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return -errno;
    *uid = peer.uid;
    return 0;
}

union fd_message {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

ssize_t net_send_fd(int socket, struct str bytes, int fd)
{
    size_t n = 0;
    union fd_message control = {.bytes = {0}};
    struct iovec part = {.iov_base = (char *)(uintptr_t)bytes.ptr};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(head), &fd, sizeof(fd));
    }
    return SEAM_MOVE(pass, n, bytes.len,
                     (part.iov_len = n, sendmsg(socket, &message, MSG_NOSIGNAL)));
}

// Takes the first descriptor and closes any other: alignment leaves room for two.
static size_t take_fds(struct msghdr *message, int *first)
{
    size_t taken = 0;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof(fd));
            if (taken++ == 0)
                *first = fd;
            else
                os_close(&fd);
        }
    }
    return taken;
}

ssize_t net_receive_fd(int socket, void *to, size_t len, int *received)
{
    size_t n = 0;
    union fd_message control;
    struct iovec part = {.iov_base = to};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    *received = -1;
    int64_t r = SEAM_MOVE(pass, n, len,
                          (part.iov_len = n, message.msg_control = control.bytes,
                           message.msg_controllen = sizeof(control.bytes),
                           recvmsg(socket, &message, MSG_CMSG_CLOEXEC)));
    if (r < 0)
        return r;
    if (take_fds(&message, received) > 1 || (message.msg_flags & MSG_CTRUNC)) {
        os_close(received);
        return -EPROTO;
    }
    return r;
}

size_t net_own_addresses(struct net_address *addresses, size_t room)
{
    struct ifaddrs *all = NULL;
    size_t count = 0;
    if (getifaddrs(&all) < 0)
        return 0;
    for (const struct ifaddrs *at = all; at && count < room; at = at->ifa_next) {
        union socket_address address = {.storage = {0}};
        if (!at->ifa_addr)
            continue;
        if (at->ifa_addr->sa_family == AF_INET)
            memcpy(&address.v4, at->ifa_addr, sizeof address.v4);
        else if (at->ifa_addr->sa_family == AF_INET6)
            memcpy(&address.v6, at->ifa_addr, sizeof address.v6);
        else
            continue;
        from_system(&address, &addresses[count++]);
    }
    freeifaddrs(all);
    return count;
}
