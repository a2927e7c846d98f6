#define _GNU_SOURCE
#include "os/process.h"

#include <pthread.h>
#include <signal.h>

#include "os/loop.h"

enum { THREAD_NAME = 16 }; // the kernel's room, NUL included

struct os_thread {
    pthread_t id;
    char name[THREAD_NAME];
    void (*run)(void *);
    void *context;
};

static void *thread_main(void *argument)
{
    struct os_thread *thread = argument;
    // A longer name than the kernel takes was cut below; a missing one is no trouble.
    (void)pthread_setname_np(pthread_self(), thread->name);
    thread->run(thread->context);
    return NULL;
}

bool os_thread_start(struct os_thread **thread, const char *name, void (*run)(void *),
                     void *context, struct err *err)
{
    struct os_thread *t = calloc(1, sizeof(*t));
    must(t != NULL);
    snprintf(t->name, sizeof(t->name), "%s", name);
    t->run = run;
    t->context = context;
    // Signals are for the loop's thread.
    sigset_t all, before;
    sigfillset(&all);
    must(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int r = pthread_create(&t->id, NULL, thread_main, t);
    must(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (r != 0) {
        free(t);
        return err_system(err, r, "starting thread %s", name);
    }
    *thread = t;
    return true;
}

void os_thread_join(struct os_thread **thread)
{
    if (!*thread)
        return;
    must(pthread_join((*thread)->id, NULL) == 0);
    free(*thread);
    *thread = NULL;
}

// ---- workers

struct os_workers {
    struct loop *loop;
    struct loop_signal finished;
    pthread_mutex_t lock; // of all below
    pthread_cond_t work;  // there is a job, or the end has come
    struct link waiting;
    struct link done;
    size_t waiting_count;
    bool closing;
    unsigned count;
    struct os_thread *threads[];
};

static void lock(struct os_workers *workers)
{
    must(pthread_mutex_lock(&workers->lock) == 0);
}

static void unlock(struct os_workers *workers)
{
    must(pthread_mutex_unlock(&workers->lock) == 0);
}

// The next job, or NULL when the end has come. With the lock held.
static struct os_job *next_job(struct os_workers *workers)
{
    while (list_empty(&workers->waiting) && !workers->closing)
        must(pthread_cond_wait(&workers->work, &workers->lock) == 0);
    if (workers->closing)
        return NULL;
    workers->waiting_count--;
    return CONTAINER_OF(list_pop(&workers->waiting), struct os_job, link);
}

static void worker_main(void *context)
{
    struct os_workers *workers = context;
    struct os_job *job;
    lock(workers);
    while ((job = next_job(workers))) {
        unlock(workers);
        job->work(job);
        lock(workers);
        bool first = list_empty(&workers->done);
        list_append(&workers->done, &job->link);
        if (first)
            loop_wake(&workers->finished);
    }
    unlock(workers);
}

// Runs `done` of what is finished. The list is taken out whole: `done` may submit.
static void run_done(struct os_workers *workers)
{
    struct link finished, *l;
    list_init(&finished);
    lock(workers);
    while ((l = list_pop(&workers->done)))
        list_append(&finished, l);
    unlock(workers);
    while ((l = list_pop(&finished))) {
        struct os_job *job = CONTAINER_OF(l, struct os_job, link);
        job->done(job);
    }
}

static void on_finished(struct loop_signal *signal)
{
    run_done(CONTAINER_OF(signal, struct os_workers, finished));
}

bool os_workers_open(struct os_workers **workers, struct loop *loop, const char *name,
                     unsigned threads, struct err *err)
{
    must(threads > 0);
    struct os_workers *w = calloc(1, sizeof(*w) + threads * sizeof(struct os_thread *));
    must(w != NULL);
    w->loop = loop;
    w->finished.woken = on_finished;
    list_init(&w->waiting);
    list_init(&w->done);
    must(pthread_mutex_init(&w->lock, NULL) == 0 && pthread_cond_init(&w->work, NULL) == 0);
    bool ok = loop_signal_open(loop, &w->finished, err);
    while (ok && w->count < threads) {
        ok = os_thread_start(&w->threads[w->count], name, worker_main, w, err);
        w->count += ok;
    }
    if (ok)
        *workers = w;
    else
        os_workers_close(&w);
    return ok;
}

void os_workers_close(struct os_workers **workers)
{
    struct os_workers *w = *workers;
    if (!w)
        return;
    lock(w);
    w->closing = true;
    must(pthread_cond_broadcast(&w->work) == 0);
    unlock(w);
    for (unsigned i = 0; i < w->count; i++)
        os_thread_join(&w->threads[i]);
    run_done(w);
    struct link *l;
    while ((l = list_pop(&w->waiting)))
        continue; // so that the dropped jobs are in no list
    loop_signal_close(w->loop, &w->finished);
    pthread_cond_destroy(&w->work);
    pthread_mutex_destroy(&w->lock);
    free(w);
    *workers = NULL;
}

void os_workers_submit(struct os_workers *workers, struct os_job *job)
{
    lock(workers);
    must(!workers->closing);
    list_append(&workers->waiting, &job->link);
    workers->waiting_count++;
    must(pthread_cond_signal(&workers->work) == 0);
    unlock(workers);
}

size_t os_workers_waiting(struct os_workers *workers)
{
    lock(workers);
    size_t n = workers->waiting_count;
    unlock(workers);
    return n;
}
