// argv[1]: the program of the role resolver. What DNS says is tried with a real server by
// tests/flow/test_route.py; here it is silent.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ipc/targets.h"
#include "ipc/verdicts.h"
#include "role_box.h"

static const char *program;

struct answer {
    bool came;
    uint8_t verdict;
    bool lmtp;
    unsigned code;
    char ways[400], status[16];
};

struct fixture {
    struct role_box box;
    struct ipc_channel *queue;
    struct route_rule rules[4];
    struct conf_listen listen[2];
};

static void on_routed(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct answer *answer = owner;
    struct str ways = m->routed.ways;
    struct routed_way way;
    struct buf text;
    (void)channel;
    buf_init(&text, sizeof answer->ways - 1);
    while (ways_take(&ways, &way)) {
        buf_putf(&text, "%.*s ", STR_ARG(way.host));
        if (way.address.family)
            net_put_address(&text, &way.address);
        buf_put_byte(&text, ';');
    }
    assert_int_equal(ways.len, 0);
    assert_true(buf_ok(&text));
    *answer = (struct answer){true, m->routed.verdict, m->routed.lmtp, m->routed.code, "", ""};
    snprintf(answer->ways, sizeof answer->ways, "%.*s", STR_ARG(buf_str(&text)));
    snprintf(answer->status, sizeof answer->status, "%.*s", STR_ARG(m->routed.status));
    buf_finish(&text);
}

static const struct ipc_handlers handlers = {.on = {[MSG_routed] = on_routed}};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    box_setup(&f->box, program, IPC_RESOLVER);
    f->rules[0] = (struct route_rule){STR("table.test"), STR(""), STR("smtp://192.0.2.1:26")};
    f->rules[1] = (struct route_rule){STR("table.test"), STR("a.test"), STR("lmtp://[::1]:24")};
    f->rules[2] = (struct route_rule){STR(".table.test"), STR(""), STR("lmtp:/run/lmtp")};
    f->rules[3] = (struct route_rule){STR("no.test"), STR(""), STR("error:no mail goes there")};
    f->box.conf.routes = f->rules;
    f->box.conf.route_count = ARRAY_LEN(f->rules);
    f->box.conf.dns.server = STR("127.0.0.1@1"); // where nobody listens
    f->box.conf.dns.timeout = 100;
    f->box.conf.listen = f->listen;
    f->box.conf.listen_count = 2;
    f->listen[0].protocol = CONF_SMTP;
    assert_true(net_address_read(STR("203.0.113.1:25"), &f->listen[0].address));
    f->listen[1].protocol = CONF_SMTP;
    assert_true(net_address_read(STR("*:2525"), &f->listen[1].address));
    box_start(&f->box);
    box_run(&f->box, &f->box.ready);
    f->queue = box_peer(&f->box, IPC_QUEUE, &handlers, f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct os_exit how;
    ipc_close(&f->queue);
    box_stop(&f->box, &how);
    assert_int_equal(how.code, 0);
    box_teardown(&f->box);
    free(f);
    return 0;
}

static void ask(struct fixture *f, const char *domain, const char *sender, struct answer *answer)
{
    struct msg m = {.type = MSG_route};
    *answer = (struct answer){.came = false};
    m.route.domain = str_of(domain);
    m.route.sender = str_of(sender);
    assert_true(ipc_request(f->queue, &m, answer));
    box_run(&f->box, &answer->came);
}

static void the_table_and_literals(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *domain, *sender, *ways;
        bool lmtp;
    } cases[] = {
        {"table.test", "", " 192.0.2.1:26;", false},
        {"table.test", "b.test", " 192.0.2.1:26;", false},
        {"table.test", "a.test", " [::1]:24;", true},
        {"x.table.test", "a.test", "/run/lmtp ;", true},
        {"[192.0.2.9]", "", " 192.0.2.9:25;", false},
        {"[ipv6:2001:db8::9]", "", " [2001:db8::9]:25;", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct answer answer;
        ask(f, cases[i].domain, cases[i].sender, &answer);
        assert_int_equal(answer.verdict, ROUTED_WAYS);
        assert_string_equal(answer.ways, cases[i].ways);
        assert_int_equal(answer.lmtp, cases[i].lmtp);
    }
}

static void refused_by_the_table(void **state)
{
    struct fixture *f = *state;
    struct answer answer;
    ask(f, "no.test", "", &answer);
    assert_int_equal(answer.verdict, ROUTED_REFUSED);
    assert_int_equal(answer.code, 550);
    assert_string_equal(answer.status, "5.7.1");
}

static void our_own_address_is_a_loop(void **state)
{
    struct fixture *f = *state;
    static const char *const own[] = {"[203.0.113.1]", "[127.0.0.1]", "[0.0.0.0]"};
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        struct answer answer;
        ask(f, own[i], "", &answer);
        assert_int_equal(answer.verdict, ROUTED_REFUSED);
        assert_string_equal(answer.status, "5.4.6");
    }
}

// A DNS server that does not answer: our own patience ends it, and nothing is refused for it.
static void silence_is_for_later(void **state)
{
    struct fixture *f = *state;
    struct answer answer;
    ask(f, "example.com", "", &answer);
    assert_int_equal(answer.verdict, ROUTED_LATER);
    assert_int_equal(answer.code, 451);
    assert_string_equal(answer.status, "4.4.3");
}

// The queue is gone before its answer came; the next one is answered.
static void a_queue_that_dies(void **state)
{
    struct fixture *f = *state;
    struct msg m = {.type = MSG_route};
    struct answer lost = {.came = false};
    struct err err;
    m.route.domain = STR("example.com");
    assert_true(ipc_request(f->queue, &m, &lost));
    assert_true(loop_turn(f->box.loop, 0, &err));
    ipc_close(&f->queue);
    f->queue = box_peer(&f->box, IPC_QUEUE, &handlers, f);
    silence_is_for_later(state);
    assert_false(lost.came);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_table_and_literals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused_by_the_table, set_up, tear_down),
        cmocka_unit_test_setup_teardown(our_own_address_is_a_loop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(silence_is_for_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_queue_that_dies, set_up, tear_down),
    };
    must(argc == 2);
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
