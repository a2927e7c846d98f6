// argv[1]: the program of the role directory.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ipc/targets.h"
#include "ipc/verdicts.h"
#include "store/directory_db.h"
#include "store/usage_db.h"
#include "role_box.h"

static const char *program;

struct answer {
    bool came;
    uint8_t verdict;
    char mailbox[600];
};

struct fixture {
    struct role_box box;
    struct directory_db *db;
    struct ipc_channel *receiver, *queue;
    unsigned members; // targets of all pages
    uint64_t next;
    // Quotas: the test plays postman and reader.
    struct ipc_channel *postman, *reader;
    bool account, counts, settles; // what was said or asked
    uint32_t slot;
    char counted[64]; // the mailbox that was to be counted last
};

static void keep(struct answer *answer, uint8_t verdict, struct str mailbox)
{
    assert_true(mailbox.len < sizeof(answer->mailbox));
    answer->came = true;
    answer->verdict = verdict;
    snprintf(answer->mailbox, sizeof(answer->mailbox), "%.*s", STR_ARG(mailbox));
}

static void on_found(struct ipc_channel *channel, struct msg *m, void *owner)
{
    (void)channel;
    keep(owner, m->found.verdict, m->found.address);
}

static void on_resolved(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct fixture *f = ipc_context(channel);
    struct str targets = m->resolved.targets;
    struct resolved_target target;
    while (targets_take(&targets, &target)) {
        char address[64];
        snprintf(address, sizeof address, "member%u@example.com", f->members);
        f->members += str_eq(target.address, str_of(address)); // in their order
        assert_int_equal(target.token.len, 16);
    }
    assert_int_equal(targets.len, 0);
    f->next = m->resolved.next;
    keep(owner, m->resolved.verdict, m->resolved.mailbox);
}

static const struct ipc_handlers handlers = {
    .on = {[MSG_found] = on_found, [MSG_resolved] = on_resolved},
};

static void ask(struct fixture *f, enum ipc_type type, struct str recipient, struct answer *answer)
{
    struct msg m = {.type = type};
    *answer = (struct answer){.came = false};
    if (type == MSG_lookup)
        m.lookup.recipient = recipient;
    else
        m.resolve.recipient = recipient;
    assert_true(ipc_request(type == MSG_lookup ? f->receiver : f->queue, &m, answer));
}

static void add(struct fixture *f, const char *text)
{
    struct address address;
    struct err err;
    assert_true(address_read(str_of(text), &f->box.arena, &address, &err));
    if (!directory_db_add_user(f->db, &address, &err))
        fail_msg("%s", err.text);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err;
    assert_non_null(f);
    box_setup(&f->box, program, IPC_DIRECTORY);
    assert_true(directory_db_open(&f->db, f->box.state_dir, DATABASE_WRITE, &err));
    assert_true(directory_db_add_domain(f->db, STR("example.com"), STR("example.com"), &err));
    *state = f;
    return 0;
}

static void start(struct fixture *f)
{
    box_start(&f->box);
    box_run(&f->box, &f->box.ready);
    f->receiver = box_peer(&f->box, IPC_RECEIVER, &handlers, f);
    f->queue = box_peer(&f->box, IPC_QUEUE, &handlers, f);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct os_exit how;
    ipc_close(&f->receiver);
    ipc_close(&f->queue);
    if (f->box.control) {
        box_stop(&f->box, &how);
        assert_int_equal(how.code, 0);
    }
    directory_db_close(&f->db);
    box_teardown(&f->box);
    free(f);
    return 0;
}

