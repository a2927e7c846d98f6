// How many columns a text takes on a terminal: Chinese, Japanese and Korean characters take two,
// combining marks none. By the East Asian Width property of Unicode 14, ambiguous ones narrow.
#ifndef BASE_WIDTH_H
#define BASE_WIDTH_H

#include "base/str.h"

// Bytes that are not well-formed UTF-8 and controls count one column each.
size_t width_of(struct str s);
// Octets of the longest start of s (whole characters) that takes at most `columns`.
size_t width_fit(struct str s, size_t columns);

#endif
