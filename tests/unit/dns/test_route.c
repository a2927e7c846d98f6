// The rules of routing, by a small world of records. What is asked for and is not there is "no
// data" where the name has other records, else "no such name".
#include "packet.h"

#include "base/limits.h"
#include "dns/route.h"

struct record {
    const char *name;
    enum dns_type type;
    const char *value; // "!": the servers of this name fail; "?": the signature is wrong
};

static const struct record world[] = {
    // the textbook case
    {"sh.abc.com", DNS_CNAME, "shmail.abc.com"},
    {"shmail.abc.com", DNS_MX, "10 shmail2.abc.com"},
    {"shmail.abc.com", DNS_MX, "5 shmail.abc.com"},
    {"shmail.abc.com", DNS_A, "192.0.2.5"},
    {"shmail2.abc.com", DNS_A, "192.0.2.6"},
    {"both.example", DNS_MX, "1 both.example"},
    {"both.example", DNS_A, "192.0.2.7"},
    {"both.example", DNS_AAAA, "2001:db8::7"},
    {"implicit.example", DNS_A, "192.0.2.8"},
    {"alias.example", DNS_CNAME, "implicit.example"},
    {"empty.example", DNS_SOA, "60"},
    {"null.example", DNS_MX, "0 "},
    {"nullplus.example", DNS_MX, "0 "},
    {"nullplus.example", DNS_MX, "5 implicit.example"},
    {"literal.example", DNS_MX, "1 192.0.2.9"},
    {"half.example", DNS_MX, "1 192.0.2.9"},
    {"half.example", DNS_MX, "2 implicit.example"},
    {"mxalias.example", DNS_MX, "1 alias.example"},
    {"dangling.example", DNS_MX, "1 nowhere.example"},
    {"gone.example", DNS_CNAME, "nowhere.example"},
    {"round.example", DNS_CNAME, "round2.example"},
    {"round2.example", DNS_CNAME, "round.example"},
    {"fails.example", DNS_MX, "!"},
    {"bogus.example", DNS_MX, "?"},
    {"mxfails.example", DNS_MX, "1 broken.example"},
    {"broken.example", DNS_A, "!"},
    {"one.example", DNS_MX, "1 broken.example"},
    {"one.example", DNS_MX, "2 implicit.example"},
    {"sixfails.example", DNS_A, "192.0.2.10"},
    {"sixfails.example", DNS_AAAA, "!"},
    // ourselves
    {"us.example", DNS_MX, "10 mail.example.test"},
    {"us.example", DNS_MX, "5 implicit.example"},
    {"us.example", DNS_MX, "10 both.example"},
    {"us.example", DNS_MX, "20 both.example"},
    {"mail.example.test", DNS_A, "203.0.113.1"},
    {"loop.example", DNS_MX, "10 mail.example.test"},
    {"loop.example", DNS_MX, "20 implicit.example"},
    {"byaddress.example", DNS_MX, "1 other.example"},
    {"other.example", DNS_A, "203.0.113.1"},
    {"byalias.example", DNS_MX, "1 oldname.example"},
    {"oldname.example", DNS_CNAME, "mail.example.test"},
    {"zero.example", DNS_A, "0.0.0.0"},
    {"usfails.example", DNS_MX, "5 broken.example"},
    {"usfails.example", DNS_MX, "10 mail.example.test"},
};

static const struct record *find(struct str name, enum dns_type type)
{
    for (size_t i = 0; i < ARRAY_LEN(world); i++)
        if (world[i].type == type && str_eq(name, str_of(world[i].name)))
            return &world[i];
    return NULL;
}

static bool is_known(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(world); i++)
        if (str_eq(name, str_of(world[i].name)))
            return true;
    return false;
}

// As a resolver answers, which follows aliases.
static struct dns_reply reply_to(const struct route_step *step, struct buf *packet)
{
    struct str name = step->name;
    const struct record *record;
    unsigned count = 0;
    begin_packet(packet, name, step->type, 0);
    while ((record = find(name, DNS_CNAME)) && count < 20) {
        put_record(packet, name, DNS_CNAME, 100, record->value);
        name = str_of(record->value);
        count++;
    }
    record = find(name, step->type);
    if (record && record->value[0] == '!')
        return (struct dns_reply){.trouble = "they fail"};
    for (size_t i = 0; i < ARRAY_LEN(world); i++)
        if (world[i].type == step->type && str_eq(name, str_of(world[i].name)) &&
            world[i].value[0] != '?') {
            put_record(packet, name, step->type, 300, world[i].value);
            count++;
        }
    if (!is_known(name))
        packet->ptr[3] = (char)0x83;
    set_counts(packet, count, 0);
    return (struct dns_reply){.packet = buf_str(packet),
                              .security =
                                  record && record->value[0] == '?' ? DNS_BOGUS : DNS_SECURE};
}

