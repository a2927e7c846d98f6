// The codec of messages.def: a header of 12 octets (u32 length with header, u16 type, u16 zero, u32
// slot), then the fields in their order, little-endian; a text is a u32 length and its octets.
#include "ipc/ipc.h"

#include "base/limits.h"

enum { HEADER = 12 };

// ---- one field

static void put_u8(struct buf *out, uint8_t v)
{
    buf_put_byte(out, (char)v);
}

static void put_u32(struct buf *out, uint32_t v)
{
    buf_put_u32(out, v);
}

static void put_u64(struct buf *out, uint64_t v)
{
    buf_put_u64(out, v);
}

static void put_flag(struct buf *out, bool v)
{
    buf_put_byte(out, v ? 1 : 0);
}

static void put_id(struct buf *out, struct mail_id v)
{
    buf_put(out, str_from(v.bytes, sizeof v.bytes));
}

static void put_text(struct buf *out, struct str v)
{
    must(v.len < LIMIT_message);
    buf_put_u32(out, (uint32_t)v.len);
    buf_put(out, v);
}

static void put_fd(struct buf *out, int fd)
{
    (void)out;
    (void)fd; // travels beside the bytes
}

static bool take(struct str *in, size_t n, const unsigned char **bytes)
{
    if (in->len < n)
        return false;
    *bytes = (const unsigned char *)in->ptr;
    *in = str_skip(*in, n);
    return true;
}

static bool read_le(struct str *in, size_t n, uint64_t *v)
{
    const unsigned char *bytes;
    if (!take(in, n, &bytes))
        return false;
    *v = 0;
    for (size_t i = n; i > 0; i--)
        *v = *v << 8 | bytes[i - 1];
    return true;
}

static bool read_u8(struct str *in, uint8_t *v)
{
    uint64_t wide;
    bool ok = read_le(in, 1, &wide);
    if (ok)
        *v = (uint8_t)wide;
    return ok;
}

static bool read_u32(struct str *in, uint32_t *v)
{
    uint64_t wide;
    bool ok = read_le(in, 4, &wide);
    if (ok)
        *v = (uint32_t)wide;
    return ok;
}

static bool read_u64(struct str *in, uint64_t *v)
{
    return read_le(in, 8, v);
}

static bool read_flag(struct str *in, bool *v)
{
    uint64_t wide;
    if (!read_le(in, 1, &wide) || wide > 1)
        return false;
    *v = wide == 1;
    return true;
}

static bool read_id(struct str *in, struct mail_id *v)
{
    const unsigned char *bytes;
    if (!take(in, sizeof v->bytes, &bytes))
        return false;
    memcpy(v->bytes, bytes, sizeof v->bytes);
    return true;
}

static bool read_text(struct str *in, struct str *v)
{
    uint32_t len;
    if (!read_u32(in, &len) || len > in->len)
        return false;
    *v = str_sub(*in, 0, len);
    *in = str_skip(*in, len);
    return true;
}

static bool read_fd(struct str *in, int *fd)
{
    (void)in;
    *fd = -1;
    return true;
}

// ---- one message: functions made from the table

#define FIELD(type, name) put_##type(out, body->name);
#define MESSAGE(name, from, to, kind, credits, fields)                                             \
    static void put_body_##name(struct buf *out, const struct msg *m)                              \
    {                                                                                              \
        const struct msg_##name *body = &m->name;                                                  \
        fields                                                                                     \
    }
#include "ipc/messages.def"
#undef MESSAGE
#undef FIELD

#define FIELD(type, name) &&read_##type(in, &body->name)
#define MESSAGE(name, from, to, kind, credits, fields)                                             \
    static bool read_body_##name(struct str *in, struct msg *m)                                    \
    {                                                                                              \
        struct msg_##name *body = &m->name;                                                        \
        return true fields;                                                                        \
    }
#include "ipc/messages.def"
#undef MESSAGE
#undef FIELD

#define FD_OF_u8(field)
#define FD_OF_u32(field)
#define FD_OF_u64(field)
#define FD_OF_flag(field)
#define FD_OF_id(field)
#define FD_OF_text(field)
#define FD_OF_fd(field) fd = &body->field;
#define FIELD(type, name) FD_OF_##type(name)
#define MESSAGE(name, from, to, kind, credits, fields)                                             \
    static int *fd_of_##name(struct msg *m)                                                        \
    {                                                                                              \
        struct msg_##name *body = &m->name;                                                        \
        int *fd = NULL;                                                                            \
        (void)body;                                                                                \
        fields return fd;                                                                          \
    }
#include "ipc/messages.def"
#undef MESSAGE
#undef FIELD

static const struct codec {
    void (*put)(struct buf *out, const struct msg *m);
    bool (*read)(struct str *in, struct msg *m);
    int *(*fd)(struct msg *m);
} codecs[MSG_COUNT] = {
#define MESSAGE(name, from, to, kind, credits, fields)                                             \
    {put_body_##name, read_body_##name, fd_of_##name},
#include "ipc/messages.def"
#undef MESSAGE
};

int *msg_fd(struct msg *m)
{
    return codecs[m->type].fd(m);
}

void msg_put(struct buf *out, const struct msg *m)
{
    size_t start = out->len;
    buf_put_u32(out, 0);
    buf_put_u16(out, (uint16_t)m->type);
    buf_put_u16(out, 0);
    buf_put_u32(out, m->slot);
    codecs[m->type].put(out, m);
    must(buf_ok(out));
    size_t len = out->len - start;
    must(len <= LIMIT_message);
    for (size_t i = 0; i < 4; i++)
        out->ptr[start + i] = (char)(unsigned char)(len >> (8 * i));
}

int msg_read(struct str *in, struct msg *m)
{
    struct str rest = *in;
    uint32_t len, slot;
    uint64_t type, zero;
    if (!read_u32(&rest, &len))
        return 0;
    if (len < HEADER || len > LIMIT_message)
        return -1;
    if (in->len < len)
        return 0;
    rest = str_sub(*in, 4, len - 4);
    if (!read_le(&rest, 2, &type) || !read_le(&rest, 2, &zero) || !read_u32(&rest, &slot))
        return -1;
    if (type >= MSG_COUNT || zero != 0)
        return -1;
    *m = (struct msg){.type = (enum ipc_type)type, .slot = slot};
    if (!codecs[type].read(&rest, m) || rest.len != 0)
        return -1;
    *in = str_skip(*in, len);
    return 1;
}
