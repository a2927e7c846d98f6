// Two ends in one loop: a receiver and the queue, mostly. Where a peer must break the rules the
// other end is a bare socket.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "ipc/ipc.h"
#include "os/file.h"
#include "os/net.h"

enum { LOOKUPS = 1024 };

struct end {
    struct ipc_channel *channel;
    int heard, closed, lost;
    const char *why;
    void *last_owner;
    struct msg last;
    struct buf text; // of the last message that had one
    int fd;          // of the last one that had one
    bool answer, close_inside, forgot;
};

struct box {
    struct loop *loop;
    struct end a, b;
    int raw;
};

static void keep_text(struct end *e, struct str text)
{
    buf_clear(&e->text);
    buf_put(&e->text, text);
}

static void heard(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct end *e = ipc_context(channel);
    e->heard++;
    e->last = *m;
    e->last_owner = owner;
    int *fd = msg_fd(m);
    if (fd) {
        assert_true(*fd >= 0);
        os_close(&e->fd);
        e->fd = *fd;
        *fd = -1;
    }
    if (m->type == MSG_lookup)
        keep_text(e, m->lookup.recipient);
    if (m->type == MSG_lookup && e->answer) {
        struct msg reply = {.type = MSG_found, .slot = m->slot};
        reply.found.verdict = 1;
        reply.found.address = m->lookup.recipient;
        ipc_send(channel, &reply);
    }
    if (e->close_inside)
        ipc_close(&e->channel);
}

static void closed(struct ipc_channel *channel, const char *why)
{
    struct end *e = ipc_context(channel);
    e->closed++;
    e->why = why;
    struct msg m = {.type = MSG_lookup};
    if (ipc_peer(channel) == IPC_DIRECTORY)
        assert_false(ipc_request(channel, &m, e)); // it is over
    e->channel = NULL;
}

static void lost(struct ipc_channel *channel, enum ipc_type request, void *owner)
{
    struct end *e = ipc_context(channel);
    assert_int_equal(e->closed, 1); // `closed` comes first
    assert_int_equal(request, MSG_lookup);
    assert_non_null(owner);
    e->lost++;
}

static const struct ipc_handlers handlers = {
    .on = {[MSG_lookup] = heard,
           [MSG_found] = heard,
           [MSG_adopt] = heard,
           [MSG_admit] = heard,
           [MSG_room] = heard},
    .closed = closed,
    .lost = lost,
};

static void open_end(struct box *b, struct end *e, int fd, enum ipc_role self, enum ipc_role peer)
{
    struct err err;
    assert_true(ipc_open(&e->channel, b->loop, fd, self, peer, 5, &handlers, e, &err));
}

static void pair_of(struct box *b, enum ipc_role a, enum ipc_role z)
{
    int pair[2];
    assert_int_equal(net_pair(pair), 0);
    open_end(b, &b->a, pair[0], a, z);
    open_end(b, &b->b, pair[1], z, a);
}

// `role` listens to a bare socket that says to be `peer`.
static void bare(struct box *b, enum ipc_role role, enum ipc_role peer)
{
    int pair[2];
    assert_int_equal(net_pair(pair), 0);
    open_end(b, &b->a, pair[0], role, peer);
    b->raw = pair[1];
}

static int set_up(void **state)
{
    static struct box box;
    struct err err;
    box = (struct box){.raw = -1, .a.fd = -1, .b.fd = -1};
    buf_init(&box.a.text, LIMIT_message);
    buf_init(&box.b.text, LIMIT_message);
    *state = &box;
    return loop_open(&box.loop, &err) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct box *b = *state;
    ipc_close(&b->a.channel);
    ipc_close(&b->b.channel);
    ipc_close(&b->b.channel); // takes NULL
    os_close(&b->a.fd);
    os_close(&b->b.fd);
    os_close(&b->raw);
    buf_finish(&b->a.text);
    buf_finish(&b->b.text);
    loop_close(&b->loop);
    return 0;
}

