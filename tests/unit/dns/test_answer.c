#include "packet.h"

#include "base/limits.h"

struct fixture {
    struct buf packet;
    struct arena arena;
    struct dns_answer answer;
};

static void set_up(struct fixture *f)
{
    buf_init(&f->packet, 65535);
    arena_init(&f->arena, LIMIT_route_memory);
}

static void tear_down(struct fixture *f)
{
    buf_finish(&f->packet);
    arena_finish(&f->arena);
}

static void read_it(struct fixture *f, const char *name, enum dns_type type)
{
    const struct dns_reply reply = {.packet = buf_str(&f->packet)};
    assert_true(buf_ok(&f->packet));
    arena_reset(&f->arena);
    dns_answer_read(&reply, str_of(name), type, &f->arena, &f->answer);
}

// The textbook case: the alias, then the MX of what it stands for; other records mean nothing.
static void put_textbook(struct fixture *f)
{
    begin_packet(&f->packet, STR("sh.abc.com"), DNS_MX, 0);
    put_record(&f->packet, STR("shmail.abc.com"), DNS_MX, 300, "10 SHMAIL2.abc.com");
    put_record(&f->packet, STR("SH.abc.com"), DNS_CNAME, 200, "shmail.abc.com");
    put_record(&f->packet, STR("other.abc.com"), DNS_MX, 1, "1 other.abc.com");
    put_record(&f->packet, STR("shmail.abc.com"), DNS_MX, 300, "5 shmail.abc.com");
    put_record(&f->packet, STR("shmail.abc.com"), DNS_A, 1, "192.0.2.5");
    set_counts(&f->packet, 5, 0);
}

static void mx_behind_an_alias(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f);
    put_textbook(&f);
    read_it(&f, "sh.abc.com", DNS_MX);
    assert_int_equal(f.answer.outcome, DNS_FOUND);
    assert_int_equal(f.answer.alias_count, 1);
    assert_true(str_eq(dns_answer_owner(&f.answer, STR("sh.abc.com")), STR("shmail.abc.com")));
    assert_int_equal(f.answer.count, 2);
    assert_int_equal(f.answer.records[0].preference, 10);
    assert_true(str_eq(f.answer.records[0].name, STR("shmail2.abc.com")));
    assert_int_equal(f.answer.records[1].preference, 5);
    assert_int_equal(f.answer.ttl, 200);
    tear_down(&f);
}

static void addresses(void **state)
{
    struct fixture f;
    struct net_address want;
    (void)state;
    set_up(&f);
    begin_packet(&f.packet, STR("a.example"), DNS_AAAA, 0);
    put_record(&f.packet, STR("a.example"), DNS_AAAA, 60, "2001:db8::25");
    set_counts(&f.packet, 1, 0);
    read_it(&f, "a.example", DNS_AAAA);
    assert_int_equal(f.answer.outcome, DNS_FOUND);
    assert_true(net_ip_read(STR("2001:db8::25"), &want));
    assert_memory_equal(f.answer.records[0].address.bytes, want.bytes, 16);
    read_it(&f, "a.example", DNS_A); // other records of the name
    assert_int_equal(f.answer.outcome, DNS_NO_DATA);
    tear_down(&f);
}

// RFC 2308 section 5: the SOA says how long a no holds.
static void how_long_a_no_holds(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f);
    begin_packet(&f.packet, STR("x.example"), DNS_MX, 3);
    put_record(&f.packet, STR("example"), DNS_SOA, 500, "90");
    set_counts(&f.packet, 0, 1);
    read_it(&f, "x.example", DNS_MX);
    assert_int_equal(f.answer.outcome, DNS_NO_NAME);
    assert_int_equal(f.answer.ttl, 90);
    set_counts(&f.packet, 0, 0);
    read_it(&f, "x.example", DNS_MX);
    assert_int_equal(f.answer.ttl, 0);
    tear_down(&f);
}

static void servers_that_fail(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f);
    for (unsigned rcode = 1; rcode < 16; rcode++) {
        begin_packet(&f.packet, STR("x.example"), DNS_MX, rcode);
        read_it(&f, "x.example", DNS_MX);
        assert_int_equal(f.answer.outcome, rcode == 3 ? DNS_NO_NAME : DNS_TROUBLE);
    }
    tear_down(&f);
}

