// The codec, for every message of the table: fields are filled from a number, so that each differs.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/limits.h"
#include "ipc/ipc.h"

enum { HEADER = 12 };

static const char text[] = "\xe6\x94\xb6\xe4\xbb\xb6\xe4\xba\xba\0 \r\n\xff";

static void fill_u8(uint8_t *v, uint64_t n)
{
    *v = (uint8_t)(0xa0 + n);
}

static void fill_u32(uint32_t *v, uint64_t n)
{
    *v = (uint32_t)(0xfedcba00 + n);
}

static void fill_u64(uint64_t *v, uint64_t n)
{
    *v = 0xfedcba9876543200 + n;
}

static void fill_flag(bool *v, uint64_t n)
{
    *v = n % 2 == 0;
}

static void fill_id(struct mail_id *v, uint64_t n)
{
    memset(v->bytes, (int)(0x80 + n), sizeof(v->bytes));
}

static void fill_text(struct str *v, uint64_t n)
{
    *v = str_from(text, n % 3 == 0 ? 0 : sizeof(text) - 1 - n % 3);
}

static void fill_fd(int *v, uint64_t n)
{
    (void)n;
    *v = 77;
}

#define SAME(type)                                                                                 \
    static bool same_##type(IPC_C_##type a, IPC_C_##type b)                                        \
    {                                                                                              \
        return a == b;                                                                             \
    }
SAME(u8)
SAME(u32)
SAME(u64)
SAME(flag)

static bool same_id(struct mail_id a, struct mail_id b)
{
    return mail_id_equal(&a, &b);
}

static bool same_text(struct str a, struct str b)
{
    return str_eq(a, b);
}

static bool same_fd(int a, int b) // never travels in the bytes
{
    return a == 77 && b == -1;
}

#define FIELD(type, name) fill_##type(&body->name, n++);
#define MESSAGE(name, from, to, kind, credits, fields)                                             \
    static void fill_##name(struct msg *m)                                                         \
    {                                                                                              \
        struct msg_##name *body = &m->name;                                                        \
        uint64_t n = 1;                                                                            \
        fields(void) n;                                                                            \
    }
#include "ipc/messages.def"
#undef MESSAGE
#undef FIELD

#define FIELD(type, name) &&same_##type(a->name, b->name)
#define MESSAGE(name, from, to, kind, credits, fields)                                             \
    static bool same_##name(const struct msg *x, const struct msg *y)                              \
    {                                                                                              \
        const struct msg_##name *a = &x->name, *b = &y->name;                                      \
        return a && b fields;                                                                      \
    }
#include "ipc/messages.def"
#undef MESSAGE
#undef FIELD

#define FIELD(type, name) +(sizeof(#type) == 3 && #type[0] == 'f' && #type[1] == 'd')
#define MESSAGE(name, from, to, kind, credits, fields) {fill_##name, same_##name, 0 fields},
static const struct row {
    void (*fill)(struct msg *m);
    bool (*same)(const struct msg *a, const struct msg *b);
    int fds;
} rows[MSG_COUNT] = {
#include "ipc/messages.def"
};
#undef MESSAGE
#undef FIELD

static struct msg filled(int type)
{
    struct msg m = {.type = (enum ipc_type)type, .slot = 0x01020304};
    rows[type].fill(&m);
    return m;
}

static void every_message_comes_back(void **state)
{
    struct buf all;
    struct msg got;
    (void)state;
    buf_init(&all, 1 << 20);
    for (int type = 0; type < MSG_COUNT; type++) {
        struct msg m = filled(type);
        msg_put(&all, &m);
    }
    assert_true(buf_ok(&all));
    struct str in = buf_str(&all);
    for (int type = 0; type < MSG_COUNT; type++) {
        struct msg want = filled(type);
        assert_int_equal(msg_read(&in, &got), 1);
        assert_int_equal(got.type, type);
        assert_int_equal(got.slot, 0x01020304);
        assert_true(rows[type].same(&want, &got));
        assert_int_equal(msg_fd(&got) != NULL, rows[type].fds);
        assert_true(rows[type].fds <= 1); // the channel passes one at most
        if (msg_fd(&got))
            assert_int_equal(*msg_fd(&got), -1);
    }
    assert_int_equal(in.len, 0);
    buf_finish(&all);
}

static void set_u32(char *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (char)(unsigned char)(v >> (8 * i));
}

