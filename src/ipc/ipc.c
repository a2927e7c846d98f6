// Channels. Output of one turn leaves in one write; a message with a descriptor begins a write of
// its own, since the kernel ties a descriptor to the first octet of a sendmsg. Input is read until
// the socket is empty or a share of the turn is used up.
#include "ipc/ipc.h"

#include <errno.h>

#include "base/limits.h"
#include "os/file.h"
#include "os/net.h"

enum { READ_PIECE = 65536, READS_A_TURN = 16, FDS_IN_MAX = 64 };

static const struct row {
    const char *name;
    enum ipc_role from, to;
    enum ipc_kind kind;
    uint32_t credits;
} rows[MSG_COUNT] = {
#define MESSAGE(name, from, to, kind, credits, fields)                                             \
    {#name, IPC_##from, IPC_##to, IPC_##kind, credits},
#include "ipc/messages.def"
#undef MESSAGE
};

static const char *const role_names[IPC_ROLES] = {
    "any",
#define ROLE(name, NAME, text) #name,
#include "ipc/roles.def"
#undef ROLE
};

// A descriptor that waits to be sent, or that came and waits for its message.
struct passing {
    uint64_t at; // position in the stream of the first octet of its message
    int fd;
};

// Requests of one type, from us (owners) or from the peer (busy only).
struct slots {
    void **owners;
    bool *busy;
    uint32_t *free; // stack of free slots, ours only
    uint32_t free_count;
};

struct ipc_channel {
    struct loop *loop;
    struct watch watch;
    struct turn_hook hook;
    enum ipc_role self, peer;
    uint32_t instance;
    const struct ipc_handlers *handlers;
    void *context;
    struct buf in, out;
    uint64_t sent;           // octets that left: out begins there
    struct passing *fds_out; // as many as wait: the process's own limit on descriptors bounds them
    size_t fds_out_count, fds_out_cap;
    int fds_in[FDS_IN_MAX];
    size_t fds_in_count;
    struct slots slots[MSG_COUNT];
    const char *broken;
    bool inside, closed;
};

const char *ipc_role_name(enum ipc_role role)
{
    return role_names[role];
}

enum ipc_role ipc_role_of(struct str name)
{
    for (int role = 1; role < IPC_ROLES; role++)
        if (str_eq(name, str_of(role_names[role])))
            return (enum ipc_role)role;
    return IPC_ANY;
}

const char *ipc_type_name(enum ipc_type type)
{
    return rows[type].name;
}

bool ipc_linked(enum ipc_role a, enum ipc_role b)
{
    for (int t = 0; t < MSG_COUNT; t++)
        if ((rows[t].from == a && rows[t].to == b) || (rows[t].from == b && rows[t].to == a))
            return true;
    return false;
}

// May `from` say this to `to`?
static bool allowed(enum ipc_type type, enum ipc_role from, enum ipc_role to)
{
    const struct row *row = &rows[type];
    return (row->from == from || (row->from == IPC_ANY && from != IPC_SUPERVISOR)) &&
           (row->to == to || (row->to == IPC_ANY && to != IPC_SUPERVISOR));
}

// ---- slots

static struct slots *slots_of(struct ipc_channel *c, enum ipc_type request)
{
    struct slots *s = &c->slots[request];
    uint32_t n = rows[request].credits;
    if (!s->busy) {
        s->busy = calloc(n, sizeof *s->busy);
        s->owners = calloc(n, sizeof *s->owners);
        s->free = calloc(n, sizeof *s->free);
        must(s->busy && s->owners && s->free);
        for (uint32_t i = 0; i < n; i++)
            s->free[i] = n - 1 - i;
        s->free_count = n;
    }
    return s;
}

static void slots_finish(struct slots *s)
{
    free(s->busy);
    free(s->owners);
    free(s->free);
    *s = (struct slots){.busy = NULL};
}

unsigned ipc_credits(const struct ipc_channel *c, enum ipc_type request)
{
    return c->slots[request].busy ? c->slots[request].free_count : rows[request].credits;
}

void ipc_forget(struct ipc_channel *c, enum ipc_type request, void *owner)
{
    struct slots *s = &c->slots[request];
    for (uint32_t i = 0; s->busy && i < rows[request].credits; i++)
        if (s->busy[i] && s->owners[i] == owner)
            s->owners[i] = NULL;
}

// ---- closing

static void free_channel(struct ipc_channel *c)
{
    if (!c->closed)
        loop_remove(c->loop, &c->watch);
    loop_cancel_hook(&c->hook);
    os_close(&c->watch.fd);
    for (size_t i = 0; i < c->fds_out_count; i++)
        os_close(&c->fds_out[i].fd);
    for (size_t i = 0; i < c->fds_in_count; i++)
        os_close(&c->fds_in[i]);
    for (int t = 0; t < MSG_COUNT; t++)
        slots_finish(&c->slots[t]);
    free(c->fds_out);
    buf_finish(&c->in);
    buf_finish(&c->out);
    free(c);
}

void ipc_close(struct ipc_channel **channel)
{
    struct ipc_channel *c = *channel;
    *channel = NULL;
    if (!c)
        return;
    if (c->inside) { // freed when its handler returns
        ipc_break(c, NULL);
        return;
    }
    free_channel(c);
}

void ipc_break(struct ipc_channel *c, const char *why)
{
    static const char on_purpose[] = "";
    if (c->broken)
        return;
    c->broken = why ? why : on_purpose;
    if (!c->closed) {
        loop_remove(c->loop, &c->watch);
        c->closed = true;
    }
    loop_at_turn_end(c->loop, &c->hook);
}

// The channel is over: tell the role, then whoever waits, then free it.
static void bury(struct ipc_channel *c)
{
    const struct ipc_handlers *h = c->handlers;
    bool tell = c->broken[0] != '\0';
    c->inside = true;
    if (tell && h->closed)
        h->closed(c, c->broken);
    for (int t = 0; tell && t < MSG_COUNT; t++) {
        struct slots *s = &c->slots[t];
        if (!s->busy || rows[t].from != c->self)
            continue;
        for (uint32_t i = 0; i < rows[t].credits; i++)
            if (s->busy[i] && s->owners[i] && h->lost)
                h->lost(c, (enum ipc_type)t, s->owners[i]);
    }
    free_channel(c);
}

// ---- sending

static void wait_for_room(struct ipc_channel *c)
{
    loop_change(c->loop, &c->watch, LOOP_READ | (c->out.len ? LOOP_WRITE : 0));
}

// Up to the next message with a descriptor, or that message's start with its descriptor.
static ssize_t send_some(struct ipc_channel *c)
{
    struct str bytes = buf_str(&c->out);
    if (c->fds_out_count == 0)
        return net_send(c->watch.fd, bytes);
    size_t before = (size_t)(c->fds_out[0].at - c->sent);
    if (before > 0)
        return net_send(c->watch.fd, str_sub(bytes, 0, before));
    size_t until = c->fds_out_count > 1 ? (size_t)(c->fds_out[1].at - c->sent) : bytes.len;
    ssize_t n = net_send_fd(c->watch.fd, str_sub(bytes, 0, until), c->fds_out[0].fd);
    if (n > 0) {
        os_close(&c->fds_out[0].fd);
        c->fds_out_count--;
        memmove(c->fds_out, c->fds_out + 1, c->fds_out_count * sizeof c->fds_out[0]);
    }
    return n;
}

static void flush(struct ipc_channel *c)
{
    while (c->out.len && !c->broken) {
        ssize_t n = send_some(c);
        if (n == -EAGAIN)
            break;
        if (n < 0) {
            ipc_break(c, "its end is closed");
            return;
        }
        c->sent += (uint64_t)n;
        buf_drop(&c->out, (size_t)n);
    }
    if (!c->broken)
        wait_for_room(c);
}

static void turn_end(struct turn_hook *hook)
{
    struct ipc_channel *c = CONTAINER_OF(hook, struct ipc_channel, hook);
    if (!c->broken)
        flush(c);
    if (c->broken)
        bury(c);
}

// The descriptor of a message that is put behind all that waits already.
static bool keep_descriptor(struct ipc_channel *c, int fd)
{
    int own = os_duplicate(fd);
    if (own < 0)
        return false;
    if (c->fds_out_count == c->fds_out_cap) {
        c->fds_out_cap = c->fds_out_cap ? 2 * c->fds_out_cap : 8;
        c->fds_out = realloc(c->fds_out, c->fds_out_cap * sizeof c->fds_out[0]);
        must(c->fds_out != NULL);
    }
    c->fds_out[c->fds_out_count++] = (struct passing){c->sent + c->out.len, own};
    return true;
}

void ipc_send(struct ipc_channel *c, const struct msg *m)
{
    must(allowed(m->type, c->self, c->peer));
    if (c->broken)
        return;
    struct msg copy = *m;
    int *fd = msg_fd(&copy);
    // Credits do not bound notes: a peer that stands still must not take us with it.
    if (c->out.len > LIMIT_channel_output - LIMIT_message) {
        ipc_break(c, "it does not read");
        return;
    }
    if (fd && !keep_descriptor(c, *fd)) {
        ipc_break(c, "no descriptor left for it");
        return;
    }
    if (rows[m->type].kind == IPC_REPLY) {
        struct slots *s = slots_of(c, (enum ipc_type)(m->type - 1));
        must(m->slot < rows[m->type - 1].credits && s->busy[m->slot]);
        s->busy[m->slot] = false;
    }
    msg_put(&c->out, m);
    loop_at_turn_end(c->loop, &c->hook);
}

bool ipc_request(struct ipc_channel *c, struct msg *m, void *owner)
{
    must(rows[m->type].kind == IPC_REQUEST);
    struct slots *s = slots_of(c, m->type);
    if (c->broken || s->free_count == 0)
        return false;
    m->slot = s->free[--s->free_count];
    s->busy[m->slot] = true;
    s->owners[m->slot] = owner;
    ipc_send(c, m);
    return true;
}

// ---- receiving

// Checks the message against the table. *owner gets the asker of a reply.
static const char *check(struct ipc_channel *c, const struct msg *m, void **owner)
{
    const struct row *row = &rows[m->type];
    *owner = NULL;
    if (!allowed(m->type, c->peer, c->self))
        return "it said what it may not say";
    if (!c->handlers->on[m->type])
        return "it said what nobody here listens to";
    if (row->kind == IPC_REQUEST) {
        struct slots *s = slots_of(c, m->type);
        if (m->slot >= row->credits || s->busy[m->slot])
            return "it asked beyond its credits";
        s->busy[m->slot] = true;
    } else if (row->kind == IPC_REPLY) {
        struct slots *s = slots_of(c, (enum ipc_type)(m->type - 1));
        if (m->slot >= rows[m->type - 1].credits || !s->busy[m->slot])
            return "it answered what was not asked";
        *owner = s->owners[m->slot];
        s->busy[m->slot] = false;
        s->owners[m->slot] = NULL;
        s->free[s->free_count++] = m->slot;
    } else if (m->slot != 0) {
        return "it gave a slot to a note";
    }
    return NULL;
}

static void deliver(struct ipc_channel *c, struct msg *m)
{
    int *fd = msg_fd(m);
    void *owner;
    if (fd) {
        if (c->fds_in_count == 0) { // or the system dropped it, for want of room here
            ipc_break(c, "it sent no descriptor where one belongs");
            return;
        }
        *fd = c->fds_in[0];
        c->fds_in_count--;
        memmove(c->fds_in, c->fds_in + 1, c->fds_in_count * sizeof c->fds_in[0]);
    }
    const char *wrong = check(c, m, &owner);
    if (wrong)
        ipc_break(c, wrong);
    else
        c->handlers->on[m->type](c, m, owner);
    if (fd && *fd >= 0)
        os_close(fd);
}

static void take_messages(struct ipc_channel *c)
{
    struct str in = buf_str(&c->in);
    struct msg m;
    int got = 0;
    while (!c->broken && (got = msg_read(&in, &m)) == 1)
        deliver(c, &m);
    if (c->broken)
        return;
    buf_drop(&c->in, c->in.len - in.len);
    if (got < 0)
        ipc_break(c, "it sent what is no message");
    else if (c->in.len == 0 && c->fds_in_count > 0)
        ipc_break(c, "it sent a descriptor too many");
}

static void read_some(struct ipc_channel *c)
{
    for (int i = 0; i < READS_A_TURN && !c->broken; i++) {
        int fd = -1;
        char *to = buf_reserve(&c->in, READ_PIECE);
        must(to != NULL);
        ssize_t n = net_receive_fd(c->watch.fd, to, READ_PIECE, &fd);
        if (n == -EAGAIN)
            return;
        if (n > 0)
            buf_added(&c->in, (size_t)n);
        if (fd >= 0 && c->fds_in_count == FDS_IN_MAX) {
            os_close(&fd);
            ipc_break(c, "it sent too many descriptors");
        } else if (fd >= 0) {
            c->fds_in[c->fds_in_count++] = fd;
        }
        if (n <= 0)
            ipc_break(c, n == 0 || n == -ECONNRESET ? "it is gone" : "it cannot be read");
        else if (!c->broken)
            take_messages(c);
        if (n < READ_PIECE && fd < 0)
            return;
    }
}

static void ready(struct watch *watch, unsigned events)
{
    struct ipc_channel *c = CONTAINER_OF(watch, struct ipc_channel, watch);
    c->inside = true;
    if (events & (LOOP_READ | LOOP_HANGUP))
        read_some(c);
    if (!c->broken && (events & LOOP_WRITE))
        flush(c);
    c->inside = false;
}

bool ipc_open(struct ipc_channel **channel, struct loop *loop, int fd, enum ipc_role self,
              enum ipc_role peer, uint32_t instance, const struct ipc_handlers *handlers,
              void *context, struct err *err)
{
    struct ipc_channel *c = calloc(1, sizeof *c);
    must(c != NULL);
    c->loop = loop;
    c->self = self;
    c->peer = peer;
    c->instance = instance;
    c->handlers = handlers;
    c->context = context;
    c->watch = (struct watch){.fd = fd, .ready = ready};
    c->hook.run = turn_end;
    buf_init(&c->in, LIMIT_message + READ_PIECE);
    buf_init(&c->out, LIMIT_channel_output);
    if (!loop_add(loop, &c->watch, LOOP_READ, err)) {
        c->closed = true;
        free_channel(c);
        return false;
    }
    *channel = c;
    return true;
}

void *ipc_context(const struct ipc_channel *c)
{
    return c->context;
}

enum ipc_role ipc_peer(const struct ipc_channel *c)
{
    return c->peer;
}

uint32_t ipc_instance(const struct ipc_channel *c)
{
    return c->instance;
}
