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
    uint8_t busy : 2;  // the owner's marks: an attempt is under way,
    uint8_t tried : 1; // there was one since the start, or since an order,
    uint8_t told : 1;  // and its sender was told of the delay, which a state keeps
    uint16_t attempts; // stays at 65535
    uint16_t reason;   // of the last failure: spool_reason
    uint32_t next_s;   // wall clock, seconds since 1970: the next attempt
};

// One letter of the index. Lives from its commit until its segment is used again, and if it was in
// the log at the start for LIMIT_ids_known at least, so that a letter which is submitted twice is
// known (promise 5). There may be millions: with one recipient, its place in the map and malloc's
// share it takes less than 200 octets (promise 12).
struct spool_letter {
    struct mail_id id;
    struct link link;        // in its segment, or among those that are only remembered
    struct segment *segment; // NULL = at its end, and used again: only the id is known
    uint32_t offset;         // of the record's data in the segment
    uint32_t envelope_size;
    uint32_t envelope_crc;
    uint32_t body_crc; // large: of the table of CRCs
    uint64_t body_size;
    uint32_t recipient_count;
    uint32_t pending;    // recipients not yet at their end
    uint32_t since_s;    // the owner's: when its age began
    uint16_t holders;    // jobs that read it now: it is not moved meanwhile
    uint8_t scan_flags;  // enum scan_flags, found in our private copy
    bool durable : 1;    // its batch is on disk
    bool large : 1;      // the body is the file body/ID
    bool immovable : 1;  // its record cannot be read: it stays where it is
    bool from_start : 1; // it was in the log when the spool was opened
    struct timer timer;  // the owner's: next attempt
    struct link due;     // the owner's
    void *owner;
    struct spool_recipient recipients[];
};
_Static_assert(offsetof(struct spool_letter, recipients) + sizeof(struct spool_recipient) <= 152,
               "malloc rounds up to 160");

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
    // After an addition was SPOOL_FULL: an empty batch gathers now. NULL: nobody is told.
    void (*room)(void *owner);
    // Told in the loop's thread when the whole log has been read; NULL: nobody is.
    void (*found)(void *owner, struct spool_letter *letter); // each with a pending recipient
    void (*indexed)(void *owner);                            // behind the last of them
    void *owner;
};

// Opens spool/ (a directory's descriptor, kept by the caller), takes spool/lock, finds the end of
// the log: letters can be taken after spool_begin. Starts no thread.
MUST_USE bool spool_open(struct spool **spool, int dir, const struct spool_options *options,
                         struct err *err);
// Starts the threads, and the reading of the log (docs/decisions/0011). After the jail.
MUST_USE bool spool_begin(struct spool *spool, struct loop *loop, struct err *err);
// True when the index is complete. Until then an id that may be in the log must not be added, and
// of a letter that spool_find knows from the log the last states may still be missing.
bool spool_indexed(const struct spool *spool);
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
    SPOOL_FULL,      // the batch is full: try again when there is `room`
    SPOOL_NO_SPACE,  // nor will it be taken soon: the disk is full
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

// A letter of our own that tells of what becomes of another one (promise 10): it and the changes
// of that one's states stand in one frame, or neither is there. It is treated as states are: it may
// use the reserve, and is written again when its batch fails, so it is always durable in the end.
struct spool_own_letter {
    struct mail_id id;
    uint32_t recipient_count;
    struct str envelope, body; // encoded; of at most LIMIT_report octets
};
struct spool_change {
    uint32_t recipient;
    enum spool_state state;
    uint32_t next_s;
    struct str reason;
};
struct spool_letter *spool_add_report(struct spool *spool, const struct spool_own_letter *report,
                                      struct spool_letter *letter,
                                      const struct spool_change *changes, size_t change_count);

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

// Where a letter stands in the log; the zeroed place is the beginning. A letter that is copied
// forward moves to the end. So who walks from place to place, and lets time pass between, meets
// every letter that stays in the spool all the while, and may meet one twice.
struct spool_place {
    uint64_t use; // of the segment
    uint32_t offset;
};
struct spool_place spool_place_of(const struct spool_letter *letter);
// The first durable letter with a pending recipient at that place or behind it; NULL: none.
struct spool_letter *spool_from(struct spool *spool, struct spool_place place);
// The next one; NULL at the end.
struct spool_letter *spool_after(struct spool *spool, const struct spool_letter *letter);

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
    uint64_t read, to_read; // segments of the log, while the index is not complete; else 0
};
void spool_count(const struct spool *spool, struct spool_counts *counts);
// True while the file system has more than `reserve` octets free, and the log can grow.
bool spool_has_space(struct spool *spool, uint64_t reserve);

#endif
