// Crockford's base32, upper case, most significant bits first: queue ids, tokens.
#ifndef BASE_BASE32_H
#define BASE_BASE32_H

#include "base/buf.h"

// Appends ceil(8 * len / 5) characters; the first carries the odd bits (leading zeros), so that
// 16 bytes give 26 characters and texts sort like the bytes.
void base32_put(struct buf *out, struct str bytes);
// Reads exactly `size` bytes from text of exactly the length that base32_put writes; any letter
// case. False when the text is not that.
MUST_USE bool base32_read(struct str text, unsigned char *bytes, size_t size);

#endif