static void turn(struct box *b)
{
    struct err err;
    assert_true(loop_turn(b->loop, 0, &err));
}

static void turns(struct box *b, int n)
{
    while (n-- > 0)
        turn(b);
}

static bool ask(struct end *e, struct str text, void *owner)
{
    struct msg m = {.type = MSG_lookup, .lookup = {.recipient = text}};
    return ipc_request(e->channel, &m, owner);
}

static size_t open_descriptors(void)
{
    size_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

// ---- as it should be

static void a_request_is_answered_to_its_owner(void **state)
{
    struct box *b = *state;
    int owner;
    pair_of(b, IPC_RECEIVER, IPC_DIRECTORY);
    b->b.answer = true;
    assert_int_equal(ipc_peer(b->a.channel), IPC_DIRECTORY);
    assert_int_equal(ipc_instance(b->a.channel), 5);
    assert_int_equal(ipc_credits(b->a.channel, MSG_lookup), LOOKUPS);
    assert_true(ask(&b->a, STR("\xe7\x8e\x8b@\xe4\xbe\x8b.test"), &owner));
    assert_int_equal(ipc_credits(b->a.channel, MSG_lookup), LOOKUPS - 1);
    turns(b, 3);
    assert_int_equal(b->b.heard, 1);
    assert_true(str_eq(buf_str(&b->b.text), STR("\xe7\x8e\x8b@\xe4\xbe\x8b.test")));
    assert_int_equal(b->a.heard, 1);
    assert_int_equal(b->a.last.type, MSG_found);
    assert_ptr_equal(b->a.last_owner, &owner);
    assert_int_equal(ipc_credits(b->a.channel, MSG_lookup), LOOKUPS);
}

static void credits_run_out_and_come_back(void **state)
{
    struct box *b = *state;
    pair_of(b, IPC_RECEIVER, IPC_DIRECTORY);
    b->b.answer = true;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < LOOKUPS; i++)
            assert_true(ask(&b->a, STR("a"), b));
        assert_int_equal(ipc_credits(b->a.channel, MSG_lookup), 0);
        assert_false(ask(&b->a, STR("a"), b));
        turns(b, 4);
        assert_int_equal(b->b.heard, LOOKUPS * (round + 1));
        assert_int_equal(b->a.heard, LOOKUPS * (round + 1));
        assert_int_equal(ipc_credits(b->a.channel, MSG_lookup), LOOKUPS);
    }
}

static void a_forgotten_request_is_answered_to_nobody(void **state)
{
    struct box *b = *state;
    int one, two;
    pair_of(b, IPC_RECEIVER, IPC_DIRECTORY);
    b->b.answer = true;
    assert_true(ask(&b->a, STR("a"), &one));
    ipc_forget(b->a.channel, MSG_lookup, &one);
    turns(b, 3);
    assert_int_equal(b->a.heard, 1);
    assert_null(b->a.last_owner);
    b->b.answer = false;
    assert_true(ask(&b->a, STR("a"), &one));
    assert_true(ask(&b->a, STR("b"), &two));
    ipc_forget(b->a.channel, MSG_lookup, &one);
    turns(b, 3);
    ipc_close(&b->b.channel);
    turns(b, 3);
    assert_int_equal(b->a.closed, 1);
    assert_int_equal(b->a.lost, 1); // only the one that still waited
}

static void requests_are_lost_when_the_peer_goes(void **state)
{
    struct box *b = *state;
    pair_of(b, IPC_RECEIVER, IPC_DIRECTORY);
    for (int i = 0; i < 10; i++)
        assert_true(ask(&b->a, STR("a"), b));
    turn(b);
    ipc_close(&b->b.channel);
    assert_int_equal(b->b.closed, 0); // our own wish: nothing is told
    turns(b, 3);
    assert_int_equal(b->a.closed, 1);
    assert_int_equal(b->a.lost, 10);
    assert_string_equal(b->a.why, "it is gone");
}

