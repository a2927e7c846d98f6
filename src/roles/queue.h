// The queue role's own header: the state its files share.
//   queue.c              leases, space, the log's index, the life of the role
//   queue_submissions.c  letters in: from the receivers' arenas into the spool
//   queue_pace.c         answers that are kept back while there is a backlog
//   queue_expand.c       who has a letter: recipients that stand for others, before the log
//   queue_attempts.c     a letter's way from "due" to "done": resolve, batch, deliver, state
//   queue_relay.c        a recipient elsewhere: its route, letters to next hops, results
//   queue_hops.c         which next hop may have how many letters, and when; pure
//   queue_tell.c         reports to senders: of failures, delays and deliveries
//   queue_report.c       answers to the administrator
#ifndef ROLES_QUEUE_H
#define ROLES_QUEUE_H

#include "base/list.h"
#include "base/map.h"
#include "ipc/verdicts.h"
#include "mail/report.h"
#include "roles/role.h"
#include "store/spool.h"
#include "store/window.h"

enum {
    LEASE_BASE = 10,  // octets
    FLIGHTS_MAX = 2,  // batches at the postman: one being synced, one ready
    KILLS_MAX = 3,    // a delivery that took the postman with it so often is held
    LISTENERS = 1024, // senders of whom it is known how many reports they were sent lately
};

struct queue;
struct relay; // queue_relay.c
struct round; // the attempts of one letter that began together; queue_relay.c
struct road;  // the way to a domain; queue_relay.c

// To the directory: where does this recipient's mail go? Part of what asks.
struct lookup {
    struct link link;     // in queue.to_resolve until it is asked
    struct str recipient; // the asker's
    uint64_t after;       // of the message `resolve`
    bool final;
    bool asked; // one of the two will be called
    void (*answered)(struct queue *q, struct lookup *lookup, const struct msg_resolved *said);
    void (*lost)(struct queue *q, struct lookup *lookup); // ask again, or let it be
};

// One recipient of the envelope that is committed.
struct destination {
    struct link link;
    struct str address;
    struct envelope_wish wish;
    struct str mailbox, token; // empty: not known; the attempt asks. At another host: no mailbox
    bool locked;               // likewise
    bool loops;                // it had this letter before: held
};

// One delivery that is under way: one recipient of one letter.
struct attempt {
    struct link link; // in ready, or none
    struct lookup lookup;
    struct spool_letter *letter;
    uint32_t recipient;
    unsigned notify;           // what its sender wants to hear: enum envelope_notify
    unsigned kills;            // postmen or senders that died with it
    struct flight *flight;     // delivered with it, and not told of yet
    struct str address;        // owned, in the same block as the attempt
    struct str mailbox;        // after the resolve; owned
    struct str token;          // of Delivered-To; in the mailbox's block
    struct round *round;       // until its way is known
    struct road *road;         // elsewhere, once that is known
    bool elsewhere;            // at another host
    const struct heard *heard; // while its end is told: what that host said
};

// What another host said of a recipient.
struct heard {
    struct str host, peer; // its name and its address
    struct str from;       // the letter's sender
    struct str text;
    unsigned code;
};

// Somebody who is told of his letters.
struct listener {
    uint64_t hash; // of the address
    uint64_t since_ms, count;
};

struct queue {
    struct role *role;
    struct spool *spool;
    int spool_dir;
    struct link arenas;
    struct link submissions; // that wait for their commit
    struct link crowd;       // those of them that did not fit into the batch
    struct link parts;       // large bodies that are coming in
    struct link parked;      // that wait until the log was read
    struct link questions;   // of the administrator, that wait for the same
    size_t part_count;
    struct os_workers *readers; // envelopes and windows
    struct link due;            // letters whose time has come: beyond LIMIT_attempts they wait
    uint64_t due_count;         // and of those whose recipients are being read
    struct link to_resolve;     // lookups
    struct link ready;          // attempts
    size_t attempts;
    unsigned flights;
    uint64_t clock_ms;    // what to add to os_monotonic_ms for queue_now_s
    struct map gathering; // of letters that are to be told of, by their id
    struct link to_tell;  // such that have gathered
    size_t telling;       // such that are under way
    struct listener listeners[LISTENERS];
    struct relay *relay;
    uint64_t hash_key[2];
    uint64_t next_batch;
    uint8_t (*leases)[LEASE_BASE]; // drawn since the start, until the log was read
    size_t lease_count;
    struct timer space_timer, drain_timer;
    bool has_space, draining;
    uint64_t taken; // octets of letters since the last look at the disk's space
    uint64_t delivered, deferred;
    uint64_t ended;   // attempts, whatever came of them
    struct link late; // answers that are kept back
    struct timer pace_timer;
    uint64_t kept_back; // answers, in all
};

// queue.c
void queue_count_taken(struct queue *q, uint64_t octets);
// A letter of this id may stand in a part of the log that was not read yet.
bool queue_may_be_logged(const struct queue *q, const struct mail_id *id);

// queue_submissions.c
void queue_on_arena(struct role *role, int fd, uint32_t instance);
void queue_on_submit(struct ipc_channel *channel, struct msg *m, void *owner);
void queue_on_slice(struct ipc_channel *channel, struct msg *m, void *owner);
void queue_on_discard(struct ipc_channel *channel, struct msg *m, void *owner);
// The spool's batch has room again.
void queue_room(void *queue);
// The log was read: what waited for that goes on.
void queue_unpark(struct queue *q);
void queue_receiver_gone(struct queue *q, struct ipc_channel *channel);

