// Shared by the files of the spool: spool.c (index and adding), large.c (bodies in files of their
// own), commit.c (batches and the commit thread), compact.c (what keeps the log short), recover.c
// (reading the log at start), index.c (index blocks), check.c (reading it to judge it). Nobody else
// includes this.
#ifndef STORE_SPOOL_PRIVATE_H
#define STORE_SPOOL_PRIVATE_H

#include "base/map.h"
#include "store/index.h"
#include "store/large.h"
#include "store/spool.h"

enum record_kind {
    RECORD_LETTER = 1, // id envelope_size envelope_crc body_size body_crc scan_flags recipients,
                       // then the envelope, then the body (not with RECORD_LARGE, where body_crc
                       // is that of the table in body/ID)
    RECORD_STATE = 2,  // id recipient state attempts next_s reason
    RECORD_ABORT = 3,  // segment number, its use, last good offset: what stands behind was never
                       // acknowledged
    RECORD_PLACE = 4,  // in an index: the letter's record up to its count of recipients, then the
                       // offset in the segment of its data; flags as the letter's
};

enum {
    RECORD_LARGE = 1, // flag of RECORD_LETTER
    RECORD_TOLD = 1,  // flag of RECORD_STATE
};

enum {
    LETTER_FIXED = 16 + 4 + 4 + 8 + 4 + 4 + 4,
    STATE_FIXED = 16 + 4 + 1 + 2 + 4,
    ABORT_FIXED = 8 + 8 + 8,
    PLACE_FIXED = LETTER_FIXED + 4,
    BATCH_LETTERS_MAX = 4 * 1024 * 1024,
    FRAME_MAX = SEGMENT_FRAME_HEADER + BATCH_LETTERS_MAX + 4 * 1024 * 1024, // with states
    STATES_GATHERED_MAX = 256 * 1024 * 1024, // about a million, in several frames
    SEGMENTS_RESERVE = 2,                    // blank ones, for states when none can be made
    SEGMENTS_KEPT = 1 + SEGMENTS_RESERVE,    // more than so many before one is used again
    SEGMENTS_SURPLUS = 4,                    // beyond twice what lives: docs/spool.md, promise 7
    MOVE_LETTERS = 2048,                     // copied forward at one time
    MOVE_BYTES = 1024 * 1024,
    REASON_MAX = 200,
    LARGE_THREADS = 4,  // they wait for the disk, and syncs at the same time share its journal
    REASONS_MAX = 4096, // distinct ones; a new one beyond is not remembered
};

// A letter's copy further on in the log; the letter moves there when all of the batch is durable.
struct move {
    struct spool_letter *letter;
    struct segment *segment; // NULL until the frame is durable
    uint32_t offset;
};

// A letter of our own among the states of a batch, and the states that belong to it.
struct report_place {
    struct spool_letter *letter;
    size_t at, end; // in `states`
    size_t record;  // octets of the letter's record, which stands at the beginning
};

// What gathers, or is on its way to the disk.
struct batch {
    struct spool *spool;
    struct os_job job;
    struct buf frame;  // header room, then the letters' records; states are appended when sealed
    struct buf states; // state records, and reports with theirs
    uint32_t letter_records, state_records, frame_records;
    size_t states_done, states_framed; // octets of `states` that are durable; that fly too
    size_t states_at;                  // in the frame, where they begin
    struct report_place *reports;
    size_t report_count, report_cap;
    size_t reports_done, reports_framed; // as of the states
    struct link letters; // new ones; their offsets count from the frame until it is sealed
    struct link waiters;
    struct spool_letter **ended; // letters whose last state is in this batch
    size_t ended_count, ended_cap;
    struct move *moves;
    size_t move_count, move_cap;
    struct segment *segment;
    uint64_t offset; // of the frame
    uint64_t number;
    bool aborting; // carries the abort record of the attempt before
    bool refused;  // its letters are not on disk and will not be
    bool unmade;   // there was no segment for it
    bool ok;
    struct err err;
};

struct spool {
    int dir, log_dir, body_dir, corrupt_dir, lock;
    struct loop *loop;
    struct spool_options options;
    struct os_workers *committer; // one thread: writes and syncs
    struct os_workers *helpers;   // spare segments, removals
    struct os_workers *writers;   // large bodies
    struct turn_hook hook;
    uint64_t hash_key[2];
    struct map letters;
    struct link segments; // in the order of the log
    struct link free;
    struct link remembered; // letters without a segment, until the timer fires
    struct timer remember;  // set for LIMIT_ids_known after the start
    struct segment *current;
    size_t segment_count, free_count;
    uint64_t next_number, last_use, next_frame;
    struct batch batches[2];
    struct batch *gathering;
    struct batch *flying; // NULL = none
    struct str reasons[REASONS_MAX];
    size_t reason_count;
    struct recovery *recovery; // NULL once all of the log is known
    bool making_spare, retiring, moving;
    unsigned leaving;    // segments whose index is being written
    bool short_of_space; // as spool_has_space said last
    bool full;           // no segment could be made: no letter is taken, states use the reserve
    bool turned_away;    // a letter, since the last batch took off: the owner waits for room
    bool stuck;          // the batch that flies waits for a segment
    bool no_spare;       // the last attempt to make one failed
    bool closing;
    struct timer again; // when something of the log could not be made
    uint64_t live_letters, live_recipients;
    uint64_t live_bytes; // of the records of live letters
    uint64_t commits, committed_bytes, moved;
};

