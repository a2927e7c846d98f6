// Large bodies: files of their own, spool/body/ID, written slice by slice while the letter still
// comes in, and read piece by piece (spool promise 6). Neither side ever holds a body in memory.
//
// The file: the body, then a table with the CRC-32C of each LARGE_PIECE octets of it (u32,
// little-endian). The letter's record holds the CRC of the table, so rot is found piece by piece.
//
// While it grows it is body/ID.part. The end: table, fdatasync, rename to body/ID, fsync of the
// directory; only then may the record be committed (spool_add_large).
#ifndef STORE_LARGE_H
#define STORE_LARGE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "mail/id.h"

enum {
    LARGE_PIECE = 65536,          // octets under one CRC
    LARGE_SYNC = 4 * 1024 * 1024, // synced on the way, so that the last sync is a short one
    LARGE_MAX = INT32_MAX,        // octets of one body: more than any max_message
};

struct spool;
struct large; // one body that is being written; costs one descriptor and 4 octets each piece

// One step. The pieces may lie in memory that somebody else can change: they are copied once, and
// what is written, counted and scanned is the copy. They stay where they are until `done`.
struct large_slice {
    struct link link;
    const struct str *pieces;
    size_t piece_count;
    bool last; // nothing follows: the file is ended and gets its name
    bool ok;   // when `done` is called; else err says why
    struct err err;
    void (*done)(struct large_slice *slice); // in the loop's thread
};

// Begins body/ID.part: nothing touches the disk before the first slice. Two of the same id must not
// be open at one time, nor one whose letter the spool knows.
void large_open(struct large **large, struct spool *spool, const struct mail_id *id);
// Slices are written in the order in which they are given, one at a time, by a worker thread. After
// one that failed all others fail, with the same err.
void large_append(struct large *large, struct large_slice *slice);
// Slices that wait or are under way still get their `done`. The file is removed, unless
// spool_add_large put its letter into the log.
void large_close(struct large **large);

// ---- reading, by whoever was given the file's descriptor

struct large_reader {
    int fd; // the caller's
    uint64_t size, at;
    struct buf table;
    char *piece; // LARGE_PIECE octets
};

// size and crc are the record's. Reads the table and checks it: damage is ERR_OUR_BUG.
MUST_USE bool large_reader_init(struct large_reader *reader, int fd, uint64_t size, uint32_t crc,
                                struct err *err);
// The next piece, valid until the next call; empty at the end. Each is checked: damage is
// ERR_OUR_BUG.
MUST_USE bool large_reader_next(struct large_reader *reader, struct str *piece, struct err *err);
void large_reader_from(struct large_reader *reader, uint64_t at); // a multiple of LARGE_PIECE
void large_reader_again(struct large_reader *reader);             // from the start
void large_reader_finish(struct large_reader *reader);

#endif