static void the_last_words_of_a_dying_peer_are_heard(void **state)
{
    struct box *b = *state;
    pair_of(b, IPC_QUEUE, IPC_RECEIVER);
    struct msg m = {.type = MSG_room, .room = {true}};
    for (int i = 0; i < 5; i++)
        ipc_send(b->a.channel, &m);
    turn(b);
    ipc_close(&b->a.channel);
    turns(b, 3);
    assert_int_equal(b->b.heard, 5);
    assert_int_equal(b->b.closed, 1);
}

static void a_channel_may_be_closed_by_its_handler(void **state)
{
    struct box *b = *state;
    pair_of(b, IPC_RECEIVER, IPC_DIRECTORY);
    b->b.close_inside = true;
    assert_true(ask(&b->a, STR("a"), b));
    assert_true(ask(&b->a, STR("b"), b));
    turns(b, 4);
    assert_int_equal(b->b.heard, 1); // nothing after that
    assert_int_equal(b->b.closed + b->b.lost, 0);
    assert_int_equal(b->a.lost, 2);
}

static void descriptors_travel_with_their_messages(void **state)
{
    struct box *b = *state;
    size_t before = open_descriptors();
    pair_of(b, IPC_PORTER, IPC_READER);
    for (int i = 0; i < 300; i++) { // more than wait in any fixed room
        struct msg m = {.type = MSG_adopt};
        int client[2];
        char number[16];
        snprintf(number, sizeof(number), "%d", i);
        assert_int_equal(net_pair(client), 0);
        assert_int_equal(net_send(client[1], str_of(number)), (ssize_t)str_of(number).len);
        m.adopt.client = client[0];
        m.adopt.input = str_of(number);
        ipc_send(b->a.channel, &m);
        os_close(&client[0]); // it was duplicated
        os_close(&client[1]);
    }
    for (int i = 0; i < 300; i++) { // one by one: each with its own
        while (b->b.heard == i)
            turn(b);
        if (b->b.heard == i + 1) {
            char got[16];
            ssize_t n = net_receive(b->b.fd, got, sizeof(got));
            char want[16];
            snprintf(want, sizeof(want), "%d", i);
            assert_true(n > 0 && str_eq(str_from(got, (size_t)n), str_of(want)));
        } else {
            i = b->b.heard - 2;
        }
    }
    assert_int_equal(b->b.heard, 300);
    assert_int_equal(b->a.closed + b->b.closed, 0);
    ipc_close(&b->a.channel);
    ipc_close(&b->b.channel);
    os_close(&b->b.fd);
    assert_int_equal(open_descriptors(), before);
}

static void waiting_descriptors_are_closed_with_the_channel(void **state)
{
    struct box *b = *state;
    size_t before = open_descriptors();
    pair_of(b, IPC_PORTER, IPC_READER);
    for (int i = 0; i < 20; i++) {
        struct msg m = {.type = MSG_adopt, .adopt = {.client = 0}};
        ipc_send(b->a.channel, &m);
    }
    ipc_close(&b->a.channel);
    ipc_close(&b->b.channel);
    assert_int_equal(open_descriptors(), before);
}

static void much_goes_through_in_order(void **state)
{
    struct box *b = *state;
    char *big = malloc(40000);
    assert_non_null(big);
    memset(big, 'x', 40000);
    pair_of(b, IPC_RECEIVER, IPC_DIRECTORY);
    b->b.answer = true;
    int sent = 0, most = 4000;
    for (int i = 0; i < 20000 && b->a.heard < most; i++) {
        while (sent < most && sent - b->a.heard < 60 &&
               ask(&b->a, str_from(big, 20000 + (size_t)sent % 20000), b))
            sent++;
        turn(b);
        if (b->a.heard) // replies come in the order of the requests here
            assert_int_equal(b->b.text.len, 20000 + (size_t)(b->b.heard - 1) % 20000);
    }
    assert_int_equal(b->a.heard, most);
    assert_int_equal(b->a.closed + b->b.closed, 0);
    free(big);
}

