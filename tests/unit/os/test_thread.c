// os/thread.c: threads, and workers that come back to the loop.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "os/process.h"

static void note_thread(void *context)
{
    pthread_t *id = context;
    *id = pthread_self();
}

static void start_and_join(void **state)
{
    struct os_thread *thread = NULL;
    struct err err;
    pthread_t id = pthread_self();
    (void)state;
    assert_true(os_thread_start(&thread, "a name that the kernel cuts", note_thread, &id, &err));
    os_thread_join(&thread);
    assert_null(thread);
    assert_false(pthread_equal(id, pthread_self()));
    os_thread_join(&thread);
}

struct count {
    struct loop *loop;
    struct os_workers *workers;
    size_t done, want;
    atomic_size_t worked;
    pthread_t loop_thread;
    sem_t gate;
};

struct test_job {
    struct os_job job;
    struct count *count;
    struct test_job *next; // submitted by done
    bool at_gate;
};

static void do_work(struct os_job *job)
{
    struct test_job *j = CONTAINER_OF(job, struct test_job, job);
    if (j->at_gate)
        sem_wait(&j->count->gate);
    atomic_fetch_add(&j->count->worked, 1);
}

static void on_done(struct os_job *job)
{
    struct test_job *j = CONTAINER_OF(job, struct test_job, job);
    assert_true(pthread_equal(pthread_self(), j->count->loop_thread));
    if (j->next)
        os_workers_submit(j->count->workers, &j->next->job);
    if (++j->count->done == j->count->want)
        loop_stop(j->count->loop);
}

static void set_up(struct count *count, unsigned threads)
{
    struct err err;
    *count = (struct count){.loop_thread = pthread_self()};
    assert_int_equal(sem_init(&count->gate, 0, 0), 0);
    assert_true(loop_open(&count->loop, &err));
    assert_true(os_workers_open(&count->workers, count->loop, "worker", threads, &err));
}

static void tear_down(struct count *count)
{
    os_workers_close(&count->workers);
    assert_null(count->workers);
    os_workers_close(&count->workers);
    loop_close(&count->loop);
    sem_destroy(&count->gate);
}

static void many_jobs(void **state)
{
    enum { JOBS = 1000 };
    static struct test_job jobs[JOBS], later = {.job = {.work = do_work, .done = on_done}};
    struct count count;
    struct err err;
    (void)state;
    set_up(&count, 3);
    count.want = JOBS + 1;
    later.count = &count;
    for (size_t i = 0; i < JOBS; i++) {
        jobs[i] = (struct test_job){.job = {.work = do_work, .done = on_done}, .count = &count};
        if (i == 500)
            jobs[i].next = &later;
        os_workers_submit(count.workers, &jobs[i].job);
    }
    assert_true(loop_run(count.loop, &err));
    assert_int_equal(count.done, JOBS + 1);
    assert_int_equal(atomic_load(&count.worked), JOBS + 1);
    assert_int_equal(os_workers_waiting(count.workers), 0);
    tear_down(&count);
}

// A little later, so that close is usually waiting by then.
static void open_gate(void *context)
{
    struct count *count = context;
    poll(NULL, 0, 20);
    sem_post(&count->gate);
}

// The job under way is waited for and told; the one behind it is dropped, untouched.
static void closing_with_work_left(void **state)
{
    struct count count;
    struct test_job jobs[2] = {
        {.job = {.work = do_work, .done = on_done}, .count = &count, .at_gate = true},
        {.job = {.work = do_work, .done = on_done}, .count = &count},
    };
    (void)state;
    set_up(&count, 1);
    count.want = 99;
    os_workers_submit(count.workers, &jobs[0].job);
    os_workers_submit(count.workers, &jobs[1].job);
    while (os_workers_waiting(count.workers) != 1)
        sched_yield();
    struct os_thread *opener;
    struct err err;
    assert_true(os_thread_start(&opener, "opener", open_gate, &count, &err));
    os_workers_close(&count.workers);
    os_thread_join(&opener);
    assert_true(count.done >= 1);
    assert_int_equal(count.done, atomic_load(&count.worked));
    tear_down(&count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_and_join),
        cmocka_unit_test(many_jobs),
        cmocka_unit_test(closing_with_work_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
