// "Did you mean ...?": the known word nearest to an unknown one, for keys of the configuration and
// for commands.
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include "base/str.h"

struct nearest {
    struct str word;   // what was written
    struct str best;   // the nearest offer so far; empty while none is near enough
    unsigned distance; // of best
};

void nearest_init(struct nearest *n, struct str word);
void nearest_offer(struct nearest *n, struct str known);

// Letters to add, drop, change, or swap with their neighbour, ASCII case aside. Words longer than
// NEAREST_WORD_MAX are far from everything.
enum { NEAREST_WORD_MAX = 64, NEAREST_FAR = 1000 };
unsigned nearest_distance(struct str a, struct str b);

#endif
