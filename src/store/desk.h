// Questions about the letters of a spool, and orders for them, as text: what `posthouse queue` asks
// the role that works on the spool, or answers itself where no role does.
//
//   count           the number of letters, a line
//   list            recipients that wait, a JSON object each, a line each
//   show            all that is known of one letter, a JSON object
//   body            octets of one letter, as many as there are from `offset` on, at most DESK_BODY
//   retry hold release drop (store/orders.def)
//                   how many it touched, a JSON object: letters, recipients, and how many of these
//                   are under way and come to their turn when that is over
//
// The argument: "[PLACE][HT NAME=VALUE]...", HT a tab. Names: id (show, body: needed; a whole one,
// or how it begins, DESK_ID_LEAST characters and more), from, to, domain, before (milliseconds
// since 1970: it came before that), reason (a part of it), by (who orders), offset (of body). What
// does not match all of them is left out. list and orders work page by page, in the order of the
// log: where more follows the last line is "more PLACE", and the same question with PLACE gets the
// rest.
//
// A question goes through three hands: desk_open and desk_act in the loop's thread, where they do
// bounded work; between them desk_read, in any thread, reads the files.
#ifndef STORE_DESK_H
#define STORE_DESK_H

#include "store/spool.h"

enum {
    DESK_ID_LEAST = 6,
    DESK_BODY = 1024 * 1024, // octets, whole pieces of a large body
};

// What the owner's mark of a recipient says (struct spool_recipient, busy).
enum desk_busy {
    DESK_IDLE,
    DESK_BUSY,     // an attempt is under way
    DESK_DROPPING, // and when it ends without a delivery, the recipient is dropped: it is held now
};

struct desk; // one question; holds the letters that it read

bool desk_knows(struct str what);
// The index must be complete. NULL: *err says in words for people why not: ERR_PEER_WRONG when that
// is no question, ERR_GIVE_UP when there is no such letter.
struct desk *desk_open(struct spool *spool, struct str what, struct str argument, struct err *err);
void desk_read(struct desk *desk);
// Does what was ordered. True: states changed; what the answer says is durable when they are
// (spool_wait). `touched` hears of each letter of which something changed. A recipient that is
// under way is not dropped but held, with DESK_DROPPING: the owner sees to it when its attempt
// ends.
bool desk_act(struct desk *desk, void (*touched)(void *owner, struct spool_letter *letter),
              void *owner);
// So many of those under way are not any more, and were dealt with.
void desk_ended(struct desk *desk, uint64_t recipients);
// For the owner: drops a recipient that was DESK_DROPPING, and says so in the event log.
void desk_drop(struct spool *spool, struct spool_letter *letter, uint32_t recipient, struct str to);
// The answer, once; `out` is of the limit LIMIT_control_reply and empty. False: it says why there
// is none.
MUST_USE bool desk_answer(struct desk *desk, struct buf *out);
void desk_close(struct desk **desk);

#endif
