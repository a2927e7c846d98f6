// Layout, integers little-endian; a text is its length in two octets, then its octets:
//
//     1   version
//     16  id
//     8   arrived_ms
//     4   flags
//     text client, helo, session, login
//     text delivered (not in version 1)
//     text reverse path: empty for the null path
//     4   count of recipients
//     text of each recipient: "postmaster" without @ for the bare postmaster
//   from version 3 on, with WISHES in the flags:
//     text ENVID
//     1   RET
//     for each recipient: 1 NOTIFY, text ORCPT
#include "mail/envelope.h"

#include "base/limits.h"
#include "mail/received.h"

enum { VERSION = 3 };
enum {
    WISHES = 0x40000000, // on the way only
    ALL_FLAGS = ENVELOPE_UTF8 | ENVELOPE_8BITMIME | ENVELOPE_SUBMITTED | ENVELOPE_LAST,
    ALL_NOTIFY = NOTIFY_NEVER | NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY,
};

static void put_text(struct buf *out, struct str text)
{
    must(text.len <= UINT16_MAX);
    buf_put_u16(out, (uint16_t)text.len);
    buf_put(out, text);
}

static void put_address(struct buf *out, const struct address *address)
{
    struct buf text;
    buf_init(&text, LIMIT_path);
    address_put(&text, address);
    must(buf_ok(&text));
    put_text(out, buf_str(&text));
    buf_finish(&text);
}

static void put_wishes(struct buf *out, const struct envelope *e)
{
    put_text(out, e->envid);
    buf_put_byte(out, (char)e->returns);
    for (uint32_t i = 0; i < e->recipient_count; i++) {
        const struct envelope_wish none = {.notify = 0}, *wish = e->wishes ? &e->wishes[i] : &none;
        buf_put_byte(out, (char)wish->notify);
        put_text(out, wish->original);
    }
}

void envelope_put(struct buf *out, const struct envelope *e)
{
    bool wishes = e->envid.len || e->returns || e->wishes;
    must(e->recipient_count > 0);
    buf_put_byte(out, VERSION);
    buf_put(out, str_from(e->id.bytes, MAIL_ID_SIZE));
    buf_put_u64(out, e->arrived_ms);
    buf_put_u32(out, e->flags | (wishes ? WISHES : 0));
    put_text(out, e->client);
    put_text(out, e->helo);
    put_text(out, e->session);
    put_text(out, e->login);
    put_text(out, e->delivered);
    put_address(out, &e->reverse_path);
    buf_put_u32(out, e->recipient_count);
    for (uint32_t i = 0; i < e->recipient_count; i++)
        put_address(out, &e->recipients[i]);
    if (wishes)
        put_wishes(out, e);
}

// ---- reading

struct reader {
    uint64_t version;
    struct str rest;
    struct arena *arena;
    struct err *err;
};

static bool damaged(struct reader *r, const char *what)
{
    return err_set(r->err, ERR_PEER_WRONG, STATUS(0, 0, 0), "damaged envelope: %s", what);
}

static bool take(struct reader *r, size_t size, struct str *bytes)
{
    if (size > r->rest.len)
        return damaged(r, "it ends too early");
    *bytes = str_sub(r->rest, 0, size);
    r->rest = str_skip(r->rest, size);
    return true;
}

static bool take_number(struct reader *r, size_t size, uint64_t *value)
{
    struct str bytes;
    if (!take(r, size, &bytes))
        return false;
    *value = 0;
    for (size_t i = size; i > 0; i--)
        *value = *value << 8 | (unsigned char)bytes.ptr[i - 1];
    return true;
}

static bool take_u32(struct reader *r, uint32_t *value)
{
    uint64_t wide;
    if (!take_number(r, sizeof *value, &wide))
        return false;
    *value = (uint32_t)wide;
    return true;
}

static bool take_text(struct reader *r, struct str *text)
{
    uint64_t size;
    return take_number(r, sizeof(uint16_t), &size) && take(r, (size_t)size, text);
}

// Client, HELO and the like go into headers and logs: UTF-8 without controls.
static bool take_word(struct reader *r, struct str *word)
{
    struct str text;
    if (!take_text(r, &text))
        return false;
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
            return damaged(r, "a control character");
    if (!str_is_utf8(text))
        return damaged(r, "text that is not UTF-8");
    return arena_copy(r->arena, text, word) ||
           err_set(r->err, ERR_TRY_LATER, STATUS(4, 3, 0), "no memory for an envelope");
}