struct walk {
    struct arena arena;
    struct route route;
    struct net_address own[1];
    struct route_own us;
};

static void begin(struct walk *w, uint64_t seed)
{
    arena_init(&w->arena, LIMIT_route_memory);
    assert_true(net_address_read(STR("203.0.113.1:25"), &w->own[0]));
    w->us = (struct route_own){STR("mail.example.test"), w->own, 1};
    route_init(&w->route, &w->arena, &w->us, seed);
}

static void walk(struct walk *w)
{
    struct route_step *step;
    struct buf packet;
    buf_init(&packet, 65535);
    for (unsigned asked = 0; (step = route_next(&w->route)); asked++) {
        const struct dns_reply reply = reply_to(step, &packet);
        assert_in_range(asked, 0, 100);
        route_answer(&w->route, step, &reply);
    }
    assert_int_equal(w->route.open, 0);
    assert_int_not_equal(w->route.verdict, ROUTE_PENDING);
    buf_finish(&packet);
}

// "NAME=ADDRESS,ADDRESS NAME=..." or "CODE CLASS.SUBJECT.DETAIL"
static void put_result(const struct route *r, struct buf *out)
{
    for (size_t i = 0; i < r->host_count; i++) {
        buf_putf(out, "%s%.*s", i ? " " : "", STR_ARG(r->hosts[i].name));
        for (size_t k = 0; k < r->hosts[i].count; k++) {
            buf_putf(out, k ? "," : "=");
            net_put_address(out, &r->hosts[i].addresses[k]);
        }
    }
    if (r->verdict == ROUTE_HOSTS)
        return;
    assert_int_equal(r->host_count, 0);
    assert_int_equal(r->err.class, r->verdict == ROUTE_DEFER ? ERR_TRY_LATER : ERR_GIVE_UP);
    assert_int_equal(r->err.code / 100, r->err.status.class);
    buf_putf(out, "%d %u.%u.%u", r->err.code, r->err.status.class, r->err.status.subject,
             r->err.status.detail);
}

static void check(struct walk *w, const char *want)
{
    struct buf got;
    buf_init(&got, 4096);
    walk(w);
    put_result(&w->route, &got);
    check_put(&got, want);
    buf_finish(&got);
    arena_finish(&w->arena);
}

