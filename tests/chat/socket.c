#define _POSIX_C_SOURCE 200809L
#include "socket.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SILENCE_MS = 10000, NAME_MAX_LENGTH = 256, PIECE = 4096 };

int chat_connect(struct str where)
{
    char name[NAME_MAX_LENGTH];
    size_t colon = str_rindex(where, ':');
    if (where.len >= sizeof name || colon == where.len)
        return -1;
    memcpy(name, where.ptr, where.len);
    name[where.len] = name[colon] = '\0';
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (getaddrinfo(name, name + colon + 1, &hints, &found) != 0)
        return -1;
    int fd = socket(found->ai_family, found->ai_socktype, 0);
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

bool chat_send(int fd, struct str bytes)
{
    while (bytes.len > 0) {
        ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        bytes = str_skip(bytes, (size_t)n);
    }
    return true;
}

bool chat_receive(int fd, struct buf *into, bool *silent)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    *silent = poll(&ready, 1, SILENCE_MS) == 0;
    char *room = *silent ? NULL : buf_reserve(into, PIECE);
    ssize_t n = room ? recv(fd, room, PIECE, 0) : 0;
    if (n <= 0)
        return false;
    buf_added(into, (size_t)n);
    return true;
}

void chat_disconnect(int fd)
{
    close(fd);
}
