// Index blocks: what a start needs of one segment, in short. When the queue leaves a segment, a
// helper reads its frames back and writes their index at the segment's end, so that a start reads
// no letters (docs/decisions/0011). A segment without an index block is turned into one in memory:
// recovery obeys one form only.
//
// Layout at the end of the segment (little-endian):
//   payload  records as in frames, in the order of the log: states and aborts as they are, for each
//            letter a place (store/spool_private.h); filled with zeros to whole blocks
//   trailer  the last block: "PHIDX001" u32 crc u32 version u64 use epoch[16] u64 payload offset
//            u64 payload length u32 payload crc u32 records u64 first frame u64 last frame
//            u64 frames' end, then zeros; crc over the 76 octets behind it
#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include "store/segment.h"

struct spool;

struct index_damage {
    uint64_t from, to; // octets of the segment
};

struct segment_index {
    struct buf payload;
    uint32_t records;
    uint64_t first_frame, last_frame; // their numbers; 0: there is none
    uint64_t end;                     // behind the last one
    // Of frames that were read; an index block says nothing of it:
    uint64_t last_at;            // where the last one begins
    bool torn;                   // behind the last one stands the beginning of another
    struct index_damage *damage; // places that were not obeyed; owned
    size_t damage_count;
};

void index_init(struct segment_index *x);
void index_finish(struct segment_index *x);

// Reads frames: `bytes` is the segment from its beginning. Pure, like the three below: fuzzed.
void index_of_frames(struct segment_index *x, const struct segment *seg, struct str bytes);
// The whole block, to be written so that it ends with the segment. A buf of its own.
void index_put(struct buf *out, const struct segment_index *x, const struct segment *seg);

enum index_found {
    INDEX_GOOD,
    INDEX_NONE,    // or that of an earlier use
    INDEX_DAMAGED, // of this use, and not whole
};
// Where the payload stands, when there is one.
struct index_payload {
    uint64_t offset, length;
    uint32_t crc;
};
// `block`: the last SEGMENT_BLOCK octets of the segment.
enum index_found index_read_trailer(struct segment_index *x, const struct segment *seg,
                                    struct str block, struct index_payload *payload);
// x->payload holds what stands there.
enum index_found index_check_payload(const struct segment_index *x,
                                     const struct index_payload *payload);

// True when the first record is an abort: the frame numbers before it were given up.
bool index_begins_with_abort(const struct segment_index *x);

// Octets that a segment must keep free for an index of so large a payload; 0 when that is more than
// a quarter of the segment: such a segment gets none and is read whole.
uint64_t index_room(const struct segment *seg, uint64_t payload);

// From the files, in any thread. `limit`: frames are read up to there. *block says what was found
// of an index block; when it is not INDEX_GOOD the frames were read.
MUST_USE bool index_read(struct segment_index *x, const struct segment *seg, uint64_t limit,
                         enum index_found *block, struct err *err);
// The octets from..to of a segment, into `out`.
MUST_USE bool index_load(const struct segment *seg, uint64_t from, uint64_t to, struct buf *out,
                         struct err *err);

// In the loop's thread: the queue leaves this segment, whose frames are durable. A helper writes
// its index; a failure is a line in the log, for the segment can be read whole.
void index_leave(struct spool *s, struct segment *seg);

#endif
