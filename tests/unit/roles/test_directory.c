// argv[1]: the program of the role directory.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ipc/targets.h"
#include "ipc/verdicts.h"
#include "store/directory_db.h"
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
        CASE(it_answers_receiver_and_queue), CASE(changes_are_seen_at_once),
        CASE(an_alias_is_asked_once),        CASE(a_long_alias_comes_in_pages),
        CASE(all_credits_at_once),           CASE(it_does_not_start_without_its_database),
    };
    must(argc == 2);
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