// A wrong signature is trouble, whatever the answer says; so is silence.
static void bogus_and_silence(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f);
    put_textbook(&f);
    dns_answer_read(&(struct dns_reply){.packet = buf_str(&f.packet), .security = DNS_BOGUS},
                    STR("sh.abc.com"), DNS_MX, &f.arena, &f.answer);
    assert_int_equal(f.answer.outcome, DNS_TROUBLE);
    assert_int_equal(f.answer.count, 0);
    dns_answer_read(&(struct dns_reply){.trouble = "silence"}, STR("a"), DNS_A, &f.arena,
                    &f.answer);
    assert_int_equal(f.answer.outcome, DNS_TROUBLE);
    assert_true(str_eq(f.answer.trouble, STR("silence")));
    tear_down(&f);
}

static void aliases_without_end(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f);
    begin_packet(&f.packet, STR("a.example"), DNS_MX, 0);
    put_record(&f.packet, STR("a.example"), DNS_CNAME, 60, "b.example");
    put_record(&f.packet, STR("b.example"), DNS_CNAME, 60, "a.example");
    set_counts(&f.packet, 2, 0);
    read_it(&f, "a.example", DNS_MX);
    assert_int_equal(f.answer.outcome, DNS_TROUBLE);
    tear_down(&f);
}

// Cut anywhere it is trouble or says nothing that is not there; never more than the whole.
static void cut_short(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f);
    put_textbook(&f);
    size_t whole = f.packet.len;
    for (size_t n = 0; n < whole; n++) {
        f.packet.len = n;
        read_it(&f, "sh.abc.com", DNS_MX);
        assert_int_equal(f.answer.outcome, DNS_TROUBLE);
    }
    tear_down(&f);
}

// Compression: a pointer leads back only (RFC 1035 section 4.1.4).
static void pointers(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f);
    begin_packet(&f.packet, STR("a.example"), DNS_MX, 0);
    size_t at = f.packet.len;
    put_be(&f.packet, 2, 0xc00c); // the question's name
    put_be(&f.packet, 2, DNS_MX);
    put_be(&f.packet, 2, 1);
    put_be(&f.packet, 4, 60);
    put_be(&f.packet, 2, 7);
    put_be(&f.packet, 2, 3);
    put_be(&f.packet, 1, 2);
    buf_put(&f.packet, STR("mx"));
    put_be(&f.packet, 2, 0xc00c);
    set_counts(&f.packet, 1, 0);
    read_it(&f, "a.example", DNS_MX);
    assert_int_equal(f.answer.outcome, DNS_FOUND);
    assert_true(str_eq(f.answer.records[0].name, STR("mx.a.example")));
    f.packet.ptr[at + 1] = (char)at; // to itself
    read_it(&f, "a.example", DNS_MX);
    assert_int_equal(f.answer.outcome, DNS_TROUBLE);
    tear_down(&f);
}

static void what_is_a_host(void **state)
{
    static const struct {
        const char *name;
        bool host;
    } cases[] = {
        {"mx.example", true}, {"mx_1.example", true},     {"1.example", true},
        {"host", true},       {"192.0.2.1", false},       {"", false},
        {"1", false},         {"a\\032b.example", false}, {"mx.example.1", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(dns_is_host(str_of(cases[i].name)), cases[i].host);
}

// Octets that may not stand in a host's name are told apart from those that may.
static void odd_octets(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f);
    begin_packet(&f.packet, STR("a.example"), DNS_MX, 0);
    put_record(&f.packet, STR("a.example"), DNS_MX, 60, "1 a b\xff.example");
    set_counts(&f.packet, 1, 0);
    read_it(&f, "a.example", DNS_MX);
    assert_true(str_eq(f.answer.records[0].name, STR("a\\032b\\255.example")));
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mx_behind_an_alias),  cmocka_unit_test(addresses),
        cmocka_unit_test(how_long_a_no_holds), cmocka_unit_test(servers_that_fail),
        cmocka_unit_test(bogus_and_silence),   cmocka_unit_test(aliases_without_end),
        cmocka_unit_test(cut_short),           cmocka_unit_test(pointers),
        cmocka_unit_test(what_is_a_host),      cmocka_unit_test(odd_octets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
