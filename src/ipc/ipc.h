// Channels between roles: stream sockets between two of our own processes. What may be said stands
// in messages.def, from which structs, encoder, decoder, checks, the fuzz target and docs/wire.md
// come. A peer that breaks the table (an unknown type, a wrong direction, a slot out of turn, a
// descriptor too many, trailing bytes) ends the channel; nothing it said after that is heard.
//
// Flow is by credits: a request takes one of its type's slots, its reply frees it. No role blocks
// on a channel and none queues without bound.
#ifndef IPC_IPC_H
#define IPC_IPC_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "mail/id.h"
#include "os/loop.h"

enum ipc_role {
    IPC_ANY,
#define ROLE(name, NAME, text) IPC_##NAME,
#include "ipc/roles.def"
#undef ROLE
    IPC_ROLES,
};

enum ipc_kind { IPC_REQUEST, IPC_REPLY, IPC_NOTE };

enum ipc_type {
#define MESSAGE(name, from, to, kind, credits, fields) MSG_##name,
#include "ipc/messages.def"
#undef MESSAGE
    MSG_COUNT,
};

#define IPC_C_u8 uint8_t
#define IPC_C_u32 uint32_t
#define IPC_C_u64 uint64_t
#define IPC_C_flag bool
#define IPC_C_id struct mail_id
#define IPC_C_text struct str // a view, valid during the handler
#define IPC_C_fd int          // owned by the receiver of the message once decoded; -1 = taken

#define FIELD(type, name) IPC_C_##type name;
#define MESSAGE(name, from, to, kind, credits, fields)                                             \
    struct msg_##name {                                                                            \
        fields                                                                                     \
    };
#include "ipc/messages.def"
#undef MESSAGE
#undef FIELD

struct msg {
    enum ipc_type type;
    uint32_t slot; // requests and replies
    union {
#define MESSAGE(name, from, to, kind, credits, fields) struct msg_##name name;
#include "ipc/messages.def"
#undef MESSAGE
    };
};

const char *ipc_role_name(enum ipc_role role);
// IPC_ANY when there is none of that name.
enum ipc_role ipc_role_of(struct str name);
const char *ipc_type_name(enum ipc_type type);
// True when messages.def has a line between the two: they are linked.
bool ipc_linked(enum ipc_role a, enum ipc_role b);

// ---- codec: pure; the fuzz target runs it

// Appends the framed message. Fails (our bug: must) on a text longer than LIMIT_message.
void msg_put(struct buf *out, const struct msg *m);
// Reads one framed message from the front of *in: 1 = read, 0 = incomplete, -1 = against the table.
// Texts are views into *in; a descriptor's field is -1.
int msg_read(struct str *in, struct msg *m);
// The message's descriptor field, or NULL when it has none.
int *msg_fd(struct msg *m);

// ---- channels

struct ipc_channel;

struct ipc_handlers {
    // By type. A message without a handler is against the rules of this role: the channel ends.
    // For a reply `owner` is what was given with the request (NULL when forgotten). A text is valid
    // during the call only; a descriptor is the handler's (set the field to -1 to keep it, else it
    // is closed).
    void (*on[MSG_COUNT])(struct ipc_channel *channel, struct msg *m, void *owner);
    // The peer is gone, or broke the rules (why, for the log). Afterwards each request that waits
    // is told by `lost`, then the channel is freed.
    void (*closed)(struct ipc_channel *channel, const char *why);
    void (*lost)(struct ipc_channel *channel, enum ipc_type request, void *owner);
};

// fd is taken over. `context` is the role's.
MUST_USE bool ipc_open(struct ipc_channel **channel, struct loop *loop, int fd, enum ipc_role self,
                       enum ipc_role peer, uint32_t instance, const struct ipc_handlers *handlers,
                       void *context, struct err *err);
// Without `closed` and `lost`.
void ipc_close(struct ipc_channel **channel);

void *ipc_context(const struct ipc_channel *channel);
enum ipc_role ipc_peer(const struct ipc_channel *channel);
uint32_t ipc_instance(const struct ipc_channel *channel);

// Sends at the end of the turn, all messages of the turn in one write. Descriptors stay the
// caller's (they are duplicated at once).
void ipc_send(struct ipc_channel *channel, const struct msg *m);
// A request: takes a free slot and remembers owner; false when no credit is left (wait for a
// reply).
MUST_USE bool ipc_request(struct ipc_channel *channel, struct msg *m, void *owner);
unsigned ipc_credits(const struct ipc_channel *channel, enum ipc_type request);
// The owner of a request that waits is going away: its reply will come with owner NULL.
void ipc_forget(struct ipc_channel *channel, enum ipc_type request, void *owner);
// Ends the channel as if the peer had broken the rules: `closed` and `lost` run at the end of the
// turn.
void ipc_break(struct ipc_channel *channel, const char *why);

#endif
