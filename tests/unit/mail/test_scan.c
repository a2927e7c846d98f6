#include "mail/scan.h"

#include "../check.h"

#define REPEAT10(s) s s s s s s s s s s
#define REPEAT100(s) REPEAT10(REPEAT10(s))
#define OCTETS_990 REPEAT100("123456789") REPEAT10("abcdefghi")

struct scan_case {
    struct str text;
    unsigned flags;
    uint64_t line_feeds;
    uint32_t received;
    uint64_t header_size;
};

#define LETTER STR("Subject: x\r\n\r\nbody\r\n")

// Is the same with any cut into two, and octet by octet.
static struct scan scan_pieces(struct str text, size_t first, size_t then)
{
    struct scan s;
    scan_begin(&s);
    scan_feed(&s, str_sub(text, 0, first));
    for (size_t at = first; at < text.len; at += then)
        scan_feed(&s, str_sub(text, at, then));
    scan_end(&s);
    return s;
}

static void check_same(const struct scan *a, const struct scan *b)
{
    assert_int_equal(a->flags, b->flags);
    assert_true(a->size == b->size);
    assert_true(a->line_feeds == b->line_feeds);
    assert_int_equal(a->received, b->received);
    assert_true(a->header_size == b->header_size);
    assert_int_equal(a->fields, b->fields);
    assert_true(a->fields_size == b->fields_size);
}

static void check_every_cut(struct str text, const struct scan *whole)
{
    struct scan cut = scan_pieces(text, 0, 1);
    check_same(whole, &cut);
    for (size_t first = 1; first < text.len; first++) {
        cut = scan_pieces(text, first, text.len);
        check_same(whole, &cut);
    }
}

