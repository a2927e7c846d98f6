// A connection to a running server, for chat --connect.
#ifndef CHAT_SOCKET_H
#define CHAT_SOCKET_H

#include "base/buf.h"

// "HOST:PORT"; the descriptor, or -1.
int chat_connect(struct str where);
// False when the server is gone.
bool chat_send(int fd, struct str bytes);
// More of what the server says: false at its end, or after ten seconds of silence (*silent).
bool chat_receive(int fd, struct buf *into, bool *silent);
void chat_disconnect(int fd);

#endif