// queue_pace.c
// Deliveries that are due and not done; a letter whose recipients are still on disk counts once.
uint64_t queue_backlog(const struct queue *q);
// Says "committed" to a receiver, at once or when the backlog allows. came_ms: loop time of the
// submission.
void queue_accept(struct queue *q, struct ipc_channel *channel, uint32_t slot, uint32_t recipients,
                  uint64_t came_ms);
// Lets go what may go now.
void queue_pace(struct queue *q);
// The channel is over: nobody waits there.
void queue_pace_forget(struct queue *q, const struct ipc_channel *channel);
// queue_expand.c
// Asks for each recipient; when all are answered, or time is up, `done` is told once, not before
// this returned. SUBMIT_LOOP: all had the letter before. The envelope and the arena must live until
// queue_expansion_close.
struct expansion;
struct expansion *queue_expand(struct queue *q, const struct envelope *envelope,
                               struct arena *arena,
                               void (*done)(void *owner, enum submit_status status), void *owner);
void queue_expansion_close(struct expansion **expansion);
// In the order of the envelope's recipients as they are now; struct destination.
const struct link *queue_destinations(const struct expansion *x);
// Replaces the encoded envelope in `out` where the recipients are others than were submitted.
// False: there are too many of them.
MUST_USE bool queue_put_expanded(const struct expansion *x, struct buf *out, struct err *err);
void queue_log_expanded(const struct expansion *x);

// queue_attempts.c
// The queue's own clock: the wall clock as it was at the start, in seconds since 1970, and what
// passed since. It never jumps; what was written down by another one is believed within limits.
uint32_t queue_now_s(const struct queue *q);
// The rest of its time; 0 when it is over.
uint64_t queue_expires_in_ms(const struct queue *q, const struct spool_letter *letter);
void queue_letter_durable(struct queue *q, struct spool_letter *letter,
                          const struct address *reverse_path, const struct link *destinations);
// Sets the timer of a letter's next attempt.
void queue_schedule(struct queue *q, struct spool_letter *letter);
// An administrator changed what is to be done with it.
void queue_reschedule(struct queue *q, struct spool_letter *letter);
// Ends the attempts that were held and are not out of our hands; how many.
uint64_t queue_withdraw(struct queue *q);
// True: an administrator held the recipient meanwhile, or dropped it, and the attempt is over.
bool queue_withdrawn(struct queue *q, struct attempt *a);
// The attempt is over: a later one is written down, after `least_s` seconds at least;
void queue_defer(struct queue *q, struct attempt *a, struct str reason, uint32_t least_s);
// or, when the letter's time is over, its sender is told;
void queue_try_later(struct queue *q, struct attempt *a, struct str reason, uint32_t least_s);
// or the later one is not worth writing down;
void queue_put_off(struct queue *q, struct attempt *a, uint32_t seconds);
// or there is none, until an administrator looked at it; or none at all.
void queue_hold(struct queue *q, struct attempt *a, struct str reason);
void queue_done(struct queue *q, struct attempt *a, enum log_event_name event);
void queue_give_up(struct queue *q, struct attempt *a, struct status status, struct str reason);
// What became of it stands in the spool already.
void queue_end_attempt(struct queue *q, struct attempt *a);
// Does what can be done now: resolves, batches.
void queue_advance(struct queue *q);
void queue_on_resolved(struct ipc_channel *channel, struct msg *m, void *owner);
void queue_on_delivered(struct ipc_channel *channel, struct msg *m, void *owner);
void queue_put_lookup(struct queue *q, struct lookup *lookup);
void queue_request_lost(struct queue *q, enum ipc_type request, void *owner);
// In a worker: the body into an open window, and its place into the item. A large one opens the
// window itself.
MUST_USE bool queue_put_body(struct queue *q, const struct spool_letter *letter,
                             struct window *window, struct window_item *item, struct err *err);

// queue_relay.c
void queue_begin_relay(struct queue *q);
// The recipient's domain is not ours: it goes to another host.
void queue_relay(struct queue *q, struct attempt *a);
// Attempts that begin between the two, whose way is not known yet, join. Each leaves when it goes
// nowhere else, or is over.
struct round *queue_begin_round(struct queue *q, const struct address *reverse_path);
void queue_join_round(struct round *round, struct attempt *a);
void queue_end_round(struct queue *q, struct round *round);
void queue_leave_relay(struct queue *q, struct attempt *a);
void queue_relay_advance(struct queue *q);
void queue_on_routed(struct ipc_channel *channel, struct msg *m, void *owner);
void queue_on_sent(struct ipc_channel *channel, struct msg *m, void *owner);
void queue_relay_lost(struct queue *q, enum ipc_type request, void *owner);
// Another resolver is there: routes are asked for anew.
void queue_forget_routes(struct queue *q);
// Nothing is at the sender.
bool queue_relay_idle(const struct queue *q);

// queue_tell.c
void queue_begin_telling(struct queue *q);
// Ends the attempt: its state is written together with the report to the sender, where that one
// wants it. `reason` is copied.
void queue_tell(struct queue *q, struct attempt *a, enum report_kind kind, struct status status,
                struct str reason);

// queue_report.c
void queue_ask(struct role *role, struct str what, struct str argument, struct question *question);
// The log was read: what was asked before is answered.
void queue_ask_again(struct queue *q);

#endif