static void letters(void **state)
{
    (void)state;
    const struct scan_case cases[] = {
        // The empty message lacks no end.
        {STR(""), 0, 0, 0, 0},
        {LETTER, 0, 3, 0, 14},
        {STR("\r\nbody\r\n"), 0, 2, 0, 2},
        {STR("\r\n"), 0, 1, 0, 2},
        {STR("Subject: x\r\n"), 0, 1, 0, 12}, // no empty line: all is header
        {STR("Subject: x"), SCAN_NO_END, 0, 0, 10},
        // dots
        {STR("A: b\r\n\r\n.\r\n"), SCAN_DOT, 3, 0, 8},
        {STR("A: b\r\n\r\n.x\r\n"), SCAN_DOT, 3, 0, 8},
        {STR(".x\r\n"), SCAN_DOT, 1, 0, 4},
        {STR("A: b\r\n\r\nx.y.\r\n"), 0, 3, 0, 8},
        {STR("A: b\r\n\r\nx\n.y\r\n"), SCAN_DOT | SCAN_BARE, 4, 0, 8},
        {STR("A: b\r\n\r\nx\r.y\r\n"), SCAN_BARE, 3, 0, 8},
        // 8-bit
        {STR("A: b\r\n\r\n测试\r\n"), SCAN_8BIT, 3, 0, 8},
        {STR("A: 测\r\n\r\nabc\r\n"), SCAN_8BIT | SCAN_8BIT_HEADER, 3, 0, 10},
        {STR("A: b\r\n\r\n1234567\x80\r\n"), SCAN_8BIT, 3, 0, 8},
        {STR("A: 34567\x7f\r\n\r\n1234567\x7f\r\n"), 0, 3, 0, 13},
        // NUL
        {STR("A: b\r\n\r\na\0b\r\n"), SCAN_NUL, 3, 0, 8},
        {STR("\0"), SCAN_NUL | SCAN_NO_END, 0, 0, 1},
        // ends
        {STR("A: b\r\n\r\nx"), SCAN_NO_END, 2, 0, 8},
        {STR("A: b\r\n\r\nx\n"), SCAN_NO_END | SCAN_BARE, 3, 0, 8},
        {STR("A: b\r\n\r\nx\r"), SCAN_NO_END | SCAN_BARE, 2, 0, 8},
        {STR("A: b\r\n\r\nx\r\r\n"), SCAN_BARE, 3, 0, 8},
        {STR("A: b\r\n\r\nx\r\n\r"), SCAN_NO_END | SCAN_BARE, 3, 0, 8},
        {STR("A: b\r\n\r\nx\n\r"), SCAN_NO_END | SCAN_BARE, 3, 0, 8},
        {STR("A: b\n\nx\r\n"), SCAN_BARE, 3, 0, 6},
        // a line of CR CR LF is not empty
        {STR("A: b\r\n\r\r\nC: d\r\n"), SCAN_BARE, 3, 0, 15},
        // Received
        {STR("Received: a\r\nRECEIVED:b\r\n c\r\nreceived : d\r\n\r\nReceived: no\r\n"), 0, 6, 3,
         45},
        {STR("Received-SPF: pass\r\nX-Received: a\r\n Received: b\r\nReceive: c\r\nReceived\r\n"),
         0, 5, 0, 71},
        {STR("Received"), SCAN_NO_END, 0, 0, 8},
        {STR("Received:"), SCAN_NO_END, 0, 1, 9},
        {STR("Received:Received:Received:\r\n"), 0, 1, 1, 29},
        {STR("A: b\nReceived: c\r\n"), SCAN_BARE, 2, 1, 18},
        {STR("A: b\rReceived: c\r\n"), SCAN_BARE, 1, 0, 18},
        {STR("\nReceived: c\r\n"), SCAN_BARE, 2, 0, 1},
        // long lines, RFC 5322 section 2.1.1
        {STR("\r\n" OCTETS_990 "12345678\r\n"), 0, 2, 0, 2},
        {STR("\r\n" OCTETS_990 "123456789\r\n"), SCAN_LONG_LINE, 2, 0, 2},
        {STR("\r\n" OCTETS_990 "12345678\n"), SCAN_BARE | SCAN_NO_END, 2, 0, 2},
        {STR("\r\n" OCTETS_990 "12345678\r"), SCAN_BARE | SCAN_NO_END | SCAN_LONG_LINE, 1, 0, 2},
        {STR("\r\n" OCTETS_990 "12345678"), SCAN_NO_END, 1, 0, 2},
        {STR("\r\n" OCTETS_990 "123456789"), SCAN_NO_END | SCAN_LONG_LINE, 1, 0, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scan s = scan_pieces(cases[i].text, cases[i].text.len, 1);
        if (s.flags != cases[i].flags || s.header_size != cases[i].header_size)
            fail_msg("case %zu: flags %u, header %u", i, s.flags, (unsigned)s.header_size);
        assert_true(s.size == cases[i].text.len);
        assert_true(s.line_feeds == cases[i].line_feeds);
        assert_int_equal(s.received, cases[i].received);
        check_every_cut(cases[i].text, &s);
    }
}

// Against a reading that looks at one octet after the other, over letters thrown together.
static struct scan by_octets(struct str text)
{
    struct scan s = {.size = text.len, .header_size = text.len};
    bool body = false, fields = true;
    for (size_t start = 0; start < text.len;) {
        struct str rest = str_skip(text, start);
        size_t end = str_index(rest, '\n');
        bool ended = end < rest.len, crlf = ended && end > 0 && rest.ptr[end - 1] == '\r';
        struct str line = str_sub(rest, 0, crlf ? end - 1 : end);
        size_t name = sizeof "Received" - 1;
        if (str_starts(line, STR(".")))
            s.flags |= SCAN_DOT;
        if (str_index(line, '\r') < line.len || (ended && !crlf))
            s.flags |= SCAN_BARE;
        if (str_index(line, '\0') < line.len)
            s.flags |= SCAN_NUL;
        if (!str_is_ascii(line))
            s.flags |= body ? SCAN_8BIT : SCAN_8BIT | SCAN_8BIT_HEADER;
        if (line.len > 998)
            s.flags |= SCAN_LONG_LINE;
        if (!crlf && start + end + ended == text.len)
            s.flags |= SCAN_NO_END;
        if (!body && str_starts_nocase(line, STR("Received")) &&
            str_starts(str_trim_blanks(str_skip(line, name)), STR(":")))
            s.received++;
        bool folded = str_starts(line, STR(" ")) || str_starts(line, STR("\t"));
        bool field = folded || str_index(line, ':') < line.len;
        if (fields && field) {
            s.fields += !folded;
            s.fields_size += end + ended;
        }
        fields &= field;
        start += end + ended;
        if (!body && ended && line.len == 0) {
            body = true;
            s.header_size = start;
        }
        s.line_feeds += ended;
    }
    return s;
}

static void letters_thrown_together(void **state)
{
    (void)state;
    const struct str parts[] = {STR("\r"),       STR("\n"),        STR("\r\n"), STR("\r\n"),
                                STR("."),        STR("Received"),  STR(":"),    STR(" "),
                                STR("测"),       STR("rEcEived:"), STR("x"),    STR("\0"),
                                STR("\r\n\r\n"), STR(OCTETS_990)};
    uint64_t seed = 7;
    struct buf text;
    buf_init(&text, 1 << 20);
    for (int round = 0; round < 3000; round++) {
        buf_clear(&text);
        for (uint32_t n = check_random(&seed) % 40; n > 0; n--)
            buf_put(&text, parts[check_random(&seed) % ARRAY_LEN(parts)]);
        struct scan want = by_octets(buf_str(&text));
        struct scan whole = scan_pieces(buf_str(&text), text.len, 1);
        struct scan cut = scan_pieces(buf_str(&text), check_random(&seed) % (text.len + 1),
                                      1 + check_random(&seed) % 13);
        check_same(&want, &whole);
        check_same(&want, &cut);
    }
    buf_finish(&text);
}

// What the limits of a header hold for: a text that never had one is none, however long.
static void fields(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t fields;
        uint64_t size;
    } cases[] = {
        {"", 0, 0},
        {"Subject: x\r\n\r\nbody: y\r\n", 1, 12},
        {"A: b\r\n c: d\r\n\te\r\nF: g\r\n\r\n", 2, 23},
        {"A: b\r\nno field\r\nC: d\r\n", 1, 6},
        {"no header\r\nbut: text\r\n", 0, 0},
        {"\r\nA: b\r\n", 0, 0},
        {"A: b\nC: d\n\nE: f\n", 2, 10},
        {"no end", 0, 0},
        {"A: no end", 1, 9},
        {"A:\r\n", 1, 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str text = str_of(cases[i].text);
        struct scan whole = scan_pieces(text, 0, 1000);
        if (whole.fields != cases[i].fields || whole.fields_size != cases[i].size)
            fail_msg("case %zu: %u fields, %llu octets", i, whole.fields,
                     (unsigned long long)whole.fields_size);
        check_every_cut(text, &whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters),
        cmocka_unit_test(fields),
        cmocka_unit_test(letters_thrown_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