static void it_answers_receiver_and_queue(void **state)
{
    const struct {
        struct str asked;
        uint8_t verdict;
        const char *mailbox;
    } cases[] = {
        {STR("ALICE@example.com"), LOOKUP_LOCAL, "example.com/alice"},
        {STR("用户@example.com"), LOOKUP_LOCAL, "example.com/用户"},
        {STR("bob@example.com"), LOOKUP_NO_SUCH_USER, ""},
        {STR("bob@example.net"), LOOKUP_NOT_HOSTED, ""},
        {STR("postmaster"), LOOKUP_LOCAL, "example.com/alice"},
        {STR("Postmaster"), LOOKUP_LOCAL, "example.com/alice"},
        {STR("postMaster@Example.com"), LOOKUP_LOCAL, "example.com/alice"},
        {STR(""), LOOKUP_TROUBLE, ""},
        {STR("no address"), LOOKUP_TROUBLE, ""},
        {STR("\xff@example.com"), LOOKUP_TROUBLE, ""},
    };
    struct fixture *f = *state;
    struct answer found[ARRAY_LEN(cases)], resolved[ARRAY_LEN(cases)];
    add(f, "alice@example.com");
    add(f, "用户@example.com");
    start(f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ask(f, MSG_lookup, cases[i].asked, &found[i]);
        ask(f, MSG_resolve, cases[i].asked, &resolved[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        box_run(&f->box, &found[i].came);
        box_run(&f->box, &resolved[i].came);
        assert_int_equal(found[i].verdict, cases[i].verdict);
        assert_string_equal(found[i].mailbox, ""); // a receiver has no use for it
        assert_int_equal(resolved[i].verdict, cases[i].verdict);
        assert_string_equal(resolved[i].mailbox, cases[i].mailbox);
    }
}

static void changes_are_seen_at_once(void **state)
{
    struct fixture *f = *state;
    struct answer answer;
    start(f);
    ask(f, MSG_lookup, STR("postmaster@example.com"), &answer);
    box_run(&f->box, &answer.came);
    assert_int_equal(answer.verdict, LOOKUP_TROUBLE); // no user at all
    ask(f, MSG_lookup, STR("eve@example.com"), &answer);
    box_run(&f->box, &answer.came);
    assert_int_equal(answer.verdict, LOOKUP_NO_SUCH_USER);
    add(f, "eve@example.com");
    directory_db_close(&f->db); // as the command does: the role keeps -wal and -shm alive
    ask(f, MSG_lookup, STR("eve@example.com"), &answer);
    box_run(&f->box, &answer.came);
    assert_int_equal(answer.verdict, LOOKUP_LOCAL);
}

// ---- what stands for others

static void add_alias(struct fixture *f, const char *alias, const char *target)
{
    struct address addresses[2];
    struct err err;
    assert_true(address_read(str_of(alias), &f->box.arena, &addresses[0], &err));
    assert_true(address_read(str_of(target), &f->box.arena, &addresses[1], &err));
    if (!directory_db_add_alias(f->db, &addresses[0], &addresses[1], 1, &err))
        fail_msg("%s", err.text);
}

static void an_alias_is_asked_once(void **state)
{
    static const struct {
        const char *asked;
        bool final;
        uint8_t verdict;
        const char *mailbox;
    } cases[] = {
        {"info@example.com", false, LOOKUP_EXPANDED, ""},
        {"info+detail@example.com", false, LOOKUP_EXPANDED, ""},
        {"info@example.com", true, LOOKUP_NO_SUCH_USER, ""},
        {"alice+detail@example.com", true, LOOKUP_LOCAL, "example.com/alice"},
        {"carol@example.com", false, LOOKUP_LOCKED, "example.com/carol"},
        {"bob@example.com", false, LOOKUP_MOVED, ""},
        {"bob@example.com", true, LOOKUP_LOCAL, "example.com/bob"},
        {"bob@elsewhere.example", false, LOOKUP_NOT_HOSTED, ""},
        {"bob@elsewhere.example", true, LOOKUP_NOT_HOSTED, ""},
    };
    struct fixture *f = *state;
    struct address bob, away, carol;
    struct answer answer;
    struct err err;
    add(f, "alice@example.com");
    add(f, "bob@example.com");
    add(f, "carol@example.com");
    add_alias(f, "info@example.com", "alice@example.com");
    assert_true(address_read(STR("bob@example.com"), &f->box.arena, &bob, &err));
    assert_true(address_read(STR("bob@elsewhere.example"), &f->box.arena, &away, &err));
    assert_true(address_read(STR("carol@example.com"), &f->box.arena, &carol, &err));
    assert_true(directory_db_move_user(f->db, &bob, &away, false, &err));
    assert_true(directory_db_lock_user(f->db, &carol, true, &err));
    start(f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct msg m = {.type = MSG_resolve};
        answer = (struct answer){.came = false};
        m.resolve.recipient = str_of(cases[i].asked);
        m.resolve.final = cases[i].final;
        assert_true(ipc_request(f->queue, &m, &answer));
        box_run(&f->box, &answer.came);
        assert_int_equal(answer.verdict, cases[i].verdict);
        assert_string_equal(answer.mailbox, cases[i].mailbox);
    }
    // For a receiver an alias is an address like another.
    ask(f, MSG_lookup, STR("info@example.com"), &answer);
    box_run(&f->box, &answer.came);
    assert_int_equal(answer.verdict, LOOKUP_LOCAL);
    ask(f, MSG_lookup, STR("carol@example.com"), &answer);
    box_run(&f->box, &answer.came);
    assert_int_equal(answer.verdict, LOOKUP_LOCKED);
    ask(f, MSG_lookup, STR("bob@example.com"), &answer);
    box_run(&f->box, &answer.came);
    assert_int_equal(answer.verdict, LOOKUP_MOVED);
    assert_string_equal(answer.mailbox, "bob@elsewhere.example");
}

// An alias of many comes in pages that a message holds; together they are all, each once.
static void a_long_alias_comes_in_pages(void **state)
{
    enum { MEMBERS = 900 };
    struct fixture *f = *state;
    struct answer answer;
    struct address list;
    struct address *members = calloc(MEMBERS, sizeof *members);
    struct err err;
    unsigned pages = 0;
    assert_non_null(members);
    assert_true(address_read(STR("all@example.com"), &f->box.arena, &list, &err));
    assert_true(directory_db_begin(f->db, &err));
    for (unsigned i = 0; i < MEMBERS; i++) {
        char text[64];
        snprintf(text, sizeof text, "member%u@example.com", i);
        assert_true(address_read(str_of(text), &f->box.arena, &members[i], &err));
        assert_true(directory_db_add_user(f->db, &members[i], &err));
    }
    assert_true(directory_db_commit(f->db, &err));
    assert_true(directory_db_add_alias(f->db, &list, members, MEMBERS, &err));
    start(f);
    f->members = 0;
    f->next = 0;
    do {
        struct msg m = {.type = MSG_resolve};
        answer = (struct answer){.came = false};
        m.resolve.recipient = STR("all@example.com");
        m.resolve.after = f->next;
        assert_true(ipc_request(f->queue, &m, &answer));
        box_run(&f->box, &answer.came);
        assert_int_equal(answer.verdict, LOOKUP_EXPANDED);
        pages++;
    } while (f->next);
    assert_int_equal(f->members, MEMBERS);
    assert_in_range(pages, 2, 10);
    free(members);
}

// ---- quotas

static void on_account(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct fixture *f = ipc_context(channel);
    (void)owner;
    f->account = m->account.wanted;
}

static void on_count(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct fixture *f = ipc_context(channel);
    (void)owner;
    f->counts = true;
    f->slot = m->slot;
    snprintf(f->counted, sizeof(f->counted), "%.*s", STR_ARG(m->count.mailbox));
}

static void on_settle(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct fixture *f = ipc_context(channel);
    (void)owner;
    f->settles = true;
    f->slot = m->slot;
}

static const struct ipc_handlers postman = {
    .on = {[MSG_account] = on_account, [MSG_count] = on_count}};
static const struct ipc_handlers reader = {.on = {[MSG_settle] = on_settle}};

static void set_quota(struct fixture *f, const char *user, int64_t quota)
{
    struct address address;
    struct err err;
    assert_true(address_read(str_of(user), &f->box.arena, &address, &err));
    assert_true(directory_db_set_quota(f->db, &address, quota, &err));
}

static void tell(struct fixture *f, enum ipc_type type, const char *mailbox, uint64_t octets)
{
    struct msg m = {.type = type};
    if (type == MSG_used) {
        m.used.mailbox = str_of(mailbox);
        m.used.octets = octets;
        m.used.letters = 1;
    } else {
        m.freed.mailbox = str_of(mailbox);
        m.freed.octets = octets;
        m.freed.letters = 1;
    }
    ipc_send(type == MSG_used ? f->postman : f->reader, &m);
}

static void answer_count(struct fixture *f, uint64_t octets)
{
    struct msg m = {.type = MSG_counted, .slot = f->slot};
    m.counted.ok = true;
    m.counted.octets = octets;
    m.counted.letters = 1;
    f->counts = f->settles = false;
    ipc_send(f->postman, &m);
}

static void answer_settle(struct fixture *f)
{
    ipc_send(f->reader, &(struct msg){.type = MSG_settled, .slot = f->slot});
}

static uint8_t verdict_of(struct fixture *f, const char *recipient, uint64_t size)
{
    struct msg m = {.type = MSG_lookup};
    struct answer answer = {.came = false};
    m.lookup.recipient = str_of(recipient);
    m.lookup.size = size;
    assert_true(ipc_request(f->receiver, &m, &answer));
    box_run(&f->box, &answer.came);
    return answer.verdict;
}

// What was sent on other channels before has been heard when the look-up is answered: ask until it
// is so.
static void room_becomes(struct fixture *f, const char *recipient, uint64_t least)
{
    uint64_t end = os_monotonic_ms() + 30000;
    while (verdict_of(f, recipient, least) != LOOKUP_LOCAL ||
           verdict_of(f, recipient, least + 1) != LOOKUP_FULL)
        assert_true(os_monotonic_ms() < end);
}

static void start_with_postman(struct fixture *f)
{
    start(f);
    f->postman = box_peer(&f->box, IPC_POSTMAN, &postman, f);
    f->reader = box_peer(&f->box, IPC_READER, &reader, f);
}

static void stop_with_postman(struct fixture *f)
{
    ipc_close(&f->postman);
    ipc_close(&f->reader);
}

static void a_full_mailbox(void **state)
{
    struct fixture *f = *state;
    add(f, "汉字@example.com");
    add(f, "bob@example.com");
    add_alias(f, "one@example.com", "汉字@example.com");
    add_alias(f, "two@example.com", "汉字@example.com");
    add_alias(f, "two@example.com", "bob@example.com");
    set_quota(f, "汉字@example.com", 1000);
    start_with_postman(f);
    box_run(&f->box, &f->account);
    box_run(&f->box, &f->counts);
    assert_string_equal(f->counted, "example.com/汉字"); // the only one that has a quota
    assert_int_equal(verdict_of(f, "汉字@example.com", 5000), LOOKUP_LOCAL); // nothing is known yet
    answer_count(f, 400);
    box_run(&f->box, &f->settles);
    answer_settle(f);
    room_becomes(f, "汉字@example.com", 600);
    room_becomes(f, "one@example.com", 600);
    assert_int_equal(verdict_of(f, "two@example.com", 5000), LOOKUP_LOCAL);
    tell(f, MSG_used, "example.com/汉字", 500);
    room_becomes(f, "汉字@example.com", 100);
    tell(f, MSG_freed, "example.com/汉字", 200);
    room_becomes(f, "汉字@example.com", 300);
    set_quota(f, "汉字@example.com", 701); // seen at once
    assert_int_equal(verdict_of(f, "汉字@example.com", 2), LOOKUP_FULL);
    assert_int_equal(verdict_of(f, "汉字@example.com", 0), LOOKUP_LOCAL);
    set_quota(f, "汉字@example.com", 700);
    assert_int_equal(verdict_of(f, "汉字@example.com", 0), LOOKUP_FULL);
    assert_int_equal(verdict_of(f, "postmaster@example.com", 0), LOOKUP_LOCAL);
    stop_with_postman(f);
}

// roles/directory_usage.c says what becomes of differences while a mailbox is counted.
static void differences_during_a_count(void **state)
{
    struct fixture *f = *state;
    add(f, "alice@example.com");
    set_quota(f, "alice@example.com", 1000);
    start_with_postman(f);
    box_run(&f->box, &f->counts);
    tell(f, MSG_used, "example.com/alice", 50); // is in the answer
    answer_count(f, 400);
    tell(f, MSG_used, "example.com/alice", 100); // comes behind it
    box_run(&f->box, &f->settles);
    answer_settle(f);
    room_becomes(f, "alice@example.com", 500);

    // A removal whose word comes before `settled` spoils the count: it is done again.
    set_quota(f, "alice@example.com", DIRECTORY_NO_QUOTA);
    f->account = true;
    while (f->account) { // what was known is forgotten
        struct err err;
        assert_true(loop_turn(f->box.loop, 100, &err));
    }
    set_quota(f, "alice@example.com", 1000);
    f->counts = false;
    box_run(&f->box, &f->counts);
    answer_count(f, 400);
    box_run(&f->box, &f->settles);
    tell(f, MSG_freed, "example.com/alice", 30);
    answer_settle(f);
    box_run(&f->box, &f->counts);
    answer_count(f, 370);
    box_run(&f->box, &f->settles);
    answer_settle(f);
    room_becomes(f, "alice@example.com", 630);
    stop_with_postman(f);
}

// A postman or reader that dies during a count leaves nothing half done.
static void a_count_whose_counter_dies(void **state)
{
    struct fixture *f = *state;
    add(f, "alice@example.com");
    set_quota(f, "alice@example.com", 1000);
    start_with_postman(f);
    box_run(&f->box, &f->counts);
    ipc_close(&f->postman);
    f->counts = false;
    f->postman = box_peer(&f->box, IPC_POSTMAN, &postman, f);
    box_run(&f->box, &f->counts);
    answer_count(f, 400);
    box_run(&f->box, &f->settles);
    ipc_close(&f->reader);
    room_becomes(f, "alice@example.com", 600);
    stop_with_postman(f);
}

static void drained_it_has_written_all(void **state)
{
    struct fixture *f = *state;
    struct msg drain = {.type = MSG_drain};
    struct usage_db *usage = NULL;
    struct usage found = {0, 0};
    struct err err;
    bool known = false;
    add(f, "alice@example.com");
    set_quota(f, "alice@example.com", 1000);
    start_with_postman(f);
    box_run(&f->box, &f->counts);
    answer_count(f, 400);
    box_run(&f->box, &f->settles);
    answer_settle(f);
    room_becomes(f, "alice@example.com", 600);
    tell(f, MSG_used, "example.com/alice", 77);
    room_becomes(f, "alice@example.com", 523);
    ipc_send(f->box.control, &drain);
    box_run(&f->box, &f->box.drained);
    assert_true(usage_db_open(&usage, f->box.state_dir, DATABASE_READ, &err));
    assert_true(usage_db_find(usage, STR("example.com/alice"), &known, &found, &err));
    assert_true(known);
    assert_int_equal(found.octets, 477);
    assert_int_equal(found.letters, 2);
    usage_db_close(&usage);
    stop_with_postman(f);
}

static void nothing_is_counted_where_nobody_has_a_quota(void **state)
{
    struct fixture *f = *state;
    add(f, "alice@example.com");
    set_quota(f, "alice@example.com", 0);
    start_with_postman(f);
    f->account = true;
    while (f->account) { // it says no as soon as it sees the postman
        struct err err;
        assert_true(loop_turn(f->box.loop, 100, &err));
    }
    tell(f, MSG_used, "example.com/alice", 77);
    assert_int_equal(verdict_of(f, "alice@example.com", UINT64_MAX), LOOKUP_LOCAL);
    assert_false(f->counts);
    stop_with_postman(f);
}

static void all_credits_at_once(void **state)
{
    enum { ROUNDS = 4, CREDITS = 1024 };
    struct fixture *f = *state;
    struct answer *answers = calloc(CREDITS, sizeof(*answers));
    assert_non_null(answers);
    add(f, "alice@example.com");
    start(f);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CREDITS; i++)
            ask(f, MSG_lookup, i % 2 ? STR("alice@example.com") : STR("bob@example.com"),
                &answers[i]);
        for (int i = 0; i < CREDITS; i++) {
            box_run(&f->box, &answers[i].came);
            assert_int_equal(answers[i].verdict, i % 2 ? LOOKUP_LOCAL : LOOKUP_NO_SUCH_USER);
        }
    }
    free(answers);
}

// A directory that is away or damaged is not an empty one: nobody may be refused for it.
static void it_does_not_start_without_its_database(void **state)
{
    static const char *const damage[] = {NULL, "", "neither a database nor long enough to be one"};
    struct fixture *f = *state;
    directory_db_close(&f->db);
    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        struct os_exit how;
        box_remove(f->box.dir, false);
        if (damage[i])
            box_write(&f->box, "directory.db", str_of(damage[i]));
        box_start(&f->box);
        box_run(&f->box, &f->box.ended);
        assert_false(f->box.ready);
        box_stop(&f->box, &how);
        assert_int_equal(how.signal, 0);
        assert_int_equal(how.code, 70); // EX_SOFTWARE: role_fail
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(it_answers_receiver_and_queue),
        CASE(changes_are_seen_at_once),
        CASE(an_alias_is_asked_once),
        CASE(a_long_alias_comes_in_pages),
        CASE(a_full_mailbox),
        CASE(differences_during_a_count),
        CASE(a_count_whose_counter_dies),
        CASE(drained_it_has_written_all),
        CASE(nothing_is_counted_where_nobody_has_a_quota),
        CASE(all_credits_at_once),
        CASE(it_does_not_start_without_its_database),
    };
    must(argc == 2);
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
