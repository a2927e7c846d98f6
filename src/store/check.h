// A second reader of the spool, which asserts that it is in one of the states of
// spool_states.def (docs/spool.md shows them). It shares the format with recovery (segment.h, the
// records, large_reader) and none of its code: what the two make of a log can be compared. It reads
// everything, bodies included, and changes nothing.
#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include "store/spool.h"

enum check_kind { CHECK_LIFE, CHECK_STOP, CHECK_DAMAGE };

// Their values are the numbers of docs/spool.md.
enum check_state {
#define SPOOL_STATE(number, kind, name, on_disk, acknowledged, start) CHECK_##name = (number),
#include "store/spool_states.def"
#undef SPOOL_STATE
    CHECK_STATES // one more than the highest number
};

struct check_fact {
    enum check_kind kind;
    const char *on_disk; // what the state is
    const char *start;   // what a start does with it
};
const struct check_fact *check_fact(enum check_state state);

// One place that is not CHECK_LIFE. All text is of our making and lives during the call.
struct check_finding {
    enum check_state state;
    const char *file; // below spool/; a name that is not ours is cut and escaped
    uint64_t offset;  // octets
    const char *detail;
};

struct check_report {
    // The caller's; NULL: nobody listens. Called in the order of the log.
    void (*found)(struct check_report *report, const struct check_finding *finding);
    uint64_t states[CHECK_STATES];         // how often each was seen; [0] is not used
    uint64_t letters;                      // with a recipient that is not at its end
    uint64_t recipients[SPOOL_FAILED + 1]; // by enum spool_state
    uint64_t segments;                     // files in log/, free_segments among them
    uint64_t free_segments;
    uint64_t live_bytes; // of the records of `letters`
};

// Takes spool/lock meanwhile, where the file is there (it is not made). `report` is the caller's,
// zeros but for `found`. False: it could not be read: ERR_TRY_LATER, also when a queue runs.
MUST_USE bool spool_check(int dir, const struct spool_options *options, struct check_report *report,
                          struct err *err);
// How many places were damage.
uint64_t check_damage(const struct check_report *report);

#endif
