// The sender's own header.
//   sender.c             letters from the queue, their ways, results to the queue
//   sender_connection.c  one connection to a host: socket, engine, deadlines; those that are kept
#ifndef ROLES_SENDER_H
#define ROLES_SENDER_H

#include "base/list.h"
#include "ipc/targets.h"
#include "mail/envelope.h"
#include "proto/smtp_client.h"
#include "roles/role.h"
#include "session/pump.h"
#include "store/large.h"
#include "store/window.h"

// An address that took no connection lately: others go before it.
struct bad_address {
    struct net_address address;
    uint64_t until_ms; // of the loop
};

enum { BAD_ADDRESSES = 64 };

struct sender {
    struct role *role;
    struct link parcels;
    struct link dialling; // connections whose unix socket the supervisor opens
    struct link idle;     // connections that are kept, used last first
    size_t idle_count;
    struct bad_address bad[BAD_ADDRESSES]; // the oldest is overwritten
    size_t bad_next;
    bool draining;
};

struct connection;

// One letter for one next hop, as the queue handed it over, until its results are out.
struct parcel {
    struct link link;
    struct sender *sender;
    struct ipc_channel *channel; // NULL: the queue that asked is gone
    uint32_t slot;
    struct arena arena; // all that it consists of, but the body
    struct envelope envelope;
    int window;
    struct window_view view;
    struct large_reader large; // where items came beside the window
    bool is_large;
    struct str rest; // of the text: a piece that the engine has not taken yet
    bool whole;      // no piece follows it

    bool lmtp;
    struct routed_way *ways;
    size_t way_count, way; // the one that is tried now

    struct sent_result *results; // of each recipient, so far
    bool *ended;                 // that one is final
    size_t open;                 // recipients without a final result
    bool reached;                // a host spoke with us,
    bool answered;               // and gave an answer about the letter
    bool trouble;                // a session broke off, or was refused
    bool untried;                // we end

    // The transaction: recipients that are open.
    struct connection *connection; // NULL: none now
    bool broke;                    // the session ended under it: another way must be found
    struct smtp_client_letter letter;
    struct smtp_client_recipient *recipients;
    uint32_t *numbers; // of each of them, in the envelope
};

// sender.c
// The transaction of those recipients that are open; false: there is none.
MUST_USE bool parcel_next(struct parcel *p);
void parcel_result(struct parcel *p, uint32_t recipient, const struct smtp_client_result *result);
// The connection is not the parcel's any more. `result` (NULL: as the recipients were told) is for
// all that are open: this way does not lead there.
void parcel_left(struct parcel *p, const struct smtp_client_result *result);
// As parcel_left; and this address is none to begin with for a while.
void parcel_no_connection(struct parcel *p, const struct smtp_client_result *result);
// The next piece of the text; false: it cannot be read, and the parcel is over.
MUST_USE bool parcel_text(struct parcel *p);

// sender_connection.c
// The parcel goes over a connection that is kept (not where `anew`), or a new one. Told by the
// functions above, later or within this call.
void connection_take(struct sender *s, struct parcel *p, bool anew);
// Ends without a word to the peer, nor to the parcel.
void connection_abort(struct connection *c);
enum smtp_stage connection_stage(const struct connection *c);
void connection_close_idle(struct sender *s);
// Of the one that waits longest for this path; fd < 0: why there is none.
void connection_dialled(struct sender *s, struct str path, int fd);

#endif