static void every_cut_message_is_incomplete_or_wrong(void **state)
{
    (void)state;
    for (int type = 0; type < MSG_COUNT; type++) {
        struct buf bytes;
        struct msg m = filled(type);
        buf_init(&bytes, 1 << 20);
        msg_put(&bytes, &m);
        for (size_t len = 0; len < bytes.len; len++) {
            struct str in = str_sub(buf_str(&bytes), 0, len);
            assert_int_equal(msg_read(&in, &m), 0);
            assert_int_equal(in.len, len); // nothing was taken
        }
        for (size_t len = 0; len < bytes.len; len++) { // and it says that it is so short
            struct buf copy;
            buf_init(&copy, 1 << 20);
            buf_put(&copy, str_sub(buf_str(&bytes), 0, len < 4 ? 4 : len));
            set_u32(copy.ptr, (uint32_t)len);
            struct str in = buf_str(&copy);
            assert_int_equal(msg_read(&in, &m), -1);
            buf_finish(&copy);
        }
        buf_finish(&bytes);
    }
}

static void trailing_bytes_are_wrong(void **state)
{
    (void)state;
    for (int type = 0; type < MSG_COUNT; type++) {
        struct buf bytes;
        struct msg m = filled(type);
        buf_init(&bytes, 1 << 20);
        msg_put(&bytes, &m);
        buf_put_byte(&bytes, 0);
        set_u32(bytes.ptr, (uint32_t)bytes.len);
        struct str in = buf_str(&bytes);
        assert_int_equal(msg_read(&in, &m), -1);
        buf_finish(&bytes);
    }
}

static void headers_outside_the_table_are_wrong(void **state)
{
    static const struct {
        uint32_t len;
        const char *rest; // type, zero, slot
        int want;
    } cases[] = {
        {0, "\0\0\0\0\0\0\0\0", -1},
        {11, "\0\0\0\0\0\0\0\0", -1},
        {12, "\xff\xff\0\0\0\0\0\0", -1},
        {12, "\0\0\1\0\0\0\0\0", -1},
        {LIMIT_message + 1, "\0\0\0\0\0\0\0\0", -1},
        {UINT32_MAX, "\0\0\0\0\0\0\0\0", -1},
        {LIMIT_message, "\0\0\0\0\0\0\0\0", 0},
        {13, "\0\0\0\0\0\0\0\0", 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char bytes[HEADER];
        struct msg m;
        set_u32(bytes, cases[i].len);
        memcpy(bytes + 4, cases[i].rest, 8);
        struct str in = str_from(bytes, sizeof(bytes));
        assert_int_equal(msg_read(&in, &m), cases[i].want);
        in = str_from(bytes, 4); // known as wrong as soon as its length is there, or waited for
        assert_int_equal(msg_read(&in, &m),
                         cases[i].len < HEADER || cases[i].len > LIMIT_message ? -1 : 0);
    }
}

static void a_flag_is_0_or_1_and_a_text_ends_in_its_message(void **state)
{
    struct msg m = {.type = MSG_committed};
    struct buf bytes;
    (void)state;
    buf_init(&bytes, 1 << 20);
    msg_put(&bytes, &m);
    for (int v = 0; v < 256; v++) {
        struct str in = buf_str(&bytes);
        bytes.ptr[HEADER] = (char)(unsigned char)v;
        assert_int_equal(msg_read(&in, &m), v <= 1 ? 1 : -1);
    }
    buf_clear(&bytes);
    m = (struct msg){.type = MSG_count, .count = {STR("four")}};
    msg_put(&bytes, &m);
    static const uint32_t lengths[] = {0, 3, 5, 0x7fffffff, 0x80000000, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct str in = buf_str(&bytes);
        set_u32(bytes.ptr + HEADER, lengths[i]);
        assert_int_equal(msg_read(&in, &m), -1);
    }
    buf_finish(&bytes);
}

static void the_longest_text_fits(void **state)
{
    struct buf body, bytes;
    struct msg m = {.type = MSG_count};
    (void)state;
    buf_init(&body, 1 << 20);
    buf_init(&bytes, 1 << 20);
    buf_reserve(&body, LIMIT_message);
    memset(body.ptr, 'x', LIMIT_message);
    m.count.mailbox = str_from(body.ptr, LIMIT_message - HEADER - 4);
    msg_put(&bytes, &m);
    assert_int_equal(bytes.len, LIMIT_message);
    struct str in = buf_str(&bytes);
    assert_int_equal(msg_read(&in, &m), 1);
    assert_int_equal(m.count.mailbox.len, LIMIT_message - HEADER - 4);
    buf_finish(&body);
    buf_finish(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_comes_back),
        cmocka_unit_test(every_cut_message_is_incomplete_or_wrong),
        cmocka_unit_test(trailing_bytes_are_wrong),
        cmocka_unit_test(headers_outside_the_table_are_wrong),
        cmocka_unit_test(a_flag_is_0_or_1_and_a_text_ends_in_its_message),
        cmocka_unit_test(the_longest_text_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