static void a_peer_that_does_not_read_ends_the_channel_not_us(void **state)
{
    struct box *b = *state;
    bare(b, IPC_LOGIN, IPC_READER);
    char *big = malloc(60000);
    assert_non_null(big);
    memset(big, 'x', 60000);
    struct msg m = {.type = MSG_adopt};
    ipc_close(&b->a.channel);
    os_close(&b->raw);
    bare(b, IPC_PORTER, IPC_READER);
    m.adopt.client = b->raw;
    m.adopt.input = str_from(big, 60000);
    for (int i = 0; i < 200 && !b->a.closed; i++) {
        ipc_send(b->a.channel, &m);
        turn(b);
    }
    assert_int_equal(b->a.closed, 1);
    assert_string_equal(b->a.why, "it does not read");
    free(big);
}

// ---- a peer that breaks the rules

static void say(struct box *b, const struct msg *m, int fd)
{
    struct buf bytes;
    buf_init(&bytes, LIMIT_message);
    msg_put(&bytes, m);
    assert_int_equal(net_send_fd(b->raw, buf_str(&bytes), fd), (ssize_t)bytes.len);
    buf_finish(&bytes);
}

static void check_broken(struct box *b, const char *why)
{
    turns(b, 8);
    assert_int_equal(b->a.closed, 1);
    assert_string_equal(b->a.why, why);
    assert_null(b->a.channel);
    os_close(&b->raw);
    b->a.closed = b->a.heard = 0;
}

static void each_broken_rule_ends_the_channel(void **state)
{
    struct box *b = *state;
    size_t before = open_descriptors();
    struct msg lookup = {.type = MSG_lookup, .lookup = {.recipient = STR("a@b")}}, m;

    bare(b, IPC_DIRECTORY, IPC_QUEUE); // a receiver's message, from the queue
    say(b, &lookup, -1);
    check_broken(b, "it said what it may not say");

    bare(b, IPC_RECEIVER, IPC_DIRECTORY); // the wrong way
    say(b, &lookup, -1);
    check_broken(b, "it said what it may not say");

    bare(b, IPC_QUEUE, IPC_RECEIVER); // nobody listens to submit here
    m = (struct msg){.type = MSG_submit};
    say(b, &m, -1);
    check_broken(b, "it said what nobody here listens to");

    bare(b, IPC_DIRECTORY, IPC_RECEIVER);
    lookup.slot = LOOKUPS;
    say(b, &lookup, -1);
    check_broken(b, "it asked beyond its credits");

    bare(b, IPC_DIRECTORY, IPC_RECEIVER); // the same slot twice
    lookup.slot = 3;
    say(b, &lookup, -1);
    turn(b);
    assert_int_equal(b->a.heard, 1);
    say(b, &lookup, -1);
    check_broken(b, "it asked beyond its credits");

    bare(b, IPC_RECEIVER, IPC_DIRECTORY);
    m = (struct msg){.type = MSG_found, .slot = 0};
    say(b, &m, -1);
    check_broken(b, "it answered what was not asked");

    bare(b, IPC_RECEIVER, IPC_DIRECTORY);
    assert_true(ask(&b->a, STR("a"), b));
    turn(b);
    m.slot = UINT32_MAX;
    say(b, &m, -1);
    check_broken(b, "it answered what was not asked");
    assert_int_equal(b->a.lost, 1);

    bare(b, IPC_RECEIVER, IPC_QUEUE);
    m = (struct msg){.type = MSG_room, .slot = 1};
    say(b, &m, -1);
    check_broken(b, "it gave a slot to a note");

    bare(b, IPC_RECEIVER, IPC_QUEUE);
    m.slot = 0;
    say(b, &m, b->raw);
    check_broken(b, "it sent a descriptor too many");

    bare(b, IPC_READER, IPC_PORTER);
    m = (struct msg){.type = MSG_adopt};
    say(b, &m, -1);
    check_broken(b, "it sent no descriptor where one belongs");

    bare(b, IPC_READER, IPC_PORTER);
    assert_int_equal(net_send(b->raw, STR("\xff\xff\xff\xff")), 4);
    check_broken(b, "it sent what is no message");

    bare(b, IPC_READER, IPC_PORTER); // descriptors with the pieces of a message that never ends
    for (int i = 0; i < 70; i++)
        if (net_send_fd(b->raw, i ? STR("x") : STR("\xff\0\0\0"), b->raw) < 0)
            break;
    check_broken(b, "it sent too many descriptors");

    assert_int_equal(open_descriptors(), before);
}

