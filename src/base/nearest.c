#include "base/nearest.h"

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

// Edit distance with swaps of neighbours (optimal string alignment): row i of the usual matrix
// needs the two rows above it only.
unsigned nearest_distance(struct str a, struct str b)
{
    unsigned rows[3][NEAREST_WORD_MAX + 1];
    if (a.len > NEAREST_WORD_MAX || b.len > NEAREST_WORD_MAX)
        return NEAREST_FAR;
    for (unsigned k = 0; k <= b.len; k++)
        rows[0][k] = k;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *above = rows[(i + 2) % 3];
        const unsigned *two_above = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t k = 1; k <= b.len; k++) {
            char x = ascii_lower(a.ptr[i - 1]), y = ascii_lower(b.ptr[k - 1]);
            row[k] = least(least(above[k] + 1, row[k - 1] + 1), above[k - 1] + (x != y));
            if (i > 1 && k > 1 && x == ascii_lower(b.ptr[k - 2]) && ascii_lower(a.ptr[i - 2]) == y)
                row[k] = least(row[k], two_above[k - 2] + 1);
        }
    }
    return rows[a.len % 3][b.len];
}

void nearest_init(struct nearest *n, struct str word)
{
    // A third of the word may be wrong: more, and the suggestion is noise.
    unsigned allowed = word.len < 3 ? 1 : (unsigned)least((unsigned)word.len / 3, 3);
    *n = (struct nearest){.word = word, .best = STR(""), .distance = allowed + 1};
}

void nearest_offer(struct nearest *n, struct str known)
{
    unsigned distance = nearest_distance(n->word, known);
    // A word of which nothing is right is no suggestion, however short.
    if (distance < n->distance && distance < known.len) {
        n->distance = distance;
        n->best = known;
    }
}
