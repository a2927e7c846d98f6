// The receiver's own header.
//   receiver.c          listeners, limits, leases of ids, what the queue and the directory say
//   receiver_session.c  one client: the SMTP engine's events
//   receiver_letter.c   a letter on its way from the arena to the queue
//   receiver_arena.c    the shared memory
#ifndef ROLES_RECEIVER_H
#define ROLES_RECEIVER_H

#include "base/limits.h"
#include "base/list.h"
#include "mail/delivered.h"
#include "mail/scan.h"
#include "proto/smtp_server.h"
#include "roles/receiver_arena.h"
#include "roles/role.h"
#include "session/admission.h"
#include "session/doors.h"
#include "session/pump.h"

enum {
    ARENA_TIGHT = 80, // in hundredths: bodies go to files, and DATA waits
    ANSWER_MS = 5000, // directory or queue silent for so long: 451 4.3.0
};

struct session;

// A letter from DATA on. While it is small it gathers in the arena; from LIMIT_large_body on, or
// when the arena is short of space, what is there goes to the queue in slices. So a session holds
// at most LIMIT_large_body and a read of its client's octets beside LIMIT_slices slices.
//
// It outlives its session when the client goes away while the queue reads: the memory of a slice,
// and of a letter that is submitted, is the queue's until it has answered.
struct letter {
    struct link link;        // in receiver.letters while it comes in; in receiver.resubmit; or none
    struct session *session; // NULL: gone
    struct mail_id id;
    struct chain envelope, body; // of the body what is in no slice
    struct scan scan;
    struct delivered delivered;
    uint64_t written;        // octets of the body in slices
    unsigned slices;         // not answered yet
    bool ended;              // nothing is added any more
    bool submitted;          // the queue will answer
    bool over;               // nobody asks for it any more: it goes with the last slice
    enum smtp_reply trouble; // the rest is swallowed and this is the answer; SMTP_REPLY_COUNT: none
};

// A protocol, with clients of its own.
struct service {
    struct receiver *receiver;
    struct smtp_server_config config;
    struct doors doors;
    struct admission admission;
};

struct receiver {
    struct role *role;
    struct service smtp, lmtp;
    struct body_arena arena;
    bool has_arena;
    struct link sessions;
    struct link want_id;     // sessions that wait for a lease
    struct link want_lookup; // sessions that wait for a credit
    struct link want_data;   // sessions at DATA that wait for space in the arena
    struct link stalled;     // sessions in their data that wait for a slice or for space
    struct link letters;     // that come in
    struct link resubmit;    // that the queue did not answer before it died, or has no credit for
    size_t leaving;          // octets of blocks in slices
    struct net_address gateways[LIMIT_gateways]; // default ones of this host, at our start
    size_t gateway_count;
    struct turn_hook hook; // receiver_go_on
    uint8_t lease_base[10];
    uint32_t lease_next, lease_left;
    struct timer drain_timer;
    uint64_t drain_by;       // monotonic ms: sessions in the middle of something end then
    uint64_t drain_hurry_ms; // loop time: from then on busy sessions end too
    bool leasing, has_space;
};

struct session {
    struct link link;    // in receiver.sessions
    struct link waiting; // in want_id, want_lookup, want_data or stalled
    struct receiver *receiver;
    struct service *service;
    struct pump pump;
    struct smtp_server smtp;
    struct net_address peer;
    const struct conf_network *trusted;    // that the peer may relay from; or NULL
    bool relays;                           // the letter has recipients that it took for that
    struct timer patience;                 // for an answer of another role
    enum smtp_reply late;                  // what the client is told when it runs out
    uint64_t heard_ms;                     // loop time of the last input
    struct letter *letter;                 // from DATA to its answer
    const struct address *asked_recipient; // in the engine, while its RCPT waits; at MAIL NULL
    struct str helo_mark;                  // what Received says of a false HELO; or empty
    bool helo_judged;                      // it is known
    bool asking;                           // a lookup is under way
    bool full;                             // replies must be read first
    bool admitted;                         // counts in service->admission
    char id[SESSION_ID_TEXT + 1];
};

// receiver.c
bool receiver_take_id(struct receiver *r, struct mail_id *id);
void receiver_want_lease(struct receiver *r);
void receiver_session_over(struct session *s);

// receiver_session.c
// `forbidden`: the option of the configuration that keeps the client out, or NULL.
void session_start(struct service *service, int fd, const struct net_address *peer,
                   const char *forbidden);
void session_give_id(struct session *s);
void session_look_up(struct session *s);
void session_begin_data(struct session *s);
void session_on_found(struct ipc_channel *channel, struct msg *m, void *owner);
// Its letter goes to the queue now: how long the client waits counts from here.
void session_submitted(struct session *s);
void session_committed(struct session *s, enum smtp_reply reply);
void session_shut_down(struct session *s, bool last_call);

// receiver_letter.c
void letter_begin(struct session *s);
void letter_append(struct session *s, struct str bytes);
// May its client send more? False: the session waits in receiver.stalled.
bool letter_may_grow(const struct receiver *r, const struct letter *letter);
uint64_t letter_size(const struct letter *letter);
// Hands it to the queue, or to receiver.resubmit while that is away; false: letter->trouble.
MUST_USE bool letter_submit(struct session *s);
// The session has no more use for it. What the queue will answer lives on until then.
void letter_leave(struct receiver *r, struct letter *letter);
void letter_resubmit(struct receiver *r);
void letter_on_committed(struct ipc_channel *channel, struct msg *m, void *owner);
void letter_on_sliced(struct ipc_channel *channel, struct msg *m, void *owner);
// The queue is gone: what it had of letters that still come in is lost.
void letters_queue_gone(struct receiver *r);
void letter_lost(struct receiver *r, struct letter *letter);
void letter_slice_lost(struct receiver *r, void *slice);
// More than ARENA_TIGHT hundredths of the arena are in use.
bool letters_are_tight(const struct receiver *r);
// Space or an answer came: what waited goes on at the end of the turn.
void receiver_go_on(struct receiver *r);
void receiver_turn_end(struct turn_hook *hook);

#endif
