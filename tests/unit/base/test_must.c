#include "base/attr.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../check.h"

static void a_condition_that_holds_costs_nothing(void **state)
{
    (void)state;
    int evaluated = 0;
    must(++evaluated == 1); // always on: the condition is evaluated, once
    assert_int_equal(evaluated, 1);
}

static void one_that_does_not_ends_the_process_and_says_where(void **state)
{
    (void)state;
    int ends[2], status;
    char text[400] = "";
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL); // cmocka's own handler would take it
        dup2(ends[1], STDERR_FILENO);
        must(1 + 1 == 3);
        _exit(0);
    }
    close(ends[1]);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "1 + 1 == 3"));
    assert_non_null(strstr(text, "test_must.c"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_condition_that_holds_costs_nothing),
        cmocka_unit_test(one_that_does_not_ends_the_process_and_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
