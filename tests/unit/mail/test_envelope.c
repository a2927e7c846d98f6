#include "mail/envelope.h"

#include "../check.h"
#include "base/limits.h"

enum { ARENA_LIMIT = 4 << 20 };

static struct address address_of(const char *text, enum path_role role, struct arena *arena)
{
    struct address address;
    struct err err;
    assert_true(address_read_stored(str_of(text), role, arena, &address, &err));
    return address;
}

static struct envelope sample(struct arena *arena, const char *reverse_path,
                              const char *const *recipients, uint32_t count)
{
    const uint8_t base[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    struct address *list = arena_alloc_array(arena, count, sizeof *list);
    assert_non_null(list);
    for (uint32_t i = 0; i < count; i++)
        list[i] = address_of(recipients[i], PATH_FORWARD, arena);
    return (struct envelope){.id = mail_id_make(1795302409000, base, 7),
                             .arrived_ms = 1795302409123,
                             .flags = ENVELOPE_UTF8 | ENVELOPE_SUBMITTED,
                             .reverse_path = address_of(reverse_path, PATH_REVERSE, arena),
                             .client = STR("192.0.2.1"),
                             .helo = STR("客户.example"),
                             .session = STR("S1-42"),
                             .login = STR("alice@example.test"),
                             .delivered = STR("0123456789ABCDEFFEDCBA9876543210"),
                             .recipients = list,
                             .recipient_count = count};
}

static void check_address(const struct address *a, const struct address *b)
{
    assert_true(address_equal(a, b));
    assert_true(str_eq(a->local, b->local));
    assert_true(str_eq(a->domain, b->domain));
    assert_int_equal(a->utf8, b->utf8);
}

static void check_envelope(const struct envelope *a, const struct envelope *b)
{
    assert_true(mail_id_equal(&a->id, &b->id));
    assert_true(a->arrived_ms == b->arrived_ms);
    assert_int_equal(a->flags, b->flags);
    check_address(&a->reverse_path, &b->reverse_path);
    assert_true(str_eq(a->client, b->client));
    assert_true(str_eq(a->helo, b->helo));
    assert_true(str_eq(a->session, b->session));
    assert_true(str_eq(a->login, b->login));
    assert_true(str_eq(a->delivered, b->delivered));
    assert_int_equal(a->recipient_count, b->recipient_count);
    for (uint32_t i = 0; i < a->recipient_count; i++)
        check_address(&a->recipients[i], &b->recipients[i]);
}

static const char *const many_kinds[] = {
    "bob@example.test", "Bob@Example.TEST", "postmaster",
    "\"a b\"@x",        "用户@例子.测试",   "c@[IPv6:2001:db8::1]",
    "\"postmaster\"@x", "\"\"@x",           "postmaster@[192.0.2.1]",
};

static void what_was_written_is_read(void **state)
{
    (void)state;
    const char *const reverse_paths[] = {"", "alice@example.test", "\"x\\\"y\"@例子.测试"};
    for (size_t i = 0; i < ARRAY_LEN(reverse_paths); i++) {
        struct arena arena;
        struct buf bytes;
        struct envelope read;
        struct err err = {.class = ERR_NONE};
        arena_init(&arena, ARENA_LIMIT);
        buf_init(&bytes, LIMIT_envelope);
        struct envelope e = sample(&arena, reverse_paths[i], many_kinds, ARRAY_LEN(many_kinds));
        envelope_put(&bytes, &e);
        assert_true(buf_ok(&bytes));
        assert_true(envelope_read(buf_str(&bytes), &arena, &read, &err));
        memset(bytes.ptr, 0xff, bytes.len); // nothing points into the bytes
        check_envelope(&e, &read);
        assert_int_equal(err.class, ERR_NONE);
        buf_finish(&bytes);
        arena_finish(&arena);
    }
}

// The layouts are on disks: these octets may never change their meaning.
#define HEAD                                                                                       \
    "\x01\xa2\x00\x5c\xc3\x28\x01\x02\x03\x04\x05\x06\x07\x08\x09\x11"                             \
    "\xa3\xc3\x5c\x00\xa2\x01\x00\x00"                                                             \
    "\x02\x00\x00\x00"                                                                             \
    "\x01\x00"                                                                                     \
    "c"                                                                                            \
    "\x01\x00"                                                                                     \
    "h"                                                                                            \
    "\x01\x00"                                                                                     \
    "s"                                                                                            \
    "\x00\x00"
#define ADDRESSES                                                                                  \
    "\x03\x00"                                                                                     \
    "a@b"                                                                                          \
    "\x01\x00\x00\x00"                                                                             \
    "\x03\x00"                                                                                     \
    "d@e"
static const char layout_1[] = "\x01" HEAD ADDRESSES;
static const char layout_2[] = "\x02" HEAD "\x10\x00"
                               "0123456789ABCDEF" ADDRESSES;
static const char layout_3[] = "\x03" HEAD "\x10\x00"
                               "0123456789ABCDEF" ADDRESSES;

static void older_layouts_are_read(void **state)
{
    (void)state;
    struct arena arena;
    struct envelope e;
    struct err err;
    arena_init(&arena, ARENA_LIMIT);
    assert_true(envelope_read(str_from(layout_1, sizeof layout_1 - 1), &arena, &e, &err));
    assert_int_equal(e.delivered.len, 0);
    assert_int_equal(e.recipient_count, 1);
    assert_true(str_eq(e.recipients[0].local, STR("d")));
    assert_true(envelope_read(str_from(layout_2, sizeof layout_2 - 1), &arena, &e, &err));
    assert_int_equal(e.delivered.len, 16);
    assert_null(e.wishes);
    arena_finish(&arena);
}

static void wishes_are_kept(void **state)
{
    (void)state;
    const struct envelope_wish wishes[] = {{NOTIFY_SUCCESS | NOTIFY_DELAY, STR("rfc822;d@e")},
                                           {NOTIFY_NEVER, STR("")}};
    const char *const recipients[] = {"d@e", "f@g"};
    struct arena arena;
    struct buf bytes;
    struct envelope read;
    struct err err;
    arena_init(&arena, ARENA_LIMIT);
    buf_init(&bytes, LIMIT_envelope);
    struct envelope e = sample(&arena, "a@b", recipients, 2);
    e.flags |= ENVELOPE_LAST;
    envelope_put(&bytes, &e);
    size_t without = bytes.len;
    buf_clear(&bytes);
    e.envid = STR("QQ 1");
    e.returns = RETURN_HEADERS;
    e.wishes = wishes;
    envelope_put(&bytes, &e);
    assert_int_equal(bytes.len, without + 2 + 4 + 1 + 2 * 3 + 10);
    assert_true(envelope_read(buf_str(&bytes), &arena, &read, &err));
    assert_int_equal(read.flags, e.flags);
    assert_true(str_eq(read.envid, e.envid));
    assert_int_equal(read.returns, RETURN_HEADERS);
    for (size_t i = 0; i < ARRAY_LEN(wishes); i++) {
        assert_int_equal(read.wishes[i].notify, wishes[i].notify);
        assert_true(str_eq(read.wishes[i].original, wishes[i].original));
    }
    bytes.ptr[bytes.len - 3] = 16;
    assert_false(envelope_read(buf_str(&bytes), &arena, &read, &err));
    assert_string_equal(err.text, "damaged envelope: unknown NOTIFY");
    bytes.ptr[without + 6] = 3;
    assert_false(envelope_read(buf_str(&bytes), &arena, &read, &err));
    assert_string_equal(err.text, "damaged envelope: unknown RET");
    bytes.ptr[0] = 2; // has none
    assert_false(envelope_read(buf_str(&bytes), &arena, &read, &err));
    assert_string_equal(err.text, "damaged envelope: unknown flags");
    buf_finish(&bytes);
    arena_finish(&arena);
}

static void tokens_are_whole(void **state)
{
    (void)state;
    static const char torn[] = "\x02" HEAD "\x0f\x00"
                               "0123456789ABCDE" ADDRESSES;
    struct arena arena;
    struct envelope e;
    struct err err;
    arena_init(&arena, ARENA_LIMIT);
    assert_false(envelope_read(str_from(torn, sizeof torn - 1), &arena, &e, &err));
    assert_string_equal(err.text, "damaged envelope: tokens that are none");
    arena_finish(&arena);
}

static void the_layout_is_fixed(void **state)
{
    (void)state;
    struct arena arena;
    struct buf bytes;
    arena_init(&arena, ARENA_LIMIT);
    buf_init(&bytes, LIMIT_envelope);
    const char *const recipients[] = {"d@e"};
    struct envelope e = sample(&arena, "a@b", recipients, 1);
    e.flags = ENVELOPE_8BITMIME;
    e.client = STR("c");
    e.helo = STR("h");
    e.session = STR("s");
    e.login = STR("");
    e.delivered = STR("0123456789ABCDEF");
    envelope_put(&bytes, &e);
    assert_int_equal(bytes.len, sizeof layout_3 - 1);
    assert_memory_equal(bytes.ptr, layout_3, sizeof layout_3 - 1);
    buf_finish(&bytes);
    arena_finish(&arena);
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    struct arena arena;
    struct buf bytes;
    arena_init(&arena, ARENA_LIMIT);
    buf_init(&bytes, LIMIT_envelope);
    struct envelope e = sample(&arena, "a@b", many_kinds, ARRAY_LEN(many_kinds));
    envelope_put(&bytes, &e);
    for (size_t len = 0; len < bytes.len; len++) {
        // A copy of just that length, so that the sanitizer sees a read beyond it.
        char *copy = malloc(len + !len);
        struct envelope read = {.flags = 99};
        struct err err = {.class = ERR_NONE};
        assert_non_null(copy);
        memcpy(copy, bytes.ptr, len);
        assert_false(envelope_read(str_from(copy, len), &arena, &read, &err));
        assert_int_equal(err.class, ERR_PEER_WRONG);
        assert_int_equal(read.flags, 99);
        free(copy);
        arena_reset(&arena);
    }
    buf_put_byte(&bytes, 0);
    struct envelope read;
    struct err err;
    assert_false(envelope_read(buf_str(&bytes), &arena, &read, &err));
    assert_int_equal(err.class, ERR_PEER_WRONG);
    buf_finish(&bytes);
    arena_finish(&arena);
}

// Any octet may be any other: it is read as something, or refused; never more than that.
static void every_octet_may_be_hostile(void **state)
{
    (void)state;
    struct arena arena;
    struct buf bytes;
    arena_init(&arena, ARENA_LIMIT);
    buf_init(&bytes, LIMIT_envelope);
    struct envelope e = sample(&arena, "a@b", many_kinds, 3);
    envelope_put(&bytes, &e);
    arena_reset(&arena);
    for (size_t at = 0; at < bytes.len; at++) {
        char kept = bytes.ptr[at];
        const char others[] = {0, 1, 0x7f, (char)0x80, (char)0xff, '@', '"', (char)(kept ^ 1)};
        for (size_t i = 0; i < sizeof others; i++) {
            struct envelope read;
            struct err err = {.class = ERR_NONE};
            bytes.ptr[at] = others[i];
            if (!envelope_read(buf_str(&bytes), &arena, &read, &err))
                assert_int_equal(err.class, ERR_PEER_WRONG);
            else
                assert_true(read.recipient_count > 0);
            arena_reset(&arena);
        }
        bytes.ptr[at] = kept;
    }
    buf_finish(&bytes);
    arena_finish(&arena);
}

// An envelope that says about everything what it says, but this.
static void check_refused(struct arena *arena, const struct envelope *e, size_t at, char byte)
{
    struct buf bytes;
    struct envelope read;
    struct err err = {.class = ERR_NONE};
    buf_init(&bytes, 2 * LIMIT_envelope);
    envelope_put(&bytes, e);
    assert_true(buf_ok(&bytes));
    if (at < bytes.len)
        bytes.ptr[at] = byte;
    assert_false(envelope_read(buf_str(&bytes), arena, &read, &err));
    assert_int_equal(err.class, ERR_PEER_WRONG);
    buf_finish(&bytes);
}

static void what_the_door_refuses(void **state)
{
    (void)state;
    enum { VERSION_AT = 0, FLAGS_AT = 25, NOWHERE = 1 << 24 };
    struct arena arena;
    arena_init(&arena, ARENA_LIMIT);
    const struct envelope e = sample(&arena, "a@b", many_kinds, 2);
    check_refused(&arena, &e, VERSION_AT, 0);
    check_refused(&arena, &e, VERSION_AT, 4);
    check_refused(&arena, &e, FLAGS_AT, 16);
    check_refused(&arena, &e, FLAGS_AT + 3, (char)0x40); // announces what is not there
    check_refused(&arena, &e, FLAGS_AT + 3, (char)0x80);

    struct envelope bad = e;
    bad.helo = STR("a\r\nb");
    check_refused(&arena, &bad, NOWHERE, 0);
    bad.helo = STR("a\0b");
    check_refused(&arena, &bad, NOWHERE, 0);
    bad.helo = STR("\xff");
    check_refused(&arena, &bad, NOWHERE, 0);
    bad = e;
    bad.login = STR("\x7f");
    check_refused(&arena, &bad, NOWHERE, 0);
    bad = e;
    bad.reverse_path = e.recipients[0];
    bad.reverse_path.kind = ADDRESS_POSTMASTER; // written as "bob", which is no reverse-path
    check_refused(&arena, &bad, NOWHERE, 0);
    struct address nobody = {.kind = ADDRESS_NULL};
    bad = e;
    bad.recipients = &nobody; // the null path is no recipient
    bad.recipient_count = 1;
    check_refused(&arena, &bad, NOWHERE, 0);
    struct address spaces = {.kind = ADDRESS_DOMAIN, .local = STR("a"), .domain = STR("b c")};
    bad.recipients = &spaces;
    check_refused(&arena, &bad, NOWHERE, 0);
    arena_finish(&arena);
}

static void counts_out_of_nowhere_allocate_nothing(void **state)
{
    (void)state;
    struct arena arena;
    struct buf bytes;
    arena_init(&arena, ARENA_LIMIT);
    buf_init(&bytes, LIMIT_envelope);
    const char *const recipients[] = {"d@e"};
    struct envelope e = sample(&arena, "", recipients, 1);
    envelope_put(&bytes, &e);
    arena_reset(&arena);
    size_t count_at = bytes.len - 5 - 4;
    const uint32_t counts[] = {0, 2, 3, 0x10000, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        struct envelope read;
        struct err err = {.class = ERR_NONE};
        for (size_t k = 0; k < 4; k++)
            bytes.ptr[count_at + k] = (char)(unsigned char)(counts[i] >> (8 * k));
        assert_false(envelope_read(buf_str(&bytes), &arena, &read, &err));
        assert_int_equal(err.class, ERR_PEER_WRONG);
        assert_true(arena.used < 1024);
        arena_reset(&arena);
    }
    buf_finish(&bytes);
    arena_finish(&arena);
}

static void a_full_arena_is_passing_trouble(void **state)
{
    (void)state;
    struct arena arena;
    struct buf bytes;
    arena_init(&arena, ARENA_LIMIT);
    buf_init(&bytes, LIMIT_envelope);
    struct envelope e = sample(&arena, "alice@example.test", many_kinds, 4), read;
    envelope_put(&bytes, &e);
    bool ok = false;
    for (size_t limit = 0; !ok; limit += 16) {
        struct arena small;
        struct err err = {.class = ERR_NONE};
        arena_init(&small, limit);
        ok = envelope_read(buf_str(&bytes), &small, &read, &err);
        assert_int_equal(err.class, ok ? ERR_NONE : ERR_TRY_LATER);
        arena_finish(&small);
        assert_true(limit < 65536);
    }
    buf_finish(&bytes);
    arena_finish(&arena);
}

static void a_thousand_long_recipients_fit(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct arena arena;
    struct buf bytes, text;
    arena_init(&arena, ARENA_LIMIT);
    buf_init(&bytes, LIMIT_envelope);
    buf_init(&text, LIMIT_address);
    const char *const one[] = {"d@e"};
    struct envelope e = sample(&arena, "a@b", one, 1), read;
    struct address *recipients = arena_alloc_array(&arena, COUNT, sizeof *recipients);
    struct err err;
    assert_non_null(recipients);
    for (int i = 0; i < COUNT; i++) {
        buf_clear(&text);
        buf_putf(&text, "%064d@%062d.%062d.%063d", i, i, i, i);
        assert_int_equal(text.len, LIMIT_path - 2); // as long as an address can be
        assert_true(address_read(buf_str(&text), &arena, &recipients[i], &err));
    }
    e.recipients = recipients;
    e.recipient_count = COUNT;
    envelope_put(&bytes, &e);
    assert_true(buf_ok(&bytes));
    assert_true(envelope_read(buf_str(&bytes), &arena, &read, &err));
    check_envelope(&e, &read);
    buf_finish(&text);
    buf_finish(&bytes);
    arena_finish(&arena);
}

static void more_than_the_limit_is_refused(void **state)
{
    (void)state;
    struct arena arena;
    struct envelope e;
    struct err err = {.class = ERR_NONE};
    char *bytes = calloc(1, LIMIT_envelope + 1);
    assert_non_null(bytes);
    bytes[0] = 1;
    arena_init(&arena, ARENA_LIMIT);
    assert_false(envelope_read(str_from(bytes, LIMIT_envelope + 1), &arena, &e, &err));
    assert_int_equal(err.class, ERR_PEER_WRONG);
    arena_finish(&arena);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(the_layout_is_fixed),
        cmocka_unit_test(older_layouts_are_read),
        cmocka_unit_test(wishes_are_kept),
        cmocka_unit_test(tokens_are_whole),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(every_octet_may_be_hostile),
        cmocka_unit_test(what_the_door_refuses),
        cmocka_unit_test(counts_out_of_nowhere_allocate_nothing),
        cmocka_unit_test(a_full_arena_is_passing_trouble),
        cmocka_unit_test(a_thousand_long_recipients_fit),
        cmocka_unit_test(more_than_the_limit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
