// Maildirs. Writing is the postman's (design: batch delivery with the link witness), reading the
// reader's. Files hold LF line ends; a missing last line end is remembered. Names:
//
//     SECONDS.ID.posthouse,S=SIZE,W=WIRE[:2,FLAGS]
//
// SECONDS and ID of the queue id, SIZE octets on disk, WIRE octets with CRLF. ",N" follows W= when
// the letter did not end with a line end. The name is a function of the letter and the mailbox,
// which gets one copy of it: a repeated delivery finds it. It is the unique-id of POP3, so it says
// nothing of other recipients, not even that there are some.
#ifndef STORE_MAILDIR_H
#define STORE_MAILDIR_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "mail/id.h"

// ---- writing

struct maildir_name {
    struct mail_id id;
    uint64_t size;
    uint64_t wire_size;
    bool no_final_newline;
};

void maildir_name_put(struct buf *out, const struct maildir_name *name);

// Where the octets of a letter come from, piece by piece: a large one is never in memory as a
// whole.
struct maildir_source {
    // The next piece, valid until the next call; empty at the end.
    bool (*next)(struct maildir_source *source, struct str *piece, struct err *err);
    void (*again)(struct maildir_source *source); // from the start
};

// A letter in memory.
struct maildir_pieces {
    struct maildir_source source;
    const struct str *pieces;
    size_t count, at;
};
void maildir_pieces_init(struct maildir_pieces *p, const struct str *pieces, size_t count);

// What maildir_write will make of the letter: sets size, wire_size and no_final_newline. An empty
// letter lacks no line end. Fails when the source does.
MUST_USE bool maildir_measure(struct maildir_name *name, struct maildir_source *source,
                              struct err *err);

// Opens the Maildir `path` (parts by '/') below mail_dir, where `make` is set making it and new,
// cur, tmp where they are missing, each synced into its parent. The descriptors are the caller's
// until maildir_close. No link is followed in any part. err->code is ENOENT where there is none and
// `make` is not set.
struct maildir {
    int top;
    int tmp;
    int new;
    int cur;
};
MUST_USE bool maildir_open(int mail_dir, struct str path, bool make, struct maildir *md,
                           struct err *err);
void maildir_close(struct maildir *md);

// Step 1: writes tmp/NAME, CRLF turned into LF, without any sync; *fd stays open for a sync by the
// caller. When tmp/NAME exists already: *delivered = true and *fd = -1 when its link
// count says that it has been linked (st_nlink >= 2), otherwise it is written again as a fresh
// file.
MUST_USE bool maildir_write(const struct maildir *md, const char *name,
                            struct maildir_source *source, int *fd, bool *delivered,
                            struct err *err);
// Step 2, after the sync: link(tmp/NAME, new/NAME). A name that exists is "delivered already".
// Where the file system has no hard links: a letter of that name and size in new or cur is
// "delivered already", otherwise tmp/NAME is renamed, and tmp synced. The caller syncs new.
MUST_USE bool maildir_link(const struct maildir *md, const char *name, struct err *err);
// Step 3, after "done" is committed: unlink(tmp/NAME). One that is gone already is no error.
MUST_USE bool maildir_forget(const struct maildir *md, const char *name, struct err *err);

// Which names in tmp are witnesses still.
struct maildir_witnesses {
    bool (*needed)(const struct maildir_witnesses *witnesses, struct str name);
};
// Removes from tmp the files with names of ours that nothing has changed since before_s (seconds
// since 1970; st_ctime, which link and rename set): what a postman left that died before step 3.
// Foreign names stay: they are their makers', and after 36 hours any reader's who wants them gone
// (the Maildir convention). Looks at LIMIT_witness_names names at most.
MUST_USE bool maildir_sweep(const struct maildir *md, uint64_t before_s,
                            const struct maildir_witnesses *witnesses, size_t *removed,
                            struct err *err);

// ---- reading

// Small: a mailbox may hold hundreds of thousands.
struct maildir_letter {
    const char *file;   // name as found
    uint64_t number;    // in front of it, in seconds; 0 without
    uint64_t wire_size; // octets with an LF that follows no CR as CRLF, and with a last line end;
                        // or MAILDIR_SIZE_UNKNOWN
    uint16_t length;    // of the name
    uint16_t unique;    // octets of the name up to the first ',' or ':'
    bool in_cur;        // else in new
};

#define MAILDIR_SIZE_UNKNOWN UINT64_MAX

// All letters, oldest first (by the number in front, then by name; no number counts as 0), by
// reading the two directories once, and no file: where a name does not tell both sizes, the
// letter's is unknown. Names that begin with '.' are no letters, nor is what is known to be no
// regular file. Of two names with the same unique part (a flag changes while we list) one is told.
// Too many for the arena: an error.
MUST_USE bool maildir_list(const struct maildir *md, struct arena *arena,
                           struct maildir_letter **letters, size_t *count, struct err *err);
// Is the letter of this name, with whatever flags, among those that maildir_list gave?
bool maildir_listed(const struct maildir_letter *letters, size_t count, struct str name);
// Octets that the letter takes on disk: as its name tells (",S="), else as the file says. Of one
// that is gone: 0.
MUST_USE bool maildir_stored_size(const struct maildir *md, const struct maildir_letter *letter,
                                  uint64_t *octets, struct err *err);
// Reads the letter to learn its wire size. On an error it stays unknown; err->code is ENOENT for
// one that is gone.
MUST_USE bool maildir_learn_size(const struct maildir *md, struct maildir_letter *letter,
                                 struct err *err);
// Opens a letter wherever it is now: as it was found, else in cur with any flags, else in new. One
// that is gone, or is no file: an error.
MUST_USE bool maildir_open_letter(const struct maildir *md, const struct maildir_letter *letter,
                                  int *fd, struct err *err);
// Likewise; one that is gone already is no error.
MUST_USE bool maildir_remove_letter(const struct maildir *md, const struct maildir_letter *letter,
                                    struct err *err);
// POP3 unique-id of a letter: its unique part, a view into the name; or its digest, in the arena,
// when that is longer than 70 or outside 0x21-0x7E. False when the arena is full.
MUST_USE bool maildir_uidl(const struct maildir_letter *letter, struct arena *arena,
                           struct str *uidl);

#endif