static void by_dns(void **state)
{
    static const struct {
        const char *domain, *want;
    } cases[] = {
        {"sh.abc.com", "shmail.abc.com=192.0.2.5:25 shmail2.abc.com=192.0.2.6:25"},
        {"both.example", "both.example=[2001:db8::7]:25,192.0.2.7:25"},
        {"implicit.example", "implicit.example=192.0.2.8:25"},
        {"alias.example", "implicit.example=192.0.2.8:25"},
        {"empty.example", "550 5.1.2"},
        {"nowhere.example", "550 5.1.2"},
        {"gone.example", "550 5.1.2"},
        {"null.example", "556 5.1.10"},
        {"nullplus.example", "implicit.example=192.0.2.8:25"},
        {"literal.example", "550 5.4.4"},
        {"half.example", "implicit.example=192.0.2.8:25"},
        {"mxalias.example", "alias.example=192.0.2.8:25"},
        {"dangling.example", "550 5.4.4"},
        {"round.example", "451 4.4.3"},
        {"fails.example", "451 4.4.3"},
        {"bogus.example", "451 4.4.3"},
        {"mxfails.example", "451 4.4.3"},
        {"one.example", "implicit.example=192.0.2.8:25"},
        {"sixfails.example", "sixfails.example=192.0.2.10:25"},
        {"us.example", "implicit.example=192.0.2.8:25"},
        {"mail.example.test", "554 5.4.6"},
        {"loop.example", "554 5.4.6"},
        {"byaddress.example", "554 5.4.6"},
        {"byalias.example", "554 5.4.6"},
        {"zero.example", "554 5.4.6"},
        {"usfails.example", "451 4.4.3"},
        {"[192.0.2.99]", "=192.0.2.99:25"},
        {"[ipv6:2001:db8::99]", "=[2001:db8::99]:25"},
        {"[203.0.113.1]", "554 5.4.6"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct walk w;
        print_message("# %s\n", cases[i].domain);
        begin(&w, i);
        route_to_domain(&w.route, str_of(cases[i].domain));
        check(&w, cases[i].want);
    }
}

// A host of the route table is asked for its addresses only; what it lacks is ours to mend.
static void by_table(void **state)
{
    static const struct {
        const char *host;
        uint16_t port;
        const char *want;
    } cases[] = {
        {"implicit.example", 2626, "implicit.example=192.0.2.8:2626"},
        {"sh.abc.com", 25, "sh.abc.com=192.0.2.5:25"},
        {"192.0.2.1", 26, "=192.0.2.1:26"},
        {"::1", 2626, "=[::1]:2626"},
        {"nowhere.example", 25, "451 4.3.5"},
        {"broken.example", 25, "451 4.4.3"},
        {"203.0.113.1", 25, "451 4.4.6"}, // that is where we listen
        {"203.0.113.1", 26, "=203.0.113.1:26"},
        {"mail.example.test", 26, "mail.example.test=203.0.113.1:26"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct walk w;
        begin(&w, i);
        route_to_host(&w.route, str_of(cases[i].host), cases[i].port);
        check(&w, cases[i].want);
    }
    struct walk w;
    begin(&w, 0);
    route_refuse(&w.route, STR("no mail goes there"));
    check(&w, "550 5.7.1");
    begin(&w, 0);
    route_to_path(&w.route, STR("/run/lmtp"));
    check(&w, "/run/lmtp");
}

// Among equals each comes first sometimes; a better one always comes before a worse one.
static void chance_among_equals(void **state)
{
    unsigned first[3] = {0};
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct walk w;
        struct buf packet;
        struct route_step *step;
        begin(&w, seed);
        buf_init(&packet, 65535);
        route_to_domain(&w.route, STR("many.example"));
        step = route_next(&w.route);
        begin_packet(&packet, step->name, DNS_MX, 0);
        put_record(&packet, step->name, DNS_MX, 60, "20 last.example");
        put_record(&packet, step->name, DNS_MX, 60, "10 a.example");
        put_record(&packet, step->name, DNS_MX, 60, "10 b.example");
        put_record(&packet, step->name, DNS_MX, 60, "10 c.example");
        set_counts(&packet, 4, 0);
        route_answer(&w.route, step, &(struct dns_reply){.packet = buf_str(&packet)});
        while ((step = route_next(&w.route))) {
            begin_packet(&packet, step->name, step->type, 0);
            if (step->type == DNS_A)
                put_record(&packet, step->name, DNS_A, 60, "192.0.2.1");
            set_counts(&packet, step->type == DNS_A, 0);
            route_answer(&w.route, step, &(struct dns_reply){.packet = buf_str(&packet)});
        }
        assert_int_equal(w.route.host_count, 4);
        assert_true(str_eq(w.route.hosts[3].name, STR("last.example")));
        first[w.route.hosts[0].name.ptr[0] - 'a']++;
        buf_finish(&packet);
        arena_finish(&w.arena);
    }
    for (size_t i = 0; i < 3; i++)
        assert_in_range(first[i], 30, 110);
}

// The smallest TTL on the way, and whether every answer was signed.
static void how_long_and_how_sure(void **state)
{
    struct walk w;
    (void)state;
    begin(&w, 0);
    route_to_domain(&w.route, STR("sh.abc.com"));
    walk(&w);
    assert_int_equal(w.route.ttl, 0); // no AAAA, and no SOA that says for how long
    assert_true(w.route.hosts[0].secure);
    arena_finish(&w.arena);
    begin(&w, 0);
    route_to_domain(&w.route, STR("both.example"));
    walk(&w);
    assert_int_equal(w.route.ttl, 300);
    arena_finish(&w.arena);
}

// However little memory there is: an answer, and none that refuses.
static void little_memory(void **state)
{
    (void)state;
    for (size_t limit = 0; limit < 6000; limit += 50) {
        struct walk w;
        begin(&w, 0);
        w.arena.limit = limit;
        route_to_domain(&w.route, STR("sh.abc.com"));
        walk(&w);
        assert_int_not_equal(w.route.verdict, ROUTE_REFUSE);
        arena_finish(&w.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_dns),
        cmocka_unit_test(by_table),
        cmocka_unit_test(chance_among_equals),
        cmocka_unit_test(how_long_and_how_sure),
        cmocka_unit_test(little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