// What came with the same write as the breach is not heard.
static void nothing_is_heard_after_a_breach(void **state)
{
    struct box *b = *state;
    struct buf bytes;
    struct msg room = {.type = MSG_room}, wrong = {.type = MSG_room, .slot = 9};
    buf_init(&bytes, LIMIT_message);
    msg_put(&bytes, &room);
    msg_put(&bytes, &wrong);
    msg_put(&bytes, &room);
    bare(b, IPC_RECEIVER, IPC_QUEUE);
    assert_int_equal(net_send(b->raw, buf_str(&bytes)), (ssize_t)bytes.len);
    turns(b, 3);
    assert_int_equal(b->a.heard, 1);
    assert_int_equal(b->a.closed, 1);
    buf_finish(&bytes);
}

static void messages_may_come_octet_by_octet(void **state)
{
    struct box *b = *state;
    struct buf bytes;
    struct msg m = {.type = MSG_lookup, .lookup = {.recipient = STR("\xe4\xbd\xa0@b.test")}};
    buf_init(&bytes, LIMIT_message);
    msg_put(&bytes, &m);
    bare(b, IPC_DIRECTORY, IPC_RECEIVER);
    for (size_t i = 0; i < bytes.len; i++) {
        assert_int_equal(b->a.heard, 0);
        assert_int_equal(net_send(b->raw, str_sub(buf_str(&bytes), i, 1)), 1);
        turn(b);
    }
    assert_int_equal(b->a.heard, 1);
    assert_true(str_eq(buf_str(&b->a.text), m.lookup.recipient));
    buf_finish(&bytes);
}

// ---- the table

static void links_and_names_follow_the_table(void **state)
{
    (void)state;
    assert_true(ipc_linked(IPC_RECEIVER, IPC_QUEUE));
    assert_true(ipc_linked(IPC_QUEUE, IPC_RECEIVER));
    assert_false(ipc_linked(IPC_RECEIVER, IPC_POSTMAN));
    assert_false(ipc_linked(IPC_PORTER, IPC_DIRECTORY));
    assert_false(
        ipc_linked(IPC_RECEIVER, IPC_LOGIN)); // no network byte near the hashes but by check
    for (int role = 1; role < IPC_ROLES; role++) {
        assert_int_equal(ipc_role_of(str_of(ipc_role_name((enum ipc_role)role))), role);
        assert_false(ipc_linked((enum ipc_role)role, (enum ipc_role)role));
    }
    assert_int_equal(ipc_role_of(STR("any")), IPC_ANY);
    assert_int_equal(ipc_role_of(STR("nobody")), IPC_ANY);
    assert_string_equal(ipc_type_name(MSG_committed), "committed");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_request_is_answered_to_its_owner),
        CASE(credits_run_out_and_come_back),
        CASE(a_forgotten_request_is_answered_to_nobody),
        CASE(requests_are_lost_when_the_peer_goes),
        CASE(the_last_words_of_a_dying_peer_are_heard),
        CASE(a_channel_may_be_closed_by_its_handler),
        CASE(descriptors_travel_with_their_messages),
        CASE(waiting_descriptors_are_closed_with_the_channel),
        CASE(much_goes_through_in_order),
        CASE(a_peer_that_does_not_read_ends_the_channel_not_us),
        CASE(each_broken_rule_ends_the_channel),
        CASE(nothing_is_heard_after_a_breach),
        CASE(messages_may_come_octet_by_octet),
        CASE(links_and_names_follow_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
