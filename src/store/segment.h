// Segments: the files of the spool's log. A segment is filled with zeros once and used again and
// again; each use draws a random epoch. Its first 4 KiB hold the header, then come frames, each
// padded to 4 KiB, so that a frame that was committed is never written again.
//
// Layout (little-endian):
//   header  "PHSEG001" u32 crc u32 version u64 use u64 size epoch[16]     crc over what follows it
//   frame   u32 crc u32 magic epoch[16] u64 number u32 length u32 records then `length` octets
//           of records; crc over everything after itself
//   record  u8 kind u8 flags u16 zero u32 length, then `length` octets
//
// The epoch never leaves the queue: no letter can hold a frame that would be taken for one.
#ifndef STORE_SEGMENT_H
#define STORE_SEGMENT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"

enum {
    SEGMENT_BLOCK = 4096,
    SEGMENT_EPOCH = 16,
    SEGMENT_FRAME_HEADER = 40,
    SEGMENT_RECORD_HEADER = 8,
};

struct segment {
    struct link link;
    uint64_t number; // of the file: log/NUMBER
    uint64_t use;    // place in the log; 0 = never used
    uint64_t size;
    uint64_t end;        // where the next frame goes
    uint64_t index_size; // octets of the index's payload, were it left now
    uint8_t epoch[SEGMENT_EPOCH];
    int fd; // -1 = the file is still to be made
    // Owned by the spool:
    struct link letters; // those whose record stands here, in the order of their offsets
    uint32_t live;       // of them, not yet at their end
    uint32_t readers;    // jobs that read it now
    bool blank;          // the header is zeros: never used
    bool cut;            // the file is shorter than its header says
    bool fresh;          // this use's header is not on disk yet
    bool suspect;        // a sync failed here: nothing more is written to it
};

// Name of a segment's file below spool/log.
void segment_name(char name[24], uint64_t number);

// What the first block says: use, epoch, blank, cut; s->size is the file's. Blank: never used; use
// 0 and not blank: the header is damaged. Pure.
void segment_read_header(const char block[SEGMENT_BLOCK], struct segment *s);
void segment_put_header(char block[SEGMENT_BLOCK], const struct segment *s);
// Opens an existing file and reads its header.
MUST_USE bool segment_open(int log_dir, uint64_t number, struct segment *s, struct err *err);
// Makes the file, filled with zeros to s->size, synced with its directory.
MUST_USE bool segment_create(int log_dir, struct segment *s, struct err *err);
// Begins a new use: epoch and use are in *s; the header is written and synced.
MUST_USE bool segment_begin(struct segment *s, struct err *err);

// Frames in memory: `frame` begins with SEGMENT_FRAME_HEADER octets of room. Fills in the header
// and pads with zeros.
void segment_seal_frame(struct buf *frame, const struct segment *s, uint64_t number,
                        uint32_t records);
void segment_put_record(struct buf *out, uint8_t kind, uint8_t flags, struct str data);

// One frame as found on disk.
struct segment_frame {
    uint64_t offset; // of its header in the segment
    uint64_t number;
    struct str records;
    uint32_t record_count;
};

enum segment_found {
    SEGMENT_FRAME,   // *frame is whole
    SEGMENT_DAMAGED, // a frame of this epoch begins here and is not whole; skip one block
    SEGMENT_NOTHING, // zeros, or what an earlier use left; skip one block
};

// Looks at `bytes`, the rest of the segment from a block boundary on. Pure: the fuzz target runs
// it.
enum segment_found segment_parse(struct str bytes, const uint8_t epoch[SEGMENT_EPOCH],
                                 struct segment_frame *frame);

struct segment_record {
    uint8_t kind, flags;
    struct str data;
    size_t offset; // of the data in the frame's records
};
// The next record; false at the end. A frame whose CRC fits was written by us: a record that does
// not fit in it is damage (*damaged).
MUST_USE bool segment_next_record(const struct segment_frame *frame, size_t *at,
                                  struct segment_record *record, bool *damaged);

#endif
