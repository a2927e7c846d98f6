// The spool: one append-only log of letters and of what became of them, with group commit, and the
// index of the letters in it. The queue role alone owns one; the loop that runs it never touches
// the disk: a commit thread writes and syncs, one batch in flight while the next one gathers.
//
// The promises are numbered in docs/spool.md and cited here and in the tests as "spool promise N".
#ifndef STORE_SPOOL_H
#define STORE_SPOOL_H

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "mail/envelope.h"
#include "mail/id.h"
#include "mail/scan.h"
#include "os/loop.h"
#include "os/process.h"
#include "store/segment.h"

struct spool;
struct large; // store/large.h

enum spool_state {
    SPOOL_WAITING,   // has a next attempt
    SPOOL_HELD,      // by an administrator: waits for a release
    SPOOL_DELIVERED, // end
    SPOOL_DROPPED,   // end, by an administrator
    SPOOL_FAILED,    // end: bounced
};

struct spool_recipient {
    uint8_t state;     // enum spool_state, as durable or about to be
    uint8_t busy;      // the owner's mark: an attempt is under way
    uint16_t attempts; // stays at 65535
    uint16_t reason;   // of the last failure: spool_reason
    uint32_t next_s;   // wall clock, seconds since 1970: the next attempt
};

// One letter of the index. Lives from its commit until its segment is used again, so that a letter
// which is submitted twice is known (promise 5).
struct spool_letter {
    struct mail_id id;
    struct link link; // in its segment
    struct segment *segment;
    uint32_t offset; // of the record's data in the segment
    uint32_t envelope_size;
    uint32_t envelope_crc;
    uint32_t body_crc; // large: of the table of CRCs
    uint64_t body_size;
    uint32_t scan_flags; // enum scan_flags, found in our private copy
    uint32_t recipient_count;
    uint32_t pending;   // recipients not yet at their end
    bool durable;       // its batch is on disk
    bool large;         // the body is the file body/ID
    bool immovable;     // its record cannot be read: it stays where it is
    uint16_t holders;   // jobs that read it now: it is not moved meanwhile
    struct timer timer; // the owner's: next attempt
    struct link due;    // the owner's
    void *owner;
    struct spool_recipient recipients[];
};

// Something that waits for the batch that is gathering now.
struct spool_waiter {
    struct link link;
    // Wait for states: they are written again in another segment when a batch fails, so `done`
    // always says true. Otherwise for letters: false means that they are not on disk and never will
    // be.
    bool for_states;
    void (*done)(struct spool_waiter *waiter, bool durable); // in the loop's thread
};

struct spool_options {
    uint64_t segment_size;
    uint64_t large_body; // octets; longer bodies are files of their own
};

// Opens spool/ (a directory's descriptor, kept by the caller), takes spool/lock, reads the log: the
// index is complete afterwards. Before the jail; starts no thread.
MUST_USE bool spool_open(struct spool **spool, int dir, const struct spool_options *options,
                         struct err *err);
// Starts the commit thread. After the jail.
MUST_USE bool spool_begin(struct spool *spool, struct loop *loop, struct err *err);
void spool_close(struct spool **spool);

// What a letter consists of when it arrives: its encoded envelope and its body in pieces. The
// pieces may lie in memory that somebody else can change: they are copied once, and everything that
// is known of the letter comes from the copy.
struct spool_submission {
    struct mail_id id;
    const struct str *pieces; // envelope first (its size below), then the body
    size_t piece_count;
    uint32_t envelope_size;
};

enum spool_added {
    SPOOL_ADDED,     // in the batch: wait with spool_wait, then it is durable
    SPOOL_KNOWN,     // this id is in the log already; *letter is it (perhaps not durable yet)
    SPOOL_TOO_LARGE, // does not fit into a frame: spool_add_large
    SPOOL_BAD,       // the envelope is damaged: err says how
    SPOOL_FULL,      // the batch is full: try again after the next commit
};
// `transaction` receives the decoded envelope.
MUST_USE enum spool_added spool_add(struct spool *spool, const struct spool_submission *submission,
                                    struct arena *transaction, struct envelope *envelope,
                                    struct spool_letter **letter, struct err *err);
// For SPOOL_TOO_LARGE: the body went through large_append, and its last slice is written. The
// envelope is the caller's copy. Where the answer is SPOOL_ADDED the file stays after large_close.
MUST_USE enum spool_added spool_add_large(struct spool *spool, struct large *large,
                                          const struct mail_id *id, struct str envelope_bytes,
                                          struct arena *transaction, struct envelope *envelope,
                                          struct spool_letter **letter, struct err *err);
// Changes a recipient's state: in memory at once, on disk with the batch. A letter that is not
// durable yet can be held only; its frame says so too, or neither is there. At its end (DELIVERED,
// DROPPED, FAILED) `pending` falls.
void spool_set_state(struct spool *spool, struct spool_letter *letter, uint32_t recipient,
                     enum spool_state state, uint32_t next_s, struct str reason);

// Calls waiter->done when all that was added up to now is durable (or failed).
void spool_wait(struct spool *spool, struct spool_waiter *waiter);

// Why the last attempt failed; empty when it did not. Reasons are kept once each, so that a million
// deferred recipients with one reason cost two octets each.
struct str spool_reason(const struct spool *spool, const struct spool_recipient *recipient);
// True when nothing gathers and nothing flies.
bool spool_idle(const struct spool *spool);

struct spool_letter *spool_find(struct spool *spool, const struct mail_id *id);
// All letters of the index, in no order: *at starts at 0.
struct spool_letter *spool_next(struct spool *spool, size_t *at);

// Reading, in worker threads: spool_hold keeps the segment from being used again until spool_let_go
// (both in the loop's thread); spool_read may run anywhere between them. Appends the envelope, or
// the body of a letter that is not large, to `out` and checks its CRC: damage is ERR_OUR_BUG with
// "damaged" in the text.
void spool_hold(struct spool_letter *letter);
void spool_let_go(struct spool *spool, struct spool_letter *letter);
MUST_USE bool spool_read_envelope(struct spool *spool, const struct spool_letter *letter,
                                  struct buf *out, struct err *err);
MUST_USE bool spool_read_body(struct spool *spool, const struct spool_letter *letter,
                              struct buf *out, struct err *err);
// The file of a large letter, read only, for a large_reader; *fd is the caller's.
MUST_USE bool spool_open_body(struct spool *spool, const struct spool_letter *letter, int *fd,
                              struct err *err);

struct spool_counts {
    uint64_t letters;    // with a pending recipient
    uint64_t recipients; // pending
    uint64_t segments, free_segments;
    uint64_t live_bytes; // of the records of letters with a pending recipient
    uint64_t moved;      // letters that were copied forward
    uint64_t commits, committed_bytes;
};
void spool_count(const struct spool *spool, struct spool_counts *counts);
// True while the file system has more than `reserve` octets free.
bool spool_has_space(struct spool *spool, uint64_t reserve);

#endif
