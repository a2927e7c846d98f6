// Text of manual pages.
#ifndef BASE_ROFF_H
#define BASE_ROFF_H

#include "base/buf.h"

// Writes text, in a macro line or as a line of its own, such that roff shows it as it is: a
// backslash, a hyphen, a dot or a quote in front mean something else there.
void roff_put(struct buf *out, struct str text);

#endif