uint64_t spool_hash(const struct spool *s, const struct mail_id *id);

// spool.c
struct spool *spool_new(int dir); // empty, without files; freed by spool_close
struct spool_letter *spool_new_letter(const struct mail_id *id, uint32_t recipients);
void spool_forget_letter(struct spool *s, struct spool_letter *letter);
// Its segment goes, or is used again: it is forgotten, or when it was in the log at the start,
// remembered until the hour is over.
void spool_leave_segment(struct spool *s, struct spool_letter *letter);
void spool_begin_remembering(struct spool *s);
void spool_put_letter_head(struct buf *out, const struct spool_letter *letter);
uint16_t spool_keep_reason(struct spool *s, struct str reason);

void spool_put_state(struct buf *out, const struct spool_letter *letter, uint32_t recipient,
                     struct str reason);
// Puts a letter that is in no list to its place among the letters of a segment: they stand in the
// order of their offsets.
void spool_place_letter(struct spool_letter *letter, struct segment *segment, uint32_t offset);
// The letter's record counts as live in its segment, or does not any more.
void spool_count_live(struct spool *s, struct spool_letter *letter, bool live);

// True while the file system has more free. From any thread.
bool spool_disk_has(const struct spool *s, uint64_t octets);

// large.c
enum { LARGE_NAME = MAIL_ID_TEXT + sizeof ".part" };

struct large_body {
    struct scan scan;
    uint32_t crc; // of the table
};

void large_name(char name[LARGE_NAME], const struct mail_id *id, bool part);
// What is known of a body whose last slice is written, else NULL.
const struct large_body *large_body(const struct large *large);
// A record refers to it: the file stays.
void large_keep(struct large *large);
// For a letter that is at its end, or whose batch failed.
void large_remove(struct spool *s, const struct mail_id *id);

// compact.c
void compact(struct spool *s); // after each batch: keeps the log within its bound
// The frame with the batch's moves is durable.
void compact_arrived(struct spool *s, struct batch *b);
// The letters of the batch's moves are where their copies are, or stay where these did not arrive.
void compact_done(struct spool *s, struct batch *b);
bool beyond_bound(const struct spool *s); // promise 7

// commit.c
bool segment_unused(const struct spool *s, const struct segment *seg);
bool segment_is_due(const struct spool *s); // one more is needed soon
// Takes the oldest segment, which must be unused, from the log: its file goes.
void segment_retire(struct spool *s, struct segment *seg);
void batch_init(struct spool *s, struct batch *b);
void batch_finish(struct batch *b);
void batch_added(struct spool *s); // something was added: commit at the end of the turn
// Octets of one frame at most: half a segment, so that an empty one takes it and its index too.
size_t batch_room(const struct spool *s);
// True when the batch takes one more letter's record. Half of the frame and more stays for states.
bool batch_takes(const struct spool *s, uint64_t data_size);

// recover.c

// Damage that is kept under spool/corrupt.
struct aside {
    const struct segment *segment;
    struct index_damage damage;
    size_t octets;
    bool written;
};

// One segment on its way into the index. The helper's while the job runs.
struct reading {
    struct os_job job;
    struct segment *segment;
    const struct segment *before; // whose end the first frame judges; NULL: nobody's
    struct segment_index index;
    enum index_found block;
    struct aside *asides; // owned
    size_t aside_count;
    size_t at; // octets of the payload that were obeyed
    bool ok;
    struct err err;
};

// From spool_open until all of the log is known.
struct recovery {
    struct spool *spool;
    uint32_t now_s;
    uint64_t damaged_places;
    uint64_t last_use;    // of the segments that are to be read
    struct segment *last; // of them; NULL: there is none
    uint64_t last_end;    // what stands behind it there is not from before
    struct reading reading;
    uint64_t next_frame; // the number that the next segment should begin with
    uint64_t misfits;    // records of this segment that could not be obeyed
    size_t segments, segments_read;
    struct mail_id *bodies; // names in spool/body; owned
    size_t body_count, body_cap;
    struct os_job removal;        // of those that no letter has
    struct segment *told_segment; // how far the owner was told of letters
    struct link *told;
    struct timer step;
    bool failed; // while the files are listed
    struct err err;
};
// Obeys at most so many records of the segment's index from *at on: true while there are more. The
// part without files, for the fuzzer too. Segments in the order of their use.
bool recover_obey(struct recovery *r, struct segment *seg, const struct segment_index *x,
                  size_t *at, size_t most);
// Where the log ends: s->recovery is begun, the segments are known, letters can be taken.
MUST_USE bool recover_end(struct spool *s, struct err *err);
// All of it, in the background.
void recover_begin(struct spool *s);
void recover_free(struct recovery **r);

#endif
