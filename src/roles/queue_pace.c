// Acceptance no faster than delivery. While more deliveries are due than the queue works on at one
// time (LIMIT_attempts), the answer to a letter is kept back although the letter is durable:
//
//   durable ──► kept back ──► as many attempts have ended as letters before it, and it, began
//                  │          or the backlog is gone ───────────────────────────────► committed
//                  └─ KEPT_MS since the submission have passed ─────────────────────────┘
//
// A client that hears its 250 late sends its next letter late: the backlog stops growing. A
// delivery that stands still makes acceptance slow and never ends it. KEPT_MS is well below the
// time after which a receiver gives up (ANSWER_MS in receiver.h): nobody sends a letter again that
// is queued.
#include "base/limits.h"
#include "roles/queue.h"

enum { KEPT_MS = 2000 };

struct late_answer {
    struct link link; // in queue.late, in the order in which they go
    struct ipc_channel *channel;
    uint32_t slot;
    uint64_t turn; // goes when queue.ended has come to this
    uint64_t until_ms;
};

uint64_t queue_backlog(const struct queue *q)
{
    return q->attempts + q->due_count;
}

static bool paced(const struct queue *q)
{
    return !q->draining && queue_backlog(q) > LIMIT_attempts;
}

static void say_committed(struct ipc_channel *channel, uint32_t slot)
{
    struct msg reply = {.type = MSG_committed, .slot = slot};
    reply.committed.ok = true;
    reply.committed.status = SUBMIT_OK;
    ipc_send(channel, &reply);
}

static struct late_answer *answer_at(struct link *link)
{
    return CONTAINER_OF(link, struct late_answer, link);
}

static void time_passed(struct timer *timer)
{
    queue_pace(CONTAINER_OF(timer, struct queue, pace_timer));
}

void queue_accept(struct queue *q, struct ipc_channel *channel, uint32_t slot, uint32_t recipients,
                  uint64_t came_ms)
{
    if (list_empty(&q->late) && !paced(q)) {
        say_committed(channel, slot);
        return;
    }
    struct late_answer *a = calloc(1, sizeof *a);
    must(a != NULL);
    uint64_t turn = list_empty(&q->late) ? q->ended : answer_at(q->late.prev)->turn;
    *a = (struct late_answer){.channel = channel,
                              .slot = slot,
                              .turn = (turn > q->ended ? turn : q->ended) + recipients,
                              .until_ms = came_ms + KEPT_MS};
    list_append(&q->late, &a->link);
    q->kept_back++;
    queue_pace(q);
}

void queue_pace(struct queue *q)
{
    uint64_t now = loop_now(q->role->loop);
    while (!list_empty(&q->late)) {
        struct late_answer *a = answer_at(q->late.next);
        if (paced(q) && q->ended < a->turn && now < a->until_ms) {
            q->pace_timer.fire = time_passed;
            loop_set_timer(q->role->loop, &q->pace_timer, a->until_ms - now);
            return;
        }
        say_committed(a->channel, a->slot);
        list_remove(&a->link);
        free(a);
    }
}

void queue_pace_forget(struct queue *q, const struct ipc_channel *channel)
{
    LIST_EACH(&q->late, at, after)
    {
        struct late_answer *a = answer_at(at);
        if (a->channel != channel)
            continue;
        list_remove(at);
        free(a);
    }
}
