// A count while letters come in. The thread may look before a letter comes or behind it: the answer
// is the same.
#include "roles/postman_count.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "os/file.h"
#include "os/log.h"
#include "os/net.h"

#define MAILBOX "example.test/汉字"

struct desk {
    char path[64];
    int mail_dir, new;
    struct loop *loop;
    struct counter counter;
    struct ipc_channel *postman, *directory; // the two ends
    struct msg answer;
    bool came;
};

static void on_count(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct desk *desk = ipc_context(channel);
    (void)owner;
    counter_begin(&desk->counter, channel, m);
    // Before the loop turns again; one that is in new/ already, one that never is, and others'.
    counter_came(&desk->counter, STR(MAILBOX), STR("5.seen,S=50,W=60"), 50);
    counter_came(&desk->counter, STR(MAILBOX), STR("6.unseen,S=600,W=700"), 600);
    counter_came(&desk->counter, STR("example.test/bob"), STR("7.other,S=7000,W=7000"), 7000);
}

static void on_counted(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct desk *desk = ipc_context(channel);
    (void)owner;
    desk->answer = *m;
    desk->came = true;
}

static void directory_closed(struct ipc_channel *channel, const char *why)
{
    struct desk *desk = ipc_context(channel);
    (void)why;
    counter_forget(&desk->counter, channel);
    desk->postman = NULL;
    desk->came = true;
}

static const struct ipc_handlers postman = {.on = {[MSG_count] = on_count},
                                            .closed = directory_closed};
static const struct ipc_handlers directory = {.on = {[MSG_counted] = on_counted}};

static void put_file(struct desk *desk, const char *name, struct str text)
{
    int fd = os_open(desk->new, name, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(os_write_all(fd, text), 0);
    os_close(&fd);
}

static int set_up(void **state)
{
    struct desk *desk = calloc(1, sizeof *desk);
    struct err err;
    int ends[2], rc = 0;
    static const char *const parts[] = {"example.test", MAILBOX, MAILBOX "/tmp", MAILBOX "/new",
                                        MAILBOX "/cur"};
    assert_non_null(desk);
    memcpy(desk->path, "/tmp/posthouse-count-XXXXXX", sizeof "/tmp/posthouse-count-XXXXXX");
    assert_non_null(mkdtemp(desk->path));
    desk->mail_dir = os_open_directory(OS_HERE, desk->path);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        rc |= os_mkdir(desk->mail_dir, parts[i], 0700);
    desk->new = os_open_directory(desk->mail_dir, MAILBOX "/new");
    assert_true(rc == 0 && desk->new >= 0);
    assert_true(loop_open(&desk->loop, &err));
    counter_init(&desk->counter, desk->loop, desk->mail_dir);
    assert_int_equal(net_pair(ends), 0);
    assert_true(ipc_open(&desk->postman, desk->loop, ends[0], IPC_POSTMAN, IPC_DIRECTORY, 0,
                         &postman, desk, &err));
    assert_true(ipc_open(&desk->directory, desk->loop, ends[1], IPC_DIRECTORY, IPC_POSTMAN, 0,
                         &directory, desk, &err));
    *state = desk;
    return 0;
}

static bool remove_file(void *context, const char *name)
{
    return os_unlink(*(int *)context, name) == 0;
}

static int tear_down(void **state)
{
    struct desk *desk = *state;
    static const char *const parts[] = {MAILBOX "/tmp", MAILBOX "/new", MAILBOX "/cur", MAILBOX,
                                        "example.test"};
    os_workers_close(&desk->counter.workers);
    ipc_close(&desk->postman);
    ipc_close(&desk->directory);
    loop_close(&desk->loop);
    assert_int_equal(os_list(desk->new, remove_file, &desk->new), 0);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        assert_int_equal(os_rmdir(desk->mail_dir, parts[i]), 0);
    assert_int_equal(os_rmdir(OS_HERE, desk->path), 0);
    os_close(&desk->new);
    os_close(&desk->mail_dir);
    free(desk);
    return 0;
}

static void until_it_came(struct desk *desk)
{
    struct err err;
    for (int i = 0; i < 1000 && !desk->came; i++)
        assert_true(loop_turn(desk->loop, 20, &err));
    assert_true(desk->came);
}

static void ask(struct desk *desk, const char *mailbox)
{
    struct msg m = {.type = MSG_count};
    m.count.mailbox = str_of(mailbox);
    desk->came = false;
    assert_true(ipc_request(desk->directory, &m, desk));
}

static void what_came_meanwhile_is_counted_once(void **state)
{
    struct desk *desk = *state;
    put_file(desk, "1.old,S=1,W=2", STR("a"));
    put_file(desk, "2.foreign", STR("four"));
    put_file(desk, "5.seen,S=50,W=60", STR("no matter"));
    ask(desk, MAILBOX);
    until_it_came(desk);
    assert_true(desk->answer.counted.ok);
    assert_int_equal(desk->answer.counted.letters, 4);
    assert_int_equal(desk->answer.counted.octets, 1 + 4 + 50 + 600);
}

static void who_got_no_letter_yet_has_none(void **state)
{
    struct desk *desk = *state;
    ask(desk, "example.test/nobody");
    until_it_came(desk);
    assert_true(desk->answer.counted.ok);
    assert_int_equal(desk->answer.counted.letters, 0);
}

static void what_cannot_be_counted_is_said(void **state)
{
    struct desk *desk = *state;
    ask(desk, "../elsewhere");
    until_it_came(desk);
    assert_false(desk->answer.counted.ok);
}

static void a_directory_that_is_gone_is_not_answered(void **state)
{
    struct desk *desk = *state;
    struct err err;
    ask(desk, MAILBOX);
    assert_true(loop_turn(desk->loop, 0, &err)); // it is sent
    ipc_close(&desk->directory);
    until_it_came(desk);
    assert_null(desk->postman);
    for (int i = 0; i < 1000 && !list_empty(&desk->counter.counts); i++)
        assert_true(loop_turn(desk->loop, 20, &err));
    assert_true(list_empty(&desk->counter.counts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        CASE(what_came_meanwhile_is_counted_once),
        CASE(who_got_no_letter_yet_has_none),
        CASE(what_cannot_be_counted_is_said),
        CASE(a_directory_that_is_gone_is_not_answered),
    };
    log_start("test", NULL, -1);
    return cmocka_run_group_tests_name("postman_count", tests, NULL, NULL);
}
