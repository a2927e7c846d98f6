// Answers to `posthouse queue ...`. What is about letters is store/desk.h's: here is when it is
// asked, and what it has to do with the attempts.
#include "roles/queue.h"

#include "base/json.h"
#include "base/limits.h"
#include "store/desk.h"

// ---- letters: questions and orders, store/desk.h

struct visit {
    struct os_job job;
    struct queue *queue;
    struct question *question;
    struct desk *desk;
    struct spool_waiter waiter;
};

static void visit_work(struct os_job *job)
{
    desk_read(CONTAINER_OF(job, struct visit, job)->desk);
}

static void answer(struct visit *v)
{
    struct buf out;
    buf_init(&out, LIMIT_control_reply);
    bool ok = desk_answer(v->desk, &out);
    role_answer(v->question, ok, &out);
    buf_finish(&out);
    desk_close(&v->desk);
    free(v);
}

static void visit_durable(struct spool_waiter *waiter, bool durable)
{
    (void)durable; // states are always durable in the end
    answer(CONTAINER_OF(waiter, struct visit, waiter));
}

static void touched(void *owner, struct spool_letter *letter)
{
    queue_reschedule(owner, letter);
}

static void visit_done(struct os_job *job)
{
    struct visit *v = CONTAINER_OF(job, struct visit, job);
    struct queue *q = v->queue;
    if (!desk_act(v->desk, touched, q)) {
        answer(v);
        return;
    }
    desk_ended(v->desk, queue_withdraw(q));
    v->waiter = (struct spool_waiter){.for_states = true, .done = visit_durable};
    spool_wait(q->spool, &v->waiter);
    queue_advance(q);
}

static bool visit(struct queue *q, struct str what, struct str argument, struct question *question,
                  struct buf *why)
{
    struct err err;
    struct desk *desk = desk_open(q->spool, what, argument, &err);
    if (!desk) {
        buf_put(why, err_text(&err));
        return false;
    }
    struct visit *v = calloc(1, sizeof *v);
    must(v != NULL);
    *v = (struct visit){.job = {.work = visit_work, .done = visit_done},
                        .queue = q,
                        .question = question,
                        .desk = desk};
    os_workers_submit(q->readers, &v->job);
    return true;
}

// ---- other questions

static void put_status(struct queue *q, struct buf *out)
{
    struct spool_counts c;
    struct json j;
    uint64_t parked = 0;
    LIST_EACH(&q->parked, at, after)
    {
        parked++;
    }
    spool_count(q->spool, &c);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"letters", c.letters},
        {"recipients", c.recipients},
        {"attempts", q->attempts},
        {"backlog", queue_backlog(q)},
        {"delivered", q->delivered},
        {"deferred", q->deferred},
        {"kept_back", q->kept_back},
        {"segments", c.segments},
        {"free_segments", c.free_segments},
        {"commits", c.commits},
        {"committed_bytes", c.committed_bytes},
        {"parked", parked},
        {"segments_read", c.read},
        {"segments_to_read", c.to_read},
    };
    json_begin(&j, out);
    json_open_object(&j);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_name(&j, rows[i].name);
        json_put_int(&j, (int64_t)rows[i].value);
    }
    json_name(&j, "space");
    json_put_bool(&j, q->has_space);
    json_name(&j, "paced");
    json_put_bool(&j, !list_empty(&q->late));
    json_close_object(&j);
    buf_put_byte(out, '\n');
}

// Before the whole log is known no question about letters can be answered: some are missing, others
// are at their end already. Such a question waits; `status` says how far the reading is.
struct waiting_question {
    struct link link;
    struct question *question;
    size_t what; // octets of `text`; the argument stands behind
    size_t length;
    char text[];
};

static void keep_question(struct queue *q, struct str what, struct str argument,
                          struct question *question)
{
    struct waiting_question *w = malloc(sizeof *w + what.len + argument.len);
    must(w != NULL);
    *w = (struct waiting_question){
        .question = question, .what = what.len, .length = what.len + argument.len};
    memcpy(w->text, what.ptr, what.len);
    memcpy(w->text + what.len, argument.ptr, argument.len);
    list_append(&q->questions, &w->link);
}

void queue_ask_again(struct queue *q)
{
    for (struct link *at; (at = list_pop(&q->questions));) {
        struct waiting_question *w = CONTAINER_OF(at, struct waiting_question, link);
        struct str text = str_from(w->text, w->length);
        queue_ask(q->role, str_sub(text, 0, w->what), str_skip(text, w->what), w->question);
        free(w);
    }
}

void queue_ask(struct role *role, struct str what, struct str argument, struct question *question)
{
    struct queue *q = role->state;
    struct buf out;
    bool ok = false, letters = desk_knows(what);
    if (letters && !spool_indexed(q->spool)) {
        keep_question(q, what, argument, question);
        return;
    }
    buf_init(&out, LIMIT_control_request);
    if (letters && visit(q, what, argument, question, &out)) {
        buf_finish(&out);
        return;
    }
    if (str_eq(what, STR("status"))) {
        put_status(q, &out);
        ok = true;
    } else if (!letters) {
        buf_put(&out, STR("the queue does not know this question"));
    }
    role_answer(question, ok, &out);
    buf_finish(&out);
}
