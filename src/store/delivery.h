// Batch delivery into Maildirs (design: batch delivery). For each letter tmp/NAME is written; one
// sync for all; link into new; one sync for all; then the owner is told. When the owner has
// committed "done" the batch is forgotten, and tmp/NAME goes: until then its link count is the
// witness that the letter was delivered, wherever its reader has moved it.
#ifndef STORE_DELIVERY_H
#define STORE_DELIVERY_H

#include "base/arena.h"
#include "base/err.h"
#include "base/list.h"
#include "store/large.h"
#include "store/maildir.h"
#include "store/window.h"

// Where deliveries go. Maildirs stay open between batches: opening one costs five calls.
struct delivery {
    int mail_dir; // the caller's
    bool syncfs;  // one syncfs instead of an fsync of each file and directory
    struct link maildirs;
    size_t open_count;
};

// syncfs is used where the file system keeps what it promises.
void delivery_init(struct delivery *d, int mail_dir);
void delivery_finish(struct delivery *d);

// One letter of a batch for one recipient.
struct delivery_letter {
    const struct window_item *item; // until the batch ran
    struct str mailbox;             // below mail_dir
    uint64_t size;                  // octets on disk
    struct str name;                // of the file, a NUL stands behind it; empty: none was made
    struct open_maildir *maildir;   // while the batch runs
    bool written;                   // and in new/ now, unless it failed
    bool delivered;                 // by an earlier batch
    bool failed; // ERR_OUR_BUG: the letter is damaged; else it may be tried again
    struct err err;
};

struct delivery_batch {
    struct link link;   // the owner's
    uint64_t number;    // the owner's
    struct arena arena; // of all below
    struct delivery_letter *letters;
    size_t count;
    struct window_view view; // the letters' texts, until the batch ran
    struct large_reader body;
    bool large; // the letters are of one large body, which is no part of the view
};

// What a window holds (store/window.h): the file of a large body where `items` is not empty. The
// descriptor is read until the batch ran.
MUST_USE bool delivery_read(struct delivery_batch **batch, int window, uint64_t size,
                            uint64_t manifest, struct str items, struct err *err);
// Delivers all of it, and waits for the disk. What became of each letter stands in it.
void delivery_run(struct delivery *d, struct delivery_batch *batch);
// "Done" is durable: the witnesses go.
void delivery_forget(struct delivery *d, const struct delivery_batch *batch);
// Removes what was left in the mailbox's tmp/ (maildir_sweep); says in the log what it did.
void delivery_sweep(struct delivery *d, struct str mailbox, uint64_t before_s,
                    const struct maildir_witnesses *witnesses);
void delivery_free(struct delivery_batch **batch);

#endif
