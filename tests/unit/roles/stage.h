// A stage for one role: its real program runs, jail and all, and the test plays the supervisor, the
// peers and the clients. Waiting has no deadline but a large one: a test that fails ends.
#ifndef TESTS_ROLES_STAGE_H
#define TESTS_ROLES_STAGE_H

#include "ipc/ipc.h"
#include "os/net.h"

struct stage {
    struct loop *loop;
    enum ipc_role role;
    int pid;
    struct ipc_channel *control;
    struct ipc_channel *peers[IPC_ROLES]; // NULL while away
    bool ready, drained, gone;
    char directory[64]; // for files of the test; removed with what is in it
    void *test;         // the test's own
};

// Starts the program and waits until it is ready. `options` are lines of YAML; hostname, a POP3
// listener and mail_dir (DIRECTORY/mail, made here) are given already.
void stage_open(struct stage *stage, enum ipc_role role, const char *program, const char *options);
// Ends the role and checks that it ended well.
void stage_close(struct stage *stage);
// The test plays that peer: a channel to it is given to the role. The handlers' context is the
// stage.
void stage_peer(struct stage *stage, enum ipc_role peer, const struct ipc_handlers *handlers);
// The peer dies.
void stage_lose_peer(struct stage *stage, enum ipc_role peer);
// A listening socket for the role, on a free port of loopback.
struct net_address stage_listen(struct stage *stage, uint32_t protocol);
void stage_drain(struct stage *stage, uint32_t milliseconds);
// Turns the loop until *flag.
void stage_until(struct stage *stage, const bool *flag);

struct client {
    int fd;
    struct buf got;
};

void client_connect(struct stage *stage, struct client *client, const struct net_address *address);
// A client whose other end is *other, for the role.
void client_pair(struct client *client, int *other);
void client_say(struct client *client, const char *text);
// The next bytes from the server are `text`.
void client_expect(struct stage *stage, struct client *client, const char *text);
// All bytes up to the end of the connection, which comes, are `text`.
void client_expect_end(struct stage *stage, struct client *client, const char *text);
void client_close(struct client *client);

#endif