static bool take_tokens(struct reader *r, struct str *tokens)
{
    if (r->version < 2) {
        *tokens = STR("");
        return true;
    }
    if (!take_word(r, tokens))
        return false;
    return (tokens->len % DELIVERED_TOKEN == 0 &&
            tokens->len <= (size_t)LIMIT_delivered_fields * DELIVERED_TOKEN) ||
           damaged(r, "tokens that are none");
}

static bool take_address(struct reader *r, enum path_role role, struct address *address)
{
    struct str text;
    return take_text(r, &text) && address_read_stored(text, role, r->arena, address, r->err);
}

static bool take_recipients(struct reader *r, struct envelope *e)
{
    uint32_t count;
    if (!take_u32(r, &count))
        return false;
    // Each takes its length at least: a count out of nowhere allocates nothing.
    if (count == 0 || count > r->rest.len / sizeof(uint16_t))
        return damaged(r, "the count of recipients is wrong");
    struct address *recipients = arena_alloc_array(r->arena, count, sizeof *recipients);
    if (!recipients)
        return err_set(r->err, ERR_TRY_LATER, STATUS(4, 3, 0), "no memory for an envelope");
    for (uint32_t i = 0; i < count; i++)
        if (!take_address(r, PATH_FORWARD, &recipients[i]))
            return false;
    e->recipients = recipients;
    e->recipient_count = count;
    return true;
}

static bool take_wishes(struct reader *r, struct envelope *e)
{
    uint64_t number;
    struct envelope_wish *wishes = arena_alloc_array(r->arena, e->recipient_count, sizeof *wishes);
    if (!wishes)
        return err_set(r->err, ERR_TRY_LATER, STATUS(4, 3, 0), "no memory for an envelope");
    if (!take_word(r, &e->envid) || !take_number(r, 1, &number))
        return false;
    e->returns = (enum envelope_return)number;
    if (number > RETURN_HEADERS)
        return damaged(r, "unknown RET");
    for (uint32_t i = 0; i < e->recipient_count; i++) {
        if (!take_number(r, 1, &number) || !take_word(r, &wishes[i].original))
            return false;
        wishes[i].notify = (unsigned)number;
        if (number & ~(uint64_t)ALL_NOTIFY)
            return damaged(r, "unknown NOTIFY");
    }
    e->wishes = wishes;
    return true;
}

static bool take_fixed(struct reader *r, struct envelope *e)
{
    struct str id;
    if (!take_number(r, 1, &r->version))
        return false;
    if (r->version < 1 || r->version > VERSION)
        return damaged(r, "unknown version");
    if (!take(r, MAIL_ID_SIZE, &id) || !take_number(r, sizeof e->arrived_ms, &e->arrived_ms) ||
        !take_u32(r, &e->flags))
        return false;
    memcpy(e->id.bytes, id.ptr, MAIL_ID_SIZE);
    uint32_t known = r->version < 3 ? ALL_FLAGS & ~ENVELOPE_LAST : ALL_FLAGS | WISHES;
    return (e->flags & ~known) == 0 || damaged(r, "unknown flags");
}

bool envelope_read(struct str bytes, struct arena *arena, struct envelope *e, struct err *err)
{
    struct reader r = {.rest = bytes, .arena = arena, .err = err};
    struct envelope read = {.flags = 0};
    if (bytes.len > LIMIT_envelope)
        return damaged(&r, "too large");
    if (!take_fixed(&r, &read) || !take_word(&r, &read.client) || !take_word(&r, &read.helo) ||
        !take_word(&r, &read.session) || !take_word(&r, &read.login) ||
        !take_tokens(&r, &read.delivered) || !take_address(&r, PATH_REVERSE, &read.reverse_path) ||
        !take_recipients(&r, &read))
        return false;
    if (read.flags & WISHES && !take_wishes(&r, &read))
        return false;
    read.flags &= ALL_FLAGS;
    if (r.rest.len > 0)
        return damaged(&r, "bytes behind its end");
    *e = read;
    return true;
}
