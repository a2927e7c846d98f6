// The receiver's own header.
//   receiver.c          listeners, limits, leases of ids, what the queue and the directory say
//   receiver_session.c  one client: the SMTP engine's events
//   receiver_letter.c   a letter on its way from the arena to the queue
//   receiver_arena.c    the shared memory
#ifndef ROLES_RECEIVER_H
#define ROLES_RECEIVER_H

#include "base/list.h"
#include "mail/scan.h"
#include "proto/smtp_server.h"
#include "roles/receiver_arena.h"
#include "roles/role.h"
#include "session/admission.h"
#include "session/doors.h"
#include "session/pump.h"

enum {
    ANSWER_MS = 5000, // directory or queue silent for so long: 451 4.3.0
};

struct session;

// A letter from DATA on. It outlives its session when the client goes away while the queue commits:
// the memory is the queue's to read until it has answered.
struct letter {
    struct link link;        // in receiver.resubmit, or none
    struct session *session; // NULL: gone
    struct mail_id id;
    struct chain envelope, body;
    struct scan scan;
    bool failed; // the arena was full: the rest is discarded, the answer is 452
};

struct receiver {
    struct role *role;
    struct smtp_server_config smtp;
    struct body_arena arena;
    bool has_arena;
    struct admission admission;
    struct link sessions;
    struct doors doors;
    struct link want_id;     // sessions that wait for a lease
    struct link want_lookup; // sessions that wait for a credit
    struct link resubmit;    // letters that the queue did not answer before it died
    uint8_t lease_base[10];
    uint32_t lease_next, lease_left;
    struct timer drain_timer;
    uint64_t drain_by;       // monotonic ms: sessions in the middle of something end then
    uint64_t drain_hurry_ms; // loop time: from then on busy sessions end too
    bool leasing, has_space;
};

struct session {
    struct link link;    // in receiver.sessions
    struct link waiting; // in want_id or want_lookup
    struct receiver *receiver;
    struct pump pump;
    struct smtp_server smtp;
    struct net_address peer;
    struct timer patience;                 // for an answer of another role
    uint64_t heard_ms;                     // loop time of the last input
    struct letter *letter;                 // from DATA to its answer
    const struct address *asked_recipient; // in the engine, while its RCPT waits
    bool asking;                           // a lookup is under way
    bool full;                             // replies must be read first
    bool admitted;                         // counts in receiver.admission
    char id[SESSION_ID_TEXT + 1];
};

// receiver.c
bool receiver_take_id(struct receiver *r, struct mail_id *id);
void receiver_want_lease(struct receiver *r);
void receiver_session_over(struct receiver *r, struct session *s);

// receiver_session.c
// `forbidden`: the option that keeps the client out, or NULL.
void session_start(struct receiver *r, int fd, const struct net_address *peer,
                   const char *forbidden);
void session_give_id(struct session *s);
void session_look_up(struct session *s);
void session_on_found(struct ipc_channel *channel, struct msg *m, void *owner);
void session_committed(struct session *s, enum smtp_reply reply);
void session_shut_down(struct session *s, bool last_call);

// receiver_letter.c
MUST_USE bool letter_begin(struct session *s);
void letter_append(struct session *s, struct str bytes);
// Hands it to the queue; false: the queue is away, or has too much to do.
MUST_USE bool letter_submit(struct session *s);
void letter_drop(struct receiver *r, struct letter *letter);
void letter_resubmit(struct receiver *r);
void letter_on_committed(struct ipc_channel *channel, struct msg *m, void *owner);
void letter_lost(struct receiver *r, struct letter *letter);

#endif
