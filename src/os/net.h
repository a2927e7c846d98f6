// Sockets. Addresses are values; nothing here asks a name server. Descriptors are non-blocking and
// close-on-exec. Results: >= 0, or -errno, as in os/file.h; every call passes the fault seam.
#ifndef OS_NET_H
#define OS_NET_H

#include "base/buf.h"
#include "base/err.h"

struct net_address {
    uint8_t family;    // 4 or 6; 0 = none
    uint8_t bytes[16]; // network order; 4 of them for IPv4. ::ffff:a.b.c.d arrives as IPv4.
    uint16_t port;
    uint32_t scope; // IPv6 zone of a link-local address
};

// "127.0.0.1:25", "[::1]:25", "*:25" (IPv6 any, IPv4 too). Port 0 is allowed (a test's free port).
MUST_USE bool net_address_read(struct str text, struct net_address *address);
// "127.0.0.1" or "::1" without port; a zone as a number, "fe80::1%2". net_put_ip writes the address
// without zone and port (RFC 5321 literals have none), net_put_address all of it.
MUST_USE bool net_ip_read(struct str text, struct net_address *address);
void net_put_ip(struct buf *out, const struct net_address *address);
void net_put_address(struct buf *out, const struct net_address *address);
// Port and zone too.
bool net_address_equal(const struct net_address *a, const struct net_address *b);
bool net_is_loopback(const struct net_address *address);
// ::ffff:a.b.c.d becomes a.b.c.d; all reading and receiving functions here have done it.
void net_address_unmap(struct net_address *address);

// The addresses of this host's interfaces as they are now, at most `room` of them: their number.
size_t net_own_addresses(struct net_address *addresses, size_t room);

// A network "192.0.2.0/24", "2001:db8::/32", or one address.
struct net_range {
    struct net_address base;
    uint8_t bits;
};
// False too when bits beyond the prefix are set (a mistake that the administrator wants to hear
// of).
MUST_USE bool net_range_read(struct str text, struct net_range *range);
bool net_range_has(const struct net_range *range, const struct net_address *address);
// As net_range_read takes it; of one address without a prefix.
void net_put_range(struct buf *out, const struct net_range *range);

// This host's default gateways, of IPv4 and IPv6: how many were written, `most` at most. Where the
// system's tables cannot be read there are none.
size_t net_gateways(struct net_address *gateways, size_t most);
// The same, out of the text of /proc/net/route and /proc/net/ipv6_route.
size_t net_gateways_read(struct str routes4, struct str routes6, struct net_address *gateways,
                         size_t most);

MUST_USE int net_listen(const struct net_address *address, int backlog);
// -EAGAIN when nobody waits. TCP_NODELAY is set. peer may be NULL.
MUST_USE int net_accept(int listener, struct net_address *peer);
MUST_USE int net_local_address(int fd, struct net_address *address);
// Starts a connection; writable means it stands or failed (net_connect_result).
MUST_USE int net_connect(const struct net_address *address);
MUST_USE int net_connect_result(int fd);

// A count, 0 at the peer's end, -EAGAIN, or -errno. No SIGPIPE.
MUST_USE ssize_t net_receive(int fd, void *to, size_t len);
// True when bytes wait to be received.
bool net_has_input(int fd);
MUST_USE ssize_t net_send(int fd, struct str bytes);
// No more bytes from us; the peer sees the end.
void net_end_output(int fd);

// Two connected stream sockets between our own processes; and a listener and connection at a path
// (the control socket). The path is taken relative to the directory (sun_path holds 108 bytes
// only).
MUST_USE int net_pair(int fds[2]);
MUST_USE int net_listen_path(int dir, const char *name, unsigned mode);
MUST_USE int net_connect_path(const char *path);
// Who is at the other end of a unix socket.
MUST_USE int net_peer_uid(int fd, unsigned *uid);

// Bytes with at most one descriptor (fd < 0: none). The sender's own descriptor stays open.
// *received is -1 when none came; -EPROTO, all closed, when more than one did.
MUST_USE ssize_t net_send_fd(int socket, struct str bytes, int fd);
MUST_USE ssize_t net_receive_fd(int socket, void *to, size_t len, int *received);

#endif
